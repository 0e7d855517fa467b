"""Whether the columns of a network's outputs are in the order of the labels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from memaudit.errors import ModelError

Array = np.ndarray

_MOST = 2_048  # classes
_FEWEST = 5  # examples of a class
_ERRORS = 6  # standard errors: a false alarm has a probability of 1e-9


def require_order(predicted: Int[Array, " examples"], y: Int[Array, " examples"], names: tuple[str, ...] = ()) -> None:
    """Refuse outputs whose largest column is for most examples of every class that of one other class, each its own.

    The columns are then in another order. A poor model can do that by chance, so that the labels must also agree with
    these columns better than they would if they were independent of them, by 6 standard errors. Classes of which there
    are fewer than 5 examples say nothing.

    Args:
        predicted: The largest column of each example.
        y: Labels.
        names: Of the classes, if they have any.

    Raises:
        ModelError: They are; names two of the classes.
    """
    count = int(max(predicted.max(), y.max())) + 1
    if count > _MOST:
        return
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (y, predicted), 1)
    classes = np.flatnonzero(table.sum(axis=1) >= _FEWEST)
    likeliest = table[classes].argmax(axis=1)
    majority = 2 * table[classes, likeliest] > table[classes].sum(axis=1)
    moved = likeliest != classes
    one_each = len(np.unique(likeliest)) == len(classes)
    if moved.any() and majority.all() and one_each and _agreement(table[classes], likeliest) > _ERRORS:
        first = int(moved.argmax())
        one, other = int(classes[first]), int(likeliest[first])
        called = f" ({names[one]!r})" if names else ""
        raise ModelError(
            f"the model's columns are in another order than the labels: for {table[one, other]} of the "
            f"{table[one].sum()} examples of class {one}{called}, column {other} is the largest, and every class has a "
            "column of its own in this way. Return column k for label k (strings are numbered in sorted order: "
            "Examples.class_names), and larger for a likelier class: neither losses nor distances"
        )


def _agreement(table: Int[Array, "classes columns"], columns: Int[Array, " classes"]) -> float:
    """Return by how many standard errors each class goes with its column more often than by chance."""
    total = int(table.sum())
    hits = int(table[np.arange(len(columns)), columns].sum())
    chance = float((table.sum(axis=1) * table.sum(axis=0)[columns]).sum()) / total**2
    return (hits - total * chance) / max(float(np.sqrt(total * chance * (1 - chance))), 0.5)
