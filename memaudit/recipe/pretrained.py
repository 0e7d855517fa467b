"""Folders with language models: bases to start from, and targets. Safetensors only, and nobody's code is run."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memaudit.errors import MemauditError, ModelError, RecipeError
from memaudit.recipe.blame import blame
from memaudit.recipe.filekinds import Kind, kind_of, refusal, refuse_pointer
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.recipes import LanguageModelRecipe

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_PROBED = 4  # documents on which a base is compared with the model whose adapters are off
_ROUNDING = 1e-3  # of logits, in nats
_ADAPTERS = "adapter_model.safetensors"
# Where adapters lie, and what does not outlive their training; the base is compared by what it says.
_NOT_OF_ADAPTERS = {
    *("base_model_name_or_path", "revision", "inference_mode", "task_type", "auto_mapping", "peft_version"),
    *("runtime_config", "init_lora_weights"),
}
_WAY_OUT = "save it with model.save_pretrained(folder), which writes safetensors"
_DOWNLOAD = ". A model of a hub is downloaded first: huggingface_hub.snapshot_download(name) returns its folder"
_WEIGHTS = (Kind.TORCH, Kind.SAFETENSORS, Kind.PICKLE, Kind.TEXT, Kind.UNKNOWN)
_OTHERS = {  # by suffix
    ".bin": "a pickle, which can run code when loaded",
    ".pt": "a pickle, which can run code when loaded",
    ".pth": "a pickle, which can run code when loaded",
    ".h5": "weights of TensorFlow",
    ".msgpack": "weights of Flax",
    ".gguf": "quantised weights of llama.cpp",
    ".onnx": "an ONNX model",
}


def untrained_model(recipe: LanguageModelRecipe, population: TextPopulation, device: str = "cpu") -> Module:
    """Returns a model as training begins: new, a copy of the base, or the base with new adapters.

    Raises:
        RecipeError: The model cannot be made, has fewer outputs than the tokenizer has tokens, or fewer positions than
            the context.
        ModelError: New adapters change what the base says.
    """
    if recipe.base is not None:
        try:
            model = load_folder(Path(recipe.base))
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
    """Returns the language model of a folder, in evaluation mode.

    Raises:
        ModelError: The folder holds no safetensors, needs code of its own, does not fit the recipe, or holds adapters
            for another base.
    """
    adapters = (path / "adapter_config.json").is_file()
    if adapters != (recipe.adapter is not None):
        found, asked = ("adapters", "a whole model") if adapters else ("a whole model", "adapters")
        raise ModelError(f"{path} holds {found}, but the recipe trains {asked}: its shadows would be of another kind")
    model = _load_adapters(path, recipe, population) if adapters else load_folder(path)
    require_fit(model, population, ModelError, str(path))
    made = untrained_model(recipe, population)
    if adapters:
        _require_same_adapters(path, model, made)
    _require_same_shapes(path, model, made)
    return model.eval()


def load_folder(folder: Path) -> Module:
    """Returns the causal language model of a folder that `save_pretrained` wrote.

    Raises:
        ModelError: It is no such folder, holds no safetensors, lacks weights, or needs code of its own.
    """
    from transformers import AutoModelForCausalLM

    if (folder / "adapter_config.json").is_file():  # the library would go and load the base that it names
        raise ModelError(
            f"{folder} holds adapters, where a whole model is needed: "
            "model.merge_and_unload().save_pretrained(folder) writes one"
        )
    config = config_of(folder, "config.json", "*.safetensors")
    _require_plain(folder, config)
    try:
        with quietly():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told below
            )
        model, info = loaded
    except Exception as error:  # what a damaged folder makes of the loader is any of a dozen kinds
        reason = next(iter(str(error).splitlines()), "")
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{folder} needs trust_remote_code, which runs the code that came with it; it is refused"
            ) from error
        if "for this kind of AutoModel" in str(error):
            raise ModelError(f"{folder} holds {_kind(config)}, which is no causal language model") from error
        raise ModelError(f"{folder} cannot be loaded as a language model: {type(error).__name__} {reason}") from error
    wrong = {
        kind: sorted(map(str, info.get(kind) or ())) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
    }
    if any(wrong.values()):
        told = "; ".join(f"{kind.replace('_', ' ')}: {', '.join(names[:3])}" for kind, names in wrong.items() if names)
        raise ModelError(f"the weights in {folder} do not fit its config.json ({told}), of {_kind(config)}; {_WAY_OUT}")
    return model.float()


def _require_plain(folder: Path, config: dict[str, Any]) -> None:
    """Raises ModelError, in words for what the library would stumble over."""
    if config.get("is_encoder_decoder"):
        raise ModelError(f"{folder} holds {_kind(config)}, an encoder-decoder; memaudit audits causal language models")
    if quantised := config.get("quantization_config"):
        raise ModelError(
            f"{folder} holds quantised weights ({_quantisation(quantised)}). Audit the model before quantisation, or "
            "save it in floating point: model.dequantize().save_pretrained(folder)"
        )
    for file in sorted(folder.glob("*.safetensors")):
        if file.is_file() and (kind := kind_of(file)) in (Kind.POINTER, Kind.PAGE, Kind.JSON):
            raise ModelError(refusal(file, kind))
        _require_floats(file)
    index = folder / "model.safetensors.index.json"
    if index.is_file() and not (folder / "model.safetensors").is_file():
        shards = _read_json(index).get("weight_map")
        missing = sorted({str(s) for s in shards.values() if not (folder / str(s)).is_file()}) if shards else []
        if missing:
            raise ModelError(f"{folder} lacks {len(missing)} of the files that its index names, such as {missing[0]}")


def _require_floats(file: Path) -> None:
    """Raises ModelError for weights of 8 bits or integers, which the library would cast; what is damaged it tells."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as weights:
            types = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    except SafetensorError:
        return
    for name, dtype in types.items():
        if name.endswith(".weight") and dtype not in ("F64", "F32", "F16", "BF16"):
            raise ModelError(f"{file}: {name} is {dtype}: quantised, without its scale; {_WAY_OUT}")


