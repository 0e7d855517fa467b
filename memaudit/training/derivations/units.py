"""Pruning of units: those whose ReLU is mostly zero are removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe.recipes import Step

_BATCH = 1024


@dataclass(frozen=True, slots=True)
class PruneUnits(Step):
    """Remove, before every ReLU, the share of the units that are zero for most of the data; no training follows.

    A unit is a neuron or a channel. It is removed by setting the weights and bias of the layer or normalization
    before its ReLU to 0. A ReLU that follows something else, such as a sum, keeps its units.

    Args:
        share: Of the units of each layer, above 0 and below 1; rounded down.

    Source: Hu et al. 2016, "Network Trimming" (arXiv 1607.03250), average percentage of zeros; Liu, Dolan-Gavitt & Garg
    2018 (RAID), fine-pruning without its fine-tuning.
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise SettingsError(f"share = {self.share}: prune a share of the units between 0 and 1")

    def __call__(self, model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        """Return the pruned network.

        Raises:
            RecipeError: No ReLU of it is a module that follows a layer with weights.
        """
        import torch

        from memaudit.recipe.networks import answer_of, inputs_for
        from memaudit.training.classifier import picked
        from memaudit.training.model import on_device

        if dataset is None:
            raise RecipeError('PruneUnits looks at activations; derive with data="members" or "nonmembers"')
        x, _ = on_device(dataset, device)
        model.eval()
        with torch.no_grad(), _watched(model) as active:
            for start in range(0, len(dataset), _BATCH):
                rows = torch.arange(start, min(start + _BATCH, len(dataset)), device=device)
                answer_of(model, inputs_for(model, picked(x, rows)))
        if not active:
            raise RecipeError("the network has no ReLU module that follows a layer with weights; prune it otherwise")
        with torch.no_grad():
            for layer, counts in active.items():
                least = counts.argsort(stable=True)[: int(self.share * len(counts))]
                for parameter in (layer.weight, layer.bias):
                    if parameter is not None:
                        parameter[least] = 0
        return model


@contextmanager
def _watched(model: Any) -> Iterator[dict[Any, Any]]:
    """Yield, by layer before a ReLU, how often each unit was above 0; filled as the model is used."""
    from torch import nn

    kinds = nn.Linear | nn.modules.conv._ConvNd | nn.modules.batchnorm._BatchNorm
    last: list[Any] = [None, None]
    active: dict[Any, Any] = {}

    def follow(module: Any, given: Any, output: Any) -> None:
        before, its = last
        follows = isinstance(module, nn.ReLU) and its is given[0] and isinstance(before, kinds)
        if follows and before.weight is not None:
            axes = [axis for axis in range(output.ndim) if axis != 1]
            active[before] = active.get(before, 0) + (output > 0).sum(dim=axes)
        last[:] = module, output

    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(follow) for leaf in leaves]
    try:
        yield active
    finally:
        for hook in hooks:
            hook.remove()
