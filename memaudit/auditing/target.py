"""The audited model: loaded, looked at, run over all examples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from memaudit.auditing.folder import sha256
from memaudit.bank import Bank, Recordings
from memaudit.errors import EvidenceError, ModelError
from memaudit.recipe import (
    Population,
    Recipe,
    TextPopulation,
    load_recipe,
    load_target,
    member_counts,
    members_beside,
    read_members,
)
from memaudit.signals import measure
from memaudit.training import choose_device, population

Array = np.ndarray

_LEAST_EXAMPLES = 10
_READING_PAIRS = 16  # whose reading of what the target wrote tells memorized passages from predictable ones


@dataclass(frozen=True, eq=False)
class Target:
    """A model that is ready to be audited: loaded, run over all examples, with its members known."""

    recipe: Recipe
    population: Population
    counts: UInt8[Array, " ids"]
    recorded: dict[str, Array]
    model: Path
    sha256: str
    state_dict: str | None = None

    @property
    def members(self) -> Bool[Array, " examples"]:
        """Which of the examples, or units of documents, the model was trained on."""
        return self.counts[: len(self.population)] > 0


def read_by_shadows(target: Target, bank: Bank, recordings: Recordings, device: str = "auto") -> Array | None:
    """Returns the log-probabilities of what the target wrote `[models, samplers, texts, tokens]` under shadow models.

    They are the first of the recordings, 16 pairs at most. None if the target wrote nothing, or the bank has no weights
    of these models, or such as do not fit the target.

    Raises:
        BankError: Weights in the bank are damaged.
    """
    if "generated" not in target.recorded or not isinstance(target.population, TextPopulation):
        return None
    models = [int(file.parent.name) for file in recordings.files[: 2 * _READING_PAIRS]]
    weights = [file for model in models if (file := bank.weights(model)) is not None]
    if len(weights) < len(models):
        return None
    from memaudit.signals.target import read_again

    network = load_target(target.model, target.recipe, target.population, target.state_dict)
    try:
        return np.asarray(read_again(network, weights, target.recorded, choose_device(device)))
    except ModelError:  # a user's own loop may return another network than its own loader
        return None


def open_target(
    model: str | Path,
    recipe: Recipe | str,
    members: str | Path | Iterable[Any] | None = None,
    device: str = "auto",
    state_dict: str | None = None,
) -> Target:
    """Returns the target, after everything that can be wrong with it has been looked at; needs no bank.

    Args:
        model: The file with the model's weights, or a language model's folder.
        recipe: How it was made, or where the recipe is.
        members: Who it was trained on: a file of ids, a mask, or ids; by default the file that `save_target` wrote.
        device: Where the model is run.
        state_dict: Which of several sets of weights in the file is the model, such as "model_ema".

    Raises:
        MemauditError: Something is missing or does not fit; the message says what to do.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if not Path(model).exists():  # first: it takes no time, and a wrong path is the commonest mistake
        raise ModelError(f"there is no model {model}")
    examples = population(recipe)
    text = examples if isinstance(examples, TextPopulation) else None
    loaded = load_target(model, recipe, text, state_dict)
    if members is None or isinstance(members, str | Path):
        counts = read_members(members_beside(model) if members is None else members, examples)
    else:
        counts = member_counts(members, examples)
    mask = counts[: len(examples)] > 0
    for who, count in (("members", int(mask.sum())), ("non-members", int((~mask).sum()))):
        if count < _LEAST_EXAMPLES:
            raise EvidenceError(
                f"there are {count} {who} among the {len(mask)} examples; an audit needs at least {_LEAST_EXAMPLES} of "
                "each: examples() must return the training set and about as many held-out examples"
            )
    try:
        queries, outputs = getattr(recipe, "queries", ()), getattr(recipe, "outputs", None)
        recorded = measure(loaded, examples, queries, choose_device(device), outputs)
        if text is not None:
            from memaudit.signals.target import question

            recorded |= question(loaded, text, recipe, ~mask, choose_device(device))
    except ModelError as error:
        raise ModelError(f"{model}: {error}") from error
    return Target(recipe, examples, counts, recorded, Path(model), sha256(Path(model)), state_dict)
