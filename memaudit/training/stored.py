"""The models of a bank, loaded from the weights that it keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from memaudit.bank import Bank
from memaudit.errors import BankError, ModelError, RecipeError
from memaudit.recipe import Recipe, TextPopulation
from memaudit.recipe.weights import new_network, put_weights

Array = np.ndarray

_SAME = 1e-2  # relative and absolute difference of signals on two devices


def stored_model(
    bank: Bank, model: int, recipe: Recipe, population: TextPopulation | None = None, device: str = "cpu"
) -> Any:
    """Return a model of a bank in evaluation mode, loaded from weights that match their checksum.

    Args:
        bank: The bank, filled with weights.
        model: The model's number.
        recipe: The recipe that filled the bank.
        population: Of a language model.
        device: Where the model is to be.

    Raises:
        BankError: The weights are damaged, or were not kept.
        RecipeError: The recipe makes no such network any more.
    """
    file = bank.weights(model)
    if file is None:
        raise BankError(f"the bank in {bank.path} keeps no weights of model {model}; fill another one with weights")
    network = new_network(recipe, population, device)
    try:
        put_weights(network, file)
    except ModelError as error:
        raise RecipeError(
            f"model() no longer makes the network that model {model} of {bank.path} is: {error}"
        ) from error
    return network.to(device).eval()


def require_recorded(bank: Bank, model: int, phi: Float[Array, "first queries"]) -> None:
    """Raise ModelError unless a loaded model says of the first examples what was recorded when it was trained."""
    recorded = bank.tensors(model)["phi"][: len(phi)]
    if not np.allclose(phi, recorded, _SAME, _SAME):
        raise ModelError(
            f"the weights of model {model} of {bank.path} do not give the outputs that were recorded of it: something "
            "that decides its outputs is no part of its state_dict. Register it as a buffer, and fill a new bank"
        )
