"""Fill the banks of all variants, measure them, and say which is worth its cost.

Small banks come first: a variant that is shown to be dominated, or to exceed the limit, gets no more models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from memaudit.bank import Bank
from memaudit.errors import BankError, SettingsError
from memaudit.recipe import Population, Recipe, load_recipe
from memaudit.recipe.populations import number_of_units
from memaudit.training import Progress, fill, population
from memaudit.whatif.base import Base, Made
from memaudit.whatif.front import deciding_level, dominated_by, leak_of, on_the_front
from memaudit.whatif.measuring import Field, difference, mean
from memaudit.whatif.result import Comparison, Row, Standing
from memaudit.whatif.variants import BASELINE, Variant, require_distinct

FIRST = 8  # models of each bank at the first rung

Told = Callable[[str, Progress], None]


@dataclass(frozen=True, slots=True)
class _Accepted:
    """The largest leak and the largest loss of utility that are accepted; None where none is set."""

    leak: float | None
    cost: float | None

    def __post_init__(self) -> None:
        if self.cost is not None and self.leak is None:
            raise SettingsError("at_most_cost is about variants that keep a limit; set a limit, too")
        if self.cost is not None and not 0 <= self.cost < 1:
            raise SettingsError(f"at_most_cost = {self.cost}: the largest loss of utility is between 0 and 1")


def compare_variants(
    recipe: Recipe | str,
    variants: Sequence[Variant],
    folder: str | Path,
    *,
    bank: str | Path | None = None,
    shadows: int = 32,
    seed: int = 0,
    attack: str = "lira-online",
    fpr: float = 0.01,
    limit: float | None = None,
    at_most_cost: float | None = None,
    workers: int = 1,
    device: str = "auto",
    progress: Told | None = None,
) -> Comparison:
    """Return what each variant of a recipe buys and costs; fills a bank for each, all with the same training sets.

    It resumes, as `fill` does: a second call trains nothing.

    Args:
        recipe: How the user's models are made, or where the recipe is (`recipe.py:recipe`).
        variants: What is tried.
        folder: Where the variants' banks are, a folder each.
        bank: That of the recipe as it is, in complementary halves; by default `folder/baseline`.
        shadows: Models of each bank at the last rung. Variants are compared at 8, 16, 32, …: one that is shown to be
            dominated, or to exceed the limit, gets no more.
        seed: Of all banks.
        attack: By which every model is attacked, by an adversary who knows the remedy: the references are made alike.
        fpr: At which its true-positive rate is the leak.
        limit: The largest leak that is accepted.
        at_most_cost: The largest loss of utility that is accepted beside it, as a share: 0.01 is one point.
        workers: As for `fill`.
        device: As for `fill`.
        progress: Called now and then with the variant's name.

    Raises:
        SettingsError: There is no such attack, or names, rates or numbers cannot be used.
        MemauditError: A remedy cannot be made from this recipe; the message says why.
    """
    require_distinct(variants)
    steps = rungs(shadows)
    _require_possible(variants, fpr, limit, steps[-1])
    accepted = _Accepted(limit, at_most_cost)
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    examples, folder = population(recipe), Path(folder)
    level = deciding_level(len(variants) + 1, len(steps))
    field = Field({}, examples, 0, attack, fpr)
    made: dict[str, Made] = {}
    rows: dict[str, Row] = {}
    for models in steps:
        common: dict[str, Any] = {"workers": workers, "device": device}
        own = common | {"progress": _for(progress, BASELINE)}
        where = folder / BASELINE if bank is None else Path(bank)
        filled = fill(where, recipe, models, seed=seed, examples=examples, **own)
        _require_halves(filled, examples)
        made = {BASELINE: Made(bank=filled)}
        for variant in variants:
            if variant.remedy.least > models or (variant.name in rows and _settled(rows[variant.name])):
                continue
            own = common | {"progress": _for(progress, variant.name)}
            base = Base(recipe=recipe, examples=examples, bank=filled, shadows=models, seed=seed, training=own)
            made[variant.name] = variant.remedy.make(base, folder / variant.name)
        field = Field(made, examples, models, attack, fpr)
        rows |= {name: _row(name, field, accepted, level) for name in made}
        if all(variant.name in rows and _settled(rows[variant.name]) for variant in variants):
            break
    ordered = (rows[BASELINE], *(replace(rows[variant.name], remedy=variant.words) for variant in variants))
    return Comparison(
        attack=attack, fpr=fpr, limit=limit, at_most_cost=at_most_cost, level=level, rows=with_front(ordered)
    )


def rungs(shadows: int) -> tuple[int, ...]:
    """Return the numbers of models at which variants are compared: 8, doubled, up to the last.

    Raises:
        SettingsError: The last is odd or below 8.
    """
    if shadows < FIRST or shadows % 2:
        raise SettingsError(f"shadows = {shadows}: give an even number of {FIRST} models or more")
    found = [FIRST]
    while found[-1] * 2 < shadows:
        found.append(found[-1] * 2)
    return tuple(dict.fromkeys([*found, shadows]))


def with_front(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return rows that say which of them are on the front."""
    front = on_the_front({row.name: _point(row) for row in rows})
    return tuple(replace(row, front=row.name in front) for row in rows)


