"""Exact tests of planted secrets from one model alone: no shadow model, no law assumed for what a model prefers.

A canary's secret was drawn uniformly from its space. If the model has not seen it, its rank among `of` secrets that
were drawn in the same way is uniform on 1 … of, whatever the model prefers. Ties count against the finding: ranks are
then stochastically larger, and every p-value here is too large rather than too small.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import brentq

from memaudit.stats import clopper_pearson

Array = np.ndarray

_FINEST, _CELLS = 64, 2**15  # steps per bit of a score, and of the distribution of a sum of scores
_BETS = np.linspace(0.05, 0.95, 10)  # shares of the largest bet that is never ruined
_PERMUTATIONS = 9_999


def exact_p(rank: Int[Array, " canaries"], of: Int[Array, " canaries"]) -> float:
    """Return the p-value of "the model has seen none of these secrets"; smaller = stronger evidence that it has.

    The statistic is Fisher's, the sum of the exposures log₂(of/rank), each rounded down to a fraction of a bit. Its
    distribution under independent uniform ranks is computed exactly, by convolution. Fisher's χ² approximation takes
    the ranks for continuous: among few secrets it is conservative, and finds less.

    Args:
        rank: Number of secrets that cost no more than the canary, itself included; 1 = the likeliest.
        of: Number of secrets that were ranked, the canary included.

    Raises:
        ValueError: A rank outside of 1 … of.

    Source: Fisher 1925 for the statistic; Mielke, Johnston & Berry 2004 for its exact discrete distribution; Phipson &
    Smyth 2010 for p = (1 + k)/(n + 1) of each canary.
    """
    _require_ranks(rank, of)
    if not len(rank):
        return 1.0
    steps = _steps(of)
    return float(_tail(tuple(sorted(of.tolist())), steps)[_scores(rank, of, steps).sum()])


@lru_cache(maxsize=32)
def _tail(of: tuple[int, ...], steps: int) -> Float[Array, " sums"]:
    """Return the probability of each sum of scores or a larger one, under independent uniform ranks."""
    law = np.ones(1)
    for size, count in Counter(of).items():
        own = np.bincount(_scores(np.arange(1, size + 1), size, steps)) / size
        for _ in range(count):
            law = np.convolve(law, own)
    return np.minimum(1.0, law[::-1].cumsum()[::-1])


def planted_p(
    rank: Int[Array, " canaries"], of: Int[Array, " canaries"], planted: Bool[Array, " canaries"], seed: int
) -> float | None:
    """Return the p-value of "planting made no difference", from which canaries were planted; None without both kinds.

    Valid if chance decided which canaries were planted, however their secrets were chosen. The statistic is the sum of
    the exposures of the planted ones; it is compared with 9,999 random choices of as many canaries.

    Source: permutation test, Fisher 1935; p = (1 + b)/(B + 1), Phipson & Smyth 2010.
    """
    _require_ranks(rank, of)
    if planted.all() or not planted.any():
        return None
    scores = _scores(rank, of, _steps(of))
    rng = np.random.default_rng(seed)
    chosen = rng.permuted(np.tile(planted, (_PERMUTATIONS, 1)), axis=1)
    return float((1 + (chosen @ scores >= scores[planted].sum()).sum()) / (_PERMUTATIONS + 1))


def null_mean(of: Int[Array, " canaries"]) -> float:
    """Return the mean exposure in bits of canaries that the model has not seen: 1.443 in large spaces, less in small.

    It is log₂(of) − log₂(of!)/of, averaged over the canaries.
    """
    factorial = np.array([math.lgamma(size + 1) / math.log(2) for size in of.tolist()])
    return float(np.mean(np.log2(of) - factorial / of))


def rank_share(
    below: Int[Array, " canaries"], references: Int[Array, " canaries"], level: float = 0.95
) -> tuple[float, float, float]:
    """Return (share, low, high): the mean share of the space at or below a canary; ½ if the model has not seen them.

    Random are the references alone: the interval is about these canaries in this model. It is Clopper–Pearson's for
    all references together, which is conservative where canaries differ.

    Source: Clopper & Pearson 1934; Hoeffding 1956, theorem 4: unequal trials vary less than equal ones.
    """
    low, high = clopper_pearson(int(below.sum()), int(references.sum()), level)
    return float(below.sum() / references.sum()), float(low), float(high)


def mean_interval(
    low_bits: Float[Array, " canaries"],
    high_bits: Float[Array, " canaries"],
    most: float,
    level: Float[Array, " levels"] | float,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return (low, high) of the mean of independent exposures in 0 … `most` bits, valid for any number of canaries.

    Each end is a test by betting: the product of 1 + c (x − m)/m over the canaries x has a mean of 1 at most if their
    mean is m, and so has its average over several c; it exceeds 1/α with probability α at most. Nothing is assumed of
    the law of the exposures, so that the interval is wider than Student's. The order of the canaries does not matter.

    Args:
        low_bits: The exposures that the lower end is of.
        high_bits: Those that the upper end is of: as large as they can be, where a sample does not show all.
        most: The largest that an exposure can be.
        level: Two-sided coverage; α is (1 − level)/2 on either side.

    Source: Waudby-Smith & Ramdas 2024 (JRSS B 86:1), hedged betting; Markov's inequality.
    """
    levels = np.atleast_1d(np.asarray(level, float))
    ends = [
        (_bound(low_bits / most, (1 - each) / 2), 1 - _bound(1 - high_bits / most, (1 - each) / 2)) for each in levels
    ]
    low, high = (np.asarray(most * np.array(end).reshape(np.shape(level))) for end in zip(*ends, strict=True))
    return low, high


def _require_ranks(rank: Int[Array, " canaries"], of: Int[Array, " canaries"]) -> None:
    if (rank < 1).any() or (rank > of).any():
        raise ValueError(f"ranks are between 1 and the number of secrets, got {rank.tolist()} of {of.tolist()}")


def _steps(of: Int[Array, " canaries"]) -> int:
    """Return into how many steps a bit is divided, so that the sum of all scores has at most 2^15 values or so."""
    return max(1, min(_FINEST, int(_CELLS / max(1.0, float(np.log2(of).sum())))))


def _scores(rank: Int[Array, " secrets"], of: Int[Array, " secrets"] | int, steps: int) -> Int[Array, " secrets"]:
    """Return exposures in steps, rounded down; a smaller rank never has a smaller score."""
    return np.floor(np.log2(np.divide(of, rank)) * steps).astype(np.int64)


def _bound(x: Float[Array, " canaries"], alpha: float) -> float:
    """Return the lower confidence bound of the mean of independent numbers in 0 … 1."""

    def evidence(mean: float) -> float:
        capitals = np.log1p(_BETS[:, None] * (x / mean - 1)).sum(axis=1)
        return float(np.logaddexp.reduce(capitals) - math.log(len(_BETS)))

    threshold = -math.log(alpha)
    least = 1e-12
    return float(brentq(lambda m: evidence(m) - threshold, least, 1.0)) if evidence(least) > threshold else 0.0
