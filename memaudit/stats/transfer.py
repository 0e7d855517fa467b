"""Rates at thresholds that other models set: what a false-positive rate that was asked for means for a new model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from memaudit.stats.counts import columns, share
from memaudit.stats.couples import Couples
from memaudit.stats.intervals import korn_graubard
from memaudit.stats.roc import threshold

Array = np.ndarray

_LEAST_REACHED = 0.8  # share of a false-positive rate that ties may leave


class Reached(NamedTuple):
    """The false-positive rates that a score with ties can have around one that was asked for: not above, and above."""

    below: float
    above: float


def reached(outside: Float[Array, "pairs examples"], fpr: float) -> Reached:
    """Return the rates at the threshold for `fpr`, with its block of ties left out and taken in.

    Raises:
        ValueError: Too few scores to resolve the rate.
    """
    cut = threshold(outside.ravel(), fpr)
    return Reached(share(outside > cut), share(outside >= cut))


def unreachable(outside: Float[Array, "pairs examples"], fpr: float) -> Reached | None:
    """Return the nearest rates that exist if ties keep a threshold from a false-positive rate; None if it is reached.

    A rate counts as reached from four fifths of it on: the true-positive rate is then that of a somewhat lower rate.

    Raises:
        ValueError: Too few scores to resolve the rate.
    """
    whole = int(fpr * outside.size + 1e-9) / outside.size  # the highest rate that so many scores can show
    found = reached(outside, fpr)
    return found if found.below < _LEAST_REACHED * whole else None


@dataclass(frozen=True, slots=True)
class TransferredRate:
    """The share of a target's members above a threshold which shadow models set for a false-positive rate.

    It estimates the true-positive rate at exactly that false-positive rate, both being probabilities over examples and
    over training runs of the recipe. `variance` is the variance of the share, `binomial` the part that independent
    members alone would give, `dof` the degrees of freedom of what was estimated from the shadows.
    """

    hits: int
    trials: int
    binomial: float
    variance: float
    dof: float

    @property
    def value(self) -> float:
        """The share."""
        return self.hits / self.trials

    @property
    def design_effect(self) -> float:
        """How many times the variance is that of as many independent members at a known threshold; at least 1."""
        return self.variance / self.binomial

    def interval(self, level: Float[Array, " levels"] | float = 0.95) -> tuple[Array, Array]:
        """Return the ends of the interval of the true-positive rate, at one two-sided level or several.

        `korn_graubard` for trials/design effect independent members.
        """
        return korn_graubard(self.value, self.trials / self.design_effect, self.dof, float(self.trials), level)


def transferred_rate(
    flagged: Bool[Array, " members"],
    inside: Float[Array, "pairs examples"],
    outside: Float[Array, "pairs examples"],
    couples: Couples,
    fpr: float,
    among: Bool[Array, " examples"] | None = None,
    cut: float | None = None,
) -> TransferredRate:
    """Return the true-positive rate of a target at a threshold from its shadows, with its whole variance.

    Three things are random besides the single member: the target is one training run of many, which differ in how far
    their scores are from the threshold; the threshold comes from a few shadow models and these examples; and copies or
    other dependent examples make the members fewer than they are. The variance is the sum of

    - binomial: T(1 − T)/members, with T = (hits + ½)/(members + 1),
    - between models: what the shadows' true-positive rates scatter more than binomial rates of their size would; as the
      scatter grows with the rate, it is scaled up where the target's rate is above theirs,
    - threshold: the variance of the false-positive rate at the threshold, two-way clustered by pairs of models (by
      single models, where they are no pairs) and by examples, carried over by the slope of the shadows' mean ROC curve.

    Args:
        flagged: Which of the target's members are above the threshold.
        inside: Scores of shadows that were trained on the example, own pair left out.
        outside: Scores of shadows that were not.
        couples: Which models the scores come from.
        fpr: False-positive rate that the threshold is set for.
        among: The examples that the rate is about, by default all; the threshold is that of all.
        cut: The threshold, where it is known.

    Raises:
        ValueError: Too few scores to resolve the rate.

    Source: Korn & Graubard 1998; Cameron, Gelbach & Miller 2011 (JBES 29:238), two-way clustering; Satterthwaite 1946
    for the degrees of freedom.
    """
    cut = threshold(outside.ravel(), fpr) if cut is None else cut
    hits, trials = int(flagged.sum()), len(flagged)
    smooth = (hits + 0.5) / (trials + 1)
    binomial = smooth * (1 - smooth) / trials
    about = couples
    if among is not None:
        inside = inside[:, among]
        about = Couples(couples.inside[:, among], couples.outside[:, among], couples.clusters)
    found = inside > cut
    mean = share(found)
    between = _between_models(found, about) * (max(1.0, smooth / mean) ** 2 if mean > 0 else 1.0)
    by_clusters, total = _two_way(outside > cut, couples)
    slope = _half_rise(inside, outside, fpr, float(np.sqrt(total))) ** 2 / total if total > 0 else 0.0
    variance = binomial + between + slope * total
    estimated = between**2 / (couples.models - 1) + (slope * by_clusters) ** 2 / (couples.groups - 1)
    dof = variance**2 / estimated if estimated > 0 else np.inf
    return TransferredRate(hits, trials, binomial, variance, float(min(dof, 1e9)))


def _between_models(found: Bool[Array, "pairs examples"], couples: Couples) -> float:
    """Return the variance between models' true-positive rates beyond that of independent members.

    Models share their examples: each is trained on a random part of the same ones. Of the variance between examples,
    only the rest is therefore seen between models: half of it, where every model has half of the examples.
    """
    members = couples.numbers(couples.inside)
    rates = couples.totals(couples.inside, found) / np.maximum(members, 1)
    by_example = columns(found) / len(found)
    noise = (by_example * (1 - by_example)).mean() / (len(found) - 1)
    between_examples = max(0.0, float(by_example.var(ddof=1) - noise)) if found.shape[1] > 1 else 0.0
    within = (rates * (1 - rates) - between_examples * couples.share) / np.maximum(members, 1)
    return max(0.0, float(rates.var(ddof=1) - np.maximum(within, 0).mean()))


def _two_way(above: Bool[Array, "pairs examples"], couples: Couples) -> tuple[float, float]:
    """Return the variance of the mean share that comes from clusters of models, and all of it, examples included."""
    pairs, examples = above.shape
    rate, groups = share(above), couples.groups
    if couples.paired:
        sizes, hits = np.full(groups, examples), np.count_nonzero(above, axis=1)
    else:
        cluster = couples.clusters[couples.outside]
        sizes, hits = np.bincount(cluster.ravel(), minlength=groups), np.bincount(cluster[above], minlength=groups)
    shares = hits / np.maximum(sizes, 1)
    by_clusters = float(((sizes * groups / above.size * (shares - rate)) ** 2).sum()) / (groups * (groups - 1))
    by_examples = float(((columns(above) / pairs - rate) ** 2).sum()) / examples**2
    cells = rate * (1 - rate) / (pairs * examples)
    return by_clusters, max(by_clusters + by_examples - cells, cells)


def _half_rise(
    inside: Float[Array, "pairs some"], outside: Float[Array, "pairs examples"], fpr: float, step: float
) -> float:
    """Return half of what the shadows' mean true-positive rate rises from fpr − step to fpr + step."""
    size = outside.size
    ranks = [size - 1 - int(min(max(rate, 0.0), 1.0) * size + 1e-9) for rate in (fpr - step, fpr + step)]
    ascending = np.partition(outside.ravel(), [max(rank, 0) for rank in ranks])
    low, high = (share(inside > (ascending[rank] if rank >= 0 else -np.inf)) for rank in ranks)
    return (high - low) / 2
