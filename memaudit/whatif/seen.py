"""Recordings of a bank with what an adversary sees in place of the recorded signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from memaudit.design import Recorded, by_pair

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Seen:
    """Pairs of models that are asked through an interface: correctness and memberships are those of the bank."""

    bank: Recorded
    signal: Float[Array, "models examples"]

    @property
    def members(self) -> UInt8[Array, "models examples"]:
        """How often each model was trained on each example."""
        return self.bank.members

    @property
    def correct(self) -> Shaped[Array, "models examples"]:
        """Whether each model classifies each example correctly."""
        return self.bank.correct

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, examples, and one query."""
        models, examples = self.signal.shape
        return models // 2, examples, 1

    def block(self, examples: slice) -> tuple[Float[Array, "pairs block queries"], Float[Array, "pairs block queries"]]:
        """Return the inside and outside signals of a block of examples."""
        return by_pair(self.signal[:, examples, None], self.members[:, examples])

    def take(self, pairs: Int[Array, " some"]) -> Seen:
        """Return the same for some of the pairs."""
        models = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        return Seen(self.bank.take(pairs), self.signal[models])
