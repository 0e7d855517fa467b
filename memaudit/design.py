"""Which model is trained on which example, and how often.

The default design is paired complementary halves: model 2t+1 is trained on exactly what model 2t is not. Pair t
depends on (seed, t) alone, so a bank of 64 models is the first half of a bank of 128, every example is inside exactly
half of the models, and leaving a *pair* out leaves every example with the same counts. Leaving one model out of a
balanced bank instead would tell the attack the answer: members would have one inside model fewer.

For a target whose share of members is not one half, the pairs halve the *candidates* alone: all units of the smaller
side and as many of the larger, drawn at random. The rest is in every model, or in none, so that every model's training
set is about as large as the target's.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

Array = np.ndarray

# Independent streams drawn from one seed; canaries have 3 and 10 to 15.
_MEMBERS, _TRAINING, _CONTROL, _TARGET, _CANDIDATES = 0, 1, 2, 4, 5

_TOLERANCE = 0.05  # of the share: models of training sets that differ by a tenth mostly look alike (benchmarks.shares)
_LIKELY, _POSSIBLE = 2.0, 3.3  # standard deviations of the share under random halves: probabilities of 0.05 and 0.001

_DRAWS = 64  # of a pair with two classes in either half; if there is one, all miss it with a probability of 1e-8


def _stream(seed: int, purpose: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, index)))


def half(
    seed: int, model: int, examples: int, roles: UInt8[Array, " examples"] | None = None
) -> UInt8[Array, " examples"]:
    """Return how often one model of the paired design is trained on each example, 0 or 1.

    Args:
        seed: Of the bank.
        model: Its number.
        examples: How many there are.
        roles: Of each; by default all are candidates.
    """
    row = _stream(seed, _MEMBERS, model // 2).integers(0, 2, examples, dtype=np.uint8)
    own = 1 - row if model % 2 else row
    return own if roles is None else _with_the_rest(own, roles)


def _with_the_rest(row: UInt8[Array, " units"], roles: UInt8[Array, " units"]) -> UInt8[Array, " units"]:
    """Return memberships, 0 or 1, of which those of candidates are kept; the rest is in or out by its role."""
    return np.where(roles == Role.CANDIDATE, row, (roles == Role.ALWAYS).astype(np.uint8))


def halves(seed: int, models: int, examples: int) -> UInt8[Array, "models examples"]:
    """Return how often each model is trained on each example, 0 or 1, in complementary pairs.

    Raises:
        ValueError: `models` is odd or not positive.
    """
    if models < 2 or models % 2:
        raise ValueError(f"complementary pairs need an even, positive number of models, got {models}")
    return np.stack([half(seed, model, examples) for model in range(models)])


def target_half(seed: int, examples: int) -> UInt8[Array, " examples"]:
    """Return a target's memberships, 0 or 1, each 1 with probability 1/2, independent of those of any bank."""
    return _stream(seed, _TARGET, 0).integers(0, 2, examples, dtype=np.uint8)


def target_share(seed: int, examples: int, share: float) -> UInt8[Array, " examples"]:
    """Return a target's memberships, 0 or 1: a random share of the examples, each with probability 1/2 if it is 1/2.

    Raises:
        ValueError: The share leaves no member or no non-member.
    """
    if share == 0.5:
        return target_half(seed, examples)
    members = round(share * examples) if 0 < share < 1 else 0
    if not 0 < members < examples:
        raise ValueError(f"share must be between 0 and 1 and leave at least one member and one non-member, got {share}")
    row = np.zeros(examples, np.uint8)
    row[_stream(seed, _TARGET, 0).permutation(examples)[:members]] = 1
    return row


class Role(IntEnum):
    """How a unit is used in a bank's models: in none, in one of each pair, or in every one."""

    NEVER = 0
    CANDIDATE = 1
    ALWAYS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """The role of each unit; where all are candidates, the models of a pair are trained on complementary halves."""

    roles: UInt8[Array, " units"]

    @classmethod
    def halves(cls, units: int) -> Design:
        """Return the design in which every unit is a candidate."""
        return cls(np.full(units, Role.CANDIDATE, np.uint8))

    @classmethod
    def for_members(cls, members: Bool[Array, " units"], seed: int) -> Design:
        """Return the design for a target: halves if its share of members is likely under random halves.

        Otherwise the candidates are all units of the smaller side and a random sample of the same size of the larger.
        """
        if _off_half(members) <= _LIKELY:
            return cls.halves(len(members))
        many = int(members.sum()) * 2 > len(members)
        larger = np.flatnonzero(members == many)
        roles = np.full(len(members), Role.CANDIDATE, np.uint8)
        fixed = _stream(seed, _CANDIDATES, 0).permutation(larger)[len(members) - len(larger) :]
        roles[fixed] = Role.ALWAYS if many else Role.NEVER
        return cls(roles)

    @property
    def candidates(self) -> Bool[Array, " units"]:
        """Which units are in one model of each pair: those that an audit can say something about."""
        return self.roles == Role.CANDIDATE

    @property
    def is_halves(self) -> bool:
        """Whether every unit is a candidate."""
        return bool(self.candidates.all())

    @property
    def share(self) -> float:
        """The expected share of the units in a model's training set."""
        return float(self.roles.mean() / 2)

    def count(self, role: Role) -> int:
        """Return how many units have a role."""
        return int((self.roles == role).sum())

    def misfits(self, members: Bool[Array, " units"]) -> int:
        """Return how many units are in every model and no members of a target, or in none and members."""
        return int((members & (self.roles == Role.NEVER)).sum() + (~members & (self.roles == Role.ALWAYS)).sum())

    def lines(self) -> dict[str, str]:
        """Return what a bank's fingerprint says of the design; nothing of halves."""
        if self.is_halves:
            return {}
        told = (
            f"{self.count(Role.CANDIDATE)} of {len(self.roles)} units are candidates, {self.count(Role.ALWAYS)} are in "
            f"every model, {self.count(Role.NEVER)} in none"
        )
        return {"design": told, "design.sha256": hashlib.sha256(self.roles.tobytes()).hexdigest()}


