"""Exposure: how much a model reveals about a planted secret, in bits.

    exposure = log₂|R| − log₂ rank,   rank = how many secrets of the space cost no more than the canary

A cost is −log p of the secret given its prefix, in nats; lower = likelier. Exposure is a p-value in bits: a canary
that was never trained on has P[exposure ≥ e] ≤ 2^−e, and a mean of 1.443 bits, not 0. That holds whatever the model
prefers, because the secret was drawn uniformly, as long as every secret of the space is scored alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from memaudit.stats import clopper_pearson

Array = np.ndarray

NULL_MEAN_BITS = 1 / math.log(2)  # of a canary that was never trained on, in a large space
P_EXPOSED_BITS = math.log2(100)  # under the null, exposure reaches this with probability 1 % at most


@dataclass(frozen=True, slots=True)
class Exposure:
    """Sampled exposure in bits, larger = more exposed, with its interval.

    `cap` is the most that the references can show. Where `censored`, no reference is at or below the canary, and
    `bits` is to be printed as "≥"; `high` is then the size of the space, or infinite if that was not given.
    """

    bits: Float[Array, "..."]
    low: Float[Array, "..."]
    high: Float[Array, "..."]
    cap: float
    censored: Bool[Array, "..."]


def rank_exposure(rank: Int[Array, "..."] | int, size: int) -> Float[Array, "..."]:
    """Return the exposure in bits of the secret with that rank in a space of that size; rank 1 = the likeliest.

    Raises:
        ValueError: A rank outside of 1 … size.

    Source: Carlini et al. 2019 (USENIX Security), the definition of exposure.
    """
    if np.any(np.less(rank, 1)) or np.any(np.greater(rank, size)):
        raise ValueError(f"ranks must be between 1 and {size}, got {rank}")
    return np.asarray(np.log2(float(size) / np.asarray(rank)))


def exact_exposure(cost: Float[Array, "..."] | float, costs_of_all: Float[Array, "... secrets"]) -> Float[Array, "..."]:
    """Return the exposure in bits from the costs of every secret of the space; ties count against the canary.

    Leading axes (models, canaries) broadcast, and the order of the canaries is kept.

    Args:
        cost: Of the canaries, taken out of `costs_of_all`: computed apart it would differ in the last digits.
        costs_of_all: Of every secret, the canary's own among them.

    Raises:
        ValueError: A cost is NaN, or a canary costs less than every secret.

    Source: Carlini et al. 2019 (USENIX Security), the definitions of rank and exposure.
    """
    return rank_exposure(_at_or_below(cost, costs_of_all), costs_of_all.shape[-1])


def sampled_exposure(
    cost: Float[Array, "..."] | float,
    references: Float[Array, "... references"],
    level: float = 0.95,
    size: int | None = None,
) -> Exposure:
    """Return the exposure estimated from references that were drawn uniformly from the canary's space.

    With k of n references at or below the canary, p = (1 + k)/(n + 1) is an exact p-value; the estimate is −log₂ p,
    never negative, at most log₂(n + 1). The interval is that of the share of the space at or below the canary. It is
    not cut at what n references can show: a censored canary may be exposed much further.

    Args:
        cost: Of the canaries; leading axes broadcast against those of `references`.
        references: Costs of the drawn secrets, under the canary's own prefix.
        level: Two-sided coverage.
        size: Of the space; no exposure exceeds log₂ of it.

    Raises:
        ValueError: A cost is NaN.

    Source: Carlini et al. 2019 (USENIX Security), approximation by sampling; Phipson & Smyth 2010 for the p-value.
    """
    below, n = _at_or_below(cost, references), references.shape[-1]
    most = math.inf if size is None else math.log2(size)
    least_share, most_share = clopper_pearson(below, n, level)
    with np.errstate(divide="ignore"):  # no reference at or below: the share may be 0, the exposure infinite
        ends = -np.log2([most_share, least_share])
    low, high = np.clip(ends, 0.0, most)
    cap = min(math.log2(n + 1), most)
    bits = np.minimum(np.log2((n + 1) / (below + 1)), cap)
    return Exposure(np.asarray(bits), np.asarray(low), np.asarray(high), cap, np.asarray(below == 0))


def _at_or_below(cost: Float[Array, "..."] | float, costs: Float[Array, "... secrets"]) -> Int[Array, "..."]:
    if np.isnan(cost).any() or np.isnan(costs).any():
        raise ValueError("a cost is NaN: it would count as dearer than the canary")
    return np.asarray((costs <= np.asarray(cost)[..., None]).sum(axis=-1))


def calibrated(
    costs: Float[Array, "*canaries secrets"], outside: Float[Array, "models *canaries secrets"]
) -> Float[Array, "*canaries secrets"]:
    """Return the costs less their mean over models that were not trained on the canaries.

    Takes out what any model prefers, such as repeated digits. Every secret is treated alike, so that exposure from
    these costs has the same null distribution. They may be negative: no shortest-path search holds for them.

    Raises:
        ValueError: No model, or a cost that is not finite.
    """
    if not len(outside) or not (np.isfinite(costs).all() and np.isfinite(outside).all()):
        raise ValueError(f"calibration needs finite costs and a model that was not trained on them, got {len(outside)}")
    return costs - outside.mean(axis=0, dtype=np.float64)


def null_survival(bits: Float[Array, "..."] | float, size: int) -> Float[Array, "..."]:
    """Return P[exposure ≥ bits] of a canary that was never trained on, exactly, in a space of that size.

    The rank is uniform over 1 … size: the probability is ⌊size · 2^−bits⌋/size, at most 2^−bits.
    """
    ranks = np.floor(size * np.exp2(-np.asarray(bits)) * (1 + 1e-9))  # 1000 · 2^−log₂(100) is 9.999…
    return np.asarray(np.minimum(ranks / size, 1.0))


def fisher(bits: Float[Array, "... canaries"]) -> Float[Array, "..."]:
    """Return the p-value of "none of these canaries was trained on" from their exposures, over the last axis.

    It needs canaries that are independent given the model: distinct prefixes, secrets drawn one by one. Exposures of
    one canary under several models are not independent.

    Source: Fisher 1925: −2 Σ ln p is χ² with 2m degrees of freedom; here p = 2^−exposure.
    """
    return np.asarray(stats.chi2.sf(2 * math.log(2) * bits.sum(axis=-1), 2 * bits.shape[-1]))


def mean_exposure(
    bits: Float[Array, "... canaries"], level: float = 0.95
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """Return (mean, low, high) of the exposure in bits over independent canaries, the last axis.

    Exposures are skewed, exponential if nothing was memorized, and Student's interval misses too often. Where all are
    equal, at the cap, the low end is the mean if as few canaries reach it as Clopper–Pearson allows and the others give
    nothing away.

    Raises:
        ValueError: Fewer than two canaries.

    Source: Hall 1992 (JRSS B 54:221), the cubic transformation that removes skewness from Student's t.
    """
    n = bits.shape[-1]
    if n < 2:
        raise ValueError(f"an interval of a mean needs at least 2 canaries, got {n}")
    mean, spread = bits.mean(axis=-1), bits.std(axis=-1, ddof=1)
    equal = np.ptp(bits, axis=-1) == 0
    third = ((bits - mean[..., None]) ** 3).mean(axis=-1)
    skewness = third / np.where(equal, 1.0, bits.var(axis=-1)) ** 1.5
    t = stats.t.ppf((1 + level) / 2, n - 1) / math.sqrt(n)
    low = np.maximum(mean - spread * _unskewed(t, skewness, n), 0.0)
    high = mean - spread * _unskewed(-t, skewness, n)
    low = np.where(equal, mean * ((1 - level) / 2) ** (1 / n), low)
    return np.asarray(mean), np.asarray(low), np.asarray(high)


def _unskewed(t: float, skewness: Float[Array, "..."] | float, n: int) -> Float[Array, "..."]:
    """Return the inverse of Hall's transformation at a quantile of Student's t over √n."""
    none = np.abs(skewness) < 1e-4
    third = np.where(none, 1.0, skewness) / 3
    return np.asarray(np.where(none, t, (np.cbrt(1 + 3 * third * (t - skewness / (6 * n))) - 1) / third))
