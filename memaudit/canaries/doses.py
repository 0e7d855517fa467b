"""Exposure by number of copies: canaries whose dose is randomized for every model.

The same canary is seen often by one model and never by another, so that a difference in exposure is the effect of the
dose and not of the canary. Comparing canaries of different doses within one model would confound the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from scipy import stats

from memaudit.canaries.exposure import P_EXPOSED_BITS
from memaudit.canaries.space import DOSES, TARGET, stream
from memaudit.errors import EvidenceError
from memaudit.stats import crossed_variance, effective_share, without_variation

Array = np.ndarray
Level = Float[Array, " levels"] | float


def doses(seed: int, model: int, canaries: int, levels: Sequence[int] = (1, 2, 4, 8, 16)) -> UInt8[Array, " canaries"]:
    """Return how often one model of a bank is trained on each canary; 0 for about half of them.

    Models come in complementary pairs as in `design.half`: of models 2t and 2t + 1, a random bit per canary says which
    one is not trained on it, and the other one's dose is drawn uniformly from the levels. Depends on (seed, t) alone.

    Raises:
        ValueError: A level outside of 1 … 255.
    """
    if not levels or not 1 <= min(levels) <= max(levels) <= 255:
        raise ValueError(f"levels must be between 1 and 255, got {levels}")
    rng = stream(seed, DOSES, model // 2)
    without = rng.integers(0, 2, canaries)
    drawn = rng.choice(np.array(levels, dtype=np.uint8), canaries)
    return np.where(without == model % 2, np.uint8(0), drawn)


def target_doses(seed: int, canaries: int, levels: Sequence[int] = (1, 2, 4, 8, 16)) -> UInt8[Array, " canaries"]:
    """Return how often a target is trained on each canary, by the same law, whatever the bank's draws were."""
    rng = stream(seed, TARGET)
    return np.where(rng.integers(0, 2, canaries) == 0, np.uint8(0), rng.choice(np.array(levels, np.uint8), canaries))


@dataclass(frozen=True, slots=True)
class DoseCurve:
    """Mean exposure in bits, and the share of canaries at 6.64 bits or more, at each dose; and the slope.

    `cells` counts the (model, canary) combinations at each dose. `slope` is in bits per log₂(1 + dose): what doubling
    the repetitions adds.
    """

    dose: Int[Array, " doses"]
    cells: Int[Array, " doses"]
    mean: Float[Array, " doses"]
    mean_low: Float[Array, " doses"]
    mean_high: Float[Array, " doses"]
    share: Float[Array, " doses"]
    share_low: Float[Array, " doses"]
    share_high: Float[Array, " doses"]
    slope: float
    slope_low: float
    slope_high: float


def dose_curve(
    exposure: Float[Array, "models canaries"],
    doses: UInt8[Array, "models canaries"],
    most: float | None = None,
    level: float = 0.95,
) -> DoseCurve:
    """Return how exposure rises with the dose, with intervals over pairs of models and canaries.

    The slope is that of exposure = canary + model + slope · log₂(1 + dose), by least squares. Its interval is Student's
    t of `stats.crossed_variance`. Simulated coverage at 95 %, 3 to 16 pairs and 8 or 24 canaries: .98 to .995 where the
    slopes of all canaries and models are equal, .93 to .98 where they differ.

    Args:
        exposure: In bits, at least 0.
        doses: As drawn by `doses`: rows 2t and 2t + 1 are a complementary pair.
        most: The largest exposure that can be shown; by default, the largest in the data.
        level: Two-sided coverage.

    Raises:
        EvidenceError: Fewer than two pairs or two canaries, or doses that do not vary.

    Source: the two-way within transformation of panel data for the slope; `stats.crossed_variance`.
    """
    _require_crossed(exposure.shape)
    exposed = exposure >= P_EXPOSED_BITS
    levels = np.unique(doses)
    means = [mean_at_dose(exposure, doses, int(dose), level, most) for dose in levels]
    shares = [_share(exposed, doses == dose, level) for dose in levels]
    mean, mean_low, mean_high = np.array(means).T
    share, share_low, share_high = np.array(shares).T
    return DoseCurve(
        levels.astype(np.int64),
        (doses == levels[:, None, None]).sum(axis=(1, 2)),
        mean,
        mean_low,
        mean_high,
        share,
        share_low,
        share_high,
        *_slope_interval(exposure, np.log2(1.0 + doses), level),
    )


