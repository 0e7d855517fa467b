"""Which environment variables the user's code asks for while it trains."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from memaudit.recipe.bytecode import hashed
from memaudit.recipe.locality import is_own_namespace, is_place, place

ABSENT = "absent"
# Variables that say who runs where and what is printed, or that are credentials: they differ between the machines that
# fill one bank.
_BEGIN = re.compile(
    r"(SLURM|SRUN|SBATCH|PBS|LSB|LSF|SGE|OMPI|PMI|PMIX|FLUX|COBALT|K8S|KUBERNETES|POD|RAY|DASK|JOBLIB|CUDA|CUDNN"
    r"|CUBLAS|HIP|ROCR|ROCM|NVIDIA|NCCL|GLOO|OMP|MKL|KMP|OPENBLAS|NUMEXPR|VECLIB|WANDB|MLFLOW|NEPTUNE|COMET"
    r"|CLEARML|TQDM|TENSORBOARD|CI|GITHUB|GITLAB|RUNNER|JENKINS|BUILDKITE|CIRCLE|TRAVIS|KAGGLE|COLAB|JUPYTERHUB"
    r"|JPY|VSCODE|CONDA|VIRTUALENV|UV|POETRY|AWS|GCP|GOOGLE|AZURE|XDG|LC|SSH|DBUS|DOCKER|SINGULARITY|APPTAINER)(_.*)?$"
)
_NAMES = re.compile(
    r"(USER|USERNAME|USERPROFILE|LOGNAME|HOST|HOSTNAME|HOSTTYPE|COMPUTERNAME|NODENAME|TMP|TEMP|TMPDIR|SCRATCH|PATH"
    r"|PWD|OLDPWD|LD_LIBRARY_PATH|LD_PRELOAD|DYLD_LIBRARY_PATH|SHELL|SHLVL|TERM|LANG|TZ|DISPLAY|COLUMNS|LINES"
    r"|EDITOR|PAGER|APPDATA|LOCALAPPDATA|VIRTUAL_ENV|NUMBER_OF_PROCESSORS|NO_COLOR|FORCE_COLOR|CLICOLOR|LS_COLORS"
    r"|_|RANK|LOCAL_RANK|NODE_RANK|GROUP_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|MASTER_ADDR|MASTER_PORT|JOB_ID|JOB_NAME"
    r"|BUILD_ID|BUILD_NUMBER|RUN_ID|RUN_NAME|PYTORCH_CUDA_ALLOC_CONF|PYTORCH_ALLOC_CONF)$"
)
_END = re.compile(r"(.*_)?(HOME|JOBID|LOG_?LEVEL|(NUM|MAX)_THREADS|(?i:PROXY))$")
_OF_PYTHON = re.compile(r"(PYTHON|MPL)[A-Z_]*$")
_OF_LIBRARIES = re.compile(
    r"(HF|HUGGINGFACE|TRANSFORMERS|DATASETS|TOKENIZERS|TORCH|PYTORCH|TF|KERAS)_(.*_)?"
    r"(CACHE|CACHE_DIR|OFFLINE|PARALLELISM|ENDPOINT|VERBOSITY|TIMEOUT|BARS|WARNINGS?|TELEMETRY|TRANSFER|LOGS?)$"
)
_CREDENTIAL = re.compile(
    r"(?!(BOS|EOS|PAD|UNK|SEP|CLS|MASK|LABEL|TEXT|SORT)_)"  # settings of a training that end like one
    r"(.*_)?(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_(ID|FILE|PATH|NAME))?$"
)
_PATTERNS = (_BEGIN, _NAMES, _END, _OF_PYTHON, _OF_LIBRARIES, _CREDENTIAL)

# Of this process: what training has set a variable to, and what it was before.
_assigned: dict[str, tuple[str | None, str | None]] = {}
_asked: list[dict[str, str | None]] = []


class _Listening(type(os.environ)):  # type: ignore[misc]
    """The environment, noting which variables the user's own code asks for, one by one."""

    def __getitem__(self, name: str) -> str:
        caller = _caller(sys._getframe(1))
        value: str | None = None
        try:
            value = super().__getitem__(name)
            return value
        finally:
            copied = _where(caller) == self.__dict__.get("_copying")
            if _asked and not copied and caller is not None and is_own_namespace(caller.f_globals):
                _asked[-1][name] = before_training(name, value)

    def __setitem__(self, name: str, value: str) -> None:
        _assigned[name] = value, before_training(name, self._held(name))
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        _assigned[name] = None, before_training(name, self._held(name))
        super().__delitem__(name)

    def __iter__(self) -> Iterator[str]:
        self.__dict__["_copying"] = _where(_caller(sys._getframe(1)))  # dict() asks from the same place
        return super().__iter__()

    def _held(self, name: str) -> str | None:
        try:
            return str(super().__getitem__(name))
        except KeyError:
            return None


@contextmanager
def asking(asked: dict[str, str | None]) -> Iterator[None]:
    """Note in a mapping which variables the user's own code asks for meanwhile; None of one that is not set.

    A variable that training itself has set counts as it was before.
    """
    plain = type(os.environ)
    _asked.append(asked)
    os.environ.__class__ = _Listening
    try:
        yield
    finally:
        os.environ.__class__ = plain
        _asked.pop()


def before_training(name: str, value: str | None) -> str | None:
    """Return what a variable was before training set it to a value; the value, if something else has set it."""
    assigned, before = _assigned.get(name, (None, value))
    return before if value == assigned else value


def is_of_the_machine(name: str) -> bool:
    """Return whether a variable says where and by whom a model is trained, or is a credential."""
    return any(pattern.match(name) for pattern in _PATTERNS)


def value_digest(value: str | None) -> str:
    """Return a digest of a variable's value, which may be a secret; of a path, of its last part."""
    if value is None:
        return ABSENT
    return hashed(place(value, None) if is_place(value) else value)


def _caller(frame: FrameType | None) -> FrameType | None:
    """Return the first frame outside the standard library's mappings."""
    while frame is not None and frame.f_globals.get("__name__") in ("os", "_collections_abc", "collections.abc"):
        frame = frame.f_back
    return frame


def _where(frame: FrameType | None) -> tuple[int, int] | None:
    return (id(frame), frame.f_lasti) if frame else None
