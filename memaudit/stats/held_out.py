"""Rates at a threshold that a model's own non-members set: exact at every number of examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float

from memaudit.stats.intervals import clopper_pearson
from memaudit.stats.roc import resolvable
from memaudit.stats.transfer import Reached

Array = np.ndarray

_LEAST_REACHED = 0.8  # share of a false-positive rate that ties may leave
_FOLDS = 5


@dataclass(frozen=True)
class HeldOutRate:
    """The true-positive rate (TPR) of a score at a false-positive rate (FPR), its threshold set by non-members.

    Of n non-members, the j-th largest score has an FPR whose law is Beta(j, n + 1 − j), whatever the scores' law is.
    The threshold is the largest j with a mean, j/(n + 1), of at most the stated rate. An example is flagged above it.

    Args:
        inside: Scores of members.
        outside: Scores of non-members, independent of each other and of the members'.
        fpr: The stated rate.

    Raises:
        ValueError: The non-members cannot resolve the rate.

    Source: the law of order statistics' coverages, Wilks 1941; David & Nagaraja 2003, section 7.2.
    """

    inside: Float[Array, " members"]
    outside: Float[Array, " nonmembers"]
    fpr: float

    def __post_init__(self) -> None:
        if not resolvable(self.fpr, len(self.outside)):
            raise ValueError(f"{len(self.outside)} non-members cannot resolve a false-positive rate of {self.fpr:g}")

    @property
    def rank(self) -> int:
        """The rank of the threshold among the non-members, from 1."""
        return max(1, _rank(self.fpr, len(self.outside)))

    @property
    def threshold(self) -> float:
        """The score above which an example is flagged."""
        return _ranked(self.outside, self.rank)

    @property
    def hits(self) -> int:
        """How many members are flagged."""
        return int((self.inside > self.threshold).sum())

    @property
    def value(self) -> float:
        """The share of the members that is flagged."""
        return self.hits / len(self.inside)

    def interval(self, level: Float[Array, " levels"] | float = 0.95) -> tuple[Array, Array]:
        """Return the ends of the interval of the TPR at exactly the stated FPR, at one two-sided level or several.

        Each end may err with probability (1 − level)/2. Half of it goes to the threshold: the lower end is taken at the
        lowest threshold whose FPR is surely at most the stated one, the upper end at the highest whose FPR is surely at
        least that. The other half goes to the Clopper–Pearson bound of the members flagged there. It holds at every
        number of examples, and is wider than an interval by the delta method. No narrower one holds for every ROC
        curve: where the TPR jumps from one value to 1 at the stated FPR, either error alone misses it, so that they
        add up.
        """
        ends = [self._ends(float(each)) for each in np.atleast_1d(level)]
        low, high = (np.array(side) for side in zip(*ends, strict=True))
        return (low, high) if np.ndim(level) else (low.reshape(()), high.reshape(()))

    def _ends(self, level: float) -> tuple[float, float]:
        error = (1 - level) / 2
        n, trials = len(self.outside), len(self.inside)
        strict = int(scipy.stats.binom.ppf(error / 2, n, self.fpr))  # P[Bin ≤ strict − 1] < error/2
        loose = int(scipy.stats.binom.ppf(1 - error / 2, n, self.fpr)) + 1
        few = int((self.inside > _ranked(self.outside, strict)).sum())
        many = int((self.inside >= _ranked(self.outside, loose)).sum())
        return float(clopper_pearson(few, trials, 1 - error)[0]), float(clopper_pearson(many, trials, 1 - error)[1])

    @property
    def measured(self) -> tuple[int, int]:
        """(flagged, all) non-members, each at the threshold that the other folds set: four fifths of the others.

        Where these cannot resolve the rate, the threshold is set by all others.
        """
        n = len(self.outside)
        folds = _FOLDS if resolvable(self.fpr, n - -(-n // _FOLDS)) else n
        fold = np.random.default_rng(0).permutation(n) % folds
        flagged = 0
        for number in range(folds):
            others = self.outside[fold != number]
            rank = max(1, _rank(self.fpr, len(others)))
            flagged += int((self.outside[fold == number] > _ranked(others, rank)).sum())
        return flagged, n

    def unreachable(self) -> Reached | None:
        """Return the nearest rates that exist if ties keep the threshold from the stated rate; None if it is reached.

        A rate counts as reached from four fifths of it on.
        """
        cut, n = self.threshold, len(self.outside)
        above, with_ties = int((self.outside > cut).sum()), int((self.outside >= cut).sum())
        kept = above + (with_ties - above == 1)
        return Reached(above / n, with_ties / n) if kept < _LEAST_REACHED * self.rank else None


def _rank(fpr: float, n: int) -> int:
    return int(fpr * (n + 1) + 1e-9)


def _ranked(scores: Float[Array, " n"], rank: int) -> float:
    """Return the score of a rank from 1; infinite beyond the first and the last."""
    if rank < 1:
        return np.inf
    if rank > len(scores):
        return -np.inf
    return float(np.partition(scores, len(scores) - rank)[len(scores) - rank])
