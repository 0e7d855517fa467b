"""Rank correlation between two estimated quantities, and its interval."""

from __future__ import annotations

import numpy as np
import scipy
from jaxtyping import Float

Array = np.ndarray


def spearman(x: Float[Array, " n"], y: Float[Array, " n"]) -> float:
    """Return Spearman's rank correlation, ties given their mean rank; 0 if either side is constant."""
    a, b = scipy.stats.rankdata(x), scipy.stats.rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0


_EXPLAINED = 0.999  # share of a rank variance beyond which nothing is left to correlate


def partial_spearman(x: Float[Array, " n"], y: Float[Array, " n"], given: Float[Array, " n"]) -> float | None:
    """Return the rank correlation of x and y with that of `given` taken out of both; None where it explains one.

    Source: Kendall 1942, partial rank correlation: the partial correlation of the ranks.
    """
    xy, xz, yz = spearman(x, y), spearman(x, given), spearman(y, given)
    if max(xz**2, yz**2) > _EXPLAINED:
        return None
    return float((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)))


def spearman_interval(
    rho: float, n: int, without_each: Float[Array, " clusters"], level: Float[Array, " levels"] | float = 0.95
) -> tuple[Array, Array]:
    """Return an interval of a Spearman correlation whose two sides were both estimated from a bank of models.

    Two sources of chance add up on Fisher's z scale: which examples there were, var = (1 + ρ²/2)/(n − 3), and which
    models were trained, by the jackknife over whole clusters of models. Noise in the scores of single examples enters
    both, so that the interval is wider than it need be, never narrower. The quantiles are Student's, with the degrees
    of freedom that the sum of a known variance and of one from so many clusters has.

    Args:
        rho: The correlation over all examples and models.
        n: Number of examples, at least 4.
        without_each: The correlation with one cluster of models left out, for each cluster.
        level: Two-sided coverage, or several.

    Source: Bonett & Wright 2000 (Psychometrika 65:23) for examples; Efron & Stein 1981 for the jackknife; Satterthwaite
    1946 for the degrees of freedom.
    """
    if n < 4:
        raise ValueError(f"an interval needs at least 4 examples, got {n}")
    clusters = len(without_each)
    z = np.arctanh(np.clip(without_each, -1 + 1e-9, 1 - 1e-9))
    jackknife = (clusters - 1) / clusters * ((z - z.mean()) ** 2).sum()
    variance = (1 + rho**2 / 2) / (n - 3) + jackknife
    freedom = (clusters - 1) * (variance / jackknife) ** 2 if jackknife > 0 else np.inf
    half = scipy.stats.t.ppf((1 + np.asarray(level)) / 2, freedom) * np.sqrt(variance)
    centre = np.arctanh(np.clip(rho, -1 + 1e-9, 1 - 1e-9))
    return np.asarray(np.tanh(centre - half)), np.asarray(np.tanh(centre + half))
