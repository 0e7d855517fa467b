"""Attacks P and R of Ye et al. 2022 (CCS), "Enhanced Membership Inference Attacks against Machine Learning Models".

Both scores are shares of outside signals below the target's, from 0 to 1. One minus the score estimates the
false-positive rate (FPR) of a threshold at the target's signal, so an attacker can set the FPR in advance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from memaudit.attacks.blockwise import Scorer, pair_scores, require_pairs, require_target, target_scores
from memaudit.attacks.interface import blocks, read
from memaudit.design import Pairs

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class AttackP:
    """Score by the share of the references' outside signals, over all examples, below the target's signal.

    Within one model and with one query, the score ranks examples as the global threshold does, up to ties. Its point
    is a pre-set FPR: a threshold of 1 − α has an FPR of about α, provided that the target's signals on non-members
    follow the same law as the references'. Several queries are combined by the mean of their shares.

    The paper takes the losses of a population on the target itself. This class takes those of non-members on the
    references, so that it needs no example that is known to be outside the target.

    References:
        Ye et al. 2022 (CCS), Attack P. Checked against published code (LeakPro c47752f), not against the paper.
    """

    name: str = "attack-p"
    source: str = "Ye et al. 2022 (CCS), Attack P, with the references' non-members as population"

    def scores(self, target: Float[Array, "examples queries"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the share for a model outside the bank, 0 to 1, averaged over queries; larger = member-like.

        The last pair is not a reference, so that the target has as many references as a bank model.

        Raises:
            ValueError: Fewer than 2 pairs, signals of another shape than the bank's, or one that is not finite.
        """
        require_target(target, pairs, least=2)
        count, examples, queries = pairs.shape
        below = np.zeros(examples, dtype=np.int64)
        without = _collect(pairs)[1]
        for query in range(queries):
            below += _below(np.sort(without[:-1, :, query], axis=None), target[:, query])
        return (below / ((count - 1) * examples * queries)).astype(np.float32)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside): the shares of every bank model, its own pair left out of the references.

        In O(n log n) for n = pairs × examples: all signals are sorted once, then each pair's own are subtracted.

        Raises:
            ValueError: Fewer than 2 pairs, or a signal that is not finite.
        """
        require_pairs(pairs, 2)
        count, examples, queries = pairs.shape
        below = np.zeros((2, count, examples), dtype=np.int64)
        sides = _collect(pairs)
        for query in range(queries):
            everything = np.sort(sides[1][:, :, query], axis=None)
            for pair in range(count):
                own = np.sort(sides[1][pair, :, query])
                for side, signals in enumerate(sides):
                    x = signals[pair, :, query]
                    below[side, pair] += _below(everything, x) - _below(own, x)
        inside, outside = (below / ((count - 1) * examples * queries)).astype(np.float32)
        return inside, outside


def _collect(pairs: Pairs) -> tuple[Float[Array, "pairs examples queries"], Float[Array, "pairs examples queries"]]:
    """Return all inside and outside signals, all of them finite."""
    within, without = zip(*(read(pairs, block) for block in blocks(pairs)), strict=True)
    return np.concatenate(within, axis=1), np.concatenate(without, axis=1)


def _below(ascending: Float[Array, " some"], x: Float[Array, " examples"]) -> Int[Array, " examples"]:
    """Return for each x the number of sorted values strictly below it; sorted queries keep the search in the cache."""
    order = np.argsort(x)
    below = np.empty(len(x), dtype=np.int64)
    below[order] = np.searchsorted(ascending, x[order])
    return below


@dataclass(frozen=True, slots=True)
class AttackR:
    """Score by the linearly interpolated share of the example's own outside signals below the target's signal.

    With n outside references in ascending order, the share at the k-th of them is k/(n + 1), in between it is linear,
    below the lowest it is 0, and above the highest 1. Tied references share the mean of their ranks.
    Several queries are combined by the mean of their shares.

    Without ties, a non-member scores above k/(n + 1) with a probability of exactly 1 − k/(n + 1), for k = 1, …, n. With
    one query, no threshold therefore has an FPR between 0 and 1/(n + 1): a few dozen models cannot reach 0.1 %.

    References:
        Ye et al. 2022 (CCS), Attack R. Published code extends the references by a loss of 0 and one of 1,000, which
        orders the scores beyond the highest reference by the global loss; this class does not. Checked against that
        code, not against the paper.
    """

    name: str = "attack-r"
    source: str = "Ye et al. 2022 (CCS), Attack R, linear interpolation without artificial end points"

    def scores(self, target: Float[Array, "examples queries"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the share for a model outside the bank, 0 to 1, averaged over queries; larger = member-like.

        The last pair is not a reference, so that the target has as many references as a bank model.

        Raises:
            ValueError: Fewer than 2 pairs, signals of another shape than the bank's, or one that is not finite.
        """
        return target_scores(_fit_shares, target, pairs, least=2)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside): the shares of every bank model, its own pair left out of the references.

        In O(n log pairs) for n = pairs × examples: each example's signals are sorted once and searched by bisection.

        Raises:
            ValueError: Fewer than 2 pairs, or a signal that is not finite.
        """
        return pair_scores(_fit_shares, pairs, least=2)


def _fit_shares(within: Array, without: Array, left_out: bool) -> Scorer:
    ascending = np.sort(without, axis=0)
    if left_out:
        return lambda x: _shares(x, ascending, without)
    return lambda x: _shares(x[None], ascending, None)[0]


def _shares(
    x: Float[Array, "targets block queries"],
    ascending: Float[Array, "pairs block queries"],
    own: Float[Array, "targets block queries"] | None,
) -> Float[Array, "targets block queries"]:
    """Return the interpolated share of the sorted values below x; `own` is the value that each target leaves out."""
    n = len(ascending)
    below, upto = _count(ascending, x, strict=True), _count(ascending, x, strict=False)
    lower, upper = np.maximum(below - 1, 0), np.minimum(upto, n - 1)
    if own is not None:
        n -= 1
        # without its own value, the nearest remaining one may be one place further out
        lower = np.maximum(lower - (np.take_along_axis(ascending, lower, axis=0) == own), 0)
        upper = np.minimum(upper + (np.take_along_axis(ascending, upper, axis=0) == own), n)
        below = below - (own < x)
        upto = upto - (own <= x)
    floor, ceiling = (np.take_along_axis(ascending, place, axis=0) for place in (lower, upper))
    between = (below > 0) & (upto < n)
    part = np.divide(x - floor, ceiling - floor, out=np.zeros_like(x), where=between & (ceiling > floor))
    rank = np.where(upto > below, (below + upto + 1) / 2, below + part)
    inner = (upto > below) | between
    return np.where(inner, rank / (n + 1), (below > 0).astype(np.float64))


def _count(
    ascending: Float[Array, "pairs block queries"], x: Float[Array, "targets block queries"], strict: bool
) -> Int[Array, "targets block queries"]:
    """Return how many sorted values are below x (or not above it), by bisection along the first axis."""
    low = np.zeros(x.shape, dtype=np.int64)
    high = np.full(x.shape, len(ascending), dtype=np.int64)
    for _ in range(len(ascending).bit_length()):
        middle = (low + high) // 2
        value = np.take_along_axis(ascending, np.minimum(middle, len(ascending) - 1), axis=0)
        further = (middle < high) & ((value < x) if strict else (value <= x))
        low, high = np.where(further, middle + 1, low), np.where(further, high, middle)
    return low
