"""Feldman's memorization score: how much more often a model is right on an example because it was trained on it.

    mem(i) = P[model correct on i | i in its training set] − P[model correct on i | i not in its training set]

It is also the advantage of the attack "member if and only if the model is right on i" against that example.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from memaudit.stats import newcombe_wilson, split_half

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Memorization:
    """Scores in [−1, 1] per example, larger = more memorized, with what they were computed from."""

    value: Float[Array, " examples"]
    se: Float[Array, " examples"]
    low: Float[Array, " examples"]
    high: Float[Array, " examples"]
    inside_accuracy: Float[Array, " examples"]
    outside_accuracy: Float[Array, " examples"]


def memorization(
    correct: Bool[Array, "models examples"], members: UInt8[Array, "models examples"], level: float = 0.95
) -> Memorization:
    """Returns Feldman–Zhang memorization per example, with standard errors and Newcombe–Wilson intervals.

    The estimand is memorization in training sets of the *shadows'* size, half of the population in the paired design;
    it is not the leave-one-out score of the full training set, and must not be compared across sizes.

    Args:
        correct: Whether each model predicts each example's label.
        members: How often each model was trained on each example; 0 = not at all.
        level: Coverage of the intervals.

    Raises:
        ValueError: Some example was inside, or outside, of fewer than two models.

    Source: Feldman & Zhang 2020 (NeurIPS), the definition of mem(A, S, i) and its subset estimator; the variance
    is that of a difference of two independent shares, unbiased form p(1 − p)/(n − 1).
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
    se = np.sqrt(p_in * (1 - p_in) / (n_in - 1) + p_out * (1 - p_out) / (n_out - 1))
    low, high = newcombe_wilson(right_in, n_in, right_out, n_out, level)
    return Memorization(p_in - p_out, se, low, high, p_in, p_out)


def reliability(inside_correct: Bool[Array, "pairs examples"], outside_correct: Bool[Array, "pairs examples"]) -> float:
    """Returns the split-half reliability of the memorization scores: 1 = a second bank would rank alike.

    Source: Spearman–Brown, over random halves of the pairs of models.
    """
    gain = inside_correct.astype(np.float32) - outside_correct.astype(np.float32)

    def scores(pairs: Int[Array, " some"]) -> Float[Array, " examples"]:
        return gain[pairs].mean(axis=0)

    return split_half(scores, len(gain))
