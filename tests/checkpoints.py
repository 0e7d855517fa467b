"""Networks with random weights, and their checkpoints."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from memaudit.recipe import ClassifierRecipe, Examples
from memaudit.recipe.recipes import SGD

State = dict[str, Any]


class Net(nn.Module):
    """Names of several parts, and buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(x))
        return logits


def made(seed: int, kind: Callable[[], nn.Module] = Net) -> nn.Module:
    """Returns a network whose numbers, also those of its buffers, are drawn at random."""
    torch.manual_seed(seed)
    network = kind()
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape))
    return network


def data() -> Examples:
    return Examples(np.zeros((20, 3), np.float32), np.arange(20) % 2)


def of(model: Callable[[], nn.Module] = Net) -> ClassifierRecipe:
    """Returns a recipe of a network."""
    return ClassifierRecipe(data, model, epochs=1, batch_size=10, optimizer=SGD(lr=0.1))


def prefixed(prefix: str, network: nn.Module, change: Callable[[str], str] = str) -> State:
    """Returns the network's weights by their names, changed and behind a prefix."""
    return {prefix + change(name): value for name, value in network.state_dict().items()}


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have equal weights."""
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())
