"""How often the predicted label is right on changed inputs: all that an adversary who sees labels can count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from memaudit.recipe import Examples, Recipe
from memaudit.recipe.inputs import Inputs
from memaudit.signals.views.asking import lacks_classes, log_confidences
from memaudit.signals.views.changed import lacks_images, lacks_numbers, moved, noisy
from memaudit.types import Level

Array = np.ndarray


def _right(network: Any, recipe: Recipe, examples: Examples, device: str, inputs: Inputs) -> Bool[Array, " examples"]:
    """Return whether the predicted label of each changed input is the example's."""
    return np.asarray(log_confidences(network, recipe, examples, device, inputs).argmax(axis=1) == examples.y)


@dataclass(frozen=True, slots=True)
class NoiseVotes:
    """Column 0: whether the label is right. Then, for each strength of noise, the share of noisy copies where it is.

    All models are asked about the same noisy copies. The share is a rough estimate of the distance to the decision
    boundary; no search for the boundary is made.

    Source: Choquette-Choo et al. 2021 (ICML), section 4.3, random noise.
    """

    times: int = 16
    strengths: tuple[float, ...] = (0.05, 0.15, 0.4)
    seed: int = 0
    name: str = "noise-votes"
    level: Level = Level.LABELS

    @property
    def queries(self) -> int:
        """One, and one for each noisy copy."""
        return 1 + self.times * len(self.strengths)

    def lacks(self, recipe: Recipe, examples: Examples) -> str:
        """Return why noise cannot be added; empty if it can."""
        return lacks_classes(examples) or lacks_numbers(examples)

    def see(self, network: Any, recipe: Recipe, examples: Examples, device: str) -> Float[Array, "examples columns"]:
        """Return the shares, float32."""
        columns = [_right(network, recipe, examples, device, examples.inputs).astype(np.float32)]
        for strength in self.strengths:
            total = np.zeros(len(examples), np.float32)
            for copies in noisy(examples, strength, self.times, self.seed):
                total += _right(network, recipe, examples, device, copies)
            columns.append(total / np.float32(self.times))
        return np.stack(columns, axis=1)


@dataclass(frozen=True, slots=True)
class AugmentationVotes:
    """A column for the image, four moved ones and a mirrored one: whether the predicted label is right."""

    name: str = "augmentation-votes"
    level: Level = Level.LABELS
    queries: int = 6

    def lacks(self, recipe: Recipe, examples: Examples) -> str:
        """Return why there are no images; empty if there are."""
        return lacks_classes(examples) or lacks_images(examples)

    def see(self, network: Any, recipe: Recipe, examples: Examples, device: str) -> Float[Array, "examples columns"]:
        """Return 1 or 0 for each image, float32."""
        found = [_right(network, recipe, examples, device, images) for images in moved(examples)]
        return np.stack(found, axis=1).astype(np.float32)
