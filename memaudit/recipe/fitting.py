"""Giving a network the weights of a file: those that were meant, whole, and without changing a number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memaudit.errors import ModelError
from memaudit.recipe.checkpoints import WAY_OUT
from memaudit.recipe.extra_state import decode, is_empty
from memaudit.recipe.state_dicts import Found, Own, found_in, likeliest, own_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_SHOWN = 3
_QUANTISED = re.compile(r"(SCB|absmax|quant_map|quant_state\..*|qweight|qzeros|scales|weight_scale|zero_point)$")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")


def fit(path: Path, network: Module, content: Any, state_dict: str | None = None) -> Module:
    """Return the network in evaluation mode, after giving it the weights in a checkpoint.

    Args:
        path: Where the checkpoint comes from.
        network: What the recipe makes; it may be wrapped (by DataParallel, torch.compile, …), and so may the file's.
        content: What the file holds: a state dict, or something around one or more.
        state_dict: Which of them; needed where several fit the network and differ.

    Raises:
        ModelError: None fits, several do, or their numbers would not be the file's.
    """
    own = own_of(network)
    chosen = _choose(path, content, own, state_dict)
    if chosen.missing:
        raise ModelError(
            f"{path}: {chosen.place!r} holds the parameters alone and lacks {_listed(chosen.missing)}; {WAY_OUT}"
        )
    _require_tied(path, chosen, own)
    state = network.state_dict(keep_vars=True)
    values: dict[str, Any] = {}
    for name, value in state.items():
        if name in own.extra:
            values |= _extra(path, name, chosen.values.get(name), value)
        else:
            values[name] = _sound(path, name, chosen.values[name], value) if name in chosen.values else value
    network.load_state_dict(values, strict=False)  # of an extra state that is empty there may be none
    return network.eval()


def _choose(path: Path, content: Any, own: Own, state_dict: str | None) -> Found:
    """Return the set of weights to load."""
    everything = found_in(content, own)
    found = everything if state_dict is None else _at(state_dict, everything)
    if not found:
        if everything:
            places = ", ".join(dict.fromkeys(f.place for f in everything))
            raise ModelError(f"{path} holds no weights {state_dict!r} that fit the network; there are: {places}")
        raise ModelError(_misfit(path, content, own))
    different: list[Found] = []
    for one in sorted(found, key=lambda f: (len(f.missing), f.left == ("names",))):
        if not any(_same(one, other) for other in different):
            different.append(one)
    if len(different) > 1:
        names = [f.place for f in different]
        raise ModelError(
            f"{path} holds {len(names)} different sets of weights that fit the network: {', '.join(names)}. Name the "
            f"one that is released, as in --state-dict {names[-1]}"
        )
    if state_dict is None and different[0].left:
        raise ModelError(_left(path, different[0]))
    return different[0]


def _at(state_dict: str, found: Sequence[Found]) -> list[Found]:
    """Return the sets of weights at a place that the user named: in full, or by its first or last part."""
    exact = [f for f in found if f.place == state_dict]
    return exact or [f for f in found if f".{f.place}.".find(f".{state_dict}.") >= 0]


def _same(one: Found, other: Found) -> bool:
    """Return whether two sets hold the same numbers wherever both have some."""
    import torch

    both = [(one.values[name], other.values[name]) for name in one.values.keys() & other.values.keys()]
    pairs = [(a, b) for a, b in both if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)]
    return all(a is b or (_plain(a) and _plain(b) and a.dtype == b.dtype and torch.equal(a, b)) for a, b in pairs)


def _plain(value: Tensor) -> bool:
    import torch

    return value.layout is torch.strided and not value.is_quantized and not value.is_meta


def _left(path: Path, found: Found) -> str:
    if found.left == ("names",):
        return f"{path} holds tensors without names, at {found.place!r}; {WAY_OUT}"
    told = "; ".join(f"{name} is not in the network" for name in found.left[:_SHOWN])
    return (
        f"{path} does not fit the recipe's model(): {told}{_more(found.left)}. If the model is what is left without "
        f"them: --state-dict {found.place}"
    )


def _misfit(path: Path, content: Any, own: Own) -> str:
    """Return why no weights in a file fit, with names of both sides."""
    weights = likeliest(content)
    if not weights:
        return f"{path} holds no weights: neither a state dict nor a checkpoint with the key 'state_dict'; {WAY_OUT}"
    missing = [f"{name} is missing" for name in own.needed if name not in weights]
    extra = [f"{name} is not in the network" for name in weights if name not in own.shapes]
    shapes = [
        f"{name} is {tuple(weights[name].shape)} in the file and {shape} in the network"
        for name, shape in own.shapes.items()
        if name in weights and shape not in (None, tuple(weights[name].shape))
    ]
    told = "; ".join(
        f"{'; '.join(problems[:_SHOWN])}{_more(problems)}" for problems in (missing, extra, shapes) if problems
    )
    hint = ""
    if _SHARD.search(path.name):
        hint = ". It is one shard of several; save the weights as one file"
    elif any(_QUANTISED.search(name) for name in weights):
        hint = ". The file is quantised (it holds scales beside its weights); save the weights in floating point"
    return f"{path} does not fit the recipe's model(): {told}{hint}"


def _require_tied(path: Path, chosen: Found, own: Own) -> None:
    """Raise ModelError if the file has different weights where the network has one for several names."""
    import torch

    for name, group in own.tied.items():
        a, b = chosen.values.get(name), chosen.values.get(group[0])
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a is not b and not torch.equal(a, b):
            raise ModelError(
                f"{path} does not fit the recipe's model(): {group[0]} and {name} are one weight in the network and "
                "two different ones in the file"
            )


def _sound(path: Path, name: str, value: Tensor, own: Tensor) -> Tensor:
    """Return a weight as the network has it, if that is the same number.

    Raises:
        ModelError: It is quantised, complex, NaN, or would lose digits.
    """
    import torch

    wrong = None
    if value.is_meta:
        wrong = "has no numbers (it was saved from the meta device)"
    elif not _plain(value):
        wrong = "is sparse or quantised"
    elif value.is_complex() and not own.is_complex():
        wrong = "is complex, and real in the network"
    elif (own.is_floating_point() or own.is_complex()) and not (value.is_floating_point() or value.is_complex()):
        wrong = f"holds integers ({_type(value)}), and {_type(own)} in the network: quantised, without its scale"
    elif value.is_floating_point() and value.element_size() == 1 and own.element_size() > 1:
        wrong = f"is {_type(value)}: quantised, without its scale"
    elif _broken(value, isinstance(own, torch.nn.Parameter)):
        wrong = "is NaN or infinite: training diverged, or the file is damaged"
    if wrong is not None:
        raise ModelError(f"{path}: {name} {wrong}. Audit a file with the network's own, sound numbers")
    cast = value.to(own.dtype)
    if cast.dtype != value.dtype and not torch.equal(cast.to(value.dtype), value):
        raise ModelError(
            f"{path}: {name} is {_type(value)} in the file and would lose digits as {_type(own)} in the network; let "
            "the recipe's model() have the type of the file, or save the weights in the network's"
        )
    return cast


def _broken(value: Tensor, parameter: bool) -> bool:
    """Return whether a tensor has a NaN, or a parameter an infinity; a mask may be infinite."""
    if not (value.is_floating_point() or value.is_complex()):
        return False
    found = value if value.element_size() > 1 else value.float()
    return bool(found.isnan().any() or (parameter and found.isinf().any()))


def _extra(path: Path, name: str, found: Any, own: Any) -> dict[str, Any]:
    if found is None or is_empty(found):
        if not is_empty(own):
            raise ModelError(f"{path} does not fit the recipe's model(): {name} is missing")
        return {}
    try:
        return {name: decode(name, found, own)}
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _more(items: Sequence[str]) -> str:
    return f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{_more(names)}"
