"""Unlearning by the last layers: they are trained again without what is to be forgotten; the others stay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe import ClassifierRecipe
from memaudit.recipe.recipes import Step
from memaudit.training.derivations.layers import layers_of, others_frozen, weights_of


@dataclass(frozen=True, slots=True)
class RetrainLayers(Step):
    """Train some layers of a network on the data and freeze the others: give it `data=Forgotten(20, rest=True)`.

    What the frozen layers keep of an example is not forgotten. Their batch statistics still move.

    Args:
        recipe: The ClassifierRecipe that the bank was filled by.
        epochs: Passes over the data.
        layers: Names of the layers in the network; by default the last one with weights.
        reset: Start from new weights (EU-k); otherwise from those of the model (CF-k).

    Source: Goel et al. 2022, "Towards Adversarial Evaluation of Inexact Machine Unlearning" (arXiv 2201.06640): EU-k
    and CF-k.
    """

    recipe: ClassifierRecipe
    epochs: int
    layers: tuple[str, ...] = ()
    reset: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.recipe, ClassifierRecipe):
            raise RecipeError(f"a {type(self.recipe).__name__} is not trained by memaudit's loop for classifiers")
        if not isinstance(self.epochs, int) or self.epochs < 1:
            raise SettingsError(f"epochs = {self.epochs}: train for a whole number of epochs, at least one")

    def __call__(self, model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        """Return the network with the layers trained again."""
        import torch

        from memaudit.recipe.networks import materialise
        from memaudit.training.classifier import train_classifier, untrained
        from memaudit.training.model import on_device

        x, y = on_device(dataset, device)
        own = model.state_dict()
        chosen = [name for layer in self.layers or layers_of(own)[-1:] for name in weights_of(own, layer)]
        if self.reset:
            torch.manual_seed(seed)
            new = materialise(untrained(self.recipe), x).to(device).state_dict()
            model.load_state_dict(own | {name: new[name] for name in chosen})
        with others_frozen(model, chosen):
            recipe = replace(self.recipe, epochs=self.epochs)
            return train_classifier(recipe, x, y, np.ones(len(dataset), np.uint8), seed, network=model)
