"""Which groups of a table can be shown without showing a smaller one, as the difference of others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

Array = np.ndarray


def shown_groups(
    columns: Sequence[Int[Array, " units"]], members: Bool[Array, " units"], least: int
) -> list[list[int]]:
    """Return, of each column, the numbers of the groups that can be shown; none where fewer than two are left.

    A group is hidden if it has fewer than `least` members or non-members. Totals are known, so a single hidden group
    would be the rest: as many of the smallest groups are hidden as it takes for all that is hidden to have `least` of
    both, and to be two groups or more. Of two groups of different columns, one inside the other, the smaller is hidden
    if the difference has fewer than `least`.

    Args:
        columns: The number of each unit's group, from 0.
        members: Which units are members; rates are of members and of non-members.
        least: The size of the smallest group, of either kind.

    Source: Hundepool et al. 2012, Statistical Disclosure Control, chapter 4: threshold rule and secondary suppression.
    """
    hidden: list[set[int]] = [set() for _ in columns]
    sizes = [_sizes(column, members) for column in columns]
    while True:
        for size, own in zip(sizes, hidden, strict=True):
            _hide(size, own, least)
        nested = _nested(columns, hidden, members, least)
        if nested is None:
            break
        hidden[nested[0]].add(nested[1])
    left = [
        [group for group in range(size.shape[1]) if group not in own] for size, own in zip(sizes, hidden, strict=True)
    ]
    return [groups if len(groups) > 1 else [] for groups in left]


def _sizes(column: Int[Array, " units"], members: Bool[Array, " units"]) -> Int[Array, "2 groups"]:
    groups = int(column.max()) + 1
    return np.stack([np.bincount(column[side], minlength=groups) for side in (members, ~members)])


def _hide(size: Int[Array, "2 groups"], hidden: set[int], least: int) -> None:
    """Hide the groups that are too small, and as many more as hide them."""
    smaller = size.min(axis=0)
    hidden.update(np.flatnonzero(smaller < least).tolist())
    for group in np.argsort(smaller, kind="stable").tolist():
        together = size[:, sorted(hidden)].sum(axis=1)
        if not hidden or (len(hidden) > 1 and together.min() >= least):
            return
        hidden.add(group)


def _nested(
    columns: Sequence[Int[Array, " units"]], hidden: list[set[int]], members: Bool[Array, " units"], least: int
) -> tuple[int, int] | None:
    """Return the (column, group) that is all of a shown group of another column but a few; None if there is none."""
    for inner, column in enumerate(columns):
        for outer, other in enumerate(columns):
            if inner == outer:
                continue
            for side in (members, ~members):
                table = np.zeros((int(column.max()) + 1, int(other.max()) + 1), np.int64)
                np.add.at(table, (column[side], other[side]), 1)
                small, large = table.sum(axis=1)[:, None], table.sum(axis=0)[None]
                close = (table == small) & (small > 0) & (large > small) & (large - small < least)
                close[sorted(hidden[inner])], close[:, sorted(hidden[outer])] = False, False
                if close.any():
                    return inner, int(np.argwhere(close)[0, 0])
    return None
