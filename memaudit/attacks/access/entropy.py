"""Modified entropy of the confidences, with a threshold for each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.attacks.access.columns import reduced_pairs, reduced_target
from memaudit.design import Pairs
from memaudit.types import Level

Array = np.ndarray

_LEAST = 1e-30  # nats


def modified_entropy(columns: Float[Array, "... columns"]) -> Float[Array, "..."]:
    """Return −(1 − p_y) log p_y − Σ p_c log(1 − p_c) in nats from log-probabilities, the label's in column 0.

    Source: Song & Mittal 2021 (USENIX Security), Equation 8.
    """
    p = np.exp(columns)
    rest = np.clip(1 - p, np.finfo(float).tiny, 1)
    rest[..., 0] = np.minimum(rest[..., 0], np.maximum(p[..., 1:].sum(axis=-1), np.finfo(float).tiny))
    return np.asarray(-rest[..., 0] * columns[..., 0] - (p[..., 1:] * np.log(rest[..., 1:])).sum(axis=-1))


@dataclass(frozen=True, slots=True)
class ConfidenceEntropy:
    """A low modified entropy is member-like; the score is minus its logarithm."""

    name: str = "confidence-entropy"
    source: str = "Song & Mittal 2021 (USENIX Security), section 4, modified entropy"
    level: Level = Level.CONFIDENCES
    view: str = "confidences"

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return −log of the modified entropy of a target."""
        return reduced_target(_score, target)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) of every bank model."""
        return reduced_pairs(_score, pairs)


def _score(columns: Array, block: slice) -> Array:
    return np.asarray(-np.log(np.maximum(modified_entropy(columns), _LEAST)))
