"""A network's weights as a bank and `save_target` store them: tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memaudit.errors import ModelError, RecipeError
from memaudit.recipe.blame import blame
from memaudit.recipe.checkpoints import read_checkpoint
from memaudit.recipe.extra_state import encode, is_empty
from memaudit.recipe.fingerprint import training
from memaudit.recipe.fitting import fit
from memaudit.recipe.pretrained import adapters_of, untrained_model
from memaudit.recipe.recipes import LanguageModelRecipe, Recipe

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from memaudit.recipe.population import TextPopulation


def weights_of(network: Module) -> dict[str, Tensor]:
    """Return a network's weights as safetensors takes them: on the CPU, contiguous, none sharing memory.

    Of a base with adapters, the adapters alone. An extra state of a module that is no tensor becomes one of bytes; an
    empty one is left out.

    Raises:
        ModelError: An extra state cannot be stored, so that it would be lost.
    """
    return stored(adapters_of(network) or network.state_dict())


def stored(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a state dict as `weights_of` does."""
    import torch
    from torch.nn.parameter import is_lazy

    if (new := next((name for name, value in state.items() if is_lazy(value)), None)) is not None:
        raise ModelError(f"{new} has no numbers yet: run the network once, so that its lazy modules take their shapes")
    return {
        name: value.detach().cpu().contiguous().clone() if isinstance(value, torch.Tensor) else encode(name, value)
        for name, value in state.items()
        if not is_empty(value)
    }


def new_network(recipe: Recipe, population: TextPopulation | None, device: str = "cpu") -> Any:
    """Return a network of a recipe's kind, for weights to be put into; its own have no meaning.

    Raises:
        RecipeError: The recipe says only in its training how a network is made.
    """
    if isinstance(recipe, LanguageModelRecipe):
        assert population is not None
        return untrained_model(recipe, population, device)
    model = getattr(recipe, "model", None)
    if model is None:
        raise RecipeError(
            f"a {type(recipe).__name__} without model=... makes its networks in train() alone, so that stored weights "
            "have nothing to be put into; give model=..., which returns an untrained network"
        )
    import torch

    with blame("model()"), training(recipe), torch.random.fork_rng():
        return model()


def put_weights(network: Module, path: Path) -> None:
    """Load into a network the weights that `weights_of` took from another one of its kind.

    Raises:
        ModelError: They are a network's of another kind.
    """
    weights, adapters = read_checkpoint(path), adapters_of(network)
    if adapters is None:
        fit(path, network, weights)
        return
    from peft import set_peft_model_state_dict

    if {n: w.shape for n, w in adapters.items()} != {n: w.shape for n, w in weights.items()}:
        raise ModelError(f"{path} holds other adapters than the network's")
    set_peft_model_state_dict(network, weights)


def require_storable(recipe: Recipe) -> None:
    """Raise RecipeError if the weights of the recipe's networks could not be stored; trains none."""
    model = None if isinstance(recipe, LanguageModelRecipe) else getattr(recipe, "model", None)
    if model is None:
        return
    import torch

    try:
        with blame("model()"), training(recipe), torch.random.fork_rng():
            network = model()
    except RecipeError:
        return  # training meets it too, and says for which model
    for name, value in network.state_dict().items() if hasattr(network, "state_dict") else ():
        if not isinstance(value, torch.Tensor) and not is_empty(value):
            try:
                encode(name, value)
            except ModelError as error:
                raise RecipeError(f"the weights of model() cannot be stored: {error}") from error
