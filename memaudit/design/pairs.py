"""A bank's signals in pair form: for each pair and example, one model with the example and one without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from memaudit.design.streams import CONTROL, stream

Array = np.ndarray


@runtime_checkable  # for the shape checks of the tests
class Pairs(Protocol):
    """A bank's signals in pair form, readable by blocks of examples.

    For every pair of models and example there is one value from the model that was trained on the example (inside)
    and one from the model that was not (outside).
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, examples, queries."""
        ...

    def block(self, examples: slice) -> tuple[Float[Array, "pairs block queries"], Float[Array, "pairs block queries"]]:
        """Return the inside and outside signals of a block of examples."""
        ...

    def take(self, pairs: Int[Array, " some"]) -> Pairs:
        """Return the same signals for some of the pairs."""
        ...


@dataclass(frozen=True, slots=True)
class PairArrays:
    """Pairs held in memory."""

    inside: Float[Array, "pairs examples queries"]
    outside: Float[Array, "pairs examples queries"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, examples, queries."""
        pairs, examples, queries = self.inside.shape
        return pairs, examples, queries

    def block(self, examples: slice) -> tuple[Float[Array, "pairs block queries"], Float[Array, "pairs block queries"]]:
        """Return the inside and outside signals of a block of examples."""
        return self.inside[:, examples], self.outside[:, examples]

    def take(self, pairs: Int[Array, " some"]) -> PairArrays:
        """Return the same signals for some of the pairs; of neighbours nothing is copied."""
        neighbours = len(pairs) and pairs[0] >= 0 and pairs[-1] < len(self.inside) and np.all(np.diff(pairs) == 1)
        some = slice(int(pairs[0]), int(pairs[-1]) + 1) if neighbours else pairs
        return PairArrays(self.inside[some], self.outside[some])


def by_pair(
    values: Shaped[Array, "models examples *queries"], members: UInt8[Array, "models examples"]
) -> tuple[Shaped[Array, "pairs examples *queries"], Shaped[Array, "pairs examples *queries"]]:
    """Return values as (inside, outside): of each pair, from the model that has and the one that lacks the example.

    Raises:
        ValueError: The models are not complementary pairs.
    """
    firsts, seconds = members[0::2], members[1::2]
    if len(members) % 2 or any(np.any((a > 0) == (b > 0)) for a, b in zip(firsts, seconds, strict=True)):
        raise ValueError("the models are not complementary pairs: an example is in both or in neither model of a pair")
    inside, outside = (np.empty((len(firsts), *values.shape[1:]), values.dtype) for _ in range(2))
    for pair, members_of_first in enumerate(firsts):  # one after another: of a large bank, nothing whole is made beside
        first = (members_of_first > 0).reshape(-1, *(1,) * (values.ndim - 2))
        inside[pair] = np.where(first, values[2 * pair], values[2 * pair + 1])
        outside[pair] = np.where(first, values[2 * pair + 1], values[2 * pair])
    return inside, outside


def coins(seed: int, pairs: int, examples: int) -> Bool[Array, "pairs examples"]:
    """Return random swaps that are independent of membership; True swaps the pair's inside and outside models."""
    return np.stack([stream(seed, CONTROL, t).integers(0, 2, examples).astype(bool) for t in range(pairs)])


def swapped(
    inside: Shaped[Array, "pairs examples *queries"],
    outside: Shaped[Array, "pairs examples *queries"],
    heads: Bool[Array, "pairs examples"],
) -> tuple[Shaped[Array, "pairs examples *queries"], Shaped[Array, "pairs examples *queries"]]:
    """Return (inside, outside) with the two swapped wherever `heads` is True: the null run."""
    heads = heads.reshape(heads.shape + (1,) * (inside.ndim - 2))
    return np.where(heads, outside, inside), np.where(heads, inside, outside)


@dataclass(frozen=True, slots=True)
class NullPairs:
    """Pairs under randomly permuted membership. A sound attack finds nothing here."""

    pairs: Pairs
    heads: Bool[Array, "pairs examples"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, examples, queries."""
        return self.pairs.shape

    def block(self, examples: slice) -> tuple[Float[Array, "pairs block queries"], Float[Array, "pairs block queries"]]:
        """Return what is called inside and outside in a block of examples."""
        return swapped(*self.pairs.block(examples), self.heads[:, examples])

    def take(self, pairs: Int[Array, " some"]) -> NullPairs:
        """Return the same for some of the pairs."""
        return NullPairs(self.pairs.take(pairs), self.heads[pairs])
