"""The link: how much of an attack's success at a low false-positive rate falls on the memorized examples.

Cross-fitted. The pairs of the bank are dealt into two halves; memorization is measured on one half, and the attack,
its references, its thresholds and its targets all come from the other; then the halves change places. Memorization and
attack measured on the same models would be linked by their common noise alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from memaudit.stats import Ranks, cluster_interval, spearman_interval

Array = np.ndarray
Interval = tuple[float, float, float]  # value, low, high
Flags = tuple[Bool[Array, "pairs examples"], Bool[Array, "pairs examples"]]

MEMORIZED = 0.5  # training on the example decides more often than not whether the model gets it right; an edge
EDGES = (0.02, 0.10, 0.25, 0.50, 0.75, 0.90)


@dataclass(frozen=True, slots=True)
class LinkBin:
    """The attack on the examples whose memorization is in [low, high): rates with intervals over target models."""

    low: float
    high: float
    examples: float
    tpr: Interval
    fpr: Interval
    share: Interval  # of all true positives


@dataclass(frozen=True, slots=True)
class Link:
    """Rank correlation of memorization with the rate at which an example is found when it is a member."""

    rho: float
    without_each: Float[Array, " pairs"]  # rho without each of the pairs of models
    examples: int
    partial: Interval | None  # given the accuracy of models without the example; None if that is the same thing
    bins: tuple[LinkBin, ...]
    memorized: Interval  # share of all true positives that examples memorized by `MEMORIZED` or more account for

    def interval(self, level: Float[Array, " levels"] | float = 0.95) -> tuple[Array, Array]:
        """Return the ends of rho's interval at one level or several, with examples and models left to chance."""
        return spearman_interval(self.rho, self.examples, self.without_each, level)


def rates_by_bin(
    scores: Float[Array, "pairs examples"],
    caught: Bool[Array, "pairs examples"],
    wrong: Bool[Array, "pairs examples"],
) -> tuple[LinkBin, ...]:
    """Return TPR and FPR of each memorization bin, over all pairs as targets; empty bins are left out.

    Args:
        scores: Memorization by which the examples of each target pair are binned, measured on *other* models.
        caught: Whether the example is flagged by the attack on the pair's inside model: a true positive.
        wrong: Whether it is flagged by the attack on the outside model: a false positive.
    """
    bins = np.digitize(scores, EDGES)
    inside = np.stack([bins == b for b in range(len(EDGES) + 1)], axis=-1)
    trials, hits, false = ((inside & f[..., None]).sum(axis=1).astype(float) for f in (bins >= 0, caught, wrong))
    return binned_rates(hits, trials, false, trials, float(trials.sum(axis=1).mean()))


def binned_rates(
    caught: Float[Array, "units bins"],
    tried: Float[Array, "units bins"],
    wrong: Float[Array, "units bins"],
    others: Float[Array, "units bins"],
    examples: float,
) -> tuple[LinkBin, ...]:
    """Return TPR and FPR of each memorization bin from the sums of independent units; empty bins are left out.

    Args:
        caught: True positives of each pair of models, or cluster of them.
        tried: Members among its targets.
        wrong: False positives.
        others: Non-members among its targets.
        examples: Number of examples in all bins together.
    """
    edges = (-1.0, *EDGES, 1.0)
    found = np.broadcast_to(caught.sum(axis=1, keepdims=True), caught.shape)
    tpr, fpr, share = (ratios(*of) for of in ((caught, tried), (wrong, others), (caught, found)))
    sizes = examples * tried.sum(axis=0) / tried.sum()
    return tuple(
        LinkBin(edges[b], edges[b + 1], float(sizes[b]), tpr[b], fpr[b], share[b]) for b in np.flatnonzero(sizes)
    )


def ratios(hits: Float[Array, "pairs bins"], trials: Float[Array, "pairs bins"]) -> list[Interval]:
    """Return sum(hits)/sum(trials) of each bin with its 95 % interval over pairs; 0 where there is no trial."""
    low, high = cluster_interval(hits, trials)
    value = hits.sum(axis=0) / np.maximum(trials.sum(axis=0), 1)
    return list(zip(value.tolist(), low.tolist(), high.tolist(), strict=True))


