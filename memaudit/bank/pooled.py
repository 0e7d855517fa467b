"""Recordings by unit, where a unit has several records, such as a person's: the mean over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from memaudit.design import PairArrays, Recorded, Watched
from memaudit.recipe import Examples

Array = np.ndarray

_BLOCK = 4096  # examples that are read at once


@dataclass(frozen=True, slots=True)
class Pooled(PairArrays):
    """Signals of units in pair form, held in memory: what the models of each pair say of a unit's records on average.

    `correct` is the share of the records that a model classifies correctly.
    """

    members: UInt8[Array, "models units"]
    correct: Shaped[Array, "models units"]
    bank: Recorded
    examples: Examples

    @classmethod
    def of(cls, bank: Recorded, examples: Examples) -> Pooled:
        """Return the recordings of a bank by unit.

        Args:
            bank: The recordings of every example; all of a unit are in a training set, or none is.
            examples: They are, in the bank's order.
        """
        (pairs, rows, queries), averages = bank.shape, examples.averages().tocsc()
        sides = np.zeros((2, examples.units, pairs * queries))
        for start in range(0, rows, _BLOCK):
            at = slice(start, min(start + _BLOCK, rows))
            for total, values in zip(sides, bank.block(at), strict=True):
                total += averages[:, at] @ values.swapaxes(0, 1).reshape(at.stop - at.start, -1).astype(np.float64)
        inside, outside = (
            side.reshape(examples.units, pairs, queries).swapaxes(0, 1).astype(np.float32) for side in sides
        )
        correct = examples.by_unit(bank.correct.T).T
        return cls(inside, outside, bank.members[:, examples.representatives], correct, bank, examples)

    def take(self, pairs: Int[Array, " some"]) -> Pooled:
        """Return the same for some of the pairs."""
        models = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        members, correct = self.members[models], self.correct[models]
        return Pooled(self.inside[pairs], self.outside[pairs], members, correct, self.bank.take(pairs), self.examples)

    def observed(self, rows: Int[Array, " rows"]) -> dict[str, Shaped[Array, "..."]]:
        """Return what was seen of all models while they trained, of some units: the mean over their records."""
        return pooled_observations(self.bank, self.examples, rows) if isinstance(self.bank, Watched) else {}


def pooled_observations(
    bank: Watched, examples: Examples, rows: Int[Array, " rows"]
) -> dict[str, Shaped[Array, "..."]]:
    """Return what was seen of all models of a bank while they trained, of some units: the mean over their records."""
    records = np.flatnonzero(np.isin(examples.unit_of, rows))
    some, place = examples.take(records), np.searchsorted(np.unique(rows), rows)
    return {
        name: values if name == "epochs" else np.moveaxis(some.by_unit(np.moveaxis(values, 2, 0)), 0, 2)[:, :, place]
        for name, values in bank.observed(records).items()
    }
