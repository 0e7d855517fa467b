"""EL2N: the norm of the error of the predicted probabilities."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.memorization.observations import Observations
from memaudit.memorization.proxies.interface import Proxy

Array = np.ndarray

EARLY = 0.1  # share of training: epoch 20 of 200 in the paper


def early(seen: Observations, values: Float[Array, "models times examples"]) -> Float[Array, "models examples"]:
    """Return the recording at the look nearest to a tenth of training, never the one before training."""
    trained = np.where(seen.epochs > 0, np.abs(seen.epochs - EARLY * seen.end), np.inf)
    return values[:, int(np.argmin(trained))].astype(np.float64)


EL2N_EARLY = Proxy(
    name="el2n-early",
    title="Early EL2N",
    formula="‖p − y‖₂ after a tenth of training",
    source="Paul et al. 2021, EL2N at epoch 20 of 200",
    score=lambda seen: early(seen, seen["el2n"]),
    needs=("el2n", "course"),
)
EL2N = Proxy(
    name="el2n",
    title="Mean EL2N",
    formula="mean over epochs of ‖p − y‖₂",
    source="Paul et al. 2021, EL2N, averaged over training",
    score=lambda seen: seen.over_epochs(seen["el2n"]),
    needs=("el2n", "course"),
)