def about_half(members: Bool[Array, " units"]) -> bool:
    """Return whether an existing bank of halves suits a target, by its share of members.

    It does if that is one half, within 5 percentage points or what random halves make possible.
    """
    return bool(abs(members.mean() - 0.5) <= _TOLERANCE or _off_half(members) <= _POSSIBLE)


def _off_half(members: Bool[Array, " units"]) -> float:
    """Return how far the share of members is from one half, in standard deviations under random halves."""
    return float(abs(members.mean() - 0.5) * 2 * np.sqrt(len(members)))


def half_in_units(
    seed: int,
    model: int,
    unit_of: Int[Array, " examples"],
    labels: Int[Array, " examples"],
    roles: UInt8[Array, " units"] | None = None,
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
        roles: Of the units; by default all are candidates.
    """
    return _pair(_stream(seed, _MEMBERS, model // 2), unit_of, labels, roles)[model % 2]


def target_in_units(
    seed: int, unit_of: Int[Array, " examples"], labels: Int[Array, " examples"], share: float = 0.5
) -> UInt8[Array, " examples"]:
    """Return a target's memberships, 0 or 1, drawn by the rule of `half_in_units`, independently of any bank.

    With another share than one half, so many units are drawn, to the nearest whole number.
    """
    if share == 0.5:
        return _pair(_stream(seed, _TARGET, 0), unit_of, labels, None)[0]
    return target_share(seed, int(unit_of.max()) + 1, share)[unit_of]


def _pair(
    stream: np.random.Generator,
    unit_of: Int[Array, " examples"],
    labels: Int[Array, " examples"],
    roles: UInt8[Array, " units"] | None,
) -> UInt8[Array, "2 examples"]:
    units = int(unit_of.max()) + 1
    roles = Design.halves(units).roles if roles is None else roles
    coins = (stream.integers(0, 2, units, dtype=np.uint8) for _ in range(_DRAWS))
    pairs = (np.stack([_with_the_rest(side, roles)[unit_of] for side in (row, 1 - row)]) for row in coins)
    first = next(pairs)
    return next((pair for pair in itertools.chain([first], pairs) if not one_class(pair, labels)), first)


def one_class(pair: UInt8[Array, "2 examples"], labels: Int[Array, " examples"]) -> bool:
    """Return whether one of the two training sets of a pair has fewer than two classes."""
    return any(not len(own) or bool((own == own[0]).all()) for own in (labels[side > 0] for side in pair))


def training_seed(seed: int, model: int) -> int:
    """Return the seed of everything that is random in one model's training; depends on (seed, model) alone."""
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
        """Return the same signals for some of the pairs."""
        return PairArrays(self.inside[pairs], self.outside[pairs])


def by_pair(
    values: Shaped[Array, "models examples *queries"], members: UInt8[Array, "models examples"]
) -> tuple[Shaped[Array, "pairs examples *queries"], Shaped[Array, "pairs examples *queries"]]:
    """Return values as (inside, outside): of each pair, from the model that has and the one that lacks the example.

    Raises:
        ValueError: The models are not complementary pairs.
    """
    first = members[0::2].astype(bool)
    if len(members) % 2 or np.any(first == members[1::2].astype(bool)):
        raise ValueError("the models are not complementary pairs: an example is in both or in neither model of a pair")
    first = first.reshape(first.shape + (1,) * (values.ndim - 2))
    return np.where(first, values[0::2], values[1::2]), np.where(first, values[1::2], values[0::2])


def coins(seed: int, pairs: int, examples: int) -> Bool[Array, "pairs examples"]:
    """Return random swaps that are independent of membership; True swaps the pair's inside and outside models."""
    return np.stack([_stream(seed, _CONTROL, t).integers(0, 2, examples) for t in range(pairs)]).astype(bool)


def swapped(
    inside: Shaped[Array, "pairs examples *queries"],
    outside: Shaped[Array, "pairs examples *queries"],
    heads: Bool[Array, "pairs examples"],
) -> tuple[Shaped[Array, "pairs examples *queries"], Shaped[Array, "pairs examples *queries"]]:
    """Return (inside, outside) with the two swapped wherever `heads` is True: the null run."""
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
