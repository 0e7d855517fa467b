"""Folders with language models: bases to start from, and targets. Safetensors only, and nobody's code is run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memaudit.errors import MemauditError, ModelError, RecipeError
from memaudit.recipe.blame import blame
from memaudit.recipe.model_folder import ENCODER_DECODER, WAY_OUT, config_of, described, require_floats, require_plain
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.recipes import LanguageModelRecipe
from memaudit.recipe.rendering import Objective

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_PROBED = 4  # documents on which a base is compared with the model whose adapters are off
_ROUNDING = 1e-3  # of logits, in nats
_LOADERS: dict[Objective, str] = {
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "masked": "AutoModelForMaskedLM",
}
KINDS: dict[Objective, str] = {
    "causal": "causal language model",
    "seq2seq": "encoder-decoder",
    "masked": "masked language model",
}
_ADAPTERS = "adapter_model.safetensors"
# Where adapters lie, and what does not outlive their training; the base is compared by what it says.
_NOT_OF_ADAPTERS = {
    *("base_model_name_or_path", "revision", "inference_mode", "task_type", "auto_mapping", "peft_version"),
    *("runtime_config", "init_lora_weights"),
}

# Of a configuration: where a model comes from and how its classes are called, which change no number.
_NOT_OF_MODEL = {
    *("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype", "id2label", "label2id"),
    *("problem_type", "use_cache", "return_dict", "output_attentions", "output_hidden_states"),
}


def untrained_model(recipe: LanguageModelRecipe, population: TextPopulation, device: str = "cpu") -> Module:
    """Return a model as training begins: new, a copy of the base, or the base with new adapters.

    Raises:
        RecipeError: The model cannot be made, has fewer outputs than the tokenizer has tokens, or fewer positions than
            the context.
        ModelError: New adapters change what the base says.
    """
    if recipe.base is not None:
        try:
            model = load_folder(Path(recipe.base), population.objective)
        except ModelError as error:
            raise RecipeError(f"base: {error}") from error
    else:
        assert recipe.model is not None
        with blame("model()"):
            model = recipe.model()
    require_fit(model, population, RecipeError, "the recipe's model")
    model = model.to(device)
    if recipe.adapter is None:
        return model
    from peft import get_peft_model

    answers = base_answers(model, population)
    with blame("the adapter"), warnings.catch_warnings(action="ignore", category=FutureWarning):  # about transformers
        adapted: Module = get_peft_model(model, deepcopy(recipe.adapter))  # which peft writes into
    require_same_base(base_answers(adapted, population), answers)
    return adapted


def load_language_model(path: Path, recipe: LanguageModelRecipe, population: TextPopulation) -> Module:
    """Return the language model of a folder, in evaluation mode.

    Raises:
        ModelError: The folder holds no safetensors, needs code of its own, does not fit the recipe, or holds adapters
            for another base.
    """
    adapters = (path / "adapter_config.json").is_file()
    if adapters != (recipe.adapter is not None):
        found, asked = ("adapters", "a whole model") if adapters else ("a whole model", "adapters")
        raise ModelError(f"{path} holds {found}, but the recipe trains {asked}: its shadows would be of another kind")
    model = _load_adapters(path, recipe, population) if adapters else load_folder(path, population.objective)
    require_fit(model, population, ModelError, str(path))
    made = untrained_model(recipe, population)
    if adapters:
        _require_same_adapters(path, model, made)
    _require_same_shapes(path, model, made)
    return model.eval()


def load_folder(folder: Path, objective: Objective = "causal") -> Module:
    """Return the language model of a folder that `save_pretrained` wrote, as one of that objective.

    Raises:
        ModelError: It is no such folder, holds no safetensors, lacks weights, or needs code of its own.
    """
    import transformers

    config = _whole_model(folder)
    require_plain(folder, config, objective)
    return _loaded(folder, getattr(transformers, _LOADERS[objective]), config, KINDS[objective])


def load_classifier_folder(folder: Path, made: Module) -> Module:
    """Return the classifier of a folder that `save_pretrained` wrote, in evaluation mode.

    Args:
        folder: The folder.
        made: What the recipe's `model()` returns: a model of the transformers library, of the same class and size.

    Raises:
        ModelError: As for `load_folder`; or the recipe makes a model of another kind.
    """
    kind = type(made)
    if not hasattr(kind, "from_pretrained"):
        raise ModelError(
            f"{folder} is a folder, and the recipe's model() returns a {kind.__name__}, which is no model of the "
            "transformers library; give the file that holds the weights"
        )
    config = _whole_model(folder)
    require_floats(folder, config)
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures and architectures[0] != kind.__name__:
        raise ModelError(
            f"{folder} holds {described(config)}, but the recipe's model() returns a {kind.__name__}: its shadows "
            "would be of another kind"
        )
    model = _loaded(folder, kind, config, kind.__name__)
    _require_same_shapes(folder, model, made)
    _require_same_settings(folder, model, made)
    return model.eval()


def _whole_model(folder: Path) -> dict[str, Any]:
    """Return the configuration of a whole model's folder."""
    if (folder / "adapter_config.json").is_file():  # the library would go and load the base that it names
        raise ModelError(
            f"{folder} holds adapters, where a whole model is needed: "
            "model.merge_and_unload().save_pretrained(folder) writes one"
        )
    return config_of(folder, "config.json", "*.safetensors")


