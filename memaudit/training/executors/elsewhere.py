"""Where a fill trains its models if not in its own processes: an engine, its options, and the recipe by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memaudit.bank import Bank
from memaudit.errors import SettingsError
from memaudit.training.executors.interface import Executor, Options
from memaudit.training.executors.job import Job, environment
from memaudit.training.executors.registry import executor
from memaudit.training.executors.rounds import complete_on


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An engine with its options, and how a job finds the recipe."""

    engine: Executor
    options: Options
    recipe: str
    workers: int
    device: str

    @classmethod
    def on(cls, name: str, options: Mapping[str, Any] | None, recipe: object, workers: int, device: str) -> Elsewhere:
        """Return the engine of this name.

        Raises:
            SettingsError: There is none, or the recipe is an object, which no other machine can have.
        """
        if not isinstance(recipe, str):
            raise SettingsError("a job of an executor loads the recipe itself: name it, such as 'recipe.py:recipe'")
        return cls(executor(name), dict(options or {}), recipe, workers, device)

    def complete(
        self, bank: Bank, wanted: Collection[int], seed: int, weights: bool, watch: Callable[[], None]
    ) -> None:
        """Make those of some models that a bank lacks; raises as `complete_on` does."""
        job = Job(
            recipe=self.recipe,
            here=str(Path.cwd()),
            path=tuple(place for place in sys.path if Path(place).is_absolute()),
            bank=str(bank.path.resolve()),
            mark=bank.mark,
            models=(),
            seed=seed,
            device=self.device,
            weights=weights,
            running="",
            environment=environment(),
        )
        complete_on(self.engine, self.options, job, bank, wanted, self.workers, watch)
