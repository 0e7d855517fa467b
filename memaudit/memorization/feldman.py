"""Feldman's memorization score: how much more often a model is right on an example because it was trained on it.

    mem(i) = P[model correct on i | i in its training set] − P[model correct on i | i not in its training set]

It is also the advantage of the attack "member if and only if the model is right on i" against that example.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from memaudit.stats import columns, newcombe_paired, newcombe_wilson

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Memorization:
    """Scores in [−1, 1] per example, larger = more memorized, with what they were computed from.

    `variance` is the unbiased estimate of each score's sampling variance. It is exactly 0 wherever a few models agree,
    so average it over examples before you take the root; `low` and `high` are the errors of single scores. `method`
    names the intervals.
    """

    value: Float[Array, " examples"]
    variance: Float[Array, " examples"]
    low: Float[Array, " examples"]
    high: Float[Array, " examples"]
    inside_accuracy: Float[Array, " examples"]
    outside_accuracy: Float[Array, " examples"]
    method: str


def memorization(
    correct: Bool[Array, "models examples"], members: UInt8[Array, "models examples"], level: float = 0.95
) -> Memorization:
    """Return Feldman–Zhang memorization per example from models whose training sets were drawn independently.

    Not for complementary pairs: they are correlated, and `paired_memorization` is theirs.

    The estimand is memorization in training sets of the *shadows'* size, half of the population in the paired design;
    it is not the leave-one-out score of the full training set, and must not be compared across sizes.

    Args:
        correct: Whether each model predicts each example's label.
        members: How often each model was trained on each example; 0 = not at all.
        level: Coverage of the intervals, for each example by itself.

    Raises:
        ValueError: Some example was inside, or outside, of fewer than two models.

    Source: Feldman & Zhang 2020 (NeurIPS), the definition of mem(A, S, i) and its subset estimator; the variance is
    that of a difference of two independent shares, unbiased form p(1 − p)/(n − 1); Newcombe 1998 (Statistics in
    Medicine 17:873), method 10.
    """
    k = members > 0
    n_in, n_out = k.sum(axis=0), (~k).sum(axis=0)
    if min(n_in.min(), n_out.min()) < 2:
        worst = int(np.argmin(np.minimum(n_in, n_out)))
        raise ValueError(
            f"example {worst} is inside {n_in[worst]} and outside {n_out[worst]} models; memorization needs 2 of each"
        )
    right_in, right_out = (correct & k).sum(axis=0), (correct & ~k).sum(axis=0)
    p_in, p_out = right_in / n_in, right_out / n_out
    variance = p_in * (1 - p_in) / (n_in - 1) + p_out * (1 - p_out) / (n_out - 1)
    low, high = newcombe_wilson(right_in, n_in, right_out, n_out, level)
    return Memorization(p_in - p_out, variance, low, high, p_in, p_out, "Newcombe–Wilson")


def paired_memorization(
    inside: Bool[Array, "pairs examples"], outside: Bool[Array, "pairs examples"], level: float = 0.95
) -> Memorization:
    """Return Feldman–Zhang memorization per example from complementary pairs of models.

    The estimand is that of `memorization`. Pairs are independent of each other, but the two models of a pair are not:
    what helps with an example and is not in one training set is in the other. That correlation is negative, and an
    error of two independent shares would be too small.

    Args:
        inside: Whether the model of each pair that was trained on the example predicts its label.
        outside: The same for the model that was not.
        level: Coverage of the intervals, for each example by itself.

    Raises:
        ValueError: Fewer than two pairs.

    Source: Feldman & Zhang 2020 (NeurIPS); the variance of a mean of paired differences; Newcombe 1998
    (Statistics in Medicine 17:2635), method 10.
    """
    pairs = len(inside)
    if pairs < 2:
        raise ValueError(f"memorization needs at least 2 pairs of models, got {pairs}")
    right_in, right_out, both = (columns(right) for right in (inside, outside, inside & outside))
    p_in, p_out = right_in / pairs, right_out / pairs
    value = p_in - p_out
    square = (right_in + right_out - 2 * both) / pairs  # the differences are −1, 0 and 1
    low, high = newcombe_paired(right_in, right_out, both, pairs, level)
    variance = np.maximum(square - value**2, 0) / (pairs - 1)  # rounding goes below 0
    return Memorization(value, variance, low, high, p_in, p_out, "Newcombe for paired shares")
