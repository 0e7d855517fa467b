"""The distance to the decision boundary: members tend to be farther from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.attacks.access.columns import reduced_pairs, reduced_target
from memaudit.design import Pairs
from memaudit.types import Level

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class BoundaryDistance:
    """The Euclidean distance to the nearest input with another label that a search found; 0 where the label is wrong.

    It has one threshold for all examples.
    """

    name: str = "boundary-distance"
    source: str = "Choquette-Choo et al. 2021 (ICML), distance to the decision boundary"
    level: Level = Level.LABELS
    view: str = "boundary"

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the distance for a target."""
        return reduced_target(distance, target)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) distances of every bank model."""
        return reduced_pairs(distance, pairs)


def distance(columns: Float[Array, "... columns"], block: slice) -> Float[Array, "..."]:
    """Return the distance, in units of the inputs; of a unit with several records their mean."""
    return np.asarray(columns[..., 0])
