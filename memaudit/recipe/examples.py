"""The population: everything that may be in a training set, and as many examples that are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, Shaped
from scipy.sparse import csr_array

from memaudit.errors import RecipeError
from memaudit.recipe.identifiers import grouped, joined, named, numbered, require_ids, require_unit
from memaudit.recipe.inputs import Inputs, read_inputs
from memaudit.recipe.inputs.arrays import Arrays
from memaudit.recipe.items import read_items
from memaudit.recipe.labels import Labels, Task, label_texts, not_classes, read_labels, strata
from memaudit.recipe.subgroups import read_subgroups

Array = np.ndarray

_FEWEST = 4  # examples


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
        y: Labels, `[examples]`: whole numbers from 0, of any type that holds them exactly, booleans, or strings. A
            generator needs none.
        ids: One stable, unique name per example. Without it, a hash of the content; exact copies are then numbered.
        groups: The person, household or document that each example belongs to, or what `near_copies(x)` returned.
        unit: What groups are called in reports, in the plural, such as "people".
        task: "multilabel" for labels 0 and 1 `[examples, labels]`, "regression" for labels that are numbers to predict,
            "generation" for images that a generator is trained on.
        subgroups: Columns by name, a value for each example: leaks are compared between the groups that they make. No
            model sees them, and no fingerprint or digest covers them.

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
    subgroups: dict[str, Array]

    def __init__(
        self,
        x: Any,
        y: Any = None,
        ids: Iterable[Any] | None = None,
        *,
        groups: Iterable[Any] | None = None,
        unit: str = "examples",
        task: Literal["classification", "multilabel", "regression", "generation"] | None = None,
        subgroups: Mapping[str, Iterable[Any]] | None = None,
    ) -> None:
        if y is None:
            if task != "generation":
                raise RecipeError('there are no labels; give Examples(x, y), or task="generation" for a generator')
            y = np.zeros(len(x), np.int64)
        labels = read_labels(y, task)
        inputs = read_inputs(x, len(labels.y))
        if len(labels.y) < _FEWEST:
            raise RecipeError(f"{len(labels.y)} examples are too few to audit anything")
        contents, hashes = _hashed(inputs, labels)
        names = numbered(hashes) if ids is None else named(ids)
        require_ids(names, len(inputs))
        require_unit(unit, groups is not None)
        copies = joined([contents])
        units = copies if groups is None else joined([contents, grouped(groups, len(inputs))])
        if (different := len(np.unique(units))) < _FEWEST:
            raise RecipeError(
                f"{len(inputs)} examples are too few to audit anything: they are only {different} different ones, as "
                "copies and the members of a group count as one"
            )
        columns = read_subgroups(subgroups or {}, len(inputs))
        self._set(inputs, labels, names, len(hashes) - len(set(hashes)), units, copies, unit, columns)

    def _set(
        self,
        inputs: Inputs,
        labels: Labels,
        ids: Array,
        duplicates: int,
        unit_of: Array,
        input_of: Array,
        unit: str = "examples",
        subgroups: dict[str, Array] | None = None,
    ) -> None:
        own = {} if subgroups is None else subgroups
        values = (inputs, labels.y, ids, duplicates, unit_of, input_of, labels.names, labels.task, unit, own)
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
        subgroups: Mapping[str, Iterable[Any]] | None = None,
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
            subgroups: As for `Examples`.

        Raises:
            RecipeError: Reading an item twice gives two different inputs, or items have no label.
        """
        x, y = read_items(dataset, label)
        if y.ndim != 1 and task != "multilabel":
            raise RecipeError(
                f"the dataset does not yield (input, label) pairs: labels {y.shape} are several for an item"
            )
        return cls(x, y, ids, groups=groups, unit=unit, task=task, subgroups=subgroups)

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
        subgroups: Sequence[str] = (),
    ) -> Examples:
        """Return the examples of a table of pandas or polars: a row each, the label in one of its columns.

        Args:
            table: The table.
            label: The column of labels.
            ids: The column of ids; by default they are hashes of the content.
            groups: The column of the person or household that each example belongs to.
            unit: As for `Examples`.
            task: As for `Examples`.
            subgroups: Columns that make groups, which are compared; they stay among the inputs.

        Raises:
            RecipeError: There is no such column; or as for `Examples`.
        """
        names = [name for name in (label, ids, groups) if name is not None]
        if absent := [name for name in (*names, *subgroups) if name not in list(getattr(table, "columns", ()))]:
            raise RecipeError(f"the table has no column {absent[0]!r}; it has {', '.join(map(str, table.columns))}")
        inputs = table.drop(columns=names) if hasattr(table, "iloc") else table.drop(names)
        return cls(
            inputs,
            table[label],
            None if ids is None else table[ids],
            groups=None if groups is None else table[groups],
            unit=unit,
            task=task,
            subgroups={str(name): table[name] for name in subgroups},
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
        if self.task in (Task.CLASSIFICATION, Task.GENERATION):
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
        return picked.grouped_by({name: values[rows] for name, values in self.subgroups.items()})

    def relabelled(self, y: Array) -> Examples:
        """Return the same examples with other classes, in the same units."""
        picked = object.__new__(Examples)
        labels = self._labels._replace(y=y)
        picked._set(
            self.inputs, labels, self.ids, self.duplicates, self.unit_of, self.input_of, self.unit, self.subgroups
        )
        return picked

    def with_inputs(self, x: Any) -> Examples:
        """Return the same examples with other inputs, in the same units: what a model is asked, not what is known."""
        picked = object.__new__(Examples)
        units = self.unit_of, self.input_of
        inputs = read_inputs(x, len(self))
        picked._set(inputs, self._labels, self.ids, self.duplicates, *units, self.unit, self.subgroups)
        return picked

    def grouped_by(self, subgroups: Mapping[str, Iterable[Any]]) -> Examples:
        """Return the same examples with other subgroups.

        Raises:
            RecipeError: As for `Examples`.
        """
        picked, columns = object.__new__(Examples), read_subgroups(subgroups, len(self))
        units = self.unit_of, self.input_of
        picked._set(self.inputs, self._labels, self.ids, self.duplicates, *units, self.unit, columns)
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


def _hashed(inputs: Inputs, labels: Labels) -> tuple[list[bytes], list[str]]:
    """Return a hash of each input, and of each input with its label."""
    pairs = [_hash(content, label) for content, label in zip(inputs.contents(), label_texts(labels), strict=True)]
    return [content for content, _ in pairs], [both for _, both in pairs]


def _hash(content: bytes, label: str) -> tuple[bytes, str]:
    total = hashlib.sha256(content)
    alone = total.digest()
    total.update(label.encode())
    return alone, total.hexdigest()[:16]
