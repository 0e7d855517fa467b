"""Which model is trained on which example, and how often.

The default design is paired complementary halves: model 2t+1 is trained on exactly what model 2t is not. Pair t
depends on (seed, t) alone, so a bank of 64 models is the first half of a bank of 128, every example is inside exactly
half of the models, and leaving a *pair* out leaves every example with the same counts. Leaving one model out of a
balanced bank instead would tell the attack the answer: members would have one inside model fewer.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

Array = np.ndarray

_MEMBERS, _TRAINING, _CONTROL, _TARGET = 0, 1, 2, 4  # independent streams drawn from one seed; canaries have 3

_DRAWS = 64  # of a pair with two classes in either half; if there is one, all miss it with a probability of 1e-8


def _stream(seed: int, purpose: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, index)))


def half(seed: int, model: int, examples: int) -> UInt8[Array, " examples"]:
    """Returns how often one model of the paired design is trained on each example, 0 or 1."""
    row = _stream(seed, _MEMBERS, model // 2).integers(0, 2, examples, dtype=np.uint8)
    return 1 - row if model % 2 else row


def halves(seed: int, models: int, examples: int) -> UInt8[Array, "models examples"]:
    """Returns how often each model is trained on each example, 0 or 1, in complementary pairs.

    Raises:
        ValueError: `models` is odd or not positive.
    """
    if models < 2 or models % 2:
        raise ValueError(f"complementary pairs need an even, positive number of models, got {models}")
    return np.stack([half(seed, model, examples) for model in range(models)])


def target_half(seed: int, examples: int) -> UInt8[Array, " examples"]:
    """Returns a target's memberships, 0 or 1, drawn by fair coins that have nothing to do with those of any bank."""
    return _stream(seed, _TARGET, 0).integers(0, 2, examples, dtype=np.uint8)


