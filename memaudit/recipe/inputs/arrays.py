"""One array of numbers, or several of one length that a network is given by name or by position."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Shaped

from memaudit.errors import RecipeError
from memaudit.recipe.inputs.kind import Inputs, Rows, counted

Array = np.ndarray

_PICTURE = 3  # dimensions from which whole numbers are pixels, not ids of tokens


class Arrays(Inputs):
    """One array `[rows, ...]`. What else there may be is read as one, or refused."""

    @classmethod
    def read(cls, x: Any, count: int) -> Self:
        """Return the adapter of the array that `x` is or makes."""
        return cls(numbers(x, "inputs"))

    @property
    def header(self) -> str:  # type: ignore[override]
        """The type and shape of a row."""
        return f"{self.x.dtype.str}{self.x.shape[1:]}"

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Rows) -> Array:
        """Return a copy of some rows."""
        return np.array(self.x[rows])

    @classmethod
    def joined(cls, parts: Sequence[Any]) -> Array:
        """Return one array of all rows."""
        return np.concatenate(list(parts))

    def contents(self) -> Iterator[bytes]:
        """Yield the bytes of each row."""
        return (row.tobytes() for row in self.x)

    def features(self) -> Shaped[Array, "rows ..."]:
        """Return the array itself."""
        return self.x

    def update(self, total: hashlib._Hash) -> None:
        """Add type, shape and content of the whole array."""
        total.update(f"{self.x.dtype.str}{self.x.shape}".encode())
        total.update(np.ascontiguousarray(self.x).data)

    def checksum(self) -> int:
        """Return the checksum of the whole array."""
        return zlib.crc32(np.ascontiguousarray(self.x).data)


class SeveralArrays(Inputs):
    """Several arrays `[rows, ...]`, such as tokens and their mask: by name in a dict, or by position in a tuple."""

    def __init__(self, x: dict[str, Array] | tuple[Array, ...]) -> None:
        self.x = x
        self._parts = {str(name): Arrays(part) for name, part in _named(x)}
        self.header = str({name: part.header for name, part in self._parts.items()})

    @classmethod
    def read(cls, x: Any, count: int) -> Self | None:
        """Return the adapter of a mapping of arrays, or of a tuple of arrays with a row for each label."""
        if isinstance(x, tuple):
            several = all(getattr(part, "ndim", 0) and len(part) == count for part in x) and len(x) != count
            return cls(tuple(numbers(part, f"inputs, array {n}") for n, part in enumerate(x))) if several else None
        if not isinstance(x, Mapping):
            return None
        if not x:
            raise RecipeError("inputs are an empty dict; give an array for each argument of the model")
        arrays = {str(name): numbers(part, f"inputs, {str(name)!r},") for name, part in x.items()}
        if len({len(array) for array in arrays.values()}) > 1:
            told = ", ".join(f"{name!r} has {len(array)}" for name, array in arrays.items())
            raise RecipeError(f"the arrays of inputs have different numbers of rows: {told}")
        return cls(arrays)

    def __len__(self) -> int:
        return len(next(iter(self._parts.values())))

    def _each(self, values: Iterator[Any]) -> Any:
        return tuple(values) if isinstance(self.x, tuple) else dict(zip(self.x, values, strict=True))

    def take(self, rows: Rows) -> dict[str, Array] | tuple[Array, ...]:
        """Return a copy of some rows of every array."""
        found: dict[str, Array] | tuple[Array, ...] = self._each(part.take(rows) for part in self._parts.values())
        return found

    @classmethod
    def joined(cls, parts: Sequence[Any]) -> dict[str, Array] | tuple[Array, ...]:
        """Return the rows of every array, under its name or in its place."""
        first = parts[0]
        if any(type(part) is not type(first) or len(part) != len(first) for part in parts):
            raise ValueError("they are not the same number of arrays, in a dict or a tuple")
        if isinstance(first, tuple):
            return tuple(map(np.concatenate, zip(*parts, strict=True)))
        if other := next((part.keys() for part in parts if part.keys() != first.keys()), None):
            raise ValueError(f"some have the arrays {', '.join(first)}, others {', '.join(other)}")
        return {name: np.concatenate([part[name] for part in parts]) for name in first}

    def row(self, row: int) -> Any:
        """Return one row of every array."""
        return self._each(part.x[row] for part in self._parts.values())

    def contents(self) -> Iterator[bytes]:
        """Yield the bytes of each row, array after array; all rows have one shape."""
        return map(b"".join, zip(*(part.contents() for part in self._parts.values()), strict=True))

    def features(self) -> Shaped[Array, "rows features"]:
        """Return the arrays side by side; of tokens, how often each occurs."""
        return np.hstack([_flat(part.x) for part in self._parts.values()])

    def update(self, total: hashlib._Hash) -> None:
        """Add the name and content of every array."""
        for name, part in self._parts.items():
            total.update(f"{name} ".encode())
            part.update(total)

    def checksum(self) -> int:
        """Return the checksum of all arrays."""
        return zlib.crc32(str([part.checksum() for part in self._parts.values()]).encode())


def array_of(x: Any) -> Any:
    """Return what a tensor holds as an array, bfloat16 as single precision; anything else as it is."""
    if not hasattr(x, "detach"):
        return x
    x = x.detach().cpu()
    return (x.float() if "bfloat16" in str(x.dtype) else x).numpy()


def numbers(x: Any, what: str) -> Array:
    """Return an array of finite numbers, as a network can be given.

    Raises:
        RecipeError: It is something else.
    """
    x = array_of(x)
    if np.ma.is_masked(x):
        raise RecipeError(f"{what} are masked in places; impute or drop these in examples()")
    try:
        x = np.ascontiguousarray(x)  # torch takes no array that runs backwards,
    except ValueError as error:
        raise RecipeError(f"{what} are no array: {error}; give a list of arrays, or rows of one shape") from error
    x = x.astype(x.dtype.newbyteorder("="), copy=False)  # nor one in another machine's byte order
    if x.ndim < 1:
        raise RecipeError(f"{what} have no rows: {type(x).__name__} of shape {x.shape}")
    if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:
        hint = {
            "c": "give real and imaginary part as two channels",
            "O": "encode them in examples(), or give the DataFrame that they come from: a pipeline encodes its columns",
        }.get(x.dtype.kind, "encode them in examples()")
        raise RecipeError(f"{what} must be numbers, real and of at most 64 bits; got an array of {x.dtype}; {hint}")
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))[0])
        raise RecipeError(f"{what} hold NaN or infinity, first in row {row}; impute or drop them in examples()")
    return x


def _named(x: dict[str, Array] | tuple[Array, ...]) -> Iterator[tuple[Any, Array]]:
    return iter(x.items()) if isinstance(x, dict) else enumerate(x)


def _flat(x: Array) -> Shaped[Array, "rows features"]:
    flat = x.reshape(len(x), -1)
    if x.dtype.kind not in "iu" or x.ndim >= _PICTURE or flat.shape[1] <= 1:
        return flat.astype(np.float32)
    return counted(flat)
