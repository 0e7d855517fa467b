"""Draws of training sets: complementary halves, independent draws, leave-one-out cells, and a target's."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Int, UInt8

from memaudit.design.roles import Role, everyone, with_the_rest
from memaudit.design.streams import MEMBERS, SHARES, TARGET, stream

Array = np.ndarray

_DRAWS = 64  # of a pair with two classes in either half; if there is one, all miss it with a probability of 1e-8


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
    row = stream(seed, MEMBERS, model // 2).integers(0, 2, examples, dtype=np.uint8)
    own = 1 - row if model % 2 else row
    return own if roles is None else with_the_rest(own, roles)


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
    return stream(seed, TARGET, 0).integers(0, 2, examples, dtype=np.uint8)


def target_share(
    seed: int, examples: int, share: float, roles: UInt8[Array, " examples"] | None = None
) -> UInt8[Array, " examples"]:
    """Return a target's memberships, 0 or 1: a random share of the examples, each with probability 1/2 if it is 1/2.

    Args:
        seed: Of the draw.
        examples: How many there are.
        share: Of the candidates that become members.
        roles: Of each; by default all are candidates.

    Raises:
        ValueError: The share leaves no member or no non-member among the candidates.
    """
    roles = everyone(examples) if roles is None else roles
    if share == 0.5:
        return with_the_rest(target_half(seed, examples), roles)
    candidates = np.flatnonzero(roles == Role.CANDIDATE)
    members = round(share * len(candidates)) if 0 < share < 1 else 0
    if not 0 < members < len(candidates):
        raise ValueError(f"share must be between 0 and 1 and leave at least one member and one non-member, got {share}")
    row = np.zeros(examples, np.uint8)
    row[candidates[stream(seed, TARGET, 0).permutation(len(candidates))[:members]]] = 1
    return with_the_rest(row, roles)


def independent(
    seed: int,
    model: int,
    share: float,
    roles: UInt8[Array, " units"],
    unit_of: Int[Array, " examples"],
    labels: Int[Array, " examples"],
) -> UInt8[Array, " examples"]:
    """Return how often one model is trained on each example, 0 or 1: each candidate unit with probability `share`.

    Models are drawn independently of each other, from (seed, model) alone. A training set of a single class is drawn
    again, as in `half_in_units`.

    Source: Feldman & Zhang 2020 (NeurIPS), section 2.1, with training sets of random instead of fixed size.
    """
    source = stream(seed, SHARES, model)
    draws = ((source.random(len(roles)) < share).astype(np.uint8) for _ in range(_DRAWS))
    rows = (with_the_rest(row, roles)[unit_of] for row in draws)
    first = next(rows)
    return next((row for row in itertools.chain([first], rows) if not one_class(row[None], labels)), first)


def all_but(cell: int, roles: UInt8[Array, " units"]) -> UInt8[Array, " units"]:
    """Return the memberships of a leave-one-out cell: of all units for cell 0, without candidate number `cell` else."""
    row = (roles > Role.NEVER).astype(np.uint8)
    if cell:
        row[np.flatnonzero(roles == Role.CANDIDATE)[cell - 1]] = 0
    return row


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
    return _pair(stream(seed, MEMBERS, model // 2), unit_of, labels, roles)[model % 2]


def target_in_units(
    seed: int,
    unit_of: Int[Array, " examples"],
    labels: Int[Array, " examples"],
    share: float = 0.5,
    roles: UInt8[Array, " units"] | None = None,
) -> UInt8[Array, " examples"]:
    """Return a target's memberships, 0 or 1, drawn by the rule of `half_in_units`, independently of any bank.

    With another share of the candidates than one half, so many are drawn, to the nearest whole number.
    """
    if share == 0.5:
        return _pair(stream(seed, TARGET, 0), unit_of, labels, roles)[0]
    return target_share(seed, int(unit_of.max()) + 1, share, roles)[unit_of]


def _pair(
    source: np.random.Generator,
    unit_of: Int[Array, " examples"],
    labels: Int[Array, " examples"],
    roles: UInt8[Array, " units"] | None,
) -> UInt8[Array, "2 examples"]:
    units = int(unit_of.max()) + 1
    roles = everyone(units) if roles is None else roles
    coins = (source.integers(0, 2, units, dtype=np.uint8) for _ in range(_DRAWS))
    pairs = (np.stack([with_the_rest(side, roles)[unit_of] for side in (row, 1 - row)]) for row in coins)
    first = next(pairs)
    return next((pair for pair in itertools.chain([first], pairs) if not one_class(pair, labels)), first)


def one_class(sets: UInt8[Array, "sets examples"], labels: Int[Array, " examples"]) -> bool:
    """Return whether one of some training sets has fewer than two classes."""
    return any(not len(own) or bool((own == own[0]).all()) for own in (labels[side > 0] for side in sets))