def _kind(config: dict[str, Any]) -> str:
    architectures = config.get("architectures")
    named = architectures[0] if isinstance(architectures, list) and architectures else config.get("model_type")
    return f"a {named}" if named else "a model of no named kind"


def _quantisation(settings: Any) -> str:
    """Returns the method and the bits of a `quantization_config`, as far as it says."""
    if not isinstance(settings, dict):
        return str(settings)
    bits = 8 if settings.get("load_in_8bit") else 4 if settings.get("load_in_4bit") else settings.get("bits")
    return ", ".join([str(settings.get("quant_method", "unknown method")), *([f"{bits} bits"] if bits else [])])


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps the transformers library from drawing progress bars and printing tables for a moment."""
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
    """Returns the weights of a model's adapters; None if it has none."""
    if not hasattr(model, "peft_config"):
        return None
    from peft import get_peft_model_state_dict

    return dict(get_peft_model_state_dict(model, save_embedding_layers=False))  # the base's, looked up on the hub


def base_answers(model: Any, population: TextPopulation) -> list[Tensor]:
    """Returns the logits for a few documents, with adapters off if there are any."""
    import torch

    device = next(model.parameters()).device
    off = model.disable_adapter() if hasattr(model, "peft_config") else nullcontext()
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"), off:  # biases stay on: it shows below
        return [
            model.eval()(input_ids=torch.from_numpy(rows[0].ids).long()[None].to(device)).logits.float().cpu()
            for rows in population.representatives[:_PROBED]
        ]


def require_same_base(answers: list[Tensor], base: list[Tensor]) -> None:
    """Raises ModelError unless a model with its adapters off says what its base says."""
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
    _require_plain(path, config)
    base = load_folder(Path(str(recipe.base)))
    answers = base_answers(base, population)
    named = Path(str(config.get("base_model_name_or_path") or path))
    if (named / "config.json").is_file() and not named.samefile(str(recipe.base)):
        other = load_folder(named)
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


def config_of(folder: Path, name: str, weights: str) -> dict[str, Any]:
    """Returns the configuration in a folder that holds safetensors of that name.

    Raises:
        ModelError: It holds no such files, or the configuration is damaged.
    """
    if folder.is_file() and (kind := kind_of(folder)) not in _WEIGHTS:
        raise ModelError(refusal(folder, kind))
    if not folder.is_dir():
        download = _DOWNLOAD if not folder.exists() and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(folder)) else ""
        raise ModelError(f"{folder} is no folder; a language model is a folder, {_WAY_OUT}{download}")
    refuse_pointer(folder / name)
    if not (folder / name).is_file():
        raise ModelError(f"{folder} holds no {name}, so it is no language model's folder; {_WAY_OUT}")
    if not any(folder.glob(weights)):
        other = next((file for end in _OTHERS for file in sorted(folder.glob(f"*{end}"))), None)
        found = f", but {other.name}, {_OTHERS[other.suffix]}" if other else ""
        raise ModelError(f"{folder} holds no safetensors ({weights}){found}; {_WAY_OUT}")
    return _read_json(folder / name)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error


def require_fit(model: Any, population: TextPopulation, kind: type[MemauditError], who: str) -> None:
    """Raises an error of that kind unless a model has outputs for all tokens, and positions for a whole row."""
    config = getattr(model, "config", None)
    outputs, positions = (getattr(config, name, None) for name in ("vocab_size", "max_position_embeddings"))
    if getattr(config, "is_encoder_decoder", False):
        raise kind(f"{who} is a {type(model).__name__}, an encoder-decoder; memaudit audits causal language models")
    if outputs is None:
        raise kind(f"{who} is a {type(model).__name__} without config.vocab_size, not a causal language model")
    context = population.renderer.rendering.context
    if outputs < population.renderer.vocabulary:
        raise kind(
            f"the tokenizer does not match: it has {population.renderer.vocabulary} tokens, {who} only {outputs} "
            "outputs"
        )
    if positions is not None and positions < context:
        raise kind(f"the context of {context} tokens does not fit: {who} has only {positions} positions")


def _require_same_adapters(path: Path, model: Any, made: Any) -> None:
    """Raises ModelError, naming what differs, if the recipe's adapters are set up otherwise."""
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
    """Raises ModelError if the recipe makes a model of another kind or size."""
    own, other = ({name: tuple(value.shape) for name, value in m.state_dict().items()} for m in (model, made))
    different = [name for name in own.keys() | other.keys() if own.get(name) != other.get(name)]
    if different:
        name = sorted(different)[0]
        raise ModelError(
            f"{path} does not fit the recipe's model: {len(different)} weights differ, such as {name}, which is "
            f"{own.get(name, 'absent')} in the folder and {other.get(name, 'absent')} by the recipe"
        )
