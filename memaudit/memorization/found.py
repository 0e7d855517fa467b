"""Which cross-influences are large, and which are beyond chance, among as many as there are pairs of examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from memaudit.memorization.influence import Influence, blocks

Array = np.ndarray

_MOST = 100_000
_ROUNDING = 1e-6  # relative, of sums in single precision


@dataclass(frozen=True, slots=True)
class Strongest:
    """The largest influences: on each measured example, and of each training example; strongest first."""

    influencers: Int[Array, "k measured"]
    on: Float[Array, "k measured"]
    influenced: Int[Array, "k training"]
    of: Float[Array, "k training"]


def strongest(influence: Influence, k: int = 5, own: bool = True) -> Strongest:
    """Return the k training examples with the largest influence on each measured example, and the other way round.

    The largest of many estimates is too large by what chance added to it: `beyond_chance` says which are more than
    that, and `memorization.tail` measures them on other models.

    Args:
        influence: The influences.
        k: How many, at most the number of examples.
        own: Whether training and measured examples are the same; the influence of an example on itself is left out.
    """
    _, training, measured = influence.shape
    kept = np.empty((k, measured), np.int64), np.empty((k, measured), np.float32)
    best = np.zeros((k, training), np.int64), np.full((k, training), -np.inf, np.float32)
    for at in blocks(influence):
        block = _without_own(influence.block(at), np.arange(at.start, at.stop), own, -np.inf)
        rows = _top(block, k)
        kept[0][:, at], kept[1][:, at] = rows, np.take_along_axis(block, rows, axis=0)
        own_rows = _top(block.T, min(k, block.shape[1]))
        places = np.concatenate([best[0], own_rows + at.start])
        values = np.concatenate([best[1], np.take_along_axis(block.T, own_rows, axis=0)])
        order = _top(values, k)
        best = np.take_along_axis(places, order, axis=0), np.take_along_axis(values, order, axis=0)
    return Strongest(*kept, *best)


@dataclass(frozen=True, slots=True)
class Found:
    """Influences that are beyond chance, the least likely first; of `tests` that were made."""

    training: Int[Array, " found"]
    measured: Int[Array, " found"]
    value: Float[Array, " found"]
    p: Float[Array, " found"]
    tests: int


def beyond_chance(influence: Influence, rate: float = 0.05, own: bool = True, most: int = _MOST) -> Found:
    """Return the influences that are not chance, with the share of false ones among them at most `rate` on average.

    The p-values hold for any number of models, and the false discovery rate however they depend on each other. The
    price is power: with few models, no influence can be told from chance among so many.

    Args:
        influence: The influences.
        rate: False discovery rate.
        own: Whether training and measured examples are the same; the influence of an example on itself is left out.
        most: How many to return at most: the least likely.

    Source: Benjamini & Yekutieli 2001 (Annals of Statistics 29:1165), Theorem 1.3.
    """
    _, training, measured = influence.shape
    tests = training * measured - (training if own else 0)
    per_rank = rate / (tests * (np.log(tests) + 0.5773 + 1 / (2 * tests)))
    most_likely = min(per_rank * most, rate)
    parts = []
    for at in blocks(influence):
        least = influence.least(at, most_likely).astype(np.float32)
        able = np.flatnonzero(influence.largest(at) * (1 + _ROUNDING) >= least)  # of the others, no sum is so large
        sums = _without_own(influence.sums(able + at.start), able + at.start, own, 0.0)
        rows, columns = np.nonzero(np.abs(sums) >= least[able])
        parts.append((rows, able[columns] + at.start, sums[rows, columns]))
    rows, columns, sums = map(np.concatenate, zip(*parts, strict=True))
    p = influence.p_values(columns, sums) if len(rows) else np.empty(0)
    order = np.argsort(p, kind="stable")
    ranks = np.arange(1, len(p) + 1)
    passed = np.flatnonzero(p[order] <= per_rank * np.minimum(ranks, most))
    order = order[: int(passed[-1]) + 1 if len(passed) else 0][:most]
    value = influence.contributions(rows[order], columns[order]).mean(axis=0) if len(order) else np.empty(0)
    return Found(rows[order], columns[order], value, p[order], tests)


def _without_own(
    block: Float[Array, "training block"], at: Int[Array, " block"], own: bool, value: float
) -> Float[Array, "training block"]:
    """Return the block with the influences of examples on themselves set to a value."""
    if own:
        block[at, np.arange(len(at))] = value
    return block


def _top(values: Shaped[Array, "n columns"], k: int) -> Int[Array, "k columns"]:
    """Return the rows of the k largest values of each column, largest first."""
    rows = np.argpartition(-values, k - 1, axis=0)[:k]
    order = np.argsort(-np.take_along_axis(values, rows, axis=0), axis=0, kind="stable")
    return np.take_along_axis(rows, order, axis=0)
