"""Which of the weights in a checkpoint are a network's: every set that fits is found, and none is guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from memaudit.recipe.extra_state import SUFFIX, is_empty

if TYPE_CHECKING:
    from torch.nn import Module

_DEEPEST = 8
# What DataParallel, torch.compile, Opacus, FSDP (in older versions twice) and activation checkpointing put into names.
_WRAPPERS = {"module", "_orig_mod", "_module", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module"}
_COUNT = "n_averaged"  # of torch's AveragedModel; no output depends on it
_COUNTERS = {_COUNT, "num_updates", "decay", "initted", "step"}  # scalars beside averaged copies
# Averages that optimizers keep for each parameter: torchcontrib's SWA, Lookahead, torch.optim.ASGD, and others.
_AVERAGES = re.compile(r"(^|_)(ema|swa|shadow|slow|ax)(_|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Own:
    """What a network needs: shapes by name (None: not known yet), its parameters, and which names share memory."""

    shapes: dict[str, tuple[int, ...] | None]
    parameters: tuple[str, ...]  # each once, in the order of `network.parameters()`
    tied: dict[str, tuple[str, ...]]
    extra: frozenset[str]

    @property
    def needed(self) -> list[str]:
        """The names that a file must hold."""
        return [name for name in self.shapes if name not in self.extra and _last(name) != _COUNT]


@dataclass(frozen=True, slots=True)
class Found:
    """Weights in a file that fit a network.

    Args:
        place: Where they are, as the user names it: "model_ema", "state_dict.ema"; "." is the whole file.
        values: The file's values by the network's names.
        missing: Names of the network without a value; its buffers at most.
        left: What else the file holds at that place.
    """

    place: str
    values: dict[str, Any]
    missing: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def own_of(network: Module) -> Own:
    """Return what a network needs of a file."""
    import torch
    from torch.nn.parameter import is_lazy

    state = network.state_dict(keep_vars=True)
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    shared: dict[int, list[str]] = {}
    for name, value in tensors.items():
        shared.setdefault(id(value), []).append(name)
    of_parameters = {id(value) for value in network.parameters()}
    return Own(
        shapes={
            n: None if n.endswith(SUFFIX) or n not in tensors or is_lazy(tensors[n]) else tuple(tensors[n].shape)
            for n in state
        },
        parameters=tuple(names[0] for key, names in shared.items() if key in of_parameters),
        tied={name: tuple(names) for names in shared.values() for name in names},
        extra=frozenset(name for name in state if name.endswith(SUFFIX) or name not in tensors),
    )


def found_in(content: Any, own: Own) -> list[Found]:
    """Return every set of weights in a checkpoint, at any depth, that fits a network."""
    found: list[Found] = []
    for path, inner in _containers(content):
        if not isinstance(inner, dict):
            found += _in_order(path, list(inner), own)
        elif all(isinstance(key, str) for key in inner):
            found += _by_name(path, inner, own)
        else:
            found += _of_optimizer(path, inner, own)
    return found


def likeliest(content: Any) -> dict[str, Any]:
    """Return the largest dict of tensors in a checkpoint, for saying why it does not fit; empty if there is none."""
    named = [inner for _, inner in _containers(content) if isinstance(inner, dict)]
    return max((_tensors(inner) for inner in named), key=len, default={})


def _containers(content: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every dict and sequence in a checkpoint with the keys that lead to it, each once."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), content)]
    seen = set()
    for path, inner in pending:  # which grows
        if not isinstance(inner, dict | list | tuple) or id(inner) in seen or len(path) > _DEEPEST:
            continue
        seen.add(id(inner))
        yield path, inner
        items = inner.items() if isinstance(inner, dict) else enumerate(inner)
        pending += [((*path, str(key)), value) for key, value in items if isinstance(value, dict | list | tuple)]


def _by_name(path: tuple[str, ...], inner: Mapping[str, Any], own: Own) -> list[Found]:
    """Return the sets of weights in one dict, whatever the prefix of their names."""
    keys, names = _canonical(inner), _canonical(own.shapes)
    if keys is None or names is None:
        keys, names = {key: key for key in inner}, {name: name for name in own.shapes}
    sets: dict[tuple[str, ...], Found] = {}
    for wrapped in range(len(_common(names)) + 1):  # the network may be wrapped where the file is not
        bare = {name if _last(name) == _COUNT else name.split(".", wrapped)[-1]: own_name
                for name, own_name in names.items()}  # fmt: skip
        for mangle in _MANGLES:
            mangled = {mangle(name): own_name for name, own_name in bare.items()}
            for prefix in _prefixes(keys, mangled, own):
                used = {own_name: keys[prefix + name] for name, own_name in mangled.items() if prefix + name in keys}
                found = _complete((*path, prefix.strip("._")), {name: inner[key] for name, key in used.items()}, own)
                if found is not None:
                    sets.setdefault(tuple(sorted(used.values())), found)
        if sets:
            break
    known = {key for used in sets for key in used}
    left = tuple(key for key, value in inner.items() if key not in known and _counts(key, value))
    return [replace(found, left=left) for found in sets.values()]


def _complete(path: Sequence[str], values: dict[str, Any], own: Own) -> Found | None:
    """Return a set of weights if it has all parameters, and nothing of another shape."""
    import torch

    for name in own.shapes:
        if name not in values and (other := next((n for n in own.tied.get(name, ()) if n in values), None)):
            values[name] = values[other]
    for name, value in values.items():
        if name not in own.extra and not (
            isinstance(value, torch.Tensor) and own.shapes[name] in (None, tuple(value.shape))
        ):
            return None
    missing = tuple(name for name in own.needed if name not in values)
    return None if set(missing) & set(own.parameters) else Found(_place(path), values, missing)


def _in_order(path: tuple[str, ...], values: Sequence[Any], own: Own) -> Iterator[Found]:
    """Yield a list of tensors whose shapes are the parameters', as averages are kept without names."""
    import torch

    if len(values) == len(own.parameters) > 0 and all(
        isinstance(value, torch.Tensor) and own.shapes[name] in (None, tuple(value.shape))
        for name, value in zip(own.parameters, values, strict=True)
    ):
        named = dict(zip(own.parameters, values, strict=True))
        named |= {alias: value for name, value in list(named.items()) for alias in own.tied[name]}
        missing = tuple(name for name in own.needed if name not in named)
        yield Found(_place(path), named, missing, ("names",))


