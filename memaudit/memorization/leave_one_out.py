"""Leave-one-out memorization, the truth that estimates and proxies are compared with.

    mem(i) = P[right on i | trained on everything] − P[right on i | trained on everything but i]

It takes R models trained on everything, and R without each chosen example.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from scipy import stats

from memaudit.stats import newcombe_wilson, spearman

Array = np.ndarray

_DRAWS, _SPLITS = 2000, 50
Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """Memorization of chosen examples in [−1, 1], larger = more memorized, and what it was computed from.

    `variance` is the unbiased sampling variance of each score; `low` and `high` are 95 % intervals of single scores.
    The models trained on everything serve all examples, so that errors of several scores are not independent.
    """

    value: Float[Array, " chosen"]
    variance: Float[Array, " chosen"]
    low: Float[Array, " chosen"]
    high: Float[Array, " chosen"]
    inside: Float[Array, "models chosen"]  # right or wrong (or a share), of each model trained on everything
    outside: tuple[Float[Array, " models"], ...]  # of each model trained without the example


def leave_one_out(
    correct: Shaped[Array, "models examples"],
    members: UInt8[Array, "models examples"],
    chosen: Int[Array, " chosen"],
    level: float = 0.95,
) -> LeaveOneOut:
    """Return leave-one-out memorization of chosen examples.

    Args:
        correct: Whether each model predicts each example's label, as bool; of texts, the share of tokens it predicts.
        members: How often each model was trained on each example. Models that lack several count for none.
        chosen: The examples, each absent from two models or more that have everything else.
        level: Coverage of the intervals, for each example by itself.

    Raises:
        ValueError: Fewer than two models were trained on everything, or on everything but a chosen example.

    Source: Feldman 2020, the definition of mem(A, S, i); Newcombe 1998 (Statistics in Medicine 17:873), method 10; of
    shares, Student's t with the degrees of freedom of the smaller side, which is never too narrow.
    """
    absent = (members == 0).sum(axis=1)
    inside = correct[absent == 0][:, chosen].astype(float)
    outside = tuple(correct[(absent == 1) & (members[:, i] == 0), i].astype(float) for i in chosen)
    if len(inside) < 2:
        raise ValueError(f"{len(inside)} models were trained on everything; leave-one-out memorization needs 2 or more")
    if few := [int(i) for i, models in zip(chosen, outside, strict=True) if len(models) < 2]:
        raise ValueError(f"fewer than 2 models were trained on everything but example {few[0]}")
    n_in, n_out = len(inside), np.array([len(models) for models in outside])
    p_in, p_out = inside.mean(axis=0), np.array([models.mean() for models in outside])
    variance = inside.var(axis=0, ddof=1) / n_in + np.array([models.var(ddof=1) for models in outside]) / n_out
    if correct.dtype == np.bool_:
        low, high = newcombe_wilson(p_in * n_in, n_in, p_out * n_out, n_out, level)
    else:
        half = stats.t.ppf((1 + level) / 2, np.minimum(n_in, n_out) - 1) * np.sqrt(variance)
        low, high = p_in - p_out - half, p_in - p_out + half
    return LeaveOneOut(p_in - p_out, variance, low, high, inside, outside)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a score agrees with leave-one-out memorization: value, low, high.

    `rmse` and `bias` are in the unit of memorization and mean something for estimates of it only. `rmse_corrected` is
    without the sampling noise of truth and score; `pearson_corrected` and `spearman_corrected` are what they would be
    of a truth, and a score, without noise. `reliability` is the truth's: the share of its variance that is no noise.
    """

    rmse: Interval
    rmse_corrected: Interval
    bias: Interval
    pearson: Interval
    pearson_corrected: Interval
    spearman: Interval
    spearman_corrected: Interval
    reliability: float