def cross_fitted_spearman(
    x: Shaped[Array, "pairs examples"], y: Shaped[Array, "pairs examples"]
) -> tuple[float, Float[Array, " pairs"]]:
    """Return the rank correlation of the means of x over one half of the pairs with those of y over the other.

    It is averaged over the two ways round. The second value is the same without each of the pairs, for
    `stats.spearman_interval`.
    """
    value, *without_each = _cross_fitted(lambda a, b: a[0].spearman(b[1]), x, y)
    return value, np.array(without_each)


def _cross_fitted(
    correlation: Callable[[list[Ranks], list[Ranks]], float], *of: Shaped[Array, "pairs examples"]
) -> list[float]:
    """Return a correlation of one half of the pairs with the other, both ways round: of all, and without each pair.

    Without a pair, the other half's means are as they were: their ranks are not made again.
    """
    everyone = np.arange(len(of[0]))
    halves = everyone[0::2], everyone[1::2]

    def ranks(pairs: Int[Array, " some"]) -> list[Ranks]:
        return [Ranks.of(values[pairs].mean(axis=0)) for values in of]

    def both_ways(first: list[Ranks], second: list[Ranks]) -> float:
        return (correlation(first, second) + correlation(second, first)) / 2

    whole = [ranks(half) for half in halves]
    values = [both_ways(*whole)]
    for t in everyone:
        some = list(whole)
        some[t % 2] = ranks(halves[t % 2][halves[t % 2] != t])
        values.append(both_ways(*some))
    return values


def _partial(
    gain: Float[Array, "pairs examples"],
    caught: Bool[Array, "pairs examples"],
    outside_correct: Shaped[Array, "pairs examples"],
) -> Interval | None:
    """Return the cross-fitted rank correlation given the accuracy of models without the example, with its interval."""

    def correlation(a: list[Ranks], b: list[Ranks]) -> float:
        found = a[0].partial_spearman(b[1], a[2])
        return np.nan if found is None else found

    value, *without_each = _cross_fitted(correlation, gain, caught, outside_correct)
    if not np.isfinite([value, *without_each]).all():
        return None
    low, high = spearman_interval(value, gain.shape[1] - 1, np.array(without_each))  # one variable is held fixed
    return value, float(low), float(high)


def cross_fitted_link(
    inside_correct: Shaped[Array, "pairs examples"],
    outside_correct: Shaped[Array, "pairs examples"],
    attack: Callable[[Int[Array, " some"]], Flags],
) -> Link:
    """Return the link between memorization and the attack's true positives, each measured on the other's models.

    Args:
        inside_correct: Whether the model of each pair that has the example predicts its label, or the share of its
            tokens that it predicts.
        outside_correct: The same for the model that lacks it.
        attack: Given the indices of some pairs, attacks each of them with the others of them alone, and returns
            (caught, wrong): whether each example is flagged on the pair's inside and on its outside model.

    Raises:
        ValueError: Fewer than 6 pairs, which is 3 in each half.

    Source: Spearman's ρ; Kendall 1942 for the partial correlation.
    """
    count, examples = inside_correct.shape
    if count < 6:
        raise ValueError(f"the cross-fitted link needs at least 6 pairs of models, got {count}")
    gain = inside_correct.astype(np.float32) - outside_correct.astype(np.float32)
    halves = np.arange(0, count, 2), np.arange(1, count, 2)
    caught, wrong = np.empty((2, count, examples), bool)
    binned_by = np.empty(gain.shape)
    for own, other in (halves, halves[::-1]):
        caught[own], wrong[own] = attack(own)
        binned_by[own] = gain[other].mean(axis=0, dtype=np.float64)  # in float32, 9 of 10 is below the edge 0.90

    rho, without_each = cross_fitted_spearman(gain, caught)
    memorized, found = ((caught & of).sum(axis=1, keepdims=True) for of in (binned_by >= MEMORIZED, caught))
    return Link(
        rho,
        without_each,
        examples,
        _partial(gain, caught, outside_correct),
        rates_by_bin(binned_by, caught, wrong),
        ratios(memorized.astype(float), found.astype(float))[0],
    )
