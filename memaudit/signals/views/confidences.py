"""The probability of every class, as an interface returns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from memaudit.recipe import Examples, Recipe
from memaudit.signals.views.asking import lacks_classes, log_confidences
from memaudit.types import Level

Array = np.ndarray

_LEAST = -103.0  # nats: the smallest single-precision number above 0


@dataclass(frozen=True, slots=True)
class Confidences:
    """Log-probabilities in nats: column 0 is the label's, the others are those of the other classes in order.

    Of more than `most` classes, the likeliest others alone, from the likeliest; what is left has no column.
    """

    most: int = 100
    name: str = "confidences"
    level: Level = Level.CONFIDENCES
    queries: int = 1

    def lacks(self, recipe: Recipe, examples: Examples) -> str:
        """Return why there are no confidences; empty if there are."""
        if getattr(recipe, "outputs", None) == "one-vs-rest":
            return "the model's outputs are one-vs-rest: no distribution over classes"
        return lacks_classes(examples)

    def see(self, network: Any, recipe: Recipe, examples: Examples, device: str) -> Float[Array, "examples columns"]:
        """Return the log-probabilities, float32."""
        found = np.maximum(log_confidences(network, recipe, examples, device), _LEAST)
        rows, classes = np.arange(len(found)), found.shape[1]
        others = np.ones(found.shape, bool)
        others[rows, examples.y] = False
        rest = found[others].reshape(len(found), classes - 1)
        if classes > self.most:
            rest = -np.sort(-rest, axis=1)[:, : self.most - 1]
        return np.concatenate([found[rows, examples.y][:, None], rest], axis=1).astype(np.float32)
