"""Differences between two banks whose models share training sets: pairs of models are the independent units."""

from __future__ import annotations

import numpy as np
import scipy
from jaxtyping import Bool, Float

from memaudit.stats.intervals import korn_graubard, without_variation
from memaudit.stats.roc import threshold

Array = np.ndarray

_ALIKE = 1e-12  # between the rates of pairs that differ by rounding alone


def paired_change(
    before: Float[Array, " pairs"], after: Float[Array, " pairs"], level: float = 0.95, step: float = 0.0
) -> tuple[float, float, float]:
    """Return the mean of after − before over independent units with its Student interval: value, low, high.

    Values that come in steps may all be alike by chance; their standard deviation is at least half a step.

    Raises:
        ValueError: Fewer than two units.
    """
    if len(before) < 2:
        raise ValueError(f"an interval needs at least 2 pairs of models, got {len(before)}")
    change = np.asarray(after, np.float64) - before
    deviation = max(float(change.std(ddof=1)), step / 2)
    half = float(scipy.stats.t.ppf((1 + level) / 2, len(change) - 1)) * deviation / np.sqrt(len(change))
    value = float(change.mean())
    return value, value - half, value + half


def change_interval(
    before: Float[Array, " pairs"], after: Float[Array, " pairs"], level: Float[Array, " levels"]
) -> tuple[Float[Array, " levels"], Float[Array, " levels"]]:
    """Return (low, high) of the mean change of a rate: `paired_change`, or `without_variation` if all pairs are alike.

    Raises:
        ValueError: Fewer than two pairs.
    """
    change = np.asarray(after, np.float64) - before
    if np.ptp(change) < _ALIKE:
        return without_variation(float(change.mean()), len(change), level, -1.0)
    ends = np.array([paired_change(before, after, float(each))[1:] for each in level])
    return np.maximum(ends[:, 0], -1.0), np.minimum(ends[:, 1], 1.0)


def rate_interval(
    inside: Float[Array, "pairs examples"], outside: Float[Array, "pairs examples"], fpr: float, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the mean of `rate_by_pair` with an interval over pairs that keeps a width where the rate is 0 or 1.

    It is `korn_graubard` with the variance of the pairs' influences, or `without_variation` if all pairs are alike.

    Raises:
        ValueError: Too few scores to resolve the rate, or fewer than two pairs.
    """
    rates, influence = rate_by_pair(inside, outside, fpr)
    value, pairs = float(rates.mean()), len(rates)
    if pairs < 2:
        raise ValueError(f"an interval needs at least 2 pairs of models, got {pairs}")
    if np.ptp(influence) < _ALIKE:
        low, high = without_variation(value, pairs, level)
    else:
        share = (value * inside.size + 0.5) / (inside.size + 1)
        effective = share * (1 - share) / (influence.var(ddof=1) / pairs)
        low, high = korn_graubard(value, float(effective), float(pairs - 1), float(inside.size), level)
    return value, float(low), float(high)


def rate_by_pair(
    inside: Float[Array, "pairs examples"],
    outside: Float[Array, "pairs examples"],
    fpr: float,
    counted: Bool[Array, "pairs examples"] | None = None,
) -> tuple[Float[Array, " pairs"], Float[Array, " pairs"]]:
    """Return each pair's true-positive rate at a common threshold, and its influence on the mean of these rates.

    The threshold is that of all outside scores for the false-positive rate, so a pair moves the mean in two ways: by
    its own members, and through the threshold, by a false-positive rate that is above or below the others'. To first
    order its influence is T − s(F − fpr), with T and F its rates and s the slope of the mean ROC curve. A pair is one
    of those that set its own threshold, which the factor pairs/(pairs − 1) makes up for.

    Args:
        inside: Scores of members; larger = more member-like.
        outside: Scores of the same examples in models that lack them.
        fpr: The false-positive rate.
        counted: Which members the true-positive rate is about; by default all. Each pair has some.

    Raises:
        ValueError: Too few scores to resolve the rate.

    Source: linearization of a quantile (Bahadur 1966); the factor as in HC3, MacKinnon & White 1985.
    """
    pairs = len(outside)
    cut = threshold(outside.ravel(), fpr)
    weights = None if counted is None else counted.astype(np.float64)

    def found(above: float) -> Float[Array, " pairs"]:
        return np.asarray(np.average(inside > above, axis=1, weights=weights))

    true, false = found(cut), (outside > cut).mean(axis=1)
    step = max(float(false.std(ddof=1)) / np.sqrt(pairs), fpr / 4) if pairs > 1 else fpr / 4
    rates = max(fpr - step, 1 / outside.size), min(fpr + step, 1.0)
    low, high = (float(found(threshold(outside.ravel(), rate)).mean()) for rate in rates)
    slope = (high - low) / (rates[1] - rates[0]) if rates[1] > rates[0] else 0.0
    influence = true - slope * (false - false.mean())
    return true, true.mean() + (influence - influence.mean()) * pairs / max(1, pairs - 1)
