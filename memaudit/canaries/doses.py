"""How much a model gives away with every repetition: canaries whose dose is randomised anew for every model.

The same canary is seen often by one model and never by another, so that a difference in exposure is the effect of the
dose and not of the canary. Comparing canaries of different doses within one model would confound the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from memaudit.canaries.exposure import P_EXPOSED_BITS
from memaudit.canaries.space import DOSES, TARGET, stream
from memaudit.errors import EvidenceError
from memaudit.stats import expanded, without_variation

Array = np.ndarray
Level = Float[Array, " levels"] | float
Weights = tuple[Float[Array, "resamples models"], Float[Array, "resamples canaries"]]


def doses(seed: int, model: int, canaries: int, levels: Sequence[int] = (1, 2, 4, 8, 16)) -> UInt8[Array, " canaries"]:
    """Returns how often one model of a bank is trained on each canary; 0 for about half of them.

    Models come in complementary pairs as in `design.half`: of models 2t and 2t + 1, a fair coin per canary says which
    one is not trained on it, and the other one's dose is drawn uniformly from the levels. Depends on (seed, t) alone.

    Raises:
        ValueError: A level outside of 1 … 255.
    """
    if not levels or not 1 <= min(levels) <= max(levels) <= 255:
        raise ValueError(f"levels lie between 1 and 255, got {levels}")
    rng = stream(seed, DOSES, model // 2)
    without = rng.integers(0, 2, canaries)
    drawn = rng.choice(np.array(levels, dtype=np.uint8), canaries)
    return np.where(without == model % 2, np.uint8(0), drawn)


def target_doses(seed: int, canaries: int, levels: Sequence[int] = (1, 2, 4, 8, 16)) -> UInt8[Array, " canaries"]:
    """Returns how often a target is trained on each canary, by the same law, whatever the bank's draws were."""
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
    level: float


def dose_curve(
    exposure: Float[Array, "models canaries"],
    doses: UInt8[Array, "models canaries"],
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> DoseCurve:
    """Returns how exposure rises with the dose, with intervals from resampling pairs of models and canaries alike.

    The slope is that of exposure = canary + model + slope · log₂(1 + dose), by least squares.

    Args:
        exposure: In bits.
        doses: As drawn by `doses`: rows 2t and 2t + 1 are a complementary pair, and are resampled together.
        level: Two-sided coverage.
        seed: Of the resamples.
        resamples: Number of them.

    Raises:
        EvidenceError: Fewer than two pairs or two canaries, or doses that do not vary.

    Source: Owen 2007 (Annals of Applied Statistics 1:386), the pigeonhole bootstrap for crossed data, which is
    conservative; `stats.expanded` for the percentiles that are read; the two-way within transformation of panel data for the slope.
    """
    weights = _resampled(exposure.shape, resamples, seed)
    levels = np.unique(doses)
    exposed = (exposure >= P_EXPOSED_BITS).astype(float)
    rows = []
    for dose in levels:
        at = doses == dose
        rows.append(
            _mean(exposure, at, weights, level, float(exposure.max())) + _mean(exposed, at, weights, level, 1.0)
        )
    slopes = _slopes(exposure, np.log2(1.0 + doses), weights)
    slope, slope_low, slope_high = _ends(slopes, level, clusters_of(doses >= 0))
    mean, mean_low, mean_high, share, share_low, share_high = np.array(rows).T
    return DoseCurve(
        levels.astype(np.int64),
        (doses == levels[:, None, None]).sum(axis=(1, 2)),
        mean,
        mean_low,
        mean_high,
        share,
        share_low,
        share_high,
        slope,
        float(slope_low),
        float(slope_high),
        level,
    )


def mean_at_dose(
    exposure: Float[Array, "models canaries"],
    doses: UInt8[Array, "models canaries"],
    dose: int,
    level: Float[Array, " levels"],
    seed: int = 0,
    resamples: int = 10_000,
) -> tuple[float, Array, Array]:
    """Returns (mean, low, high) of the exposure in bits at one dose, with the ends at each of several levels.

    As in `dose_curve`, but with as many resamples as high levels need: the interval at a one-sided confidence above
    `stats.surest` is cut off where the resamples end.
    """
    weights = _resampled(exposure.shape, resamples, seed)
    return _mean(exposure, doses == dose, weights, level, float(exposure.max()))


def clusters_of(at: Bool[Array, "models canaries"]) -> int:
    """Returns in how many pairs of models, or of canaries if that is less, some cells lie."""
    return min(int(at.any(axis=0).sum()), int(at.reshape(len(at) // 2, -1).any(axis=1).sum()))


def _resampled(shape: tuple[int, ...], resamples: int, seed: int) -> Weights:
    """Returns how often each resample has each model and canary; the first line is the sample itself."""
    models, canaries = shape
    pairs = models // 2
    if models % 2 or pairs < 2 or canaries < 2:
        raise EvidenceError(f"a dose curve needs two complementary pairs of models and two canaries, got {shape}")
    rng = np.random.default_rng(seed)
    by_pair, by_canary = (
        np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), resamples)]) for n in (pairs, canaries)
    )
    return np.repeat(by_pair, 2, axis=1), by_canary


