"""Files with a network's weights: what is in them, read without running anybody's code."""

from __future__ import annotations

import json
import pickle
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

from memaudit.errors import ModelError
from memaudit.recipe.filekinds import Kind, kind_of, refusal

WAY_OUT = 'save the weights alone: memaudit.save_target(model, "model.safetensors", members)'

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def _no_bytes() -> bytes:
    return b""


# TransformerEngine's modules have an empty stream as their extra state; `bytes` itself could ask for any length.
_HARMLESS = (BytesIO, (_no_bytes, "builtins.bytes"))


def read_checkpoint(path: Path) -> Any:
    """Return what a file holds, by its content and whatever its suffix: a state dict, or a checkpoint around some.

    Of a folder, as the trainer of the transformers library writes it, the weights of all its safetensors files.

    Raises:
        ModelError: It is of another kind, a program, or damaged; the message says which.
    """
    if path.is_dir():
        return _read_folder(path)
    kind = kind_of(path)
    if kind is Kind.SAFETENSORS or (kind is Kind.UNKNOWN and path.suffix == ".safetensors"):
        return _read_safetensors(path)
    if kind in (Kind.TORCHSCRIPT, Kind.EXPORTED):
        raise ModelError(f"{refusal(path, kind)}; {WAY_OUT}")
    if kind not in (Kind.TORCH, Kind.PICKLE, Kind.UNKNOWN):
        raise ModelError(refusal(path, kind))
    return _load_weights_only(path)


def holds_safetensors(folder: Path) -> bool:
    """Return whether a folder holds weights as safetensors: one file, or shards with their index."""
    return (folder / _WHOLE).is_file() or (folder / _INDEX).is_file()


def _read_folder(folder: Path) -> dict[str, Any]:
    if (folder / _WHOLE).is_file():
        return _read_safetensors(folder / _WHOLE)
    try:
        shards = dict(json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / _INDEX} is damaged: {error}; copy it again, or {WAY_OUT}") from error
    names = sorted({str(shard) for shard in shards.values()})
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} lacks {len(missing)} of the {len(names)} files that its index names: {missing[0]}")
    weights = {name: value for file in names for name, value in _read_safetensors(folder / file).items()}
    if absent := sorted(shards.keys() - weights.keys()):
        raise ModelError(f"{folder}: {absent[0]} is in its index and in none of its files; copy the folder again")
    return weights


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
            shared = file.metadata() or {}
    except Exception as error:  # its own, and KeyError for a type of number that torch has not
        raise ModelError(
            f"{path} is not a safetensors file, or is damaged: {error}; copy it again, or {WAY_OUT}"
        ) from error
    # `safetensors.torch.save_model` writes one of several tied weights, and the others' names beside it.
    return weights | {
        alias: weights[kept] for alias, kept in shared.items() if kept in weights and alias not in weights
    }


def _load_weights_only(path: Path) -> Any:
    import torch

    try:
        with (
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals([*_HARMLESS]),
            path.open("rb") as file,  # by a path's suffix, torch would guess another format
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        try:
            with path.open("rb") as file:
                globals_ = torch.serialization.get_unsafe_globals_in_checkpoint(file)
        except Exception:
            globals_ = []
        named = f" ({', '.join(globals_)})" if globals_ else ", or damaged"
        raise ModelError(
            f"{path} is a pickle that would run code when loaded{named}, and is refused; {WAY_OUT}"
        ) from error
    except Exception as error:  # what a damaged file makes of the unpickler is any of a dozen kinds
        reason = next(iter(str(error).splitlines()), "")
        raise ModelError(f"{path} is damaged or no checkpoint: {type(error).__name__} {reason}; {WAY_OUT}") from error
