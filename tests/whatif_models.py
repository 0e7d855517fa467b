"""Models whose margins are known, for the tests of what variants of a recipe change."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from lookup import Margins, rows

import memaudit as ma

UNITS = 200
_RNG = np.random.default_rng(0)
HARD, LABELS = _RNG.normal(1, 1, UNITS), _RNG.integers(0, 2, UNITS)


def examples() -> ma.Examples:
    """Return a population whose inputs are row numbers."""
    return rows(LABELS)


class Table(Margins):
    def __init__(self, margins: Any = (0.0,) * UNITS) -> None:
        super().__init__(LABELS, margins)


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
