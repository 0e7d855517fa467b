"""Models whose margins are known, for the tests of what variants of a recipe change."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import memaudit as ma

UNITS = 200
_RNG = np.random.default_rng(0)
HARD, LABELS = _RNG.normal(1, 1, UNITS), _RNG.integers(0, 2, UNITS)


def examples() -> ma.Examples:
    """Return a population whose inputs are row numbers."""
    return ma.Examples(np.arange(UNITS, dtype=np.float32)[:, None], LABELS, ids=[f"e{i}" for i in range(UNITS)])


class Table(nn.Module):
    """The margin of each example, looked up."""

    def __init__(self, margins: Any = (0.0,) * UNITS) -> None:
        super().__init__()
        self.margins = nn.Parameter(torch.tensor(margins, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row = x[:, 0].long()
        sign = torch.from_numpy(2 * LABELS - 1)[row] * self.margins[row]
        return torch.stack([-sign / 2, sign / 2], dim=1)


@dataclass(frozen=True)
class Train:
    """Training: an example's margin is its difficulty and noise; of a member it is `gain` larger, of all `shift`."""

    gain: float
    shift: float = 0.0
    noise: float = 0.7

    def __call__(self, dataset: Any, *, seed: int, device: str) -> Table:
        margins = HARD + self.shift + self.noise * np.random.default_rng(seed).normal(size=UNITS)
        margins[dataset.x[:, 0].astype(int)] += self.gain
        return Table(margins)


def recipe(gain: float = 1.5, shift: float = 0.0, train: Callable[..., Any] | None = None) -> Any:
    """Return a recipe of tables."""
    return ma.CallableRecipe(examples, train=train or Train(gain, shift), model=Table)
