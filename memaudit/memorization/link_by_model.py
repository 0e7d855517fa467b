"""The link of memorization and attack where models are no complementary pairs: single models are the units.

Cross-fitted as for pairs: the models are dealt into two independent halves. Memorization is measured on one half; the
attack, its references, thresholds and targets come from the other; then the halves change places.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int, Shaped

from memaudit.memorization.link import EDGES, MEMORIZED, Interval, Link, binned_rates, ratios
from memaudit.stats import Couples, partial_spearman, spearman, spearman_interval

Array = np.ndarray

_DIGITS = 12


@dataclass(frozen=True)
class Half:
    """Half of the models: how often they are right, and what the attack within this half flags on them.

    Attributes:
        correct: Whether each model is right on each example, or a share.
        members: Whether it was trained on it.
        couples: Which of the models each flag is about, numbered within the half.
        caught: Whether the example is flagged on the couple's inside model.
        wrong: Whether it is flagged on the outside model.
    """

    correct: Shaped[Array, "models examples"]
    members: Bool[Array, "models examples"]
    couples: Couples
    caught: Bool[Array, "couples examples"]
    wrong: Bool[Array, "couples examples"]

    @cached_property
    def _sums(self) -> tuple[Array, ...]:
        """Right inside, models inside, right outside, models outside, caught, attacked: [clusters, examples] each."""
        couples = self.couples
        inside, correct = self.members.astype(float), self.correct.astype(float)
        of_models = np.stack([correct * inside, inside, correct * (1 - inside), 1 - inside])
        by_cluster = np.zeros((4, couples.groups, self.members.shape[1]))
        for sums, values in zip(by_cluster, of_models, strict=True):
            np.add.at(sums, couples.clusters, values)
        flags = np.zeros((2, *by_cluster.shape[1:]))
        place = couples.clusters[couples.inside], np.arange(self.members.shape[1])
        for sums, values in zip(flags, (self.caught, np.ones(self.caught.shape)), strict=True):
            np.add.at(sums, place, values)
        return *by_cluster, *flags

    @cached_property
    def _totals(self) -> tuple[Array, ...]:
        return tuple(sums.sum(axis=0) for sums in self._sums)

    @cached_property
    def robust(self) -> Bool[Array, " examples"]:
        """Which examples have models with and without them, and attacked ones, without any one of the clusters."""
        counts = [(self._sums[k], self._totals[k]) for k in (1, 3, 5)]
        return np.all([total - sums.max(axis=0) > 0 for sums, total in counts], axis=0)

    def measured(self, without: int | None = None) -> tuple[Array, Array, Array]:
        """Return (memorization, accuracy outside, share caught) of each example, if asked without one cluster."""
        left = (
            self._totals if without is None else [t - s[without] for s, t in zip(self._sums, self._totals, strict=True)]
        )
        right_in, models_in, right_out, models_out, caught, attacked = left
        outside = right_out / models_out
        gain = np.round(right_in / models_in - outside, _DIGITS)  # 2/3 − 1/3 and 1/3 − 0 are ties
        return gain, outside, caught / attacked

    def by_bin(self, bins: Int[Array, " examples"], count: int) -> tuple[Array, ...]:
        """Return caught, attacked, wrong, non-members attacked: [clusters, bins] each."""
        couples, found = self.couples, []
        for side, flags in ((couples.inside, self.caught), (couples.outside, self.wrong)):
            place = (couples.clusters[side] * count + bins).ravel()
            for weights in (flags.ravel(), None):
                sums = np.bincount(place, weights, couples.groups * count)
                found.append(sums.reshape(couples.groups, count).astype(float))
        return tuple(found)


def link_of_halves(first: Half, second: Half) -> Link:
    """Return the link between memorization and the attack's true positives, each measured on the other half's models.

    Its interval is that of `cross_fitted_link`, with a jackknife over single models (over clusters of them, where
    their training sets depend on each other).

    Args:
        first: One half of the models, independent of the other.
        second: The other, with the same examples.

    Raises:
        ValueError: Too few examples have models on both sides without any one of them.

    Source: Spearman's ρ; Kendall 1942 for the partial correlation; Efron & Stein 1981 for the jackknife.
    """
    here = first.robust & second.robust
    if here.sum() < 5:
        raise ValueError(f"{int(here.sum())} examples have models with and without them in both halves; 5 are needed")
    deletions = [(c, None) for c in range(first.couples.groups)] + [(None, c) for c in range(second.couples.groups)]
    rho, *without_each = (_rho(first, second, here, pair) for pair in [(None, None), *deletions])
    partial, *partials = (_partial(first, second, here, pair) for pair in [(None, None), *deletions])
    found = [_binned(own, other) for own, other in ((first, second), (second, first))]
    caught, tried, wrong, others = (np.concatenate(parts) for parts in zip(*found, strict=True))
    memorized = caught[:, np.searchsorted(EDGES, MEMORIZED) + 1 :].sum(axis=1, keepdims=True)
    examples = len(here)
    return Link(
        rho,
        np.array(without_each),
        examples,
        _interval(partial, partials, int(here.sum())),
        binned_rates(caught, tried, wrong, others, float(examples)),
        ratios(memorized, caught.sum(axis=1, keepdims=True))[0],
    )


def _rho(first: Half, second: Half, here: Bool[Array, " examples"], without: tuple[int | None, int | None]) -> float:
    one, other = first.measured(without[0]), second.measured(without[1])
    return (spearman(one[0][here], other[2][here]) + spearman(other[0][here], one[2][here])) / 2


def _partial(
    first: Half, second: Half, here: Bool[Array, " examples"], without: tuple[int | None, int | None]
) -> float:
    one, other = first.measured(without[0]), second.measured(without[1])
    found = [partial_spearman(a[0][here], b[2][here], a[1][here]) for a, b in ((one, other), (other, one))]
    return float(np.mean([np.nan if value is None else value for value in found]))


def _interval(value: float, without_each: list[float], examples: int) -> Interval | None:
    if not np.isfinite([value, *without_each]).all():
        return None
    low, high = spearman_interval(value, examples - 1, np.array(without_each))  # one variable is held fixed
    return value, float(low), float(high)


def _binned(own: Half, other: Half) -> tuple[Array, ...]:
    """Return the sums of one half as targets, by memorization measured on the other."""
    return own.by_bin(np.digitize(other.measured()[0], EDGES), len(EDGES) + 1)
