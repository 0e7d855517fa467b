"""Unlearning by gradient ascent on what is to be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from memaudit.recipe import ClassifierRecipe, LanguageModelRecipe
from memaudit.recipe.recipes import Step
from memaudit.training.derivations.continuing import ContinueTraining


@dataclass(frozen=True, slots=True)
class GradientAscent(Step):
    """Train a model with the sign of the gradient reversed: give it the examples to forget, `data=Part("members", …)`.

    A baseline, and a rough one: without a bound on the loss it destroys the model if it goes on for long.

    Args:
        recipe: As for `ContinueTraining`; a small learning rate is usual.
        epochs: Passes over the examples to forget.

    Source: Graves et al. 2021 (AAAI), Thudi et al. 2022 (EuroS&P), as a baseline of unlearning.
    """

    recipe: ClassifierRecipe | LanguageModelRecipe
    epochs: int = 1

    def __post_init__(self) -> None:
        ContinueTraining(self.recipe, self.epochs)

    def __call__(self, model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        """Return the network after ascent."""
        up = replace(self.recipe, optimizer=Ascending(self.recipe.optimizer))
        return ContinueTraining(up, self.epochs)(model, dataset, seed=seed, device=device)


@dataclass(frozen=True, slots=True)
class Ascending:
    """An optimizer that maximizes."""

    optimizer: Callable[[Iterable[Any]], Any]

    def __call__(self, parameters: Iterable[Any]) -> Any:
        """Return the optimizer of these parameters, which goes up."""
        made = self.optimizer(parameters)
        for group in made.param_groups:
            group["maximize"] = True
        return made
