"""Pairs of which some examples are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from memaudit.design.pairs import Pairs

Array = np.ndarray

_CELLS = 2**24  # numbers of each side that are read at once
ENOUGH_EXAMPLES = 10_000  # for what is measured on single models many times over


def step_of(examples: int) -> int:
    """Return the n of `EveryNth` that leaves at most 10,000 examples."""
    return -(-examples // ENOUGH_EXAMPLES)


@dataclass(frozen=True, slots=True)
class EveryNth:
    """Pairs of which every nth example is looked at: for checks that need fewer examples than there are.

    `first` is the first example that is looked at; of n such parts, each example is in one.
    """

    pairs: Pairs
    step: int
    first: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, examples, queries."""
        pairs, examples, queries = self.pairs.shape
        return pairs, -(-(examples - self.first) // self.step), queries

    def block(self, examples: slice) -> tuple[Float[Array, "pairs block queries"], Float[Array, "pairs block queries"]]:
        """Return the inside and outside signals of a block of the examples that are looked at."""
        pairs, count, queries = self.shape
        start, stop, _ = examples.indices(count)
        step = max(1, _CELLS // (pairs * queries * self.step))
        parts = [self._part(at, min(at + step, stop)) for at in range(start, stop, step)] or [self._part(start, start)]
        within, without = (
            np.concatenate(side, axis=1) if len(side) > 1 else side[0] for side in zip(*parts, strict=True)
        )
        return within, without

    def _part(
        self, start: int, stop: int
    ) -> tuple[Float[Array, "pairs part queries"], Float[Array, "pairs part queries"]]:
        """Return the signals of a few of them: all that are between them are read."""
        within, without = self.pairs.block(slice(start * self.step + self.first, stop * self.step))
        return within[:, :: self.step].copy(), without[:, :: self.step].copy()

    def take(self, pairs: Int[Array, " some"]) -> EveryNth:
        """Return the same for some of the pairs."""
        return EveryNth(self.pairs.take(pairs), self.step, self.first)


@runtime_checkable  # for the shape checks of the tests
class Recorded(Pairs, Protocol):
    """Pairs with what was recorded model by model."""

    @property
    def members(self) -> UInt8[Array, "models examples"]:
        """How often each model was trained on each example."""
        ...

    @property
    def correct(self) -> Shaped[Array, "models examples"]:
        """Whether each model classifies each example correctly."""
        ...

    def take(self, pairs: Int[Array, " some"]) -> Recorded:
        """Return the same for some of the pairs."""
        ...


@runtime_checkable
class Watched(Protocol):
    """Recordings of models that may have been observed while they trained."""

    def observed(self, rows: Int[Array, " rows"]) -> dict[str, Shaped[Array, "..."]]:
        """Return `epochs` `[times]` and what was seen of all models, `[models, times, rows]` by name, or nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """Recordings of which some examples are looked at: one of each unit."""

    bank: Recorded
    rows: Int[Array, " chosen"]

    @property
    def members(self) -> UInt8[Array, "models chosen"]:
        """How often each model was trained on each example that is looked at."""
        return self.bank.members[:, self.rows]

    @property
    def correct(self) -> Shaped[Array, "models chosen"]:
        """Whether each model classifies each of them correctly."""
        return self.bank.correct[:, self.rows]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, examples, queries."""
        pairs, _, queries = self.bank.shape
        return pairs, len(self.rows), queries

    def block(self, examples: slice) -> tuple[Float[Array, "pairs block queries"], Float[Array, "pairs block queries"]]:
        """Return the inside and outside signals of a block of the examples that are looked at."""
        rows = self.rows[examples]
        if not len(rows):
            return self.bank.block(slice(0, 0))
        within, without = self.bank.block(slice(int(rows[0]), int(rows[-1]) + 1))
        return within[:, rows - rows[0]], without[:, rows - rows[0]]

    def take(self, pairs: Int[Array, " some"]) -> Chosen:
        """Return the same for some of the pairs."""
        return Chosen(self.bank.take(pairs), self.rows)

    def observed(self, rows: Int[Array, " rows"]) -> dict[str, Shaped[Array, "..."]]:
        """Return what was seen of all models while they trained, of some of the examples that are looked at."""
        return self.bank.observed(self.rows[rows]) if isinstance(self.bank, Watched) else {}
