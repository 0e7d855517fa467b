"""How sure the model becomes of the label."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.memorization.observations import Observations
from memaudit.memorization.proxies.interface import Proxy

Array = np.ndarray


def _mean(seen: Observations) -> Float[Array, "models examples"]:
    return 1 - seen.over_epochs(np.exp(-seen["loss"].astype(np.float32)))


def _final(seen: Observations) -> Float[Array, "models examples"]:
    return 1 - np.exp(-seen["loss"][:, -1].astype(np.float64))


MEAN_CONFIDENCE = Proxy(
    name="confidence",
    title="Mean confidence",
    formula="1 − mean over epochs of exp(−loss)",
    source="Jiang et al. 2021, learning events with confidence (survey, Eq. 10)",
    score=_mean,
    needs=("loss", "course"),
)
FINAL_CONFIDENCE = Proxy(
    name="final-confidence",
    title="Final confidence",
    formula="1 − exp(−loss) at the end of training",
    source="Carlini et al. 2019, prototypicality by model confidence",
    score=_final,
    needs=("loss",),
)