def agreement(
    score: Float[Array, " chosen"],
    truth: LeaveOneOut,
    variance: Float[Array, " chosen"] | None = None,
    reliability: float = 1.0,
    seed: int = 0,
) -> Agreement:
    """Return how a score of the chosen examples agrees with the truth, with 95 % bootstrap intervals over examples.

    The score must come from other models than the truth. The models trained on everything serve all examples, which the
    interval of the bias includes; those of the others take them as given.

    Args:
        score: Of each chosen example: an estimate of memorization, or any proxy.
        truth: Leave-one-out memorization.
        variance: The sampling variance of each score, where it is known.
        reliability: Of the score's ranks, 0 to 1: the correlation of two scores of the same kind from other models.
        seed: Of bootstrap and splits.

    Raises:
        ValueError: Fewer than 8 examples.

    Source: Spearman 1904, the correction for attenuation; Spearman 1910 and Brown 1910 for the reliability of a whole
    from that of its halves; Efron 1979, the percentile bootstrap.
    """
    if len(score) < 8:
        raise ValueError(f"agreement needs at least 8 examples, got {len(score)}")
    rng = np.random.default_rng(seed)
    noise = truth.variance, np.zeros(len(score)) if variance is None else np.asarray(variance, float)
    ranks = split_half(truth, rng)
    at = np.vstack([np.arange(len(score)), rng.integers(len(score), size=(_DRAWS, len(score)))])
    measured = _measured(score[at], truth.value[at], noise[1][at].mean(axis=1), noise[0][at].mean(axis=1))
    measured.append(_corrected(measured[-1], np.full(len(at), ranks * reliability)))
    names = ("rmse", "rmse_corrected", "bias", "pearson", "pearson_corrected", "spearman", "spearman_corrected")
    found = {name: _interval(draws) for name, draws in zip(names, measured, strict=True)}
    shared = 1.96 * float(truth.inside.mean(axis=1).std(ddof=1)) / np.sqrt(len(truth.inside))
    bias, low, high = found["bias"]
    found["bias"] = bias, bias - float(np.hypot(bias - low, shared)), bias + float(np.hypot(high - bias, shared))
    return Agreement(**found, reliability=ranks)


def _interval(draws: Float[Array, " draws"]) -> Interval:
    """Return the first value with the 95 % interval of the others."""
    known = draws[1:][np.isfinite(draws[1:])]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return float(draws[0]), float(low), float(high)


def _measured(
    score: Float[Array, "draws n"],
    truth: Float[Array, "draws n"],
    noise_of_score: Float[Array, " draws"],
    noise_of_truth: Float[Array, " draws"],
) -> list[Float[Array, " draws"]]:
    """Return RMSE, RMSE without noise, bias, Pearson, Pearson without noise and Spearman, of each draw of examples."""
    error = ((score - truth) ** 2).mean(axis=1)
    r = _pearson(score, truth)
    reliable = _share(score, noise_of_score) * _share(truth, noise_of_truth)
    return [
        np.sqrt(error),
        np.sqrt(np.maximum(error - noise_of_score - noise_of_truth, 0)),
        (score - truth).mean(axis=1),
        r,
        _corrected(r, reliable),
        _pearson(*(stats.rankdata(of, axis=1) for of in (score, truth))),
    ]


def split_half(truth: LeaveOneOut, rng: np.random.Generator) -> float:
    """Return the reliability of the truth's ranks, from the rank correlation of random halves of the models.

    Source: Spearman 1910 and Brown 1910: 2ρ/(1 + ρ).
    """
    rhos = []
    for _ in range(_SPLITS):
        halves = np.zeros((2, len(truth.value)))
        order = rng.permutation(len(truth.inside))
        for half in (0, 1):
            halves[half] = truth.inside[order[half::2]].mean(axis=0)
        for i, models in enumerate(truth.outside):
            mixed = rng.permutation(models)
            halves[:, i] -= mixed[0::2].mean(), mixed[1::2].mean()
        rhos.append(spearman(*halves))
    rho = max(float(np.mean(rhos)), 0.0)
    return 2 * rho / (1 + rho)


def _pearson(x: Float[Array, "draws n"], y: Float[Array, "draws n"]) -> Float[Array, " draws"]:
    """Return the correlation of each row; 0 where a side is constant."""
    x, y = (of - of.mean(axis=1, keepdims=True) for of in (x, y))
    norm = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), norm, out=np.zeros(len(x)), where=norm > 0)


def _share(values: Float[Array, "draws n"], noise: Float[Array, " draws"]) -> Float[Array, " draws"]:
    """Return the share of the values' variance that is no noise."""
    total = values.var(axis=1, ddof=1)
    return np.maximum(1 - np.divide(noise, total, out=np.ones(len(noise)), where=total > 0), 0)


def _corrected(correlation: Float[Array, " draws"], reliability: Float[Array, " draws"]) -> Float[Array, " draws"]:
    """Return correlations without the noise of their two sides; NaN where there is nothing but noise."""
    root = np.sqrt(reliability)
    found = np.divide(correlation, root, out=np.full(len(root), np.nan), where=root > 0)
    return np.clip(found, -1, 1)
