"""Scores relative to those of the same class."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray


def standardized_by_class(values: Float[Array, " examples"], y: Int[Array, " examples"]) -> Float[Array, " examples"]:
    """Return each value less the mean of its class, in standard deviations of the class; 0 where these are 0.

    Source: Agarwal et al. 2022 (CVPR), class normalization of the variance of gradients.
    """
    found = np.zeros(len(values))
    for label in np.unique(y):
        of = y == label
        spread = values[of].std()
        found[of] = (values[of] - values[of].mean()) / spread if spread > 0 else 0.0
    return found
