"""The population: everything that may be in a training set, and as many examples that are held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from memaudit.errors import RecipeError, shown

Array = np.ndarray

_LABELS = 2**31
_FEWEST = 4  # examples
_ABSENT = ("nan", "None", "<NA>", "NaT", "")  # what missing values are written as
_READ_TWICE = 32  # items; a transform that flips a coin escapes once in 2³²


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Examples:
    """Inputs, labels and stable ids, row by row; also a map-style dataset of (input, label).

    `duplicates` is the number of rows that are exact copies of an earlier one. `unit_of` numbers the units, by their
    first appearance: rows of one unit are trained on together or not at all by every shadow model, and are one example
    in all results. Rows with the same input, whatever their label, and rows of the same group are one unit.

    Args:
        x: Inputs, `[examples, ...]`; kept in memory, numeric.
        y: Labels, `[examples]`: whole numbers from 0, of any type that holds them exactly, or booleans.
        ids: One stable, unique name per example. Without it, a hash of the content; exact copies are then numbered.
        groups: The person, household or document that each example belongs to, or what `near_copies(x)` returned.

    Raises:
        RecipeError: The arrays do not fit together, labels are no classes, or an id occurs twice.
    """

    x: Array
    y: Array
    ids: Array
    duplicates: int
    unit_of: Int[Array, " examples"]

    def __init__(
        self, x: Any, y: Any, ids: Iterable[Any] | None = None, *, groups: Iterable[Any] | None = None
    ) -> None:
        _require_whole(x, y)
        x, y = np.ascontiguousarray(x), np.asarray(y)  # torch takes no array that runs backwards,
        x = x.astype(x.dtype.newbyteorder("="), copy=False)  # nor one in another machine's byte order
        _require_arrays(x, y)
        inputs, hashes = _hashed(x, y)
        names = numbered(hashes) if ids is None else named(ids)
        require_ids(names, len(x))
        units = joined([inputs] if groups is None else [inputs, grouped(groups, len(x))])
        if (different := len(np.unique(units))) < _FEWEST:
            raise RecipeError(
                f"{len(y)} examples are too few to audit anything: they are only {different} different ones, as copies "
                "and the members of a group count as one"
            )
        self._set(x, y.astype(np.int64), names, len(hashes) - len(set(hashes)), units)

    def _set(self, x: Array, y: Array, ids: Array, duplicates: int, unit_of: Array) -> None:
        for name, value in zip(self.__slots__, (x, y, ids, duplicates, unit_of), strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def from_dataset(
        cls, dataset: Any, ids: Iterable[Any] | None = None, *, groups: Iterable[Any] | None = None
    ) -> Examples:
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
        return cls(x, y, ids, groups=groups)

    @classmethod
    def recorded(cls, y: Any, ids: Iterable[Any] | None = None) -> Examples:
        """Return examples whose inputs are not known: of a model of which only outputs were recorded.

        Their inputs have no features. No two of them are known to be copies. Without ids they are numbered from 0.

        Raises:
            RecipeError: Labels are no classes, or an id occurs twice.
        """
        y = np.asarray(y)
        if y.ndim != 1 or len(y) < _FEWEST:
            raise RecipeError(f"labels have shape {list(y.shape)}; give one for each example, at least {_FEWEST}")
        wrong = _no_labels(y)
        if wrong.any():
            row = int(wrong.argmax())
            raise RecipeError(f"labels must be whole numbers from 0 below 2³¹; row {row} has {y[row]!r}")
        names = np.arange(len(y)).astype(str) if ids is None else named(ids)
        require_ids(names, len(y))
        found = object.__new__(cls)
        found._set(np.empty((len(y), 0), np.float32), y.astype(np.int64), names, 0, np.arange(len(y)))
        return found

    @property
    def has_inputs(self) -> bool:
        """Whether inputs are known."""
        return self.x.size > 0

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[Array, int]:
        return self.x[row], int(self.y[row])

    @property
    def rows_by_id(self) -> dict[str, int]:
        """The row of each id."""
        return {str(name): row for row, name in enumerate(self.ids)}

    @property
    def ids_are_hashes(self) -> bool:
        """Whether ids are hashes of the content, as they are if none are given: then they name content, not places."""
        return bool(str(self.ids[0]) == _hashed(self.x[:1], self.y[:1])[1][0])

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the id and the content of every example: what a digest of it is taken of."""
        for name, x, y in zip(self.ids, self.x, self.y, strict=True):
            yield str(name), f"{x.dtype.str}{x.shape} {int(y)} ".encode() + np.ascontiguousarray(x).tobytes()

    @property
    def classes(self) -> int:
        """Number of classes: the largest label plus one."""
        return int(self.y.max()) + 1

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.unit_of.max(initial=-1)) + 1

    @property
    def representatives(self) -> Int[Array, " units"]:
        """The first row of each unit."""
        return np.unique(self.unit_of, return_index=True)[1]

    def take(self, rows: Array) -> Examples:
        """Returns the examples of some rows; a row that is taken twice gets a numbered id."""
        picked = object.__new__(Examples)
        units = np.unique(self.unit_of[rows], return_inverse=True)[1]
        picked._set(self.x[rows], self.y[rows], numbered(list(self.ids[rows])), 0, units)
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


def _hashed(x: Array, y: Array) -> tuple[list[bytes], list[str]]:
    """Return a hash of each input, and of each input with its label."""
    inputs, hashes = [], []
    for row, label in zip(x, y, strict=True):
        total = hashlib.sha256(row.tobytes())
        inputs.append(total.digest())
        total.update(str(int(label)).encode())
        hashes.append(total.hexdigest()[:16])
    return inputs, hashes


def numbered(names: Sequence[str]) -> Array:
    """Returns the names made unique: the second "a" becomes "a-2"."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return np.array(result)


def _require_whole(x: Any, y: Any) -> None:
    """Raise RecipeError for what NumPy would make another array of: a sparse matrix, or one with masked values."""
    if hasattr(x, "toarray"):
        raise RecipeError(f"inputs are a sparse {type(x).__name__}; give them as an array: x.toarray()")
    if np.ma.is_masked(x) or np.ma.is_masked(y):
        raise RecipeError("inputs or labels are masked in places; impute or drop these in examples()")


def _require_arrays(x: Array, y: Array) -> None:
    if x.ndim < 1 or y.ndim != 1 or len(x) != len(y):
        raise RecipeError(f"examples need one label per input; inputs have shape {x.shape}, labels {y.shape}")
    if len(y) < _FEWEST:
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
                "be written to a file and read back; mend it"
            )
    return np.asarray(names)


def _is_torn(name: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in name)


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
