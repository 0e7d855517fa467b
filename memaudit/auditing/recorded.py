"""A model of which there are outputs alone: recorded by somebody, on the examples of a bank."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memaudit.auditing.target import Target, require_both
from memaudit.bank.arrays import Arrays, digest_of, read_arrays
from memaudit.bank.imported import memberships, population_of
from memaudit.bank.peers import left_by_a_program
from memaudit.errors import EvidenceError, ModelError, SettingsError
from memaudit.recipe import Counts, Examples, Recipe, load_recipe, membership
from memaudit.recipe.identifiers import named
from memaudit.recipe.inputs.arrays import array_of
from memaudit.recipe.labels import Task
from memaudit.recipe.populations import units_of
from memaudit.signals.recorded import OF_CLASSES, OF_LABELS, recorded_signals
from memaudit.signals.sense import require_sense
from memaudit.training import population

Array = np.ndarray

_IN_MEMORY = "outputs"


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model returned for each example, recorded; it is audited without the model.

    Args:
        outputs: `[examples, classes]`; of a kind that is about the true label alone, `[examples]`.
        labels: `[examples]`, whole numbers from 0. Not needed where a recipe has them, nor for a kind about labels.
        members: Which examples the model was trained on: a mask, counts, ids, or a file as for any model.
        ids: Of the examples; by default their numbers.
        inputs: Of the examples. Without them, nothing says whether members differ from non-members as data do.
        correct: Whether each example is classified correctly; by default read from the outputs.
        kind: What the outputs are: "logits", "probabilities", "log-probabilities" or "one-vs-rest"; or of the true
            label "losses", "scaled-logits", "label-probabilities" or "label-log-probabilities".
        name: What the report calls the model.
    """

    outputs: Any
    labels: Any = None
    members: Any = None
    ids: Iterable[Any] | None = None
    inputs: Any = None
    correct: Any = None
    kind: str = "logits"
    name: str = _IN_MEMORY

    def arrays(self) -> Arrays:
        """Return the arrays by name; the members are not among them."""
        given = {"outputs": self.outputs, "labels": self.labels, "ids": self.ids, "inputs": self.inputs}
        values = {
            name: _plain(list(value) if name == "ids" else value, name)
            for name, value in (given | {"correct": self.correct}).items()
            if value is not None
        }
        return Arrays(values, digest_of(values))


def _plain(value: Any, name: str) -> Array:
    """Return an array of numbers or strings.

    Raises:
        EvidenceError: It is something else, such as a table.
    """
    try:
        found = np.asarray(array_of(value))
    except ValueError:  # of rows that differ in length
        found = np.array(None)
    if found.dtype == object and found.ndim == 1 and (name == "ids" or all(isinstance(one, str) for one in found)):
        found = found.astype(str)
    if found.dtype.kind not in "biufUT":
        way = ", or give the recipe whose examples they are: recipe=..." if name == "inputs" else ""
        raise EvidenceError(
            f"{name} are a {type(value).__name__}; give one array of numbers or strings for all examples{way}"
        )
    return found


def open_outputs(
    source: Outputs | str | Path,
    kind: str | None = None,
    members: str | Path | Iterable[Any] | None = None,
    recipe: Recipe | str | None = None,
) -> Target:
    """Return the target that recorded outputs are; needs no bank.

    Args:
        source: The outputs, or the file that holds them: .npz, .safetensors, .csv, .parquet, or .npy of outputs alone.
        kind: What the outputs in a file are; needed for one.
        members: Who the model was trained on; by default what the source says.
        recipe: Whose examples they are, where a recipe makes them; the outputs are then in their order.

    Raises:
        MemauditError: Something is missing or does not fit; the message says what to do.
    """
    if isinstance(source, Outputs):
        arrays, path, stated, who = source.arrays(), Path(source.name), source.kind, source.members
    else:
        path, who = Path(source), None
        left = left_by_a_program(path, {})
        arrays = read_arrays(path, {}) if left is None else left.arrays
        stated = kind or ("" if left is None else left.kind)
    if not stated:
        raise SettingsError(f"what are the numbers in {path}? Say so with --kind: logits, probabilities, losses, …")
    outputs = arrays["outputs"]
    examples = population_of(arrays, len(outputs), stated) if recipe is None else _of_recipe(recipe, arrays)
    who = members if members is not None else who
    who = arrays.get("members") if who is None else who
    if who is None:
        raise EvidenceError(f"{path} has no array `members`. Say who the model was trained on: --members FILE")
    if isinstance(who, np.ndarray) and who.dtype.kind in "fiu" and who.shape == examples.y.shape:
        who = Counts(memberships(who))
    found = membership(who, examples)
    mask = units_of(examples, found.counts)
    require_both(examples, found, mask)
    signals = recorded_signals(outputs, examples.y, stated, arrays.get("correct"), entropy=True)
    if stated in OF_CLASSES and arrays.get("correct") is None:
        try:
            require_sense({"correct": signals.correct}, found.counts, examples)
        except ModelError as error:
            raise EvidenceError(f"{path}: {error}") from error
    if (signals.phi == signals.phi[0]).all():
        raise EvidenceError(f"{path}: the outputs are the same for all examples; there is nothing an attack could use")
    recorded = {"phi": signals.phi, "correct": signals.correct}
    if signals.modified_entropy is not None:
        recorded["modified_entropy"] = signals.modified_entropy
    loaded = load_recipe(recipe) if isinstance(recipe, str) else recipe
    guessed = stated in OF_LABELS and arrays.get("correct") is None
    return Target(
        loaded,
        examples,
        found.counts,
        recorded,
        path,
        arrays.sha256,
        membership=found,
        outputs=stated,
        guessed=guessed,
        called=path.name if isinstance(source, Outputs) else "",
    )


def _of_recipe(recipe: Recipe | str, arrays: Arrays) -> Examples:
    examples = population(load_recipe(recipe) if isinstance(recipe, str) else recipe)
    if not isinstance(examples, Examples):
        raise EvidenceError("recorded outputs are for classifiers, but the recipe is of a language model")
    if examples.task is not Task.CLASSIFICATION:
        raise EvidenceError(
            f"recorded outputs are of a classifier with one label an example; the recipe is for {examples.task}. Audit "
            "the model itself: memaudit audit MODEL, or memaudit.quick"
        )
    labels, ids = arrays.get("labels"), arrays.get("ids")
    own_labels = examples.y if labels is None or labels.dtype.kind in "biuf" else examples.labels
    for what, found, own in (("labels", labels, own_labels), ("ids", ids, examples.ids)):
        if found is not None and not np.array_equal(named(found) if what == "ids" else found, own):
            raise EvidenceError(f"the {what} of the outputs are not those of the recipe's examples, in their order")
    return examples
