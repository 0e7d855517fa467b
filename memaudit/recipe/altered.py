"""Examples of which one column of the inputs has another value: what an adversary asks who does not know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from memaudit.errors import RecipeError, hint
from memaudit.recipe.examples import Examples
from memaudit.recipe.inputs import read_inputs
from memaudit.recipe.inputs.table import missing

Array = np.ndarray

_MOST = 20  # values, each of which is a question about every record


@dataclass(frozen=True, slots=True)
class Sensitive:
    """A column of the inputs that an adversary wants to know: its values, and the number of each example's value."""

    column: str
    values: tuple[Any, ...]
    of: Int[Array, " examples"]

    def features(self, examples: Examples) -> Float[Array, "examples features"]:
        """Return the other columns as numbers."""
        x = examples.x
        if isinstance(x, np.ndarray):
            return np.delete(x, int(self.column), axis=1).astype(np.float64)
        key = _key(x, self.column)
        others = x.drop(columns=[key]) if hasattr(x, "iloc") else x.drop([key])
        return np.asarray(read_inputs(others, len(examples)).features(), np.float64)

    def asked(self, examples: Examples, value: int) -> Examples:
        """Return the examples, all with one of the values."""
        x, wanted = examples.x, self.values[value]
        if isinstance(x, np.ndarray):
            changed = x.copy()
            changed[:, int(self.column)] = wanted
        elif hasattr(x, "iloc"):
            key, changed = _key(x, self.column), x.copy()
            changed[key] = type(x[key])([wanted] * len(x), index=x.index, dtype=x[key].dtype)
        else:
            import polars

            key = _key(x, self.column)
            changed = x.with_columns(polars.lit(wanted).cast(x[key].dtype).alias(key))
        return examples.with_inputs(changed)


def sensitive(examples: Examples, column: str) -> Sensitive:
    """Return a column of a table by its name, or of an array by its number.

    Raises:
        RecipeError: There is none, it has missing values, or too many different ones to try them all.
    """
    values = _values(examples.x, column)
    if any(missing(value) for value in values):
        raise RecipeError(f"attribute {column!r}: some values are missing; fill them in, or leave these records out")
    kinds = sorted(set(values), key=lambda value: (str(type(value)), value))
    if not 2 <= len(kinds) <= _MOST:
        raise RecipeError(
            f"attribute {column!r} has {len(kinds)} different values; 2 to {_MOST} can be tried, so give it in bands"
        )
    number = {value: place for place, value in enumerate(kinds)}
    return Sensitive(column, tuple(kinds), np.array([number[value] for value in values]))


def _values(x: Any, column: str) -> list[Any]:
    if isinstance(x, np.ndarray) and x.ndim == 2:
        names: Sequence[str] = [str(place) for place in range(x.shape[1])]
        if column in names:
            return list(x[:, int(column)].tolist())
    elif hasattr(x, "columns") and not hasattr(x, "num_rows"):
        names = [str(name) for name in x.columns]
        if column in names:
            return list(x[_key(x, column)].to_list())
    else:
        raise RecipeError("attributes are inferred of a table of pandas or polars, or of an array [examples, columns]")
    raise RecipeError(f"there is no column {column!r} to infer; {hint(column, names)}")


def _key(x: Any, column: str) -> Any:
    return next(name for name in x.columns if str(name) == column)


def shown(values: Shaped[Array, " values"] | tuple[Any, ...]) -> tuple[str, ...]:
    """Return values as they are written in a table."""
    return tuple(f"{value:g}" if isinstance(value, float) else str(value).strip() for value in values)
