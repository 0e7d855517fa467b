"""What the shadow models that a bank lacks will take, and a budget for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memaudit.auditing.asked.access import highest, views_for
from memaudit.bank import Bank
from memaudit.design import Design
from memaudit.errors import SettingsError
from memaudit.recipe import Examples, Population, Recipe, fingerprint
from memaudit.training import time_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one shadow model takes: seconds of one process, bytes on the disk; and in words how that is known."""

    seconds: float
    stored: int
    source: str

    def hours(self, models: int) -> float:
        """Return the hours of one process for so many models."""
        return models * self.seconds / 3600

    def gigabytes(self, models: int) -> float:
        """Return what so many models take on the disk."""
        return models * self.stored / 1e9


def cost_to_fill(
    path: Path,
    recipe: Recipe,
    examples: Population,
    shadows: int,
    seed: int,
    device: str = "auto",
    weights: bool = True,
    design: Design | None = None,
) -> tuple[int, Cost]:
    """Return how many models a bank lacks, and what one takes: as recorded of others, or else by a trial."""
    if (path / "bank.json").exists():
        bank = Bank.open(path)
        if models := [model for model in bank.models() if model < shadows]:
            bank.require(fingerprint(recipe, examples, seed) | ({} if design is None else design.lines()))
            records = [bank.record(model) for model in models]
            return shadows - len(models), Cost(
                seconds=float(np.mean([record["seconds"] + record.get("evaluation", 0.0) for record in records])),
                stored=int(np.mean([bank.stored(model) for model in models])),
                source=f"as recorded of {len(models)} models in the bank",
            )
    timing = time_model(recipe, examples, seed, device, weights, design=design)
    return shadows, Cost(
        seconds=timing.seconds, stored=timing.stored, source=timing.tried + ("; rough" if timing.rough else "")
    )


def cost_of_access(
    path: Path, recipe: Recipe, examples: Population, shadows: int, access: str | None
) -> tuple[int, float | None]:
    """Return how many queries per example attacks by access make, and the seconds that asking all models takes.

    The seconds are the recorded time of one evaluation, times queries and models, and what a search takes beside
    the answers; None if no model is there yet.
    """
    found = highest(access, examples)
    if found is None or not isinstance(examples, Examples):
        return 0, 0.0
    views = views_for(found[0], recipe, examples, found[1])[0]
    queries = sum(max(1, view.queries) for view in views)
    bank = Bank.open(path) if (path / "bank.json").exists() else None
    records = [] if bank is None else [bank.record(model) for model in bank.models() if model < shadows]
    known = [record["evaluation"] for record in records if "evaluation" in record]
    if not known:
        return queries, None
    search = len(examples) * sum(getattr(view, "overhead", 0.0) for view in views)
    return queries, (shadows + 1) * (queries * float(np.mean(known)) + search)


def require_budget(missing: int, cost: Cost, hours: float | None, gigabytes: float | None) -> None:
    """Raise SettingsError if the models that are missing take more hours of training, or disk, than was budgeted."""
    needed = (
        ("hours of training", cost.hours(missing), hours),
        ("GB of disk", cost.gigabytes(missing), gigabytes),
    )
    over = [f"{value:.3g} {what}, budgeted {limit:g}" for what, value, limit in needed if limit and value > limit]
    if over:
        raise SettingsError(
            f"{missing} shadow models would take {' and '.join(over)} ({cost.source}); train fewer (--shadows), raise "
            "[budget], or go on all the same with --yes"
        )
