"""How undecided the model is, whatever the label."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.memorization.observations import Observations
from memaudit.memorization.proxies.interface import Proxy

Array = np.ndarray


def _mean(seen: Observations) -> Float[Array, "models examples"]:
    return seen.over_epochs(seen["entropy"])


def _final(seen: Observations) -> Float[Array, "models examples"]:
    return seen["entropy"][:, -1].astype(np.float64)


MEAN_ENTROPY = Proxy(
    name="entropy",
    title="Mean entropy",
    formula="mean over epochs of the entropy of the predicted distribution",
    source="Jiang et al. 2021, learning events with entropy (survey, Eq. 10)",
    score=_mean,
    needs=("entropy", "course"),
)
FINAL_ENTROPY = Proxy(
    name="final-entropy",
    title="Final entropy",
    formula="entropy of the predicted distribution at the end of training",
    source="Shannon 1948; as a score of examples: survey, section 3.4",
    score=_final,
    needs=("entropy",),
)
