"""Whether the loss rises around an example, as it does around a minimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from memaudit.recipe import Examples, Recipe
from memaudit.recipe.inputs import Inputs
from memaudit.signals.views.asking import lacks_classes, log_confidences
from memaudit.signals.views.changed import lacks_numbers, noisy
from memaudit.types import Level

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class LossDirection:
    """Column 0: the label's log-probability in nats. Column 1: the share of noisy copies whose loss is higher.

    Source: Jayaraman et al. 2021 (PoPETs), Merlin: 100 copies, noise of standard deviation 0.01 of the inputs' scale.
    """

    times: int = 32
    strength: float = 0.01
    seed: int = 0
    name: str = "loss-direction"
    level: Level = Level.CONFIDENCES

    @property
    def queries(self) -> int:
        """One, and one for each noisy copy."""
        return 1 + self.times

    def lacks(self, recipe: Recipe, examples: Examples) -> str:
        """Return why there is no loss of noisy copies; empty if there is."""
        if getattr(recipe, "outputs", None) == "one-vs-rest":
            return "the model's outputs are one-vs-rest: no distribution over classes"
        return lacks_classes(examples) or lacks_numbers(examples)

    def see(self, network: Any, recipe: Recipe, examples: Examples, device: str) -> Float[Array, "examples columns"]:
        """Return log-probability and share, float32."""

        def label(inputs: Inputs) -> Array:
            found = log_confidences(network, recipe, examples, device, inputs)
            return np.asarray(found[np.arange(len(found)), examples.y])

        own, higher = label(examples.inputs), np.zeros(len(examples))
        for copies in noisy(examples, self.strength, self.times, self.seed):
            higher += label(copies) < own
        return np.stack([own, higher / self.times], axis=1).astype(np.float32)