def _of_optimizer(path: tuple[str, ...], inner: Mapping[Any, Any], own: Own) -> Iterator[Found]:
    """Yield the averages in an optimizer's state: by the parameter's number, then by name."""
    states = [state for state in inner.values() if isinstance(state, dict)]
    names = {str(name) for state in states for name in state if _AVERAGES.search(str(name))}
    for name in sorted(names):
        yield from _in_order((*path, name), [state.get(name) for state in states], own)


def _prefixes(keys: Mapping[str, str], mangled: Mapping[str, str], own: Own) -> list[str]:
    """Return the file's prefix of the name of the first weight, or of one that it shares memory with."""
    first = next((name for name in (*own.parameters, *own.needed)), None)
    anchors = [name for name, own_name in mangled.items() if first and own_name in own.tied.get(first, (first,))]
    return list(dict.fromkeys(key.removesuffix(name) for name in anchors for key in keys if key.endswith(name)))


def _as_it_is(name: str) -> str:
    return name


# How averaged copies are named that are buffers of one module: LitEma drops the dots, MMEngine's writes underscores.
_MANGLES: tuple[Callable[[str], str], ...] = (
    _as_it_is,
    lambda name: name.replace(".", ""),
    lambda name: name.replace(".", "_"),
)


def _canonical(names: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the names by what they are without any wrapper's part; None if two would be the same."""
    found = {".".join([p for p in name.split(".") if p not in _WRAPPERS] or [name]): name for name in names}
    return found if len(found) == len(names) else None


def _common(names: Iterable[str]) -> list[str]:
    """Return the first parts that all names have in common."""
    parts = [name.split(".")[:-1] for name in names if _last(name) != _COUNT]
    common = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        common.append(column[0])
    return common


def _counts(key: str, value: Any) -> bool:
    """Return whether an output may depend on this entry of a state dict."""
    import torch

    if not isinstance(value, torch.Tensor):
        return key.endswith(SUFFIX) and not is_empty(value)
    return _last(key) not in _COUNTERS or value.numel() != 1


def _tensors(inner: Mapping[Any, Any]) -> dict[str, Any]:
    import torch

    return {key: value for key, value in inner.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}


def _place(path: Sequence[str]) -> str:
    return ".".join(part for part in path if part) or "."


def _last(name: str) -> str:
    return name.rpartition(".")[2]
