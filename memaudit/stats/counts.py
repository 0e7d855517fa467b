"""Counts of flags, fast: most of what an audit adds up is true or false."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

Array = np.ndarray

_MOST = 255  # that fit into a byte
_BLOCK = 2**16  # examples that are looked at once


def columns(flags: Bool[Array, "rows columns"]) -> Int[Array, " columns"]:
    """Return how many flags are set in each column: bytes are added, up to 255 rows at once."""
    total = np.zeros(flags.shape[1], np.int64)
    for start in range(0, len(flags), _MOST):
        total += np.add.reduce(flags[start : start + _MOST].view(np.uint8), axis=0, dtype=np.uint8)
    return total


def share(flags: Bool[Array, "..."]) -> float:
    """Return the share of the flags that are set."""
    return np.count_nonzero(flags) / flags.size


def right_without(
    correct: Shaped[Array, "models examples"], members: UInt8[Array, "models examples"]
) -> tuple[Float[Array, " examples"], Int[Array, " examples"]]:
    """Return how often models without each example are right about it, and how many such models there are.

    A block of examples at a time: both may be mapped from a file that is larger than memory.
    """
    right, models = np.empty(members.shape[1]), np.empty(members.shape[1], np.int64)
    for start in range(0, members.shape[1], _BLOCK):
        at = slice(start, start + _BLOCK)
        without = members[:, at] == 0
        models[at] = columns(without)
        right[at] = (correct[:, at] * without).sum(axis=0, dtype=np.float64)
    return right, models