def half_in_units(
    seed: int, model: int, unit_of: Int[Array, " examples"], labels: Int[Array, " examples"]
) -> UInt8[Array, " examples"]:
    """Return how often one model of the paired design is trained on each example: on all of a unit or on none.

    Where every unit has one example and both halves have two classes or more, this is `half`. A pair of which a half
    has a single class is drawn again, from the same stream: many classifiers cannot be trained on one. It leaves every
    example in exactly one model of each pair, with probability 1/2 either way. Only the examples of a class that is all
    but absent depend on each other: of two, each half has one. Where there is no other pair, the first one is kept.

    Args:
        seed: Of the bank.
        model: Its number.
        unit_of: The number of each example's unit, from 0.
        labels: The class of each example.
    """
    row = _in_units(_stream(seed, _MEMBERS, model // 2), unit_of, labels)
    return 1 - row if model % 2 else row


def target_in_units(
    seed: int, unit_of: Int[Array, " examples"], labels: Int[Array, " examples"]
) -> UInt8[Array, " examples"]:
    """Return a target's memberships, 0 or 1, drawn by the rule of `half_in_units`, independently of any bank."""
    return _in_units(_stream(seed, _TARGET, 0), unit_of, labels)


def _in_units(
    stream: np.random.Generator, unit_of: Int[Array, " examples"], labels: Int[Array, " examples"]
) -> UInt8[Array, " examples"]:
    units = int(unit_of.max()) + 1
    rows = (stream.integers(0, 2, units, dtype=np.uint8)[unit_of] for _ in range(_DRAWS))
    first = next(rows)
    return next((row for row in itertools.chain([first], rows) if not one_class(row, labels)), first)


def one_class(row: UInt8[Array, " examples"], labels: Int[Array, " examples"]) -> bool:
    """Return whether one of the halves, of what is in and what is out, has fewer than two classes."""
    return any(not len(side) or bool((side == side[0]).all()) for side in (labels[row == 0], labels[row > 0]))


def training_seed(seed: int, model: int) -> int:
    """Returns the seed of everything that is random in one model's training; depends on (seed, model) alone."""
    return int(_stream(seed, _TRAINING, model).integers(0, 2**31))


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
        """Returns the inside and outside signals of a block of examples."""
        ...

    def take(self, pairs: Int[Array, " some"]) -> Pairs:
        """Returns the same signals for some of the pairs."""
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
        """Returns the inside and outside signals of a block of examples."""
        return self.inside[:, examples], self.outside[:, examples]

    def take(self, pairs: Int[Array, " some"]) -> PairArrays:
        """Returns the same signals for some of the pairs."""
        return PairArrays(self.inside[pairs], self.outside[pairs])


def by_pair(
    values: Shaped[Array, "models examples *queries"], members: UInt8[Array, "models examples"]
) -> tuple[Shaped[Array, "pairs examples *queries"], Shaped[Array, "pairs examples *queries"]]:
    """Returns values as (inside, outside): of each pair, from the model that has and the one that lacks the example.

    Raises:
        ValueError: The models are not complementary pairs.
    """
    first = members[0::2].astype(bool)
    if len(members) % 2 or np.any(first == members[1::2].astype(bool)):
        raise ValueError("the models are not complementary pairs: an example is in both or in neither model of a pair")
    first = first.reshape(first.shape + (1,) * (values.ndim - 2))
    return np.where(first, values[0::2], values[1::2]), np.where(first, values[1::2], values[0::2])


def coins(seed: int, pairs: int, examples: int) -> Bool[Array, "pairs examples"]:
    """Returns fair coins that have nothing to do with any membership: heads = inside and outside change places."""
    return np.stack([_stream(seed, _CONTROL, t).integers(0, 2, examples) for t in range(pairs)]).astype(bool)


def swapped(
    inside: Shaped[Array, "pairs examples *queries"],
    outside: Shaped[Array, "pairs examples *queries"],
    heads: Bool[Array, "pairs examples"],
) -> tuple[Shaped[Array, "pairs examples *queries"], Shaped[Array, "pairs examples *queries"]]:
    """Returns (inside, outside) with the two exchanged wherever the coin shows heads: the null run."""
    heads = heads.reshape(heads.shape + (1,) * (inside.ndim - 2))
    return np.where(heads, outside, inside), np.where(heads, inside, outside)


ENOUGH_EXAMPLES = 10_000  # for what is measured on single models many times over


def step_of(examples: int) -> int:
    """Return the n of `EveryNth` that leaves at most 10,000 examples."""
    return -(-examples // ENOUGH_EXAMPLES)


@dataclass(frozen=True, slots=True)
class EveryNth:
    """Pairs of which every nth example is looked at: for checks that need fewer examples than there are."""

    pairs: Pairs
    step: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, examples, queries."""
        pairs, examples, queries = self.pairs.shape
        return pairs, -(-examples // self.step), queries

    def block(self, examples: slice) -> tuple[Float[Array, "pairs block queries"], Float[Array, "pairs block queries"]]:
        """Return the inside and outside signals of a block of the examples that are looked at."""
        start, stop, _ = examples.indices(self.shape[1])
        within, without = self.pairs.block(slice(start * self.step, stop * self.step))
        return within[:, :: self.step], without[:, :: self.step]

    def take(self, pairs: Int[Array, " some"]) -> EveryNth:
        """Return the same for some of the pairs."""
        return EveryNth(self.pairs.take(pairs), self.step)


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


@dataclass(frozen=True, slots=True)
class NullPairs:
    """Pairs under a membership drawn anew by coins. A sound attack finds nothing here."""

    pairs: Pairs
    heads: Bool[Array, "pairs examples"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, examples, queries."""
        return self.pairs.shape

    def block(self, examples: slice) -> tuple[Float[Array, "pairs block queries"], Float[Array, "pairs block queries"]]:
        """Returns what is called inside and outside in a block of examples."""
        return swapped(*self.pairs.block(examples), self.heads[:, examples])

    def take(self, pairs: Int[Array, " some"]) -> NullPairs:
        """Returns the same for some of the pairs."""
        return NullPairs(self.pairs.take(pairs), self.heads[pairs])
