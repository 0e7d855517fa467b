"""What a comparison of variants will take at most, before it is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from memaudit.auditing.costs import Cost, cost_to_fill, require_budget
from memaudit.bank import Bank
from memaudit.errors import MemauditError
from memaudit.recipe import Population, Recipe, load_recipe
from memaudit.training import population
from memaudit.whatif.run import rungs
from memaudit.whatif.variants import BASELINE, Variant, require_distinct


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantCost:
    """What one variant takes.

    Attributes:
        name: Of the variant.
        models: How many its bank has already.
        cost: Of one model; None if it is not known, or the variant cannot be made.
        problem: Why not; empty if it is known.
    """

    name: str
    models: int
    cost: Cost | None
    problem: str = ""

    def seconds(self, models: int, workers: int) -> float | None:
        """Return what the models that are missing take; None if it is not known."""
        return None if self.cost is None else self.cost.seconds * math.ceil(max(0, models - self.models) / workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a comparison takes at most: a variant that is shown to be dominated stops at an earlier rung.

    Attributes:
        rungs: Numbers of models at which variants are compared.
        variants: What each takes, the baseline first.
    """

    rungs: tuple[int, ...]
    variants: tuple[VariantCost, ...]

    def seconds(self, models: int, workers: int = 1) -> float:
        """Return what all banks take up to a rung, as far as it is known."""
        return sum(variant.seconds(models, workers) or 0.0 for variant in self.variants)

    def require(self, hours: float | None, gigabytes: float | None) -> None:
        """Raise SettingsError if the comparison may take more hours of training, or disk, than was budgeted."""
        missing = [
            (variant.cost, count)
            for variant in self.variants
            if variant.cost and (count := max(0, self.rungs[-1] - variant.models))
        ]
        models = sum(count for _, count in missing)
        if models:
            seconds = sum(cost.seconds * count for cost, count in missing) / models
            stored = sum(cost.stored * count for cost, count in missing) / models
            each = Cost(seconds=seconds, stored=int(stored), source="all variants at the last rung")
            require_budget(models, each, hours, gigabytes)


def plan_variants(
    recipe: Recipe | str,
    variants: Sequence[Variant],
    folder: str | Path,
    *,
    bank: str | Path | None = None,
    shadows: int = 32,
    seed: int = 0,
    device: str = "auto",
) -> Plan:
    """Return what `compare_variants` will take at most; trains a little of each recipe, and keeps nothing.

    Args:
        recipe: As for `compare_variants`.
        variants: What is tried.
        folder: Where the variants' banks are, or will be.
        bank: That of the recipe as it is; by default `folder/baseline`.
        shadows: Models of each bank at the last rung.
        seed: Of all banks.
        device: Where models are trained.

    Raises:
        MemauditError: The recipe as it is failed; what is wrong with a variant's is in the plan.
    """
    require_distinct(variants)
    steps, folder = rungs(shadows), Path(folder)
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    examples = population(recipe)
    where = folder / BASELINE if bank is None else Path(bank)
    base = _trial(BASELINE, where, recipe, examples, shadows, seed, device)
    found = [base]
    for variant in variants:
        try:
            found.append(_cost(variant, base, folder / variant.name, recipe, examples, shadows, seed, device))
        except MemauditError as error:
            found.append(VariantCost(name=variant.name, models=0, cost=None, problem=str(error)))
    return Plan(rungs=steps, variants=tuple(found))


def _cost(
    variant: Variant, base: VariantCost, folder: Path, recipe: Recipe, examples: Population, shadows: int, seed: int,
    device: str,
) -> VariantCost:  # fmt: skip
    """Return what a variant takes: as recorded of its bank, by a trial of its recipe, or as the baseline."""
    edit = getattr(variant.remedy, "recipe", None)
    if recorded := _recorded(variant.name, folder, shadows):
        return recorded
    if edit is not None:
        return _trial(variant.name, folder, edit(recipe), examples, shadows, seed, device)
    if hasattr(variant.remedy, "derivation"):
        reason = "how long deriving takes is recorded of the first model; nothing is trained"
        return VariantCost(name=variant.name, models=0, cost=None, problem=reason)
    assert base.cost is not None
    return VariantCost(name=variant.name, models=0, cost=replace(base.cost, source="as a model of the baseline"))


def _trial(
    name: str, folder: Path, recipe: Recipe, examples: Population, shadows: int, seed: int, device: str
) -> VariantCost:
    missing, cost = cost_to_fill(folder, recipe, examples, shadows, seed, device)
    return VariantCost(name=name, models=shadows - missing, cost=cost)


def _recorded(name: str, folder: Path, shadows: int) -> VariantCost | None:
    """Return what the models of a bank took; None if there are none."""
    bank = Bank.open(folder) if (folder / "bank.json").exists() else None
    models = [] if bank is None else [model for model in bank.models() if model < shadows]
    if bank is None or not models:
        return None
    records = [bank.record(model) for model in models]
    cost = Cost(
        seconds=float(np.mean([record["seconds"] + record.get("evaluation", 0.0) for record in records])),
        stored=int(np.mean([bank.stored(model) for model in models])),
        source=f"as recorded of {len(models)} models",
    )
    return VariantCost(name=name, models=len(models), cost=cost)
