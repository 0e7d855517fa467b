"""Counterfactual memorization: how much better a model does on a text because it was trained on it.

    mem(x) = E[M(f, x) | x in f's training set] − E[M(f, x) | x not in it]

M is the share of a text's tokens that are the likeliest, its mean log-probability, or any other number per model and
text. With per-token accuracy it is in [−1, 1], with log-probabilities in nats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from scipy import stats

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """Scores per example in the unit of M, larger = more memorized, with standard errors and intervals.

    `method` names the intervals.
    """

    value: Float[Array, " examples"]
    se: Float[Array, " examples"]
    low: Float[Array, " examples"]
    high: Float[Array, " examples"]
    method: str

    def of_shares(self) -> Counterfactual:
        """Return the same scores where M is a share: no interval reaches beyond −1 and 1, as no difference does."""
        return replace(self, low=np.maximum(self.low, -1), high=np.minimum(self.high, 1))


def counterfactual(
    inside: Float[Array, "pairs examples"], outside: Float[Array, "pairs examples"], level: float = 0.95
) -> Counterfactual:
    """Return counterfactual memorization per example: the mean difference within pairs, with Student's t interval.

    The standard error is the paired one. Pairs are independent, but the two models of a pair are not: what helps with
    an example and is not in one training set is in the other. That correlation is negative, and an error of two
    independent means (Welch) would be too small: for logistic regression on 200 points, by a factor of 1.36.

    Args:
        inside: M of the model of each pair that was trained on the example; finite.
        outside: M of the one that was not.
        level: Coverage of the intervals, for each example by itself.

    Raises:
        ValueError: Fewer than two pairs, or a value that is not finite.

    Source: Zhang et al. 2021 (arXiv:2112.12938), the definition of counterfactual memorization.
    """
    value, se = _mean(_gain(inside, outside))
    half = stats.t.ppf((1 + level) / 2, len(inside) - 1) * se
    return Counterfactual(value, se, value - half, value + half, "Student t over pairs")


def counterfactual_of_models(
    values: Float[Array, "models examples"], members: UInt8[Array, "models examples"], level: float = 0.95
) -> Counterfactual:
    """Return counterfactual memorization per example from models whose training sets were drawn independently.

    Not for complementary pairs: they are correlated, and `counterfactual` is theirs.

    Args:
        values: M of each model; finite.
        members: How often each model was trained on each example.
        level: Coverage of the intervals, for each example by itself.

    Raises:
        ValueError: An example has fewer than two models with it, or without it.

    Source: Welch 1947 (Biometrika 34:28), the difference of two independent means.
    """
    sides = [np.where(side, values, np.nan) for side in (members > 0, members == 0)]
    counts = np.stack([np.isfinite(side).sum(axis=0) for side in sides])
    if counts.min(initial=2) < 2:
        raise ValueError(f"example {int(counts.min(axis=0).argmin())} has fewer than two models with it, or without it")
    means = [np.nanmean(side, axis=0) for side in sides]
    parts = np.stack([np.nanvar(side, axis=0, ddof=1) for side in sides]) / counts
    square = parts.sum(axis=0)
    shares = (parts**2 / (counts - 1)).sum(axis=0)
    free = np.where(shares > 0, square**2 / np.where(shares > 0, shares, 1), 1)
    se = np.sqrt(square)
    half = stats.t.ppf((1 + level) / 2, free) * se
    value = means[0] - means[1]
    return Counterfactual(value, se, value - half, value + half, "Welch t over models")


def null_deviation(
    inside: Float[Array, "pairs examples"], outside: Float[Array, "pairs examples"]
) -> Float[Array, " examples"]:
    """Return the standard deviation of each score if inside and outside were swapped at random in each pair.

    The mean over all exchanges is 0. This is the noise floor under the hypothesis that membership changes nothing.

    Source: Fisher's randomization distribution of paired differences d: its variance is Σd²/pairs².
    """
    gain = _gain(inside, outside)
    return np.sqrt((gain**2).sum(axis=0)) / len(gain)


@dataclass(frozen=True, slots=True)
class Top:
    """Mean score of the most memorized examples, with its interval."""

    value: float
    low: float
    high: float


def cross_fitted_top(
    inside: Float[Array, "pairs examples"], outside: Float[Array, "pairs examples"], top: int, level: float = 0.95
) -> Top:
    """Return the mean score of the `top` examples, which one half of the pairs selects and the other half measures.

    Measured on the pairs that selected them, the highest scores are too high by what chance added to them: the
    winner's curse. The halves change places and the two results are averaged.

    The standard errors of the two are averaged too, as though they were perfectly correlated: which is never too small.

    Raises:
        ValueError: Fewer than four pairs, `top` not between 1 and the examples' number, or a value that is not finite.
    """
    gain = _gain(inside, outside)
    pairs, examples = gain.shape
    if pairs < 4 or not 1 <= top <= examples:
        raise ValueError(f"the top {top} of {examples} examples from {pairs} pairs; at least 4 pairs are needed")
    halves = gain[0::2], gain[1::2]
    measured = []
    for selecting, measuring in (halves, halves[::-1]):
        best = np.argsort(-selecting.mean(axis=0), kind="stable")[:top]
        measured.append(_mean(measuring[:, best].mean(axis=1, keepdims=True)))
    value, se = np.mean(measured, axis=0)[:, 0].tolist()
    half = float(stats.t.ppf((1 + level) / 2, pairs // 2 - 1)) * se
    return Top(value, value - half, value + half)


def _gain(inside: Array, outside: Array) -> Float[Array, "pairs examples"]:
    gain = inside.astype(np.float64) - outside
    if len(gain) < 2:
        raise ValueError(f"counterfactual memorization needs at least 2 pairs of models, got {len(gain)}")
    if not np.isfinite(gain).all():
        raise ValueError(f"example {int(np.argmin(np.isfinite(gain).all(axis=0)))} has a value that is not finite")
    return gain


def _mean(values: Float[Array, "pairs examples"]) -> tuple[Array, Array]:
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
