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

from memaudit.stats import (
    attenuation_corrected,
    cluster_interval,
    partial_spearman,
    spearman,
    spearman_interval,
    split_half,
)

Array = np.ndarray
Flags = tuple[Bool[Array, "pairs examples"], Bool[Array, "pairs examples"]]

EDGES = (0.02, 0.10, 0.25, 0.50, 0.75, 0.90)


@dataclass(frozen=True, slots=True)
class LinkBin:
    """The attack on the examples whose memorization lies in [low, high): rates with intervals over target models."""

    low: float
    high: float
    examples: float
    tpr: tuple[float, float, float]  # value, low, high
    fpr: tuple[float, float, float]
    share: float  # of all true positives


@dataclass(frozen=True, slots=True)
class Link:
    """Rank correlation of memorization with the rate at which an example is found when it is a member."""

    rho: float
    without_each: Float[Array, " pairs"]  # rho without each of the pairs of models
    examples: int
    corrected: float | None
    partial: float | None  # with the accuracy of models without the example held fixed; None if that is the same thing
    memorization_reliability: float
    tpr_reliability: float
    bins: tuple[LinkBin, ...]

    def interval(self, level: Float[Array, " levels"] | float = 0.95) -> tuple[Array, Array]:
        """Returns the ends of rho's interval at one level or several, with examples and models left to chance."""
        return spearman_interval(self.rho, self.examples, self.without_each, level)


def rates_by_bin(
    scores: Float[Array, "pairs examples"],
    caught: Bool[Array, "pairs examples"],
    accused: Bool[Array, "pairs examples"],
) -> tuple[LinkBin, ...]:
    """Returns TPR and FPR of each memorization bin, over all pairs as targets; empty bins are left out.

    Args:
        scores: Memorization by which the examples of each target pair are binned, measured on *other* models.
        caught: Whether the example is flagged by the attack on the pair's inside model: a true positive.
        accused: Whether it is flagged by the attack on the outside model: a false positive.
    """
    bins = np.digitize(scores, EDGES)
    edges = (-1.0, *EDGES, 1.0)
    inside = np.stack([bins == b for b in range(len(edges) - 1)], axis=-1)
    trials = inside.sum(axis=1).astype(float)
    hits = (inside & caught[..., None]).sum(axis=1).astype(float)
    false = (inside & accused[..., None]).sum(axis=1).astype(float)
    tpr_low, tpr_high = cluster_interval(hits, trials)
    fpr_low, fpr_high = cluster_interval(false, trials)
    total = trials.sum(axis=0)
    found = max(hits.sum(), 1.0)
    return tuple(
        LinkBin(
            edges[b],
            edges[b + 1],
            float(total[b] / len(scores)),
            (float(hits[:, b].sum() / total[b]), float(tpr_low[b]), float(tpr_high[b])),
            (float(false[:, b].sum() / total[b]), float(fpr_low[b]), float(fpr_high[b])),
            float(hits[:, b].sum() / found),
        )
        for b in np.flatnonzero(total)
    )


def cross_fitted_spearman(
    x: Shaped[Array, "pairs examples"], y: Shaped[Array, "pairs examples"]
) -> tuple[float, Float[Array, " pairs"]]:
    """Returns the rank correlation of the means of x over one half of the pairs with those of y over the other.

    It is averaged over the two ways round. Beside it stands the same without each of the pairs, for
    `stats.spearman_interval`.
    """
    everyone = np.arange(len(x))
    halves = everyone[0::2], everyone[1::2]

    def correlation(pairs: Int[Array, " some"]) -> float:
        first, second = (np.intersect1d(half, pairs) for half in halves)
        there = spearman(x[first].mean(axis=0), y[second].mean(axis=0))
        back = spearman(x[second].mean(axis=0), y[first].mean(axis=0))
        return (there + back) / 2

    return correlation(everyone), np.array([correlation(np.delete(everyone, t)) for t in everyone])


def cross_fitted_link(
    inside_correct: Shaped[Array, "pairs examples"],
    outside_correct: Shaped[Array, "pairs examples"],
    attack: Callable[[Int[Array, " some"]], Flags],
) -> Link:
    """Returns the link between memorization and the attack's true positives, each measured on the other's models.

    Args:
        inside_correct: Whether the model of each pair that has the example predicts its label, or the share of its
            tokens that it predicts.
        outside_correct: The same for the model that lacks it.
        attack: Given the indices of some pairs, attacks each of them with the others of them alone, and returns
            (caught, accused): whether each example is flagged on the pair's inside and on its outside model.

    Raises:
        ValueError: Fewer than 6 pairs, which is 3 in each half.

    Source: Spearman's ρ; correction for attenuation, Spearman 1904.
    """
    count, examples = inside_correct.shape
    if count < 6:
        raise ValueError(f"the cross-fitted link needs at least 6 pairs of models, got {count}")
    gain = inside_correct.astype(np.float32) - outside_correct.astype(np.float32)
    halves = np.arange(0, count, 2), np.arange(1, count, 2)
    caught, accused = np.empty((2, count, examples), bool)
    binned_by = np.empty(gain.shape)
    for own, other in (halves, halves[::-1]):
        caught[own], accused[own] = attack(own)
        binned_by[own] = gain[other].mean(axis=0, dtype=np.float64)  # in float32, 9 of 10 is below the edge 0.90

    rho, without_each = cross_fitted_spearman(gain, caught)

    def on_halves(estimate: Callable[[Array], float]) -> float:
        return float(np.mean([estimate(half) for half in halves]))

    mem_reliability = on_halves(lambda half: split_half(lambda i: gain[half[i]].mean(axis=0), len(half)))
    tpr_reliability = on_halves(lambda half: split_half(lambda i: caught[half[i]].mean(axis=0), len(half)))
    partials = [
        partial_spearman(gain[a].mean(axis=0), caught[b].mean(axis=0), outside_correct[a].mean(axis=0))
        for a, b in (halves, halves[::-1])
    ]
    partial = None if None in partials else float(np.mean([p for p in partials if p is not None]))
    return Link(
        rho,
        without_each,
        examples,
        attenuation_corrected(rho, mem_reliability, tpr_reliability),
        partial,
        mem_reliability,
        tpr_reliability,
        rates_by_bin(binned_by, caught, accused),
    )
