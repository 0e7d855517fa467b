"""The loss along training."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.memorization.observations import Observations
from memaudit.memorization.proxies.interface import Proxy

Array = np.ndarray


def _cumulative(seen: Observations) -> Float[Array, "models examples"]:
    return seen.over_epochs(seen["loss"]) * len(seen.whole_epochs)


def _final(seen: Observations) -> Float[Array, "models examples"]:
    return seen["loss"][:, -1].astype(np.float64)


def _interquartile(seen: Observations) -> Float[Array, "models examples"]:
    """Return the distance of the quartiles of the loss over epochs."""
    found = np.empty(seen.members.shape)
    for model, losses in enumerate(seen["loss"]):
        low, high = np.quantile(seen.weights @ losses.astype(np.float64), (0.25, 0.75), axis=0)
        found[model] = high - low
    return found


CSL = Proxy(
    name="csl",
    title="Cumulative loss (CSL)",
    formula="sum over epochs of the loss",
    source="Ravikumar et al. 2025 (survey, Eq. 12)",
    score=_cumulative,
    needs=("loss", "course"),
)
FINAL_LOSS = Proxy(
    name="final-loss",
    title="Final loss",
    formula="loss at the end of training",
    source="Yeom et al. 2018, the loss of the trained model",
    score=_final,
    needs=("loss",),
)
LT_IQR = Proxy(
    name="lt-iqr",
    title="Loss trace (LT-IQR)",
    formula="upper minus lower quartile over epochs of the loss",
    source="Pollock et al. 2024 (arXiv 2411.05743), LT-IQR",
    score=_interquartile,
    needs=("loss", "course"),
)
