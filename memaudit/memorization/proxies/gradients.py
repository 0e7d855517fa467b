"""How much an example pulls at the parameters, and how much its loss depends on the input."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.memorization.observations import Observations
from memaudit.memorization.proxies.error_norm import early
from memaudit.memorization.proxies.interface import Proxy

Array = np.ndarray

_COST = "one backward pass per example and look"


def _squared(seen: Observations) -> Float[Array, "models examples"]:
    return seen.over_epochs(np.square(seen["input_gradient"].astype(np.float32))) * len(seen.whole_epochs)


GRAND = Proxy(
    name="grand",
    title="GraNd",
    formula="‖∇θ loss‖₂ after a tenth of training",
    source="Paul et al. 2021, GraNd, early in training; its results at initialization were withdrawn",
    score=lambda seen: early(seen, seen["gradient"]),
    needs=("gradient", "course"),
    cost=_COST,
)
GRADIENT = Proxy(
    name="gradient",
    title="Final gradient norm",
    formula="‖∇θ loss‖₂ at the end of training",
    source="Usynin et al. 2024, section 5.1, gradients in the parameters",
    score=lambda seen: seen["gradient"][:, -1].astype(np.float64),
    needs=("gradient",),
    cost=_COST,
)
CSG = Proxy(
    name="csg",
    title="Cumulative gradient (CSG)",
    formula="sum over epochs of ‖∇x loss‖₂²",
    source="Ravikumar et al. 2025 (survey, Eq. 12)",
    score=_squared,
    needs=("input_gradient", "course"),
    cost=_COST,
)
