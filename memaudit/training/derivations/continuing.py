"""Continued training, by the recipe's own loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe import ClassifierRecipe, LanguageModelRecipe
from memaudit.recipe.recipes import Step


@dataclass(frozen=True, slots=True)
class ContinueTraining(Step):
    """Train a model further, by memaudit's own loop.

    On `data="nonmembers"` it is holdout retraining and second-split training; on the rest of a `Part` of the members it
    is unlearning by fine-tuning on what is retained. The learning rate starts at its full value again: for gentle
    fine-tuning, give `dataclasses.replace(recipe, optimizer=...)`.

    Args:
        recipe: How to train: the ClassifierRecipe or LanguageModelRecipe of the bank, or one with other settings.
        epochs: Passes over the data.

    Source: Carlini et al. 2019 (holdout retraining); Maini et al. 2022 (NeurIPS), second-split forgetting.
    """

    recipe: ClassifierRecipe | LanguageModelRecipe
    epochs: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.recipe, ClassifierRecipe | LanguageModelRecipe):
            raise RecipeError(
                f"a {type(self.recipe).__name__} has a loop of its own; write a function (model, dataset, *, seed, "
                "device) that trains the model further, and derive by it"
            )
        if not isinstance(self.epochs, int) or self.epochs < 1:
            raise SettingsError(f"epochs = {self.epochs}: train for a whole number of epochs, at least one")

    def __call__(self, model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        """Return the network after further training."""
        recipe = replace(self.recipe, epochs=self.epochs)
        if isinstance(recipe, LanguageModelRecipe):
            from memaudit.training.language import train_language_model

            return train_language_model(recipe, dataset.population, dataset.counts, seed, device, network=model)[0]
        from memaudit.training.classifier import train_classifier
        from memaudit.training.model import on_device

        counts = np.ones(len(dataset), np.uint8)
        data = (*on_device(dataset, device), counts, seed)
        return train_classifier(recipe, *data, network=model, clients=dataset.unit_of)
