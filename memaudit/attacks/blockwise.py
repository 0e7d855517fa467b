"""Score a target or a whole bank by blocks of examples, for attacks that treat each example on its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from memaudit.attacks.interface import blocks, read, require_finite
from memaudit.design import Pairs

Array = np.ndarray

Scorer = Callable[[Array], Array]
"""Maps signals [*pairs, block, queries] to scores of the same shape."""

Fit = Callable[[Array, Array, bool], Scorer]
"""Maps the references' inside and outside signals, float64 [pairs, block, queries], to a scorer.

If the flag is set, the scorer takes one model of every pair and leaves that pair out of its references.
Otherwise it takes one target and uses every pair as a reference.
"""


def target_scores(
    fit: Fit, target: Float[Array, "examples queries"], pairs: Pairs, least: int
) -> Float[Array, " examples"]:
    """Return the scores of a model outside the bank, averaged over queries; the last pair is not a reference.

    The target then has as many references as every model that `pair_scores` scores.

    Raises:
        ValueError: Fewer than `least` pairs, signals of another shape than the bank's, or one that is not finite.
    """
    require_target(target, pairs, least)
    scores = np.empty(len(target), dtype=np.float32)
    for block in blocks(pairs):
        within, without = (side[:-1].astype(np.float64) for side in read(pairs, block))
        scores[block] = fit(within, without, False)(target[block].astype(np.float64)).mean(axis=-1)
    return scores


def pair_scores(
    fit: Fit, pairs: Pairs, least: int
) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
    """Return (inside, outside): the scores of every bank model, averaged over queries, its own pair left out.

    Raises:
        ValueError: Fewer than `least` pairs, or a signal that is not finite.
    """
    require_pairs(pairs, least)
    inside, outside = np.empty((2, *pairs.shape[:2]), dtype=np.float32)
    for block in blocks(pairs):
        within, without = (side.astype(np.float64) for side in read(pairs, block))
        scorer = fit(within, without, True)
        inside[:, block] = scorer(within).mean(axis=-1)
        outside[:, block] = scorer(without).mean(axis=-1)
    return inside, outside


def mean_of_references(values: Float[Array, " pairs *rest"], left_out: bool) -> Float[Array, "..."]:
    """Return the mean over pairs, or with `left_out` for each pair the mean over the others."""
    mean = values.mean(axis=0)
    if not left_out:
        return mean
    return mean - (values - mean) / (len(values) - 1)  # a small correction of the mean, not a difference of sums


def require_target(target: Float[Array, "examples queries"], pairs: Pairs, least: int) -> None:
    """Check a target against its bank.

    Raises:
        ValueError: Fewer than `least` pairs, signals of another shape than the bank's, or one that is not finite.
    """
    require_pairs(pairs, least)
    if target.shape != pairs.shape[1:]:
        raise ValueError(f"the target's signals have shape {target.shape}, the bank's {pairs.shape[1:]}")
    require_finite(target)


def require_pairs(pairs: Pairs, least: int) -> None:
    """Check that the bank is large enough.

    Raises:
        ValueError: Fewer than `least` pairs.
    """
    if pairs.shape[0] < least:
        raise ValueError(f"the attack needs at least {least} pairs of models, got {pairs.shape[0]}")
