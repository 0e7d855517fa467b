"""Variances of single examples, of which a few models say little."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Array = np.ndarray

_FLOOR = 0.01


def floored(variance: Float[Array, "..."], mean: Float[Array, "..."] | float) -> Float[Array, "..."]:
    """Return the variances of examples, none of them below 1 % of the mean over all examples.

    A few models agree on an example by chance. Its variance would then be tiny, any distance from it many standard
    deviations, and the logarithm of a variance of 0 infinite. The 1 % is a convention of this project.

    Args:
        variance: Of each example, in the square of the signal's unit.
        mean: Over all examples, broadcast against them.
    """
    return np.maximum(variance, _FLOOR * mean)
