"""What every remedy is measured against: the user's recipe, its bank, and where the banks of the variants go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from memaudit.bank import Bank
from memaudit.recipe import Population, Recipe

Array = np.ndarray

Shown = Callable[[Sequence[int]], Float[Array, "models examples"]]
"""Returns the signal that an adversary takes from what some models show of each example; larger = more member-like."""

LEAST_PAIRS = 3
LEAST = 2 * LEAST_PAIRS  # models without which nothing can be compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The recipe as it is, and how many models each bank gets.

    Attributes:
        recipe: How the user's models are made.
        examples: Its population.
        bank: Filled by it, in complementary halves, with `shadows` models or more.
        shadows: Number of models of every bank that is compared now.
        seed: Of the bank; every variant has the same, and with it the same training sets.
        training: Arguments of `fill` and `derive` that say where models are trained: workers, device, progress.
    """

    recipe: Recipe
    examples: Population
    bank: Bank
    shadows: int
    seed: int
    training: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The bank of one variant, and what of it can be compared with the base.

    Attributes:
        bank: The variant's models. A unit that is in no model is not measured, and is left out of every comparison.
        first: The first model that is measured on; those before it chose what to remove.
        on_top: Whether the training time recorded is what the remedy takes beside the training of the base's model.
        shown: What the adversary sees of the models, where it is not what the bank recorded.
    """

    bank: Bank
    first: int = 0
    on_top: bool = False
    shown: Shown | None = None


@runtime_checkable
class Remedy(Protocol):
    """How the models of a variant come about: one file of `remedies`, or a class of the user's own."""

    @property
    def least(self) -> int:
        """The number of models that it needs, below which the variant waits for a larger bank."""
        ...

    def make(self, base: Base, folder: Path) -> Made:
        """Return the variant's bank, with `base.shadows` models; it resumes and grows.

        Raises:
            MemauditError: It cannot be made from this base; the message says why.
        """
        ...


class Comparable:
    """A remedy that needs no more models than a comparison does."""

    __slots__ = ()

    @property
    def least(self) -> int:
        """The fewest that can be compared."""
        return LEAST
