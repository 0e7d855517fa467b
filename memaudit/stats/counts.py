"""Counts of flags, fast: most of what an audit adds up is true or false."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

Array = np.ndarray

_MOST = 255  # that fit into a byte


def columns(flags: Bool[Array, "rows columns"]) -> Int[Array, " columns"]:
    """Return how many flags are set in each column: bytes are added, up to 255 rows at once."""
    total = np.zeros(flags.shape[1], np.int64)
    for start in range(0, len(flags), _MOST):
        total += np.add.reduce(flags[start : start + _MOST].view(np.uint8), axis=0, dtype=np.uint8)
    return total


def share(flags: Bool[Array, "..."]) -> float:
    """Return the share of the flags that are set."""
    return np.count_nonzero(flags) / flags.size
