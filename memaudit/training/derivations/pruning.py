"""Pruning: the smallest weights of the whole network become 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe.recipes import Step


@dataclass(frozen=True, slots=True)
class Prune(Step):
    """Set a share of all weights, those of smallest magnitude in the whole network, to 0; no training follows.

    Weights are the parameters of two dimensions or more. Biases and parameters of normalization stay.

    Args:
        share: Of the weights, above 0 and below 1.

    Source: Han et al. 2015 (NeurIPS); global magnitude pruning as in Blalock et al. 2020 (MLSys).
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise SettingsError(f"share = {self.share}: prune a share of the weights between 0 and 1")

    def __call__(self, model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        """Return the pruned network."""
        import torch

        weights = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
        if not weights:
            raise RecipeError("the network has no weights of two dimensions or more to prune")
        sizes = torch.cat([weight.detach().abs().flatten() for weight in weights])
        keep = torch.ones(len(sizes), dtype=torch.bool, device=sizes.device)
        keep[sizes.topk(round(self.share * len(sizes)), largest=False).indices] = False
        with torch.no_grad():
            for weight, kept in zip(weights, torch.split(keep, [weight.numel() for weight in weights]), strict=True):
                weight.mul_(kept.view_as(weight))
        return model
