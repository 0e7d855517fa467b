"""What labels may be: classes under any name, several yes-or-no labels an example, or a number."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from memaudit.errors import RecipeError
from memaudit.recipe.inputs.arrays import array_of
from memaudit.recipe.inputs.table import missing

Array = np.ndarray

_LABELS = 2**31


class Task(StrEnum):
    """What a model predicts of an example: its class, which of several labels it has, or a number.

    A generator predicts nothing of it; the examples may have classes, which it is conditioned on.
    """

    CLASSIFICATION = "classification"
    MULTILABEL = "multilabel"
    REGRESSION = "regression"
    GENERATION = "generation"


class Labels(NamedTuple):
    """Labels as numbers, and the names of the classes where they were given as strings.

    `y` is int64 `[examples]`, for several labels int64 `[examples, labels]` of 0 and 1, or float64 `[examples]`.
    """

    y: Array
    names: tuple[str, ...]
    task: Task


def read_labels(y: Any, task: str | None = None) -> Labels:
    """Return labels as numbers; strings are numbered in their sorted order, as scikit-learn does.

    Args:
        y: Whole numbers from 0, booleans, strings or categories `[examples]`; for several labels 0 and 1
            `[examples, labels]`; for a regression numbers `[examples]`.
        task: "classification" by default.

    Raises:
        RecipeError: They are something else, or all the same.
    """
    if task not in (None, *Task):
        raise RecipeError(f"task={task!r}: choose one of {', '.join(repr(t.value) for t in Task)}")
    if np.ma.is_masked(y):
        raise RecipeError("inputs or labels are masked in places; impute or drop these in examples()")
    found = np.asarray(y.toarray() if hasattr(y, "toarray") else array_of(y))
    if found.dtype.kind in "UT" and isinstance(y, list | tuple):  # in which NumPy makes strings of other values, too
        found = np.array(y, dtype=object)
    match Task(task or Task.CLASSIFICATION):
        case Task.MULTILABEL:
            return Labels(_several(found), (), Task.MULTILABEL)
        case Task.REGRESSION:
            return Labels(_numbers(found), (), Task.REGRESSION)
        case Task.GENERATION:
            return Labels(*_classes(found, several=False), Task.GENERATION)
        case _:
            return Labels(*_classes(found), Task.CLASSIFICATION)


def label_texts(labels: Labels) -> list[str]:
    """Return each label as it is written into a digest."""
    if labels.task is Task.MULTILABEL:
        return [" ".join(map(str, row)) for row in labels.y.tolist()]
    if labels.task is Task.REGRESSION:
        return [repr(value) for value in labels.y.tolist()]
    return [labels.names[label] if labels.names else str(label) for label in labels.y.tolist()]


def strata(labels: Labels) -> Array:
    """Return the number of each example's class, or combination of labels; of a regression, one for each value."""
    if labels.task in (Task.CLASSIFICATION, Task.GENERATION):
        return labels.y
    return np.unique(labels.y, axis=0, return_inverse=True)[1].reshape(-1)


def _classes(y: Array, several: bool = True) -> tuple[Array, tuple[str, ...]]:
    if y.ndim == 2:
        raise RecipeError(
            f"examples need one label per input; labels {y.shape} are several. Give one-hot classes as "
            'y.argmax(axis=1); if an example can have several labels, set Examples(..., task="multilabel")'
        )
    if y.ndim != 1:
        raise RecipeError(f"examples need one label per input; labels have shape {y.shape}")
    y, names = _coded(y)
    wrong = not_classes(y)
    if wrong.any():
        row = int(wrong.argmax())
        hint = '. To predict numbers, set Examples(..., task="regression")' if y.dtype.kind == "f" else ""
        raise RecipeError(
            f"labels must be whole numbers from 0 below 2³¹; row {row} has {y[row]!r}, of {y.dtype}; encode them{hint}"
        )
    if several:
        _require_different(y, f"label {names[0]!r}" if names else f"label {int(y[0])}" if len(y) else "")
    return y.astype(np.int64), names


def _coded(y: Array) -> tuple[Array, tuple[str, ...]]:
    """Return strings as the numbers of their sorted names; other labels as they are."""
    if y.dtype.kind not in "OUT" or not len(y):
        return y, ()
    values = y.tolist()
    if (row := next((row for row, value in enumerate(values) if missing(value)), None)) is not None:
        raise RecipeError(f"labels must be whole numbers, booleans or strings; row {row} has none. Drop the row")
    if all(isinstance(value, bool | int | np.integer | np.bool_) for value in values):
        return np.array(values), ()
    kinds = sorted({type(value).__name__ for value in values})
    if not all(isinstance(value, str) for value in values):
        raise RecipeError(f"labels must be whole numbers, booleans or strings; they are {' and '.join(kinds)}")
    names, codes = np.unique(np.array(values, dtype=np.str_), return_inverse=True)
    return codes, tuple(names.tolist())


def not_classes(y: Array) -> Bool[Array, " examples"]:
    """Return which labels are no numbers of classes."""
    if y.dtype.kind not in "biuf":
        return np.ones(len(y), bool)
    y = y.astype(np.float64) if y.dtype.kind == "f" else y
    return ~((y >= 0) & (y < _LABELS) & (y == np.floor(y)))


def _several(y: Array) -> Array:
    if y.ndim != 2 or y.shape[1] < 2:
        raise RecipeError(
            f"several labels per example must be an array [examples, labels] of 0 and 1; labels have shape {y.shape}. "
            "Lists "
            "of names become one with sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)"
        )
    wrong = ~np.isin(y, (0, 1)).all(axis=1) if y.dtype.kind in "biuf" else np.ones(len(y), bool)
    if wrong.any():
        row = int(wrong.argmax())
        raise RecipeError(f"several labels an example are 0 or 1 each; row {row} has {y[row].tolist()}")
    _require_different(y, "labels")
    return y.astype(np.int64)


def _numbers(y: Array) -> Array:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "biuf":
        raise RecipeError(
            f"a regression has one number for each example; labels have shape {y.shape}, of {y.dtype}. Audit a model "
            "of several numbers one number at a time, with a train() that returns what predicts it"
        )
    y = y.astype(np.float64)
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise RecipeError(f"labels hold NaN or infinity, first in row {row}; drop these examples")
    _require_different(y, f"label {y[0]:g}" if len(y) else "")
    return y


def _require_different(y: Shaped[Array, "examples ..."], what: str) -> None:
    if len(y) and (y == y[0]).all():
        raise RecipeError(f"all {len(y)} examples have the {what}; a classifier needs at least two classes")