def _loaded(folder: Path, loader: Any, config: dict[str, Any], wanted: str) -> Module:
    """Return the model that a class of the transformers library makes of a folder, with all of its weights."""
    try:
        with quietly():
            loaded: Any = loader.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are reported below
            )
        model, info = loaded
    except Exception as error:  # what a damaged folder makes of the loader is any of a dozen kinds
        reason = next(iter(str(error).splitlines()), "")
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{folder} needs trust_remote_code, which runs the code that came with it; it is refused"
            ) from error
        if "for this kind of AutoModel" in str(error):
            raise ModelError(f"{folder} holds {described(config)}, which is no {wanted}") from error
        raise ModelError(f"{folder} cannot be loaded as a {wanted}: {type(error).__name__} {reason}") from error
    wrong = {
        kind: sorted(map(str, info.get(kind) or ())) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
    }
    if any(wrong.values()):
        told = "; ".join(f"{kind.replace('_', ' ')}: {', '.join(names[:3])}" for kind, names in wrong.items() if names)
        raise ModelError(
            f"the weights in {folder} do not fit its config.json ({told}), of {described(config)}; {WAY_OUT}"
        )
    whole: Module = model.float()
    return whole


def _require_same_settings(folder: Path, model: Any, made: Any) -> None:
    """Raise ModelError if the recipe's model has other settings, such as another activation, than the folder's."""
    own, other = (m.config.to_diff_dict() for m in (model, made))
    names = sorted(k for k in own.keys() | other.keys() if own.get(k) != other.get(k) and k not in _NOT_OF_MODEL)
    if names:
        told = "; ".join(f"{k} is {own.get(k)} in the folder and {other.get(k)} by the recipe" for k in names[:3])
        raise ModelError(f"{folder} is not the recipe's model, and its shadows would be of another kind: {told}")


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the transformers library from drawing progress bars and printing tables for a moment."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def adapters_of(model: Any) -> dict[str, Tensor] | None:
    """Return the weights of a model's adapters; None if it has none."""
    if not hasattr(model, "peft_config"):
        return None
    from peft import get_peft_model_state_dict

    return dict(get_peft_model_state_dict(model, save_embedding_layers=False))  # the base's, looked up on the hub


def base_answers(model: Any, population: TextPopulation) -> list[Tensor]:
    """Return the logits for a few documents, with adapters off if there are any."""
    import torch

    from memaudit.recipe.encoder_decoder import as_causal

    asked = as_causal(model, population).eval()
    device = next(model.parameters()).device
    off = model.disable_adapter() if hasattr(model, "peft_config") else nullcontext()
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"), off:  # biases stay on: it shows below
        return [
            asked(input_ids=torch.from_numpy(rows[0].ids).long()[None].to(device)).logits.float().cpu()
            for rows in population.representatives[:_PROBED]
        ]


