"""The laws of extraction: how the extracted share grows with duplicates, context and the size of the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped
from scipy import stats

from memaudit.errors import EvidenceError

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class LogLinear:
    """The line share = intercept + slope · log2 x: `slope` is what is gained when x doubles, with its interval."""

    intercept: float
    slope: float
    low: float
    high: float
    r_squared: float


def log_linear(
    x: Shaped[Array, " rows"],
    extracted: Int[Array, " rows"],
    n: Int[Array, " rows"],
    groups: Shaped[Array, " rows"] | None = None,
    level: float = 0.95,
) -> LogLinear:
    """Return the least-squares line of the extracted share on log2 x, each row weighted by its texts.

    The slope's variance is the robust one, with single texts as independent units, or whole groups where they are
    given. R² is that of the shares at each distinct x, as the papers show them; 0 if all are equal.

    Args:
        x: Number of copies, tokens of context, or parameters of the model.
        extracted: How many texts of the row were extracted.
        n: How many there were.
        groups: What each row belongs to where rows are not independent: the same texts with another context, or texts
            that are near-duplicates.
        level: Coverage of the slope's interval.

    Raises:
        EvidenceError: Fewer than 3 distinct x, or than 3 independent units: any line would fit.
        ValueError: Some x is not positive, or the counts are impossible.

    Source: the three laws of Carlini et al. 2023 (ICLR); robust variance, White 1980 and, for groups, Liang & Zeger
    1986, with the small-sample factor G/(G − 1) · (N − 1)/(N − 2) and Student's t with G − 2 degrees of freedom.
    """
    if np.any(x <= 0) or np.any(n < 1) or np.any(extracted < 0) or np.any(extracted > n):
        raise ValueError(f"x must be positive and extracted be in [0, n], got x = {x}, {extracted} of {n}")
    distinct, at = np.unique(x, return_inverse=True)
    units = int(n.sum()) if groups is None else len(np.unique(groups))
    if len(distinct) < 3 or units < 3:
        raise EvidenceError(
            f"{len(distinct)} distinct x and {units} independent units; a line needs at least 3 of each"
        )
    log_x, share, texts = np.log2(x), extracted / n, int(n.sum())
    centred = log_x - np.average(log_x, weights=n)
    spread = (n * centred**2).sum()
    slope = (centred * extracted).sum() / spread
    fitted = np.average(share, weights=n) + slope * centred
    if groups is None:  # a text's squared residual is (1 − fitted)² or fitted²
        scores = (centred**2 * (extracted * (1 - fitted) ** 2 + (n - extracted) * fitted**2)).sum()
    else:
        group = np.unique(groups, return_inverse=True)[1]
        scores = (np.bincount(group, weights=centred * (extracted - n * fitted)) ** 2).sum()
    deviation = np.sqrt(scores * units / (units - 1) * (texts - 1) / (texts - 2)) / spread
    half = stats.t.ppf((1 + level) / 2, units - 2) * deviation
    weight = np.bincount(at, weights=n)
    mean = np.bincount(at, weights=extracted) / weight
    line = np.bincount(at, weights=n * fitted) / weight
    total = (weight * (mean - np.average(mean, weights=weight)) ** 2).sum()
    r_squared = 1 - (weight * (mean - line) ** 2).sum() / total if total > 0 else 0.0
    intercept = np.average(share, weights=n) - slope * np.average(log_x, weights=n)
    return LogLinear(float(intercept), float(slope), float(slope - half), float(slope + half), float(r_squared))
