"""Subgroups of people, by columns that the user names: who is compared with whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from memaudit.errors import RecipeError, hint
from memaudit.recipe.identifiers import elements
from memaudit.recipe.inputs.table import missing

if TYPE_CHECKING:
    from memaudit.recipe.examples import Examples

Array = np.ndarray

ABSENT = "not stated"
_MOST, _LONGEST = 50, 60  # groups of a column, characters of a name


@dataclass(frozen=True, slots=True)
class Subgroups:
    """A column that parts the units into groups: `of` is the number of each unit's group, `names` what it is called."""

    column: str
    names: tuple[str, ...]
    of: Int[Array, " units"]


def read_subgroups(given: Mapping[str, Iterable[Any]], count: int) -> dict[str, Array]:
    """Return the values of columns as strings, one for each example; a missing value is "not stated".

    Raises:
        RecipeError: A column has another length, no name, or too many different values.
    """
    return {_named(name): _read(name, elements(values), count) for name, values in given.items()}


def _named(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _LONGEST or "," in name:
        raise RecipeError(
            f"subgroups: {name!r} cannot name a column; give a text of at most {_LONGEST} characters without commas"
        )
    return name


def _read(name: str, values: Sequence[Any], count: int) -> Array:
    if len(values) != count:
        raise RecipeError(f"subgroups: the column {name!r} has {len(values)} values for {count} examples")
    texts = [ABSENT if missing(value) else _written(value) for value in values]
    if (kinds := len(set(texts))) > _MOST:
        raise RecipeError(
            f"subgroups: the column {name!r} has {kinds} different values, and groups are compared up to {_MOST}; give "
            'it in bands, such as "30-39"'
        )
    if any(len(text) > _LONGEST or not text.isprintable() for text in set(texts)):
        raise RecipeError(
            f"subgroups: the column {name!r} has values that cannot be printed, or are longer than {_LONGEST} "
            "characters; give each group a short name"
        )
    return np.array(texts)


def _written(value: Any) -> str:
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if whole else str(value).strip() or ABSENT


def subgroups_of(examples: Examples, columns: Sequence[str] | None = None) -> tuple[Subgroups, ...]:
    """Return the groups of the units of some examples.

    Args:
        examples: Whose columns they are: those of `Examples(subgroups=...)`, or of the table of inputs.
        columns: Their names; by default all of `Examples(subgroups=...)`.

    Raises:
        RecipeError: There is no such column, or a unit has several values of one.
    """
    wanted = tuple(examples.subgroups) if columns is None else tuple(dict.fromkeys(columns))
    return tuple(_of_units(examples, name, _column(examples, name)) for name in wanted)


def _column(examples: Examples, name: str) -> Array:
    if name in examples.subgroups:
        return examples.subgroups[name]
    x = examples.x
    columns = [*getattr(x, "columns", ())] if not hasattr(x, "num_rows") else list(x.schema.names)
    by_name = {str(column): column for column in columns}
    if name not in by_name:
        known = [*examples.subgroups, *by_name]
        raise RecipeError(f"there is no column {name!r} to group by; {hint(name, known) if known else _WAY_OUT}")
    values = x[by_name[name]]
    return read_subgroups({name: values.to_pylist() if hasattr(values, "to_pylist") else values}, len(examples))[name]


_WAY_OUT = "give it with Examples(..., subgroups={name: values})"


def _of_units(examples: Examples, name: str, values: Array) -> Subgroups:
    names, codes = np.unique(values, return_inverse=True)
    own = codes[examples.representatives]
    if torn := len(np.unique(examples.unit_of[codes != own[examples.unit_of]])):
        what = examples.unit if examples.unit != "examples" else "groups, or sets of copies,"
        raise RecipeError(
            f"subgroups: {torn} {what} have several values of {name!r}; give each of them one value, such as the first"
        )
    return Subgroups(name, tuple(map(str, names)), own)
