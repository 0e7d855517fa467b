"""How strongly an example's loss pulls at the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from memaudit.recipe import Examples, Recipe
from memaudit.recipe.recipes import asking
from memaudit.signals.evaluate import measure
from memaudit.signals.views.asking import lacks_classes
from memaudit.types import Level

Array = np.ndarray

_LEAST = 1e-30  # of a norm: where the loss is 0 in single precision, so is its gradient


@dataclass(frozen=True, slots=True)
class Gradients:
    """Column 0 is the label's log-odds, column 1 the log of the norm of the loss's gradient in all weights.

    The others are those of the network's last parameters, from the last but `last` on: of a network that ends in two
    linear layers and has `last = 4`, the weights and biases of both.

    Source: Nasr, Shokri & Houmansadr 2019 (S&P), section III.B, on gradients of the last layers.
    """

    last: int = 4
    name: str = "gradients"
    level: Level = Level.WEIGHTS
    queries: int = 0

    def lacks(self, recipe: Recipe, examples: Examples) -> str:
        """Return why there are no gradients of the cross-entropy; empty if there are."""
        return lacks_classes(examples)

    def see(self, network: Any, recipe: Recipe, examples: Examples, device: str) -> Float[Array, "examples columns"]:
        """Return log-odds and logs of norms, float32."""
        from memaudit.signals.example_losses import ExampleLosses
        from memaudit.signals.gradients import norms_by_parameter
        from memaudit.signals.network import asked

        how = asking(recipe)
        losses = ExampleLosses.of(examples, how["outputs"])
        found = norms_by_parameter(asked(network, examples.inputs, device, how["output"]), examples, losses)
        whole = np.sqrt(np.square(found, dtype=np.float64).sum(axis=1, keepdims=True))
        logs = np.log(np.maximum(np.concatenate([whole, found[:, -self.last :]], axis=1), _LEAST))
        phi = measure(network, examples, device=device, **how)["phi"][:, :1]
        return np.concatenate([phi, logs], axis=1).astype(np.float32)