def _ends(draws: Float[Array, " resamples"], level: Level, clusters: int) -> tuple[float, Array, Array]:
    """Returns the estimate, which is the first draw, and the expanded percentile interval of the others."""
    inner = expanded(level, clusters)
    low, high = np.nanquantile(draws[1:], [(1 - inner) / 2, (1 + inner) / 2])
    return float(draws[0]), np.asarray(low), np.asarray(high)


def _mean(
    values: Float[Array, "models canaries"],
    at: Bool[Array, "models canaries"],
    weights: Weights,
    level: Level,
    most: float,
) -> tuple[float, Array, Array]:
    """Returns the mean of values in [0, most] over some cells, with its interval.

    Where all values are equal, or there is one cluster, resampling would promise certainty: see `without_variation`.
    """
    by_model, by_canary = weights
    held, total = (((by_model @ cells) * by_canary).sum(axis=1) for cells in (at.astype(float), at * values))
    draws = np.divide(total, held, out=np.full(len(held), np.nan), where=held > 0)
    clusters = clusters_of(at)
    mean, low, high = _ends(draws, level, max(clusters, 2))
    if clusters < 2 or np.ptp(values[at]) == 0:
        low, high = without_variation(mean, clusters, level, most=most)
    return mean, low, high


def _slopes(
    y: Float[Array, "models canaries"], x: Float[Array, "models canaries"], weights: Weights
) -> Float[Array, " resamples"]:
    """Returns the least-squares slope of y on x with an effect of every model and canary, in each resample.

    The weights are products, so that taking both means out and the grand mean back in removes both effects exactly.
    """
    by_model, by_canary = weights
    models, canaries = x.shape

    def product(u: Float[Array, "models canaries"], v: Float[Array, "models canaries"]) -> Float[Array, " resamples"]:
        columns_u, columns_v = by_model @ u, by_model @ v
        cells = ((by_model @ (u * v)) * by_canary).sum(axis=1)
        of_models = (by_model * (by_canary @ u.T) * (by_canary @ v.T)).sum(axis=1) / canaries
        of_canaries = (by_canary * columns_u * columns_v).sum(axis=1) / models
        overall = (columns_u * by_canary).sum(axis=1) * (columns_v * by_canary).sum(axis=1) / (models * canaries)
        return cells - of_models - of_canaries + overall

    x, y = _centred(x), _centred(y)
    spread = product(x, x)
    varied = spread > 1e-9 * x.size
    if not varied[0]:
        raise EvidenceError("the doses do not vary within models and canaries, so that there is no slope to see")
    return np.divide(product(x, y), spread, out=np.full(len(spread), np.nan), where=varied)


def _centred(values: Float[Array, "models canaries"]) -> Float[Array, "models canaries"]:
    return values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
