"""A table with named columns, of pandas, polars or pyarrow: the user's own pipeline encodes it."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Shaped

from memaudit.errors import RecipeError
from memaudit.recipe.inputs.arrays import Arrays
from memaudit.recipe.inputs.kind import Inputs, Rows, as_rows

Array = np.ndarray

_LIBRARIES = ("pandas", "polars", "pyarrow")
_NAMES = ("DataFrame", "Table", "RecordBatch")
_KINDS = 64  # different values, at most, of which each has a column


class Table(Inputs):
    """A table. Strings, categories, dates and missing values may be in it.

    One of numbers alone, NaN among them, has the digest and the hashes of the array that it makes. `kind` is the type
    of the array of the table that the rows come from, object if it makes none.
    """

    def __init__(self, x: Any, kind: np.dtype[Any] | None = None) -> None:
        self.x = x
        self._array = None if kind is not None and kind.kind == "O" else _numbers(x, kind)
        types = "" if self._array else ", ".join(f"{name!r}: {kind}" for name, kind in zip(*_schema(x), strict=True))
        self.header = self._array.header if self._array else f"table {types} "

    @classmethod
    def read(cls, x: Any, count: int) -> Self | None:
        """Return the adapter of a table: of a copy, so that the user's code does not change it."""
        if type(x).__module__.partition(".")[0] not in _LIBRARIES or type(x).__name__ not in _NAMES:
            return None
        if not len(_schema(x)[0]):
            raise RecipeError("inputs are a table without columns")
        return cls(x.copy() if hasattr(x, "iloc") else x)

    @property
    def numeric(self) -> bool:
        """Whether all values are finite numbers, so that the table is an array with names."""
        return self._array is not None and bool(np.isfinite(self._array.x).all())

    def __len__(self) -> int:
        return int(self.x.num_rows if hasattr(self.x, "num_rows") else len(self.x))

    def take(self, rows: Rows) -> Any:
        """Return a table of some rows."""
        numbers = as_rows(rows, len(self))
        if hasattr(self.x, "iloc"):
            return self.x.iloc[numbers].copy()
        return self.x.take(numbers) if hasattr(self.x, "num_rows") else self.x[numbers]

    @classmethod
    def joined(cls, parts: Sequence[Any]) -> Any:
        """Return one table of all rows; of pandas, with a new index."""
        if len(kinds := {(type(part).__module__.partition(".")[0], type(part).__name__) for part in parts}) > 1:
            raise ValueError(f"they are tables of {' and '.join(sorted('.'.join(kind) for kind in kinds))}")
        names = _schema(parts[0])[0]
        if other := next((_schema(part)[0] for part in parts if _schema(part)[0] != names), None):
            raise ValueError(f"some have the columns {', '.join(names)}, others {', '.join(other)}")
        rows = list(parts)
        name, _ = next(iter(kinds))
        library = import_module(name)
        if name == "pyarrow":
            return library.concat_tables([library.table(part) for part in rows])
        return library.concat(rows, ignore_index=True) if name == "pandas" else library.concat(rows)

    def taken(self, rows: Rows) -> Table:
        """Return the adapter of some rows, whose contents are as they are here."""
        return Table(self.take(rows), np.dtype(object) if self._array is None else self._array.x.dtype)

    def row(self, row: int) -> dict[str, Any]:
        """Return a row by the names of its columns."""
        return {name: column[row] for name, column in zip(_schema(self.x)[0], self._columns, strict=True)}

    def contents(self) -> Iterator[bytes]:
        """Yield the values of each row."""
        if self._array is not None:
            yield from self._array.contents()
            return
        written = [[_written(value, name) for value in column] for name, column in self._named]
        for cells in zip(*written, strict=True):
            yield "\x1f".join(cells).encode("utf-8", "surrogatepass")

    def features(self) -> Shaped[Array, "rows ..."]:
        """Return numbers as they are, missing ones as the mean with a mark; of other values, a mark of the hash."""
        if self.numeric and self._array is not None:
            return self._array.x
        return np.hstack([_encoded(column) for column in self._columns])

    def update(self, total: hashlib._Hash) -> None:
        """Add columns, types and values."""
        if self._array is not None:
            self._array.update(total)
        else:
            super().update(total)

    def checksum(self) -> int:
        """Return 0: the table is a copy of the user's, and the user's code is given copies of it."""
        return 0

    @cached_property
    def _columns(self) -> list[list[Any]]:
        """The values of each column, as Python's own."""
        x = self.x
        if hasattr(x, "iloc"):
            return [x.iloc[:, place].tolist() for place in range(x.shape[1])]
        return [column.to_pylist() if hasattr(column, "to_pylist") else column.to_list() for column in _series(x)]

    @property
    def _named(self) -> Iterator[tuple[str, list[Any]]]:
        return zip(_schema(self.x)[0], self._columns, strict=True)


def _series(x: Any) -> Sequence[Any]:
    return x.columns if hasattr(x, "num_rows") else x.get_columns()


def _schema(x: Any) -> tuple[list[str], list[str]]:
    """Return the names and the types of the columns."""
    if hasattr(x, "num_rows"):
        return list(x.schema.names), [str(kind) for kind in x.schema.types]
    return [str(name) for name in x.columns], [str(kind) for kind in x.dtypes]


def _numbers(x: Any, kind: np.dtype[Any] | None) -> Arrays | None:
    """Return the array that a table of numbers makes; None for any other table."""
    if hasattr(x, "num_rows"):
        return None
    try:
        array = np.asarray(x)
    except (TypeError, ValueError):  # of columns that have no type in common
        return None
    return Arrays(np.ascontiguousarray(array, kind)) if array.dtype.kind in "biuf" else None


def missing(value: Any) -> bool:
    """Return whether a value is missing: None, NaN, NA or NaT."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _written(value: Any, column: str) -> str:
    if missing(value):
        return "missing"
    text = repr(value)
    if " at 0x" in text:
        raise RecipeError(f"inputs hold a {type(value).__name__} in the column {column!r}; give strings or numbers")
    return text


def _encoded(column: list[Any]) -> Float[Array, "rows features"]:
    """Return numbers and dates with a mark of missing ones; of other values a mark each, or the bits of a hash."""
    absent = np.array([missing(value) for value in column])
    known = [value for value in column if not missing(value)]
    if all(isinstance(value, bool | int | float) for value in known):
        return _marked([float(v) if not gone else math.nan for v, gone in zip(column, absent, strict=True)], absent)
    if all(hasattr(value, "timestamp") for value in known):
        seconds = [v.timestamp() if not gone else math.nan for v, gone in zip(column, absent, strict=True)]
        return _marked(seconds, absent)
    kinds, codes = np.unique([repr(value) for value in column], return_inverse=True)
    if len(kinds) <= _KINDS:
        return np.eye(len(kinds), dtype=np.float32)[codes]
    hashes = np.array([zlib.crc32(kind.encode("utf-8", "surrogatepass")) for kind in kinds], np.uint32)
    return (hashes[codes, None] >> np.arange(32, dtype=np.uint32) & 1).astype(np.float32)


def _marked(values: list[float], absent: Array) -> Float[Array, "rows 2"]:
    numbers = np.nan_to_num(np.array(values, np.float64), nan=np.nan, posinf=np.nan, neginf=np.nan)
    known = np.isfinite(numbers)
    numbers = np.where(known, numbers, numbers[known].mean() if known.any() else 0.0)
    return np.column_stack([numbers, absent]).astype(np.float32)
