"""The content of a language model's folder, checked before a library fails on it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from memaudit.errors import ModelError
from memaudit.recipe.filekinds import Kind, kind_of, refusal, refuse_pointer
from memaudit.recipe.rendering import Objective

ENCODER_DECODER = 'an encoder-decoder, and the recipe audits another kind: set Rendering(objective="seq2seq")'
WAY_OUT = "save it with model.save_pretrained(folder), which writes safetensors"
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


def config_of(folder: Path, name: str, weights: str) -> dict[str, Any]:
    """Return the configuration in a folder that holds safetensors of that name.

    Raises:
        ModelError: It holds no such files, or the configuration is damaged.
    """
    if folder.is_file() and (kind := kind_of(folder)) not in _WEIGHTS:
        raise ModelError(refusal(folder, kind))
    if not folder.is_dir():
        download = _DOWNLOAD if not folder.exists() and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(folder)) else ""
        raise ModelError(f"{folder} is no folder; a language model is a folder, {WAY_OUT}{download}")
    refuse_pointer(folder / name)
    if not (folder / name).is_file():
        raise ModelError(f"{folder} holds no {name}, so it is no language model's folder; {WAY_OUT}")
    if not any(folder.glob(weights)):
        other = next((file for end in _OTHERS for file in sorted(folder.glob(f"*{end}"))), None)
        found = f", but {other.name}, {_OTHERS[other.suffix]}" if other else ""
        raise ModelError(f"{folder} holds no safetensors ({weights}){found}; {WAY_OUT}")
    return _read_json(folder / name)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error


def require_plain(folder: Path, config: dict[str, Any], objective: Objective = "causal") -> None:
    """Raise ModelError, for content on which the library would fail."""
    if config.get("is_encoder_decoder") and objective != "seq2seq":
        raise ModelError(f"{folder} holds {described(config)}, {ENCODER_DECODER}")
    require_floats(folder, config)


def require_floats(folder: Path, config: dict[str, Any]) -> None:
    """Raise ModelError if a folder's weights are quantised, no weights at all, or lack a shard."""
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
    """Raise ModelError for weights of 8 bits or integers, which the library would cast; what is damaged it tells."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as weights:
            types = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    except SafetensorError:
        return
    for name, dtype in types.items():
        if name.endswith(".weight") and dtype not in ("F64", "F32", "F16", "BF16"):
            raise ModelError(f"{file}: {name} is {dtype}: quantised, without its scale; {WAY_OUT}")


def described(config: dict[str, Any]) -> str:
    """Return which model a configuration is of."""
    architectures = config.get("architectures")
    named = architectures[0] if isinstance(architectures, list) and architectures else config.get("model_type")
    return f"a {named}" if named else "a model of no named kind"


def _quantisation(settings: Any) -> str:
    """Return the method and the bits of a `quantization_config`, as far as it says."""
    if not isinstance(settings, dict):
        return str(settings)
    bits = 8 if settings.get("load_in_8bit") else 4 if settings.get("load_in_4bit") else settings.get("bits")
    return ", ".join([str(settings.get("quant_method", "unknown method")), *([f"{bits} bits"] if bits else [])])