def require_same_base(answers: list[Tensor], base: list[Tensor]) -> None:
    """Raise ModelError unless a model with its adapters off says what its base says."""
    worst = np.max(
        [
            float((own - other).abs().max()) if own.shape == other.shape else np.inf
            for own, other in zip(answers, base, strict=True)
        ]
    )
    if not worst <= _ROUNDING:  # NaN is no agreement
        raise ModelError(
            f"with its adapters off the model is not the recipe's base (logits differ by up to {worst:.2g}): it was "
            "made on another base, or the base was changed as well (by training biases or whole layers, or by the "
            "adapters' initialisation)"
        )


def _load_adapters(path: Path, recipe: LanguageModelRecipe, population: TextPopulation) -> Module:
    from peft import PeftModel
    from safetensors.torch import load_file

    config = config_of(path, "adapter_config.json", _ADAPTERS)
    require_plain(path, config)
    base = load_folder(Path(str(recipe.base)), population.objective)
    answers = base_answers(base, population)
    named = Path(str(config.get("base_model_name_or_path") or path))
    if (named / "config.json").is_file() and not named.samefile(str(recipe.base)):
        other = load_folder(named, population.objective)
        require_fit(other, population, ModelError, str(named))
        require_same_base(base_answers(other, population), answers)
    try:
        with warnings.catch_warnings(action="ignore"):  # about keys, which are compared in the next lines
            model = PeftModel.from_pretrained(base, path, local_files_only=True)
        saved = load_file(path / _ADAPTERS)
    except Exception as error:
        raise ModelError(f"the adapters in {path} cannot be put on the base: {error}") from error
    own = dict(adapters_of(model) or {}).keys()
    if different := sorted((own - saved.keys()) | (saved.keys() - own - model.state_dict().keys())):
        raise ModelError(f"the weights in {path} do not fit its adapter_config.json: {', '.join(different[:3])}")
    require_same_base(base_answers(model, population), answers)
    return model


def require_fit(model: Any, population: TextPopulation, kind: type[MemauditError], who: str) -> None:
    """Raise an error of that kind unless a model is of the recipe's objective, and fits its tokens and rows."""
    config = getattr(model, "config", None)
    outputs, positions = (getattr(config, name, None) for name in ("vocab_size", "max_position_embeddings"))
    both, objective = bool(getattr(config, "is_encoder_decoder", False)), population.objective
    if both and objective != "seq2seq":
        raise kind(f"{who} is a {type(model).__name__}, {ENCODER_DECODER}")
    if outputs is None or both != (objective == "seq2seq"):
        without = " without config.vocab_size" if outputs is None else ""
        raise kind(f"{who} is a {type(model).__name__}{without}, not {_a(KINDS[objective])}")
    context = population.longest
    if outputs < population.renderer.vocabulary:
        raise kind(
            f"the tokenizer does not match: it has {population.renderer.vocabulary} tokens, {who} only {outputs} "
            "outputs"
        )
    if positions is not None and positions < context:
        raise kind(f"the context of {context} tokens does not fit: {who} has only {positions} positions")


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _require_same_adapters(path: Path, model: Any, made: Any) -> None:
    """Raise ModelError, naming what differs, if the recipe's adapters are set up otherwise."""
    own, other = (dict(m.peft_config[m.active_adapter].to_dict()) for m in (model, made))
    different = [k for k in sorted(own.keys() & other.keys() - _NOT_OF_ADAPTERS) if _plain(own[k]) != _plain(other[k])]
    if different:
        told = "; ".join(
            f"{k} is {_plain(own[k])} in the folder and {_plain(other[k])} by the recipe" for k in different
        )
        raise ModelError(
            f"the adapters in {path} are not the recipe's, and its shadows would be of another kind: {told}"
        )


def _plain(setting: Any) -> Any:
    return sorted(setting) if isinstance(setting, set | list | tuple) else getattr(setting, "value", setting)


def _require_same_shapes(path: Path, model: Module, made: Module) -> None:
    """Raise ModelError if the recipe makes a model of another kind or size."""
    own, other = ({name: tuple(value.shape) for name, value in m.state_dict().items()} for m in (model, made))
    different = [name for name in own.keys() | other.keys() if own.get(name) != other.get(name)]
    if different:
        name = sorted(different)[0]
        raise ModelError(
            f"{path} does not fit the recipe's model: {len(different)} weights differ, such as {name}, which is "
            f"{own.get(name, 'absent')} in the folder and {other.get(name, 'absent')} by the recipe"
        )
