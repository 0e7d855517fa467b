"""The variance of an estimate over two crossed samples, such as pairs of models and canaries."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Array = np.ndarray


def crossed_variance(
    value: float,
    without_row: Float[Array, " rows"],
    without_column: Float[Array, " columns"],
    without_cell: Float[Array, " cells"],
) -> tuple[float, float]:
    """Return (variance, degrees of freedom) of an estimate from cells whose rows and columns are both random.

    Noise of single cells is in all three jackknife variances: of rows, of columns, of cells. Rows and columns add only
    what they have beyond it. The bootstrap of rows and columns alike counts that noise three times. Effects of rows and
    columns are also in the variance of cells, so a complete table has up to their sum over the number of cells less.

    Args:
        value: The estimate.
        without_row: The estimate without each of the rows, at least 2.
        without_column: The estimate without each of the columns, at least 2.
        without_cell: The estimate without each of the cells.

    Source: Cameron, Gelbach & Miller 2011 (Journal of Business & Economic Statistics 29:238), the two-way variance;
    Efron & Stein 1981 for the jackknife; Satterthwaite 1946 for the degrees of freedom.
    """
    jackknifed = (without_row, without_column, without_cell)
    rows, columns, cells = (float((len(w) - 1) / len(w) * ((w - value) ** 2).sum()) for w in jackknifed)
    variance = cells + max(0.0, rows - cells) + max(0.0, columns - cells)
    uncertainty = rows**2 / (len(without_row) - 1) + columns**2 / (len(without_column) - 1)
    return variance, variance**2 / uncertainty if uncertainty > 0 else np.inf
