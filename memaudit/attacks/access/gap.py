"""Is the label right? The attack that every model with a generalization gap allows, at one query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.attacks.access.columns import reduced_pairs, reduced_target
from memaudit.attacks.access.interface import RECORDED
from memaudit.design import Pairs
from memaudit.types import Level

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Gap:
    """Predict "member" where the model's label is the example's. Its accuracy is 1/2 + (train − test accuracy)/2."""

    name: str = "gap"
    source: str = "Yeom et al. 2018 (CSF), Adversary 1 for the 0-1 loss; the gap attack of Choquette-Choo et al. 2021"
    level: Level = Level.LABELS
    view: str = RECORDED

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return 1 where the label is right, else 0; of a unit with several records the mean."""
        return reduced_target(_mean, target)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) of every bank model."""
        return reduced_pairs(_mean, pairs)


def _mean(columns: Array, block: slice) -> Array:
    return np.asarray(columns.mean(axis=-1))
