"""Mixup: a batch is mixed with itself in another order."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from memaudit.errors import RecipeError
from memaudit.recipe.networks import each


class Mixup:
    """Draws how each batch is mixed; everything comes from one seed.

    Source: Zhang, Cisse, Dauphin & Lopez-Paz 2018 (ICLR), Equation 1 and section 3: one weight a batch, from
    Beta(α, α), and the partner of each example from the same batch.
    """

    def __init__(self, alpha: float, seed: int, generator: torch.Generator) -> None:
        self.alpha, self.generator, self._rng = alpha, generator, np.random.default_rng(seed)
        self.order, self.weight = torch.zeros(0, dtype=torch.long), 1.0

    def inputs(self, inputs: Any, size: int) -> Any:
        """Return the mixed inputs of the next batch.

        Raises:
            RecipeError: Inputs are whole numbers, which have no mean.
        """
        self.order = torch.randperm(size, generator=self.generator, device=self.generator.device)
        self.weight = float(self._rng.beta(self.alpha, self.alpha))

        def mixed(part: Tensor) -> Tensor:
            if not part.is_floating_point():
                raise RecipeError(
                    f"mixup averages inputs, and these are whole numbers ({part.dtype}), such as tokens; give them as "
                    "floating-point numbers, or train without mixup"
                )
            return part * self.weight + part[self.order] * (1 - self.weight)

        return each(inputs, mixed)

    def losses(self, own: Tensor, partners: Tensor) -> Tensor:
        """Return the mixed losses of this batch, from those by the own labels and by the partners'."""
        return own * self.weight + partners * (1 - self.weight)
