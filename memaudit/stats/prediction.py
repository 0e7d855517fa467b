"""Is a new model like those of a sample? Two-sided p-values; a small one says no."""

from __future__ import annotations

import numpy as np
import scipy
from jaxtyping import Float, Int

Array = np.ndarray


def predictive_p_value(value: float, sample: Float[Array, " models"], resolution: float = 0.0) -> float:
    """Return the two-sided p-value of one new observation against a normal sample of unknown mean and variance.

    Small when `value` would be an unusual next member of the sample. `resolution` is the least difference that counts:
    a sample of shares that all happen to be equal is not therefore without variance.

    Source: the Student-t prediction interval, Hahn & Meeker 1991, chapter 4.
    """
    n = len(sample)
    scale = max(float(np.std(sample, ddof=1)) * np.sqrt(1 + 1 / n), resolution)
    if scale == 0:
        return 1.0 if value == sample[0] else 0.0
    return float(2 * scipy.stats.t.sf(abs(value - np.mean(sample)) / scale, df=n - 1))


def predictive_share_p_value(
    hits: int, trials: int, sample_hits: Int[Array, " models"], sample_trials: Int[Array, " models"]
) -> float:
    """Return the two-sided p-value of a share in one new model against the shares of a sample of models.

    The larger of two p-values: that of a prediction interval for shares on the scale of equal variance, where no share
    scatters by less than its binomial error; and the exact one of equal shares. The first allows for models whose true
    shares differ, the second for counts so small that no scale makes them normal.

    With a sample of 8 to 64 models and 1 to 60 hits to expect, p < 0.005 comes in at most 0.5 % of the cases where true
    shares scatter between models by up to a fifth, in 1.1 % where by half (log-normal; simulated).

    Args:
        hits: Successes of the new model.
        trials: Of which they are, at least 1.
        sample_hits: Successes of each model of the sample, of which there are at least two.
        sample_trials: Of which they are.

    Source: Anscombe 1948 (Biometrika 35:246), the scale; Hahn & Meeker 1991, chapter 4, the prediction interval; Fisher
    1935, the exact test, with the smaller tail doubled.
    """
    scale = 1 / np.sqrt(4 * trials + 2)
    spread = predictive_p_value(float(_stable(hits, trials)), _stable(sample_hits, sample_trials), scale)
    others = int(sample_trials.sum())
    exact = scipy.stats.hypergeom(trials + others, hits + int(sample_hits.sum()), trials)
    return max(spread, min(1.0, 2 * float(min(exact.cdf(hits), exact.sf(hits - 1)))))


def _stable(hits: Int[Array, "..."] | int, trials: Int[Array, "..."] | int) -> Float[Array, "..."]:
    return np.asarray(np.arcsin(np.sqrt((np.asarray(hits) + 3 / 8) / (np.asarray(trials) + 3 / 4))))
