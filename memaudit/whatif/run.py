"""Fill the banks of all variants, measure them, and say which is worth its cost.

Small banks come first: a variant that is shown to be dominated, or to exceed the limit, gets no more models.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from memaudit.bank import Bank
from memaudit.errors import BankError, EvidenceError, MemauditError, OtherBankError, SettingsError
from memaudit.recipe import Population, Recipe, load_recipe
from memaudit.recipe.populations import number_of_units
from memaudit.stats import resolvable
from memaudit.training import Progress, fill, population
from memaudit.whatif.base import Base, Made
from memaudit.whatif.front import deciding_level
from memaudit.whatif.measuring import Field
from memaudit.whatif.result import Comparison, Row, Unmeasured
from memaudit.whatif.rows import Accepted, row, settled, with_front
from memaudit.whatif.utility import utility
from memaudit.whatif.variants import BASELINE, Variant, require_distinct

FIRST = 8  # models of each bank at the first rung

Told = Callable[[str, Progress], None]


def compare_variants(
    recipe: Recipe | str,
    variants: Sequence[Variant],
    folder: str | Path,
    *,
    bank: str | Path | None = None,
    shadows: int = 32,
    seed: int = 0,
    attack: str = "slira",
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
            The learned attack is strong with few models; the leak is that which an adversary with so many finds.
        fpr: At which its true-positive rate is the leak.
        limit: The largest leak that is accepted.
        at_most_cost: The largest loss of utility that is accepted beside it, as a share: 0.01 is one point.
        workers: As for `fill`.
        device: As for `fill`.
        progress: Called now and then with the variant's name.

    Raises:
        SettingsError: There is no such attack, or names, rates or numbers cannot be used.
        RecipeError: The recipe makes generators, whose utility is not measured.
        EvidenceError: The leak of the recipe as it is cannot be measured, or no variant can.
        BankError: A variant's folder has models of another recipe.
    """
    require_distinct(variants)
    steps, folder = rungs(shadows), Path(folder)
    where = folder / BASELINE if bank is None else Path(bank)
    _require_possible(variants, fpr, steps[-1])
    _require_apart(variants, folder, where)
    accepted = Accepted(limit, at_most_cost)
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    examples = population(recipe)
    useful = utility(examples)
    _require_resolved(fpr, number_of_units(examples))
    level = deciding_level(len(variants) + 1, len(steps))
    common: dict[str, Any] = {"workers": workers, "device": device}
    rows: dict[str, Row] = {}
    failed: dict[str, Unmeasured] = {}
    for models in steps:
        own = common | {"progress": _for(progress, BASELINE)}
        filled = fill(where, recipe, models, seed=seed, examples=examples, **own)
        _require_halves(filled, examples)
        field = Field({BASELINE: Made(bank=filled)}, examples, models, attack, fpr)
        field.alone(BASELINE)  # before any variant is trained: can its leak be measured?
        for variant in _still_in(variants, models, rows, failed):
            own = common | {"progress": _for(progress, variant.name)}
            base = Base(recipe=recipe, examples=examples, bank=filled, shadows=models, seed=seed, training=own)
            if problem := _enter(field, variant, base, folder / variant.name):
                failed[variant.name] = Unmeasured(
                    name=variant.name, remedy=variant.words, models=models, reason=problem
                )
                rows.pop(variant.name, None)
        rows |= {name: row(name, field, accepted, level) for name in field.made}
        if not _still_in(variants, steps[-1], rows, failed):
            break
    if len(failed) == len(variants):
        raise EvidenceError("no variant can be measured:\n" + "\n".join(f"  {of}" for of in failed.values()))
    measured = [replace(rows[of.name], remedy=of.words) for of in variants if of.name not in failed]
    return Comparison(
        attack=attack, fpr=fpr, limit=limit, at_most_cost=at_most_cost, level=level, utility=useful,
        rows=with_front([rows[BASELINE], *measured]), unmeasured=tuple(failed.values()),
    )  # fmt: skip


def _still_in(
    variants: Sequence[Variant], models: int, rows: Mapping[str, Row], failed: Collection[str]
) -> list[Variant]:
    """Return the variants that are compared with so many models: neither failed nor settled with fewer."""
    return [
        of
        for of in variants
        if of.remedy.least <= models and of.name not in failed and not (of.name in rows and settled(rows[of.name]))
    ]


def _enter(field: Field, variant: Variant, base: Base, folder: Path) -> str:
    """Make a variant's models and enter them into the field; returns why not, or nothing.

    Raises:
        BankError: The folder has models of another recipe: a variant that was edited, or another one of that name.
    """
    try:
        field.enter(variant.name, variant.remedy.make(base, folder), BASELINE)
    except OtherBankError as error:
        raise BankError(
            f"variant {variant.name!r}: {error}\nA variant that was edited is another one: give it another name, or "
            f"delete {folder}"
        ) from error
    except MemauditError as error:
        return str(error)
    return ""


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


def _require_possible(variants: Sequence[Variant], fpr: float, shadows: int) -> None:
    if not 0 < fpr < 1:
        raise SettingsError(f"fpr = {fpr}: a false-positive rate is between 0 and 1")
    if small := next((variant for variant in variants if variant.remedy.least > shadows), None):
        raise SettingsError(f"variant {small.name!r} needs {small.remedy.least} models; ask for more than {shadows}")


def _require_apart(variants: Sequence[Variant], folder: Path, bank: Path) -> None:
    """Raise SettingsError if the baseline's bank is in the folder of a variant, or around it."""
    own = bank.resolve()
    for variant in variants:
        place = (folder / variant.name).resolve()
        if own == place or own in place.parents or place in own.parents:
            raise SettingsError(
                f"the bank in {bank} and that of variant {variant.name!r} are in one folder; name another"
            )


def _require_resolved(fpr: float, units: int) -> None:
    if not resolvable(fpr, units):
        raise SettingsError(f"fpr = {fpr}: {units} units cannot resolve it; ask for {1 / units:.2g} or more")


def _require_halves(bank: Bank, examples: Population) -> None:
    if not bank.design(number_of_units(examples)).is_halves:
        raise BankError(f"the models of {bank.path} are not trained on halves of all examples; name another bank")


def _for(progress: Told | None, name: str) -> Callable[[Progress], None] | None:
    return None if progress is None else lambda now: progress(name, now)
