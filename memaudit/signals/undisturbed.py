"""Looking at a model without a trace: the training goes on as if nobody had looked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from memaudit.errors import ModelError

if TYPE_CHECKING:
    from torch.nn import Module


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore the random generators of Python, NumPy and torch at the end: watching must not change the training."""
    import torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def evaluating(network: Module) -> Iterator[None]:
    """Put a network into evaluation mode, and restore modes, buffers and attributes of its modules at the end.

    Its `eval()` is not called: one that merges weights, as of low-rank adapters, would leave them merged.

    Raises:
        ModelError: It has parameters without values, which its first batch would draw.
    """
    import torch
    from torch.nn.parameter import is_lazy

    if any(map(is_lazy, network.parameters())):
        raise ModelError("the network is lazy, and its first batch would make its weights. Call it once before observe")
    modules = list(network.modules())
    before = [(place, dict(place)) for module in modules for place in (vars(module), module._buffers)]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers() if not buffer.is_meta]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for place, values in before:
            _restore(place, values)
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
        if torch.is_autocast_enabled():
            torch.clear_autocast_cache()  # of weights that were cast without a gradient


def _restore(place: dict[str, Any], values: dict[str, Any]) -> None:
    """Give a dictionary its earlier values; what is the same object is left alone."""
    for name in place.keys() - values.keys():
        del place[name]
    for name, value in values.items():
        if place.get(name, place) is not value:
            place[name] = value
