"""Looking at a model without a trace: the training goes on as if nobody had looked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

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
    """Restore which parts of a network are in training mode at the end."""
    import torch

    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        if torch.is_autocast_enabled():
            torch.clear_autocast_cache()  # of weights that were cast without a gradient
