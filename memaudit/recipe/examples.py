"""The population: everything that may be in a training set, and as many examples that are held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, Shaped
from scipy.sparse import csr_array

from memaudit.errors import RecipeError, shown
from memaudit.recipe.inputs import Inputs, read_inputs
from memaudit.recipe.inputs.arrays import Arrays, array_of
from memaudit.recipe.labels import Labels, Task, label_texts, not_classes, read_labels, strata

Array = np.ndarray

_FEWEST = 4  # examples
_LONGEST_UNIT = 24  # letters
_ABSENT = ("nan", "None", "<NA>", "NaT", "")  # what missing values are written as
_READ_TWICE = 32  # items; a transform that flips a coin escapes once in 2³²


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Examples:
    """Inputs, labels and stable ids, row by row; also a map-style dataset of (input, label).

    `duplicates` is the number of rows that are exact copies of an earlier one. `unit_of` numbers the units, by their
    first appearance: rows of one unit are trained on together or not at all by every shadow model, and are one example
    in all results. Rows with the same input, whatever their label, and rows of the same group are one unit. A unit's
    signal is the mean over its `records`: of rows with the same input, the first alone counts.
    `class_names` has the names of the classes where labels are strings: label k in `y` is the k-th of them.

    Args:
        x: Inputs: numbers `[examples, ...]`; a dict of arrays, which a network is given by name, or a tuple of arrays,
            by position; a table of pandas, polars or pyarrow; a sparse matrix; a list of strings; or a list of images
            or arrays that differ in size. Kept in memory.
        y: Labels, `[examples]`: whole numbers from 0, of any type that holds them exactly, booleans, or strings.
        ids: One stable, unique name per example. Without it, a hash of the content; exact copies are then numbered.
        groups: The person, household or document that each example belongs to, or what `near_copies(x)` returned.
        unit: What groups are called in reports, in the plural, such as "people".
        task: "multilabel" for labels 0 and 1 `[examples, labels]`, "regression" for labels that are numbers to predict.

    Raises:
        RecipeError: The arrays do not fit together, labels are no classes, or an id occurs twice.
    """

    inputs: Inputs
    y: Array
    ids: Array
    duplicates: int
    unit_of: Int[Array, " examples"]
    input_of: Int[Array, " examples"]
    class_names: tuple[str, ...]
    task: Task
    unit: str

    def __init__(
        self,
        x: Any,
        y: Any,
        ids: Iterable[Any] | None = None,
        *,
        groups: Iterable[Any] | None = None,
        unit: str = "examples",
        task: Literal["classification", "multilabel", "regression"] | None = None,
    ) -> None:
        labels = read_labels(y, task)
        inputs = read_inputs(x, len(labels.y))
        if len(labels.y) < _FEWEST:
            raise RecipeError(f"{len(labels.y)} examples are too few to audit anything")
        contents, hashes = _hashed(inputs, labels)
        names = numbered(hashes) if ids is None else named(ids)
        require_ids(names, len(inputs))
        _require_unit(unit, groups is not None)
        copies = joined([contents])
        units = copies if groups is None else joined([contents, grouped(groups, len(inputs))])
        if (different := len(np.unique(units))) < _FEWEST:
            raise RecipeError(
                f"{len(inputs)} examples are too few to audit anything: they are only {different} different ones, as "
                "copies and the members of a group count as one"
            )
        self._set(inputs, labels, names, len(hashes) - len(set(hashes)), units, copies, unit)

    def _set(
        self,
        inputs: Inputs,
        labels: Labels,
        ids: Array,
        duplicates: int,
        unit_of: Array,
        input_of: Array,
        unit: str = "examples",
    ) -> None:
        values = (inputs, labels.y, ids, duplicates, unit_of, input_of, labels.names, labels.task, unit)
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        ids: Iterable[Any] | None = None,
        *,
        groups: Iterable[Any] | None = None,
        unit: str = "examples",
        label: str | None = None,
        task: Literal["classification", "multilabel", "regression"] | None = None,
    ) -> Examples:
        """Return the examples of a map-style dataset: torch's, torchvision's, datasets', or a list of items.

        An item is (input, label), or a dict of which one entry is the label. Of the other entries a single one is the
        input; several are a dict of arrays, each of which the model is given under its name.

        Every item is read once, now. A dataset whose transform is random would be frozen at one draw: it is refused.

        Args:
            dataset: The items.
            ids: As for `Examples`.
            groups: As for `Examples`.
            unit: As for `Examples`.
            label: Which entry of a dict is the label; by default "label" or "labels".
            task: As for `Examples`.

        Raises:
            RecipeError: Reading an item twice gives two different inputs, or items have no label.
        """
        x, y = read_items(dataset, label)
        if y.ndim != 1 and task != "multilabel":
            raise RecipeError(
                f"the dataset does not yield (input, label) pairs: labels {y.shape} are several for an item"
            )
        return cls(x, y, ids, groups=groups, unit=unit, task=task)

    @classmethod
    def from_frame(
        cls,
        table: Any,
        label: str,
        *,
        ids: str | None = None,
        groups: str | None = None,
        unit: str = "examples",
        task: Literal["classification", "multilabel", "regression"] | None = None,
    ) -> Examples:
        """Return the examples of a table of pandas or polars: a row each, the label in one of its columns.

        Args:
            table: The table.
            label: The column of labels.
            ids: The column of ids; by default they are hashes of the content.
            groups: The column of the person or household that each example belongs to.
            unit: As for `Examples`.
            task: As for `Examples`.

        Raises:
            RecipeError: There is no such column; or as for `Examples`.
        """
        names = [name for name in (label, ids, groups) if name is not None]
        if absent := [name for name in names if name not in list(getattr(table, "columns", ()))]:
            raise RecipeError(f"the table has no column {absent[0]!r}; it has {', '.join(map(str, table.columns))}")
        inputs = table.drop(columns=names) if hasattr(table, "iloc") else table.drop(names)
        return cls(
            inputs,
            table[label],
            None if ids is None else table[ids],
            groups=None if groups is None else table[groups],
            unit=unit,
            task=task,
        )

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
        wrong = not_classes(y)
        if wrong.any():
            row = int(wrong.argmax())
            raise RecipeError(f"labels must be whole numbers from 0 below 2³¹; row {row} has {y[row]!r}")
        names = np.arange(len(y)).astype(str) if ids is None else named(ids)
        require_ids(names, len(y))
        found = object.__new__(cls)
        labels = Labels(y.astype(np.int64), (), Task.CLASSIFICATION)
        found._set(Arrays(np.empty((len(y), 0), np.float32)), labels, names, 0, np.arange(len(y)), np.arange(len(y)))
        return found

    @property
    def has_inputs(self) -> bool:
        """Whether inputs are known."""
        return getattr(self.x, "size", 1) > 0

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        return self.inputs.row(row), self.y[row].item() if self.y.ndim == 1 else self.y[row]

    @property
    def x(self) -> Any:
        """The inputs, in the form in which they were given."""
        return self.inputs.x

    @property
    def labels(self) -> Array:
        """The labels as they were given: strings where `class_names` has names, otherwise `y`."""
        return np.array(self.class_names)[self.y] if self.class_names else self.y

    @property
    def strata(self) -> Int[Array, " examples"]:
        """The class of each example, or the number of its combination of labels; of a regression, of its value."""
        return strata(self._labels)

    @property
    def rows_by_id(self) -> dict[str, int]:
        """The row of each id."""
        return {str(name): row for row, name in enumerate(self.ids)}

    @property
    def ids_are_hashes(self) -> bool:
        """Whether ids are hashes of the content, as they are if none are given: then they name content, not places."""
        return bool(str(self.ids[0]) == _hash(next(self.inputs.contents()), label_texts(self._labels)[0])[1])

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the id and the content of every example: what a digest of it is taken of."""
        texts = label_texts(self._labels)
        for name, content, label in zip(self.ids, self.inputs.contents(), texts, strict=True):
            yield str(name), f"{self.inputs.header} {label} ".encode() + content

    @property
    def classes(self) -> int:
        """Number of classes, the largest label plus one; of several labels, their number; of a regression, 1."""
        if self.task is Task.CLASSIFICATION:
            return int(self.y.max()) + 1
        return self.y.shape[1] if self.task is Task.MULTILABEL else 1

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.unit_of.max(initial=-1)) + 1

    @property
    def representatives(self) -> Int[Array, " units"]:
        """The first row of each unit."""
        return np.unique(self.unit_of, return_index=True)[1]

    @property
    def records(self) -> Int[Array, " records"]:
        """The rows that differ in their inputs: all that a unit's signal is the mean of."""
        return np.unique(self.input_of, return_index=True)[1]

    @property
    def pools(self) -> bool:
        """Whether a unit has several records, such as a person's."""
        return len(self.records) > self.units

    def averages(self) -> csr_array:
        """Return the matrix `[units, examples]` that takes the mean over each unit's records."""
        rows = self.records
        units = self.unit_of[rows]
        shape = (self.units, len(self))
        return csr_array((1 / np.bincount(units)[units], (units, rows)), shape)

    def by_unit(self, values: Shaped[Array, "examples ..."]) -> Shaped[Array, "units ..."]:
        """Return the mean of values over each unit's records; the values themselves where no unit has several."""
        if not self.pools:
            return values[self.representatives]
        kind = values.dtype if values.dtype.kind == "f" else np.float64
        means = self.averages() @ values.reshape(len(self), -1).astype(np.float64)
        return means.reshape(self.units, *values.shape[1:]).astype(kind)

    def take(self, rows: Array) -> Examples:
        """Return the examples of some rows; a row that is taken twice gets a numbered id."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        picked = object.__new__(Examples)
        units, copies = (np.unique(of[rows], return_inverse=True)[1] for of in (self.unit_of, self.input_of))
        labels = self._labels._replace(y=self.y[rows])
        picked._set(self.inputs.taken(rows), labels, numbered(list(self.ids[rows])), 0, units, copies, self.unit)
        return picked

    def relabelled(self, y: Array) -> Examples:
        """Return the same examples with other classes, in the same units."""
        picked = object.__new__(Examples)
        labels = self._labels._replace(y=y)
        picked._set(self.inputs, labels, self.ids, self.duplicates, self.unit_of, self.input_of, self.unit)
        return picked

    def digest(self) -> str:
        """Return a SHA-256 over inputs, labels and ids, their shapes and types."""
        total = hashlib.sha256()
        self.inputs.update(total)
        total.update(f"{self.y.dtype.str}{self.y.shape}".encode())
        total.update(np.ascontiguousarray(self.y).data)
        if self.class_names:
            total.update("\0".join(self.class_names).encode())
        total.update("\0".join(self.ids).encode())
        return total.hexdigest()

    @property
    def _labels(self) -> Labels:
        return Labels(self.y, self.class_names, self.task)


def read_items(dataset: Any, label: str | None = None) -> tuple[Any, Array]:
    """Return the inputs and labels of a map-style dataset; see `Examples.from_dataset`.

    Raises:
        RecipeError: Reading an item twice gives two different inputs, or items have no label.
    """
    try:
        x, y = collated([dataset[i] for i in range(len(dataset))], label)
        again = collated([dataset[i] for i in range(min(_READ_TWICE, len(y)))], label)
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        raise RecipeError(f"the dataset does not yield (input, label) pairs of one shape: {shown(error)}") from error
    some = len(again[1])
    one, other = read_inputs(x, len(y)), read_inputs(again[0], some)
    if not (list(islice(one.contents(), some)) == list(other.contents()) and _equal(y[:some], again[1])):
        raise RecipeError(
            "the dataset's transform is random (an item differs when it is read twice); remove augmentation from "
            "the dataset and give it to ClassifierRecipe(augment=...), which draws again in every epoch"
        )
    return x, y


def collated(items: Sequence[Any], label: str | None) -> tuple[Any, Array]:
    """Return the inputs and labels of a dataset's items as they are; whether they are labels is seen later.

    Raises:
        ValueError: Inputs that a dict names differ in shape.
        LookupError: An item is no pair, or a dict without the label.
    """
    pairs = [pair(item, label) for item in items]
    inputs, labels = [x for x, _ in pairs], np.array([np.asarray(array_of(y)) for _, y in pairs])
    labels = labels.reshape(len(pairs)) if labels.size == len(pairs) else labels
    if isinstance(inputs[0], Mapping):
        return {name: _stacked([one[name] for one in inputs], name) for name in inputs[0]}, labels
    if isinstance(inputs[0], str):
        return inputs, labels
    arrays = [np.asarray(array_of(one)) for one in inputs]
    if len({array.shape for array in arrays}) > 1:
        return inputs, labels
    return np.stack(arrays), labels


def pair(item: Any, label: str | None) -> tuple[Any, Any]:
    """Return the input and the label of an item or a batch; a dict's label is the entry named, or "label" or "labels".

    Raises:
        LookupError: A dict has no such entry.
    """
    if not isinstance(item, Mapping):
        return item[0], item[1]
    names = ("label", "labels") if label is None else (label,)
    name = next((name for name in names if name in item), None)
    if name is None:
        raise LookupError(f"an item has {', '.join(map(repr, item))}, and none is the label; name it: label=...")
    rest = {key: value for key, value in item.items() if key != name}
    return next(iter(rest.values())) if len(rest) == 1 else rest, item[name]


def _stacked(values: Sequence[Any], name: str) -> Array:
    arrays = [np.asarray(array_of(value)) for value in values]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f'{name!r} differs in length from item to item; pad it: tokenizer(..., padding="max_length")')
    return np.stack(arrays)


def _equal(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f")


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


def _require_unit(unit: str, groups: bool) -> None:
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


def _hashed(inputs: Inputs, labels: Labels) -> tuple[list[bytes], list[str]]:
    """Return a hash of each input, and of each input with its label."""
    pairs = [_hash(content, label) for content, label in zip(inputs.contents(), label_texts(labels), strict=True)]
    return [content for content, _ in pairs], [both for _, both in pairs]


def _hash(content: bytes, label: str) -> tuple[bytes, str]:
    total = hashlib.sha256(content)
    alone = total.digest()
    total.update(label.encode())
    return alone, total.hexdigest()[:16]


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
