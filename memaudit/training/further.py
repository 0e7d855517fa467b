"""What the models of a bank say about examples that none of them was trained on, such as a test set.

    further/<digest>/0007.safetensors   phi [examples, queries], correct [examples], of the bank's model 7

The models are loaded from the weights that the bank keeps. What they said is kept beside them, with the checksums of
the weights and of itself; where one does not match, the model is asked again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from memaudit.bank import Bank
from memaudit.errors import BankError, ModelError, RecipeError
from memaudit.files import make_private_folder, write_whole
from memaudit.recipe import (
    CallableRecipe,
    ClassifierRecipe,
    Examples,
    Recipe,
    changing,
    fingerprint,
    load_recipe,
)
from memaudit.recipe.populations import candidates, population
from memaudit.recipe.recipes import asking
from memaudit.signals import measure
from memaudit.training.machine import choose_device, one_thread
from memaudit.training.stored import require_recorded, stored_model

Array = np.ndarray

_PROBED = 64  # examples by which loaded weights are compared with what was recorded


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
    folder = bank.path / "further" / examples.digest()[:32]
    make_private_folder(folder.parent)
    make_private_folder(folder)
    asked = [_of_model(bank, model, recipe, own, examples, folder, choose_device(device)) for model in models]
    members = np.stack([bank.tensors(model)["members"] for model in models])
    return Further(members, *(np.stack([of[name] for of in asked]) for name in ("phi", "correct")))


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


def _of_model(
    bank: Bank, model: int, recipe: Any, own: Examples, examples: Examples, folder: Path, device: str
) -> dict[str, Array]:
    """Return what one model says, from the file if it is there and whole."""
    weights = bank.weights(model)
    if weights is None:
        raise BankError(f"the bank in {bank.path} keeps no weights of model {model}; fill another one with weights")
    source = hashlib.sha256(weights.read_bytes()).hexdigest()
    file = folder / f"{model:04d}.safetensors"
    if (answers := kept(file, source)) is not None:
        return answers
    with one_thread(), changing(recipe):
        network = stored_model(bank, model, recipe, device=device)
        first = own.take(np.arange(min(len(own), _PROBED)))
        require_recorded(bank, model, measure(network, first, device=device, **asking(recipe))["phi"])
        found = measure(network, examples, device=device, **asking(recipe))
    tensors = {name: np.ascontiguousarray(found[name]) for name in ("phi", "correct")}
    write(file, tensors, source)
    return tensors


def write(file: Path, tensors: dict[str, Array], source: str) -> None:
    """Keep what a model says, with the checksum of its weights."""
    write_whole(file, save(tensors, {"weights": source, "sha256": _digest(tensors)}), private=True)


def kept(file: Path, source: str) -> dict[str, Array] | None:
    """Return what a file keeps; None if it is not there, damaged, or of other weights."""
    try:
        with safe_open(file, "numpy") as content:
            told = content.metadata() or {}
            tensors = {name: content.get_tensor(name) for name in ("phi", "correct")}
    except (OSError, SafetensorError):
        return None
    return tensors if (told.get("weights"), told.get("sha256")) == (source, _digest(tensors)) else None


def _digest(tensors: dict[str, Array]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(f"{name}{tensors[name].dtype.str}{tensors[name].shape}".encode())
        total.update(np.ascontiguousarray(tensors[name]).data)
    return total.hexdigest()
