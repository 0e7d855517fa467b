"""A list of images or arrays that differ in size: what the user's own code puts together into batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from memaudit.errors import RecipeError
from memaudit.recipe.inputs.kind import BUCKETS, Inputs, Rows, as_rows, counted

Array = np.ndarray

_POINTS = 256  # of a row that are compared


class Objects(Inputs):
    """A list of pictures (PIL), of arrays or lists of numbers, or of dicts of these, that make no single array."""

    header = "objects "

    @classmethod
    def read(cls, x: Any, count: int) -> Self | None:
        """Return the adapter of a list whose rows differ in size; rows of one size are an array."""
        if isinstance(x, np.ndarray) and x.dtype == object and x.ndim == 1:
            x = list(x)
        if not isinstance(x, list | tuple) or not len(x) or _one_array(x):
            return None
        for row, item in enumerate(x):
            if any(part.dtype.kind not in "biuf" for _, part in _parts(item)):
                raise RecipeError(
                    f"inputs are a list, and row {row} is a {type(item).__name__}; give arrays, images, strings, or a "
                    "DataFrame"
                )
            if _names(item) != _names(x[0]):
                raise RecipeError(f"inputs are a list, and row {row} has other parts than row 0")
        return cls(list(x))

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Rows) -> list[Any]:
        """Return a list of copies of some rows."""
        from copy import deepcopy

        return [deepcopy(self.x[row]) for row in as_rows(rows, len(self.x))]

    @classmethod
    def joined(cls, parts: Sequence[Any]) -> list[Any]:
        """Return one list of all rows."""
        return [row for part in parts for row in part]

    def contents(self) -> Iterator[bytes]:
        """Yield type, shape and bytes of each row."""
        for item in self.x:
            yield b"".join(f"{k}{a.dtype.str}{a.shape} ".encode() + a.tobytes() for k, a in _parts(item))

    def features(self) -> Float[Array, "rows features"]:
        """Return for each row its size, mean and spread, and points of it at even distances; ids of tokens counted."""
        return np.stack([np.concatenate([_described(a) for _, a in _parts(item)]) for item in self.x])


def _one_array(x: list[Any] | tuple[Any, ...]) -> bool:
    if isinstance(x[0], Mapping):
        return False
    try:
        return np.asarray(x).dtype.kind in "biufc"
    except (ValueError, TypeError, RuntimeError):
        return False


def _names(item: Any) -> list[str] | None:
    return sorted(map(str, item)) if isinstance(item, Mapping) else None


def _parts(item: Any) -> list[tuple[str, Array]]:
    """Return the arrays that a row is made of, with the names that a dict has for them."""
    if isinstance(item, Mapping):
        return [(f"{name}:", np.asarray(item[name])) for name in sorted(item, key=str)]
    mode = getattr(item, "mode", "")
    return [(mode if isinstance(mode, str) else "", np.asarray(item))]


def _described(array: Array) -> Float[Array, " features"]:
    flat, found = array.ravel(), np.zeros(BUCKETS, np.float32)
    if array.ndim == 1 and array.dtype.kind in "iu":
        found = counted(flat[None])[0]
    elif len(flat):
        flat = flat.astype(np.float32)
        found[:3] = len(flat), flat.mean(), flat.std()
        found[3 : 3 + _POINTS] = flat[np.linspace(0, len(flat) - 1, _POINTS).astype(int)]
    return found
