"""What the inputs of examples may be. A kind of input is one class, in one file, and one entry in `KINDS`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memaudit.errors import RecipeError
from memaudit.recipe.inputs.arrays import Arrays, SeveralArrays
from memaudit.recipe.inputs.kind import Inputs
from memaudit.recipe.inputs.objects import Objects
from memaudit.recipe.inputs.sparse import Sparse
from memaudit.recipe.inputs.table import Table
from memaudit.recipe.inputs.texts import Texts

KINDS: tuple[type[Inputs], ...] = (SeveralArrays, Sparse, Table, Texts, Objects, Arrays)  # the first that reads it


def read_inputs(x: Any, count: int) -> Inputs:
    """Return the adapter of inputs, of whatever kind they are.

    Args:
        x: An array, a dict or tuple of arrays of one length, a table, a sparse matrix, texts, or a list of images or of
            arrays that differ in size.
        count: The number of labels: as many rows are expected.

    Raises:
        RecipeError: They are of no such kind, hold what no model takes, or are not as many as the labels.
    """
    found = next(inputs for kind in KINDS if (inputs := kind.read(x, count)) is not None)
    if len(found) != count:
        shape = getattr(found.x, "shape", (len(found),))
        raise RecipeError(f"examples need one label per input; inputs have shape {shape}, labels ({count},)")
    return found


def join(inputs: Sequence[Inputs]) -> Any:
    """Return the rows of several inputs, one after the other, in the form in which they were given.

    Raises:
        RecipeError: They are of different kinds, or do not go together.
    """
    kinds = dict.fromkeys(type(each) for each in inputs)
    if len(kinds) > 1:
        told = " and ".join(kind.__name__.lower() for kind in kinds)
        raise RecipeError(f"inputs are of different kinds ({told}); give all in one form")
    try:
        return next(iter(kinds)).joined([each.x for each in inputs])
    except (ValueError, TypeError) as error:
        raise RecipeError(f"inputs do not go together: {error}") from error


__all__ = ["KINDS", "Arrays", "Inputs", "Objects", "SeveralArrays", "Sparse", "Table", "Texts", "join", "read_inputs"]
