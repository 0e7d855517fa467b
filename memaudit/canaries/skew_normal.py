"""Exposure by extrapolation: a skew-normal distribution fitted to the costs of sampled references.

A secondary figure, never to be used alone. Where no reference is as cheap as the canary, sampling can only say "at
least"; this says how much more, if costs are skew-normal as far out as the canary, which no references can show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import optimize, special

from memaudit.errors import EvidenceError

Array = np.ndarray

_STEEPEST = 30.0  # |shape| beyond which the density is a half-normal for all that a sample can tell
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(64)
_REACH = 40.0  # e-foldings after which nothing is left of a tail
_TAIL = 1e-3  # probability below which the difference of two nearly equal terms gives way to integration


@dataclass(frozen=True, slots=True)
class SkewNormal:
    """The density 2/ω · φ(z) · Φ(αz) with z = (x − ξ)/ω: shape α, location ξ, scale ω.

    Source: Azzalini 1985 (Scandinavian Journal of Statistics 12:171).
    """

    shape: float
    location: float
    scale: float

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Float[Array, "..."]:
        """Return independent draws: δ|u| + √(1 − δ²)·v of two standard normals, δ = α/√(1 + α²)."""
        u, v = rng.standard_normal((2, *size))
        return self.location + self.scale * (self.shape * np.abs(u) + v) / math.hypot(1, self.shape)

    def log_cdf(self, x: Float[Array, " points"]) -> Float[Array, " points"]:
        """Return log P[X ≤ x], finite however extreme x is.

        In the left tail the density is integrated relative to its value at x. It is log-concave: leftwards of x it
        falls at least as fast as an exponential of its slope there, which sets the length of the integral.
        """
        z = (x - self.location) / self.scale
        direct = special.ndtr(z) - 2 * special.owens_t(z, self.shape)
        log_cdf = np.log(np.maximum(direct, _TAIL))
        tail = direct < _TAIL
        at = z[tail]
        log_density, mills = _log_density(at, self.shape)
        slope = -at + self.shape * mills
        s = _REACH * (_NODES + 1) / 2
        fall = _log_density(at[:, None] - s / slope[:, None], self.shape)[0] - log_density[:, None]
        log_cdf[tail] = log_density - np.log(slope) + np.log(np.exp(fall) @ _NODE_WEIGHTS * _REACH / 2)
        return log_cdf


def _log_density(z: Float[Array, "..."], shape: float) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return log(2 φ(z) Φ(αz)), and φ(αz)/Φ(αz): the slope of the first is −z + α times the second."""
    log_phi, log_phi_inner = (-(u**2) / 2 - math.log(2 * math.pi) / 2 for u in (z, shape * z))
    inner = special.log_ndtr(shape * z)
    return math.log(2) + log_phi + inner, np.exp(log_phi_inner - inner)


def fit(costs: Float[Array, " references"]) -> SkewNormal:
    """Return the skew-normal distribution of greatest likelihood; |shape| is held at 30.

    Raises:
        EvidenceError: All costs are equal.

    Source: Azzalini 1985; started from a skewness of the right sign, with mean and variance matched.
    """
    mean, deviation = float(costs.mean()), float(costs.std())
    if deviation == 0:
        raise EvidenceError("all references cost the same; no distribution can be fitted to them")
    x = (costs - mean) / deviation

    def loss(parameters: Float[Array, "3"]) -> tuple[float, Float[Array, "3"]]:
        location, log_scale, free = parameters
        shape, inverse = _STEEPEST * math.tanh(free), math.exp(-log_scale)
        z = (x - location) * inverse
        log_density, mills = _log_density(z, shape)
        slope = -z + shape * mills
        by_free = -(mills * z).mean() * (_STEEPEST - shape**2 / _STEEPEST)
        return log_scale - log_density.mean(), np.array([slope.mean() * inverse, 1 + (slope * z).mean(), by_free])

    delta = math.copysign(0.9, (x**3).mean())
    scale = 1 / math.sqrt(1 - 2 * delta**2 / math.pi)
    start = [-scale * delta * math.sqrt(2 / math.pi), math.log(scale), delta / math.sqrt(1 - delta**2) / _STEEPEST]
    location, log_scale, free = optimize.minimize(loss, start, jac=True, method="BFGS").x
    return SkewNormal(_STEEPEST * math.tanh(free), mean + deviation * float(location), deviation * math.exp(log_scale))


def left_tail_distance(costs: Float[Array, " references"], distribution: SkewNormal) -> float:
    """Return n ∫ (Fₙ − F)²/F dF, an Anderson–Darling statistic that weights the left tail.

    Source: Sinclair, Spurr & Ahmad 1990 (Communications in Statistics, Theory and Methods 19:3677), mirrored.
    """
    n = len(costs)
    log_f = distribution.log_cdf(np.sort(costs))
    return float(-1.5 * n + 2 * np.exp(log_f).sum() - ((2 * np.arange(1, n + 1) - 1) * log_f).sum() / n)


@dataclass(frozen=True, slots=True)
class Extrapolated:
    """Exposure in bits if costs were skew-normal; `low` and `high` hold the fit's uncertainty, not the model's.

    `p_fit` is small where the references are not skew-normal; it cannot see beyond their range. `distance` is
    how many of their standard deviations the canary is below the cheapest one; 0 = within them.
    """

    bits: float
    low: float
    high: float
    p_fit: float
    distance: float
    distribution: SkewNormal


def extrapolated_exposure(
    cost: float,
    references: Float[Array, " references"],
    size: int,
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> Extrapolated:
    """Return exposure extrapolated from a skew-normal fit, at most log₂ of the space's size.

    Fit and interval are tested by parametric bootstrap: samples of the fitted distribution, each fitted again. A
    p-value from tables would be far too large, because the parameters were fitted to the same costs.

    Args:
        cost: Of the canary: −log p, the log-perplexity, in nats; never the perplexity.
        references: Costs of secrets drawn from the canary's space.
        size: Of the space.
        level: Two-sided coverage.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: A cost is not finite.
        EvidenceError: All references cost the same.

    Source: Carlini et al. 2019 (USENIX Security), approximation by distribution modelling; Stute, González Manteiga &
    Presedo Quindimil 1993 (Metrika 40:243) for the bootstrap of a statistic with fitted parameters.
    """
    if not (math.isfinite(cost) and np.isfinite(references).all()):
        raise ValueError("an extrapolation needs finite costs")
    fitted = fit(references)
    samples = fitted.draw(np.random.default_rng(seed), (resamples, len(references)))
    refits = [fit(sample) for sample in samples]
    distances = [left_tail_distance(sample, refit) for sample, refit in zip(samples, refits, strict=True)]
    p_fit = (1 + np.sum(np.array(distances) >= left_tail_distance(references, fitted))) / (resamples + 1)
    bits = np.array([-distribution.log_cdf(np.array([cost]))[0] / math.log(2) for distribution in (fitted, *refits)])
    bits = np.minimum(bits, math.log2(size))
    low, high = np.quantile(bits[1:], [(1 - level) / 2, (1 + level) / 2])
    distance = max(0.0, float(references.min() - cost) / float(references.std()))
    return Extrapolated(float(bits[0]), float(low), float(high), float(p_fit), distance, fitted)
