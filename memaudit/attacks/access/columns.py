"""Attacks that turn the columns of a view into one number, the same way for every example and model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from memaudit.attacks.interface import blocks, read, require_finite
from memaudit.design import PairArrays, Pairs

Array = np.ndarray

Reduce = Callable[[Float[Array, "... columns"], slice], Float[Array, "..."]]
"""Maps the columns of a block of examples, float64, to a score; is given the block's place."""


def reduced_target(reduce: Reduce, target: Float[Array, "examples columns"]) -> Float[Array, " examples"]:
    """Return a target's scores, float64."""
    require_finite(target)
    return reduce(target.astype(np.float64), slice(0, len(target)))


def reduced_pairs(
    reduce: Reduce, pairs: Pairs
) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
    """Return (inside, outside): the scores of every bank model, float64."""
    inside, outside = np.empty((2, *pairs.shape[:2]))
    for block in blocks(pairs):
        for scores, values in zip((inside, outside), read(pairs, block), strict=True):
            scores[:, block] = reduce(values.astype(np.float64), block)
    return inside, outside


def one_column(reduce: Reduce, pairs: Pairs) -> PairArrays:
    """Return pairs with the reduced number as their only signal."""
    inside, outside = reduced_pairs(reduce, pairs)
    return PairArrays(inside[..., None], outside[..., None])
