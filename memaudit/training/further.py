"""What the models of a bank say about examples that none of them was trained on, such as a test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from memaudit.bank import Bank
from memaudit.bank.answers import Answers
from memaudit.errors import ModelError, RecipeError
from memaudit.recipe import (
    CallableRecipe,
    ClassifierRecipe,
    Examples,
    Recipe,
    fingerprint,
    load_recipe,
)
from memaudit.recipe.populations import candidates, population
from memaudit.recipe.recipes import asking
from memaudit.signals import measure
from memaudit.training.asking import ask_bank

Array = np.ndarray

_ANSWERS = ("phi", "correct")


@dataclass(frozen=True, slots=True)
class Further:
    """What the bank's models say about further examples, and what they were trained on.

    `members` is how often each model was trained on each of the bank's examples, for `memorization.influence`; φ is in
    nats, larger = more confident.
    """

    members: UInt8[Array, "models training"]
    phi: Float[Array, "models examples queries"]
    correct: Shaped[Array, "models examples"]


def measure_bank(
    bank: Bank | str | Path,
    recipe: Recipe | str,
    examples: Examples,
    *,
    shadows: int | None = None,
    device: str = "auto",
) -> Further:
    """Return what every model of a bank says about further examples; trains nothing.

    Args:
        bank: The bank, filled with weights.
        recipe: The recipe that filled it, or where it is.
        examples: Examples of the same kind; their ids must not be those of the bank's examples.
        shadows: Ask the first so many models; by default all.
        device: As for `fill`.

    Raises:
        BankError: The bank is another recipe's, damaged, or keeps no weights.
        RecipeError: The recipe makes no network.
        ModelError: The weights do not give what was recorded, or the examples do not fit the models.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    own = _require_fitting(bank, recipe, examples)
    models = [model for model in bank.models() if shadows is None or model < shadows]
    found, _ = ask_bank(
        bank,
        models,
        recipe,
        own,
        lambda model, on: _answers(model, recipe, examples, on),
        Answers(bank, "further", examples.digest()[:32], len(examples)),
        device,
    )
    members = np.stack([bank.tensors(model)["members"] for model in models])
    return Further(members, *(np.stack([of[name] for of in found]) for name in _ANSWERS))


def _answers(model: Any, recipe: Any, examples: Examples, device: str) -> dict[str, Array]:
    found = measure(model, examples, device=device, **asking(recipe))
    return {name: found[name] for name in _ANSWERS}


def _require_fitting(bank: Bank, recipe: Recipe, examples: Examples) -> Examples:
    """Return the examples that were measured of the bank's models, after checking that these can be asked others."""
    if not isinstance(recipe, ClassifierRecipe | CallableRecipe) or recipe.model is None:
        raise RecipeError("models can be loaded from a bank only if the recipe has model=..., which makes a network")
    own = population(recipe)
    if not isinstance(own, Examples):
        raise RecipeError("further examples can be measured for classifiers, not for language models")
    bank.require(fingerprint(recipe, own, int(bank.fingerprint["seed"])) | bank.design_lines)
    if shared := set(map(str, own.ids)) & set(map(str, examples.ids)):
        raise ModelError(f"{len(shared)} of the further examples have ids of the bank's own, such as {min(shared)!r}")
    measured = candidates(own, bank.design(own.units))
    assert isinstance(measured, Examples)
    return measured
