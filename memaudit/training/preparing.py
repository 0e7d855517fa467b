"""A bank whose models are trained on prepared data, such as de-duplicated data, and asked about the data as it was.

Who is a member is a matter of the data before its preparation: an attacker asks whether a record was collected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from memaudit.bank import Bank
from memaudit.bank.inputs import require_inputs
from memaudit.design import Design
from memaudit.recipe import Population, Recipe, fingerprint, preparation_lines, recipe_folder
from memaudit.recipe.populations import number_of_units
from memaudit.recipe.weights import require_storable
from memaudit.training.filling import Progress, complete, discard
from memaudit.training.machine import choose_device
from memaudit.training.model import Workshop

Array = np.ndarray


@runtime_checkable
class Prepared(Protocol):
    """A population that is ready to be trained on; it can be sent to worker processes."""

    def training_set(self, counts: UInt8[Array, " ids"]) -> tuple[Population, UInt8[Array, " ids"]]:
        """Return what a model is trained on, whose training set is counted so: a population, and counts of its ids."""
        ...


@runtime_checkable
class Preparation(Protocol):
    """What is done to training data: a dataclass, each of whose settings is a line of the bank's fingerprint."""

    def of(self, examples: Population) -> Prepared:
        """Return the prepared population; called once.

        Raises:
            MemauditError: It would change nothing, or is not for such data.
        """
        ...


def fill_prepared(
    path: str | Path,
    recipe: Recipe,
    preparation: Preparation,
    shadows: int,
    *,
    examples: Population,
    seed: int = 0,
    workers: int = 1,
    device: str = "auto",
    weights: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> Bank:
    """Return the bank in a folder, in complementary halves, after training every model that it lacks on prepared data.

    Its models have the memberships and seeds of those that `fill` makes with the same seed. It resumes as `fill` does.

    Args:
        path: The bank's folder.
        recipe: How to make a model.
        preparation: What is done to each training set.
        shadows: Number of models.
        examples: The recipe's population.
        seed: As for `fill`.
        workers: As for `fill`.
        device: As for `fill`.
        weights: As for `fill`.
        progress: Called now and then.

    Raises:
        MemauditError: As for `fill`; or the data cannot be prepared so.
    """
    design = Design.halves(number_of_units(examples))
    workshop = _Workshop(recipe, examples, seed, choose_device(device), weights, design, preparation=preparation)
    workshop.require_prepared()
    if weights:
        require_storable(recipe)
    lines = fingerprint(recipe, examples, seed) | preparation_lines(preparation)
    bank = Bank.create(path, len(examples), lines, design)
    require_inputs(bank, recipe_folder(recipe))
    discard(bank, bank.damage, None)
    complete(workshop, bank, range(shadows), workers, progress)
    return bank


@dataclass(frozen=True, kw_only=True)
class _Workshop(Workshop):
    """Trains on prepared data; memberships and what models are asked are those of the data as it was."""

    preparation: Preparation

    @cached_property
    def _prepared(self) -> Prepared:
        return self.preparation.of(self.examples)

    def require_prepared(self) -> None:
        """Raise MemauditError, before anything is trained, if the data cannot be prepared."""
        assert self._prepared

    @property
    def code(self) -> tuple[Any, ...]:
        """The recipe and the preparation."""
        return self.recipe, self.preparation

    def train(self, counts: UInt8[Array, " ids"], seed: int) -> tuple[Any, dict[str, Array]]:
        """Return a model trained on the prepared training set, and what training recorded on the way."""
        examples, counts = self._prepared.training_set(counts)
        if examples is self.examples:
            return super().train(counts, seed)
        shop = Workshop(self.recipe, examples, self.seed, self.device, self.keep_weights, self.design)
        vars(shop)["measured"] = self.measured
        return shop.train(counts, seed)
