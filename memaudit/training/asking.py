"""What the models of a bank say about the examples if a column had another value; trains nothing but estimators again.

    altered/<digest>/0007.safetensors   phi and correct [examples, values], of the bank's model 7

Networks are loaded from the weights that the bank keeps. Estimators are fitted again, from the same seed and training
set, and compared with what was recorded. What they say is kept, with checksums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from memaudit.bank import Bank
from memaudit.design import training_seed
from memaudit.errors import BankError
from memaudit.files import make_private_folder
from memaudit.recipe import EstimatorRecipe, Examples, Recipe, changing
from memaudit.recipe.altered import Sensitive
from memaudit.recipe.populations import population
from memaudit.recipe.recipes import asking
from memaudit.signals import measure
from memaudit.training.further import kept, write
from memaudit.training.machine import choose_device, one_thread
from memaudit.training.model import Workshop
from memaudit.training.stored import require_recorded, stored_model

Array = np.ndarray

_PROBED = 64  # examples by which a model is compared with what was recorded


def ask_model(
    model: Any, recipe: Recipe, examples: Examples, column: Sensitive, device: str
) -> dict[str, Shaped[Array, "examples values"]]:
    """Return what a model says of examples for each value of a column: `phi` of the label in nats, and `correct`."""
    answers = [
        measure(model, column.asked(examples, value), device=device, **asking(recipe))
        for value in range(len(column.values))
    ]
    return {
        "phi": np.stack([answer["phi"][:, 0] for answer in answers], axis=1),
        "correct": np.stack([answer["correct"] for answer in answers], axis=1),
    }


def ask_bank(
    bank: Bank, models: Sequence[int], recipe: Recipe, examples: Examples, column: Sensitive, device: str = "auto"
) -> tuple[Float[Array, "models examples values"], Shaped[Array, "models examples values"]]:
    """Return φ and correctness of a bank's models for each value of a column; what is kept is not asked again.

    Args:
        bank: The bank.
        models: Of the bank.
        recipe: The recipe that filled it.
        examples: Those that the bank recorded, in its order.
        column: The column.
        device: As for `fill`.

    Raises:
        BankError: The bank keeps no weights of a network.
        ModelError: A model does not give what was recorded.
    """
    told = f"{column.column}\0{column.values!r}\0{examples.digest()}"
    folder = bank.path / "altered" / hashlib.sha256(told.encode()).hexdigest()[:32]
    for place in (folder.parent, folder):
        make_private_folder(place)
    on, shop = choose_device(device), None
    found = []
    for model in models:
        file, source = folder / f"{model:04d}.safetensors", _source(bank, model, recipe)
        answers = kept(file, source)
        if answers is None:
            if shop is None and isinstance(recipe, EstimatorRecipe):
                shop = _workshop(bank, recipe, on)
            with one_thread(), changing(recipe):
                loaded = _again(bank, model, shop) if shop else stored_model(bank, model, recipe, device=on)
                probed = measure(
                    loaded, examples.take(np.arange(min(_PROBED, len(examples)))), device=on, **asking(recipe)
                )["phi"]
                require_recorded(bank, model, probed)
                answers = ask_model(loaded, recipe, examples, column, on)
            write(file, answers, source)
        found.append(answers)
    return np.stack([of["phi"] for of in found]), np.stack([of["correct"] for of in found])


def cannot_ask(bank: Bank, recipe: Recipe, models: Sequence[int]) -> str:
    """Return why the models of a bank cannot be asked again; empty if they can."""
    if bank.imported:
        return "the bank was imported: it has outputs of its models, and no model that could be asked anything else"
    if isinstance(recipe, EstimatorRecipe):
        return "" if not bank.derivation_lines else "the bank's estimators were derived, and cannot be fitted again"
    if getattr(recipe, "model", None) is None:
        return "the recipe has no model=..., which makes a network that the bank's weights can be loaded into"
    if any(bank.weights(model) is None for model in models):
        return f"the bank in {bank.path} keeps no weights; fill one with weights (weights = true)"
    return ""


def _source(bank: Bank, model: int, recipe: Recipe) -> str:
    """Return a checksum of the weights; of an estimator, which has none, of what was recorded of it."""
    if isinstance(recipe, EstimatorRecipe):
        return hashlib.sha256(np.ascontiguousarray(bank.tensors(model)["phi"]).tobytes()).hexdigest()
    weights = bank.weights(model)
    if weights is None:
        raise BankError(f"the bank in {bank.path} keeps no weights of model {model}; fill another one with weights")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def _workshop(bank: Bank, recipe: EstimatorRecipe, device: str) -> Workshop:
    whole = population(recipe)
    assert isinstance(whole, Examples)
    return Workshop(recipe, whole, int(bank.fingerprint["seed"]), device, design=bank.design(whole.units))


def _again(bank: Bank, model: int, shop: Workshop) -> Any:
    """Return an estimator of the bank, fitted again."""
    noisy = bank.design(shop.examples.units if isinstance(shop.examples, Examples) else 0).label_noise
    own = shop.with_labels(shop.given(model)) if noisy else shop
    return own.train(own.counts(model), training_seed(own.seed, model))[0]
