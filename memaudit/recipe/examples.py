"""The population: everything that may be in a training set, and as many examples that are held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memaudit.errors import RecipeError, shown

Array = np.ndarray

_LABELS = 2**31
_READ_TWICE = 32  # items; a transform that flips a coin escapes once in 2³²


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Examples:
    """Inputs, labels and stable ids, row by row; also a map-style dataset of (input, label).

    `duplicates` is the number of rows that are exact copies of an earlier one.

    Args:
        x: Inputs, `[examples, ...]`; kept in memory, numeric.
        y: Labels, `[examples]`: whole numbers from 0, of any type that holds them exactly, or booleans.
        ids: One stable, unique name per example. Without it, a hash of the content; exact copies are then numbered.

    Raises:
        RecipeError: The arrays do not fit together, labels are no classes, or an id occurs twice.
    """

    x: Array
    y: Array
    ids: Array
    duplicates: int

    def __init__(self, x: Any, y: Any, ids: Iterable[Any] | None = None) -> None:
        x, y = np.ascontiguousarray(x), np.asarray(y)  # torch takes no array that runs backwards,
        x = x.astype(x.dtype.newbyteorder("="), copy=False)  # nor one in another machine's byte order
        _require_arrays(x, y)
        hashes = [_content_hash(row, label) for row, label in zip(x, y, strict=True)]
        names = numbered(hashes) if ids is None else np.asarray([str(i) for i in ids])
        require_ids(names, len(x))
        self._set(x, y.astype(np.int64), names, len(hashes) - len(set(hashes)))

    def _set(self, x: Array, y: Array, ids: Array, duplicates: int) -> None:
        for name, value in zip(self.__slots__, (x, y, ids, duplicates), strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def from_dataset(cls, dataset: Any, ids: Iterable[Any] | None = None) -> Examples:
        """Returns the examples of a map-style dataset of (input, label): torch's, torchvision's, or a list of pairs.

        Every item is read once, now. A dataset whose transform is random would be frozen at one draw: it is refused.

        Raises:
            RecipeError: Reading an item twice gives two different inputs, or items are no (input, label) pairs.
        """
        try:
            x, y = _arrays([dataset[i] for i in range(len(dataset))])
            again = _arrays([dataset[i] for i in range(min(_READ_TWICE, len(y)))])
        except (TypeError, ValueError, LookupError, RuntimeError) as error:
            raise RecipeError(
                f"the dataset does not yield (input, label) pairs of one shape: {shown(error)}"
            ) from error
        if not all(
            np.array_equal(a[: len(b)], b, equal_nan=b.dtype.kind == "f") for a, b in zip((x, y), again, strict=True)
        ):
            raise RecipeError(
                "the dataset's transform is random (an item differs when it is read twice); leave augmentation out of "
                "the dataset and give it to ClassifierRecipe(augment=...), where every epoch draws anew"
            )
        return cls(x, y, ids)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[Array, int]:
        return self.x[row], int(self.y[row])

    @property
    def rows_by_id(self) -> dict[str, int]:
        """The row of each id."""
        return {str(name): row for row, name in enumerate(self.ids)}

    @property
    def classes(self) -> int:
        """Number of classes: the largest label plus one."""
        return int(self.y.max()) + 1

    def take(self, rows: Array) -> Examples:
        """Returns the examples of some rows; a row that is taken twice gets a numbered id."""
        picked = object.__new__(Examples)
        picked._set(self.x[rows], self.y[rows], numbered(list(self.ids[rows])), 0)
        return picked

    def digest(self) -> str:
        """Returns a SHA-256 over inputs, labels and ids, their shapes and types."""
        total = hashlib.sha256()
        for part in (self.x, self.y):
            total.update(f"{part.dtype.str}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).data)
        total.update("\0".join(self.ids).encode())
        return total.hexdigest()


def _arrays(pairs: Sequence[tuple[Any, Any]]) -> tuple[Array, Array]:
    """Returns the inputs and labels of (input, label) pairs as they are; whether they are labels is seen later."""
    x = np.stack([np.asarray(pair[0]) for pair in pairs])
    return x, np.array([np.asarray(label).reshape(()) for _, label in pairs])


def _content_hash(x: Array, y: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(x).tobytes() + str(int(y)).encode()).hexdigest()[:16]


def numbered(names: Sequence[str]) -> Array:
    """Returns the names made unique: the second "a" becomes "a-2"."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return np.array(result)


def _require_arrays(x: Array, y: Array) -> None:
    if x.ndim < 1 or y.ndim != 1 or len(x) != len(y):
        raise RecipeError(f"examples need one label per input; inputs have shape {x.shape}, labels {y.shape}")
    if len(y) < 4:
        raise RecipeError(f"{len(y)} examples are too few to audit anything")
    if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:
        hint = "give real and imaginary part as two channels" if x.dtype.kind == "c" else "encode them in examples()"
        raise RecipeError(f"inputs must be numbers, real and of at most 64 bits; got an array of {x.dtype}; {hint}")
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))[0])
        raise RecipeError(f"inputs hold NaN or infinity, first in row {row}; impute or drop them in examples()")
    wrong = _no_labels(y)
    if wrong.any():
        row = int(wrong.argmax())
        raise RecipeError(
            f"labels must be whole numbers from 0 below 2³¹; row {row} has {y[row]!r}, of {y.dtype}; encode them"
        )
    if y.min() == y.max():
        raise RecipeError(f"all {len(y)} examples have the label {int(y[0])}; a classifier needs at least two classes")


def _no_labels(y: Array) -> Array:
    """Returns which labels are no numbers of classes."""
    if y.dtype.kind not in "biuf":
        return np.ones(len(y), bool)
    y = y.astype(np.float64) if y.dtype.kind == "f" else y
    return ~((y >= 0) & (y < _LABELS) & (y == np.floor(y)))


def require_ids(ids: Array, count: int) -> None:
    """Raises RecipeError unless there are as many ids as examples, each once."""
    if len(ids) != count:
        raise RecipeError(f"there are {count} examples but {len(ids)} ids")
    _, first_rows = np.unique(ids, return_index=True)
    if len(first_rows) < count:
        repeat = int(np.setdiff1d(np.arange(count), first_rows)[0])
        raise RecipeError(
            f"ids must be unique; row {repeat} repeats an earlier one ({count - len(first_rows)} repeats)"
        )
