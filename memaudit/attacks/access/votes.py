"""Count votes of the predicted label on changed inputs, without a reference for the single example."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.attacks.access.columns import reduced_pairs, reduced_target
from memaudit.design import Pairs
from memaudit.types import Level

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class NoiseVotes:
    """The share of noisy copies whose label is right, over all strengths; 0 where that of the example is wrong.

    Members tend to be farther from the decision boundary. Where the boundary is nearly flat, the share is a rising
    function of the distance to it.
    """

    name: str = "noise-votes"
    source: str = "Choquette-Choo et al. 2021 (ICML), section 4.3, random noise"
    level: Level = Level.LABELS
    view: str = "noise-votes"

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the share of right labels of a target."""
        return reduced_target(robustness, target)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) shares of every bank model."""
        return reduced_pairs(robustness, pairs)


def robustness(columns: Float[Array, "... columns"], block: slice) -> Float[Array, "..."]:
    """Return the mean share over the strengths, times whether the example itself is right (column 0)."""
    return np.asarray(columns[..., 0] * columns[..., 1:].mean(axis=-1))
