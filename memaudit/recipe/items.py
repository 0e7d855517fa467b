"""Inputs and labels from the items of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from memaudit.errors import RecipeError, shown
from memaudit.recipe.inputs import read_inputs
from memaudit.recipe.inputs.arrays import array_of

Array = np.ndarray

_READ_TWICE = 32  # items; a transform that flips a coin escapes once in 2³²


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
