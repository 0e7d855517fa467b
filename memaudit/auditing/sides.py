"""Members and non-members as a user has them: arrays, tables, texts, datasets, loaders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from memaudit.errors import EvidenceError, RecipeError, SettingsError
from memaudit.recipe import Examples
from memaudit.recipe.inputs import Arrays, Inputs, SeveralArrays, join, read_inputs
from memaudit.recipe.inputs.arrays import array_of, numbers
from memaudit.recipe.items import pair, read_items
from memaudit.recipe.labels import Task

Array = np.ndarray

_LEAST = 10  # members, and non-members


@dataclass(frozen=True)
class Side:
    """The members or the non-members. `units` numbers the units of `Examples`, and `task` is theirs."""

    name: str
    inputs: Inputs
    labels: list[Any]
    units: Int[Array, " examples"] | None = None
    task: Task | None = None


def read_side(data: Any, name: str) -> Side:
    """Return inputs and labels of data in any form.

    Raises:
        MemauditError: It has none of the forms, or differs when it is read a second time.
    """
    if isinstance(data, Examples):
        return _of_examples(data, name)
    if isinstance(data, tuple) and len(data) == 2:
        return _of_pair(data[0], data[1], name)
    if isinstance(data, list) and len(data) == 2 and all(map(_is_array, data)):
        return _of_pair(data[0], data[1], name)
    if hasattr(data, "dataset") and hasattr(data, "batch_size"):
        return _of_loader(data, name)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not hasattr(data, "columns"):
        x, labels = read_items(data)
        return _of_pair(x, labels, name)
    raise SettingsError(
        f"{name} are a {type(data).__name__}: give (x, y), memaudit.Examples, a map-style dataset of (input, label), "
        "or a DataLoader that does not shuffle"
    )


def _is_array(part: Any) -> bool:
    return hasattr(part, "shape") or (isinstance(part, list) and not hasattr(part[:1], "shape"))


def _of_examples(data: Examples, name: str) -> Side:
    return Side(name, data.inputs, list(data.labels), data.unit_of, data.task)


def _of_pair(x: Any, y: Any, name: str) -> Side:
    if y is None:
        raise EvidenceError(
            f"{name} have no labels: give (x, y). Of a generator, audit with a memaudit.GeneratorRecipe, which says "
            "how it is asked"
        )
    labels = y if isinstance(y, list) else list(np.asarray(y.toarray() if hasattr(y, "toarray") else array_of(y)))
    try:
        return Side(name, read_inputs(x, len(labels)), labels)
    except RecipeError as error:
        raise EvidenceError(f"{name}: {error}") from error


def _of_loader(loader: Any, name: str) -> Side:
    try:
        first, again = ([_batch(batch) for batch in loader] for _ in range(2))
    except (LookupError, TypeError, ValueError) as error:
        raise SettingsError(f"{name}: the loader does not yield batches of (inputs, labels): {error}") from error
    if not first:
        raise SettingsError(f"{name}: the loader does not yield batches of (inputs, labels)")
    one, other = (_contents(batches) for batches in (first, again))
    if one != other:
        raise EvidenceError(
            f"{name}: the loader returns other examples, or another order, when it is read a second time. Use "
            "shuffle=False, and no random transform"
        )
    inputs, labels = join([inputs for inputs, _ in first]), [label for _, some in first for label in some]
    return _of_pair(inputs, labels, name)


def _batch(batch: Any) -> tuple[Inputs, list[Any]]:
    """Return the inputs and labels of a batch, as torch collates it."""
    if not isinstance(batch, Mapping) and len(batch) != 2:
        raise LookupError(f"a batch has {len(batch)} parts")
    x, y = pair(batch, None)
    labels = list(np.asarray(array_of(y)))
    if isinstance(x, list | tuple) and all(hasattr(part, "shape") for part in x):
        return SeveralArrays(tuple(numbers(part, "inputs") for part in x)), labels
    return read_inputs(x, len(labels)), labels


def _contents(batches: list[tuple[Inputs, list[Any]]]) -> list[Any]:
    return [(list(inputs.contents()), np.asarray(labels).tolist()) for inputs, labels in batches]


def together(members: Side, others: Side, task: str | None) -> tuple[Examples, Bool[Array, " examples"]]:
    """Return all examples, and which are members.

    Raises:
        MemauditError: The inputs do not go together, an input is on both sides, or there are too few.
    """
    sides = members, others
    for side in sides:
        if len(side.labels) < _LEAST:
            raise EvidenceError(f"there are {len(side.labels)} {side.name}; an audit needs at least {_LEAST}")
    tasks = {str(each) for each in (task, members.task, others.task) if each is not None}
    if len(tasks) > 1:
        raise SettingsError(f"members and non-members are for different tasks: {' and '.join(sorted(tasks))}")
    shapes = [side.inputs.x.shape[1:] for side in sides if isinstance(side.inputs, Arrays)]
    if len(set(shapes)) > 1:
        raise EvidenceError(f"inputs of members have shape {shapes[0]}, of non-members {shapes[1]}")
    inside = np.arange(len(members.labels) + len(others.labels)) < len(members.labels)
    ids = [f"{'member' if member else 'nonmember'}-{row}" for row, member in enumerate(inside)]
    groups = [
        f"{side.name} {unit}"
        for side in sides
        for unit in (range(len(side.labels)) if side.units is None else side.units)
    ]
    x, y = join([side.inputs for side in sides]), [*members.labels, *others.labels]
    examples = Examples(x, y, ids, groups=groups, task=next(iter(tasks), None))  # type: ignore[arg-type]
    units = [np.bincount(examples.unit_of, side) > 0 for side in (inside, ~inside)]
    if both := int((units[0] & units[1]).sum()):
        raise EvidenceError(
            f"{both} inputs are among the members and among the non-members: leave them out of the non-members"
        )
    for side, of_side in zip(sides, units, strict=True):
        if of_side.sum() < _LEAST:
            raise EvidenceError(
                f"there are {int(of_side.sum())} different {side.name}; an audit needs at least {_LEAST}"
            )
    return examples, inside