def mean_at_dose(
    exposure: Float[Array, "models canaries"],
    doses: UInt8[Array, "models canaries"],
    dose: int,
    level: Level,
    most: float | None = None,
) -> tuple[float, Array, Array]:
    """Return (mean, low, high) of the exposure in bits at one dose, at one level or several.

    The interval is Student's t of `stats.crossed_variance`, on the log scale because exposures are skewed. Simulated
    coverage at 95 %, 3 to 16 pairs and 8 or 24 canaries: .94 to .99; .91 to .93 where 8 exponential canaries are the
    only source of variance and there are 8 pairs or more.

    Raises:
        EvidenceError: Fewer than two pairs or two canaries.
    """
    _require_crossed(exposure.shape)
    at = doses == dose
    mean, clusters = float(exposure[at].mean()), _clusters(at)
    most = float(exposure.max()) if most is None else most
    if clusters < 2 or np.ptp(exposure[at]) == 0:
        return mean, *without_variation(mean, clusters, level, most=most)
    variance, freedom = _variance_of_mean(exposure, at)
    log_half = stats.t.ppf((1 + np.asarray(level)) / 2, freedom) * np.sqrt(variance) / mean
    factor = np.exp(np.minimum(log_half, 700.0))  # e⁷⁰⁰ is nearly the largest number
    return mean, np.asarray(mean / factor), np.asarray(np.minimum(mean * factor, most))


def _clusters(at: Bool[Array, "models canaries"]) -> int:
    """Return in how many pairs of models, or of canaries if that is less, some cells are."""
    return min(int(at.any(axis=0).sum()), int(_by_pair(at).any(axis=1).sum()))


def _require_crossed(shape: tuple[int, ...]) -> None:
    models, canaries = shape
    if models % 2 or models < 4 or canaries < 2:
        raise EvidenceError(f"a dose curve needs two complementary pairs of models and two canaries, got {shape}")


def _share(
    flags: Bool[Array, "models canaries"], at: Bool[Array, "models canaries"], level: float
) -> tuple[float, Array, Array]:
    """Return (share, low, high) of the flagged among some cells."""
    share, clusters = float(flags[at].mean()), _clusters(at)
    if clusters < 2 or share in (0, 1):
        return share, *without_variation(share, clusters, level)
    variance, freedom = _variance_of_mean(flags, at)
    return share, *effective_share(share, variance, freedom, float(at.sum()), level)


def _variance_of_mean(
    values: Shaped[Array, "models canaries"], at: Bool[Array, "models canaries"]
) -> tuple[float, float]:
    """Return (variance, degrees of freedom) of the mean of values over some cells, in 2 or more pairs and canaries."""
    total, held = _by_pair(np.where(at, values, 0.0)).astype(float), _by_pair(at).astype(float)
    mean = total.sum() / held.sum()
    without = []
    for axis in ((1,), (0,), ()):
        sums, counts = total.sum(axis=axis), held.sum(axis=axis)
        some = counts > 0
        without.append((total.sum() - sums[some]) / (held.sum() - counts[some]))
    return crossed_variance(mean, *without)


def _by_pair(values: Shaped[Array, "models canaries"]) -> Shaped[Array, "pairs canaries"]:
    """Return the sums over the two models of each pair."""
    return values.reshape(len(values) // 2, 2, -1).sum(axis=1)


def _slope_interval(
    y: Float[Array, "models canaries"], x: Float[Array, "models canaries"], level: float
) -> tuple[float, float, float]:
    """Return the slope of y on x with an effect of every model and canary, and the ends of its interval."""
    slope = _slope(y, x)
    if slope is None:
        raise EvidenceError("the doses do not vary within models and canaries, so no slope can be estimated")
    residual, spread = _centred(y) - slope * _centred(x), _by_pair(_centred(x) ** 2)
    pull = _by_pair(_centred(x) * residual)
    without: list[Array] = []
    for axis, size in ((0, 2), (1, 1)):
        # Refitted without each pair and canary; linear where the doses that are left do not vary.
        linear = slope - pull.sum(axis=1 - axis) / (spread.sum() - spread.sum(axis=1 - axis))
        fits = [
            _slope(*(np.delete(v, slice(size * i, size * (i + 1)), axis) for v in (y, x))) for i in range(len(linear))
        ]
        without.append(np.array([near if fit is None else fit for fit, near in zip(fits, linear, strict=True)]))
    cells = slope - (pull / (spread.sum() - spread)).ravel()
    variance, freedom = crossed_variance(slope, without[0], without[1], cells)
    half = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance))
    return slope, slope - half, slope + half


def _slope(y: Float[Array, "models canaries"], x: Float[Array, "models canaries"]) -> float | None:
    """Return the least-squares slope of y on x with an effect of every model and canary; None if x does not vary."""
    x, y = _centred(x), _centred(y)
    spread = float((x**2).sum())
    return float((x * y).sum() / spread) if spread > 1e-9 * x.size else None


def _centred(values: Float[Array, "models canaries"]) -> Float[Array, "models canaries"]:
    return values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
