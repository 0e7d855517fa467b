"""What examples are called: ids, and the units that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from typing import Any

import numpy as np
from jaxtyping import Int

from memaudit.errors import RecipeError

Array = np.ndarray

_ABSENT = ("nan", "None", "<NA>", "NaT", "")  # what missing values are written as
_LONGEST_UNIT = 24  # letters


def grouped(groups: Iterable[Any], count: int) -> list[str]:
    """Return the names of the groups.

    Raises:
        RecipeError: There are not as many as examples.
    """
    found = [str(group) for group in _ordered(groups, "groups")]
    absent = next((name for name in _ABSENT if found.count(name) > 1), None)
    if absent is not None:
        raise RecipeError(
            f"{found.count(absent)} rows have the group {absent!r}, as of a missing value, and would be one unit; give "
            "each example that is in no group a name of its own"
        )
    if len(found) != count:
        raise RecipeError(
            f"there are {count} examples but {len(found)} groups; give each example the name of its group"
        )
    return found


def require_unit(unit: str, groups: bool) -> None:
    """Raise RecipeError unless a name of the units is a short word or two, and there are groups that it names."""
    if unit == "examples":
        return
    if not groups:
        raise RecipeError(f"unit={unit!r} is what groups are called; say which group each example belongs to: groups=")
    if not (0 < len(unit) <= _LONGEST_UNIT and unit.replace(" ", "").isalpha()):
        raise RecipeError(f'unit={unit!r}: give a plural of at most {_LONGEST_UNIT} letters, such as "people"')


def joined(keys: Sequence[Sequence[Any]]) -> Int[Array, " rows"]:
    """Return the number of each row's unit, by first appearance: rows that share a key, of one kind or another."""
    root = list(range(len(keys[0])))

    def find(row: int) -> int:
        while root[row] != row:
            root[row] = row = root[root[row]]
        return row

    for kind in keys:
        first: dict[Any, int] = {}
        for row, key in enumerate(kind):
            a, b = find(row), find(first.setdefault(key, row))
            root[max(a, b)] = min(a, b)
    return np.unique([find(row) for row in range(len(root))], return_inverse=True)[1]


def numbered(names: Sequence[str]) -> Array:
    """Return the names made unique: the second "a" becomes "a-2"."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return np.array(result)


def elements(values: Iterable[Any]) -> list[Any]:
    """Return the elements of any collection; of a tensor, its numbers, as those of an array."""
    return list(values.detach().cpu().numpy() if hasattr(values, "detach") else values)


def _ordered(values: Iterable[Any], what: str) -> list[Any]:
    """Return the elements of what is not a set, whose order differs from one process to the next."""
    if isinstance(values, Set):
        raise RecipeError(f"{what} are a set, which has no order; give a list, one for each example")
    return elements(values)


def named(ids: Iterable[Any]) -> Array:
    """Return ids as an array of strings.

    Raises:
        RecipeError: An id cannot be written into a file and read back.
    """
    names = [str(i) for i in _ordered(ids, "ids")]
    for row, name in enumerate(names):
        if name.endswith("\0") or (not name.isprintable() and _is_torn(name)):
            raise RecipeError(
                f"the id of row {row} ends with a NUL, or holds half a character (a lone surrogate); such an id cannot "
                "be written to a file and read back; fix it"
            )
    return np.asarray(names)


def _is_torn(name: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in name)


def require_ids(ids: Array, count: int) -> None:
    """Raise RecipeError unless there are as many ids as examples, each once."""
    if len(ids) != count:
        raise RecipeError(f"there are {count} examples but {len(ids)} ids")
    _, first_rows = np.unique(ids, return_index=True)
    if len(first_rows) < count:
        repeat = int(np.setdiff1d(np.arange(count), first_rows)[0])
        raise RecipeError(
            f"ids must be unique; row {repeat} repeats an earlier one ({count - len(first_rows)} repeats)"
        )