def _point(row: Row) -> tuple[float, float]:
    """Return a variant's changes of utility and leak; (0, 0) is the baseline."""
    changes = row.utility_change, row.leak_change
    return tuple(0.0 if change is None else change.value for change in changes)  # type: ignore[return-value]


def _row(name: str, field: Field, accepted: _Accepted, level: float) -> Row:
    own, units = field.alone(name), field.units(name)
    row: dict[str, Any] = {
        "name": name,
        "models": field.shadows,
        "units": units,
        "utility": mean(own.utility, "share"),
        "leak": mean(own.leak, "share"),
        "memorization": mean(own.memorization, "share"),
        "seconds": float(own.seconds.mean()),
        "standing": _standing(name, field, accepted, level),
        "dominated_by": dominated_by(name, field.made, field, level),
    }
    if name != BASELINE:
        before, after = field.both(BASELINE, name)
        for figure in ("utility", "leak", "memorization"):
            row[f"{figure}_change"] = difference(getattr(before, figure), getattr(after, figure), "share")
        extra = before.seconds if field.made[name].on_top else np.zeros_like(before.seconds)
        row["seconds_ratio"] = float((after.seconds + extra).mean() / before.seconds.mean())
    return Row(**row)


def _standing(name: str, field: Field, accepted: _Accepted, level: float) -> Standing:
    """Return what intervals show that hold together: that of the cost is among those that the level counts."""
    if accepted.leak is None:
        return Standing.NOT_ASKED
    leak = leak_of(name, field, level)
    if leak.low > accepted.leak:
        return Standing.EXCEEDS
    cheap: bool | None = True  # None: not shown
    if accepted.cost is not None and name != BASELINE:
        before, after = field.both(BASELINE, name)
        change = difference(before.utility, after.utility, "share", level)
        cheap = True if change.low >= -accepted.cost else False if change.high < -accepted.cost else None
    if cheap is False:
        return Standing.COSTLY
    return Standing.KEEPS if leak.high <= accepted.leak and cheap else Standing.UNDECIDED


def _settled(row: Row) -> bool:
    """Return whether more models would change nothing: it is dominated, or exceeds the limit, for certain."""
    return row.dominated_by is not None or row.standing in (Standing.EXCEEDS, Standing.COSTLY)


def _require_possible(variants: Sequence[Variant], fpr: float, limit: float | None, shadows: int) -> None:
    if not 0 < fpr < 1:
        raise SettingsError(f"fpr = {fpr}: a false-positive rate is between 0 and 1")
    if limit is not None and not 0 < limit < 1:
        raise SettingsError(f"limit = {limit}: the largest leak that is accepted is between 0 and 1")
    if small := next((variant for variant in variants if variant.remedy.least > shadows), None):
        raise SettingsError(f"variant {small.name!r} needs {small.remedy.least} models; ask for more than {shadows}")


def _require_halves(bank: Bank, examples: Population) -> None:
    if not bank.design(number_of_units(examples)).is_halves:
        raise BankError(f"the models of {bank.path} are not trained on halves of all examples; name another bank")


def _for(progress: Told | None, name: str) -> Callable[[Progress], None] | None:
    return None if progress is None else lambda now: progress(name, now)
