"""Which environment variables say where a model is trained, and which may make another model."""

from __future__ import annotations

import pytest

from memaudit.recipe.variables import is_of_the_machine


@pytest.mark.parametrize(
    "names",
    [
        "HOME PATH PYTHONPATH PYTHONHASHSEED LD_LIBRARY_PATH TZ LC_ALL LANG TMPDIR VIRTUAL_ENV CONDA_PREFIX USER",
        "HF_HOME HF_HUB_OFFLINE HF_DATASETS_CACHE HF_HUB_DISABLE_PROGRESS_BARS TRANSFORMERS_CACHE TORCH_HOME "
        "TOKENIZERS_PARALLELISM TQDM_DISABLE MPLBACKEND MPLCONFIGDIR WANDB_MODE TF_CPP_MIN_LOG_LEVEL LOG_LEVEL",
        "OMP_NUM_THREADS NUMEXPR_MAX_THREADS KMP_AFFINITY CUDA_VISIBLE_DEVICES PYTORCH_CUDA_ALLOC_CONF NCCL_DEBUG",
        "SLURM_ARRAY_TASK_ID PBS_JOBID LSB_JOBID JOB_ID SGE_TASK_ID RANK OMPI_COMM_WORLD_RANK RAY_ADDRESS HOSTNAME",
        "GITHUB_ACTIONS RUNNER_TEMP BUILD_NUMBER KAGGLE_KERNEL_RUN_TYPE COLAB_GPU https_proxy NO_PROXY HF_TOKEN "
        "AWS_ACCESS_KEY_ID",
    ],
)
def test_variables_of_another_machine_do_not_count(names: str) -> None:
    assert [name for name in names.split() if not is_of_the_machine(name)] == []


def test_variables_that_may_make_another_model_count() -> None:
    names = (
        "LR EPOCHS SEED MODEL_NAME HF_MODEL TORCH_OPTIMIZER NUM_TOKENS EOS_TOKEN TOKEN_DROPOUT KEY_DIM LANGUAGE CITY"
    )
    assert [name for name in names.split() if is_of_the_machine(name)] == []
