"""A bank of models with poisoned training sets, beside the bank of an audit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memaudit.auditing.ground import Ground
from memaudit.bank import Bank, Recordings
from memaudit.checks import Poisoned
from memaudit.design import Chosen
from memaudit.errors import BankError, SettingsError
from memaudit.recipe import Examples, Recipe, fingerprint, load_recipe
from memaudit.recipe.populations import population
from memaudit.training.poisoning import Poisoning
from memaudit.types import Rung


def poisoned_of(bank: Bank | str | Path, recipe: Recipe | str | None, base: Ground) -> Poisoned:
    """Return the attacked records as the models of both banks see them.

    Args:
        bank: Filled by the poisoned recipe, with the seed and design of the audit's bank.
        recipe: What `memaudit.poisoned` returned, or where it is.
        base: The audit's bank.

    Raises:
        MemauditError: There is no bank of pairs to compare with, or the two do not fit together.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if recipe is None:
        raise SettingsError("which records are poisoned? Give the recipe too: what memaudit.poisoned returned")
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    if base.bank is None or base.design is None or base.rung is not Rung.BANK or not base.bank.paired:
        raise SettingsError("a poisoned bank is compared with a bank of complementary pairs: memaudit bank fill")
    poisoning = getattr(recipe, "train", None)
    if not isinstance(poisoning, Poisoning):
        raise SettingsError(f"the recipe of {bank.path} was not made by memaudit.poisoned(recipe, targets)")
    examples = population(recipe)
    assert isinstance(examples, Examples)
    bank.require(fingerprint(recipe, examples, int(bank.fingerprint["seed"])) | bank.design_lines)
    units = np.unique(examples.unit_of[poisoning.rows(examples)])
    columns = np.flatnonzero(base.design.measured)
    rows = np.flatnonzero(np.isin(columns, units))
    if examples.units < len(examples):
        raise SettingsError("records with copies, or of a group, cannot be poisoned one by one: leave the copies out")
    if not len(rows):
        raise SettingsError("none of the poisoned records is a candidate of the audit's bank")
    pairs = [first for first in base.bank.pairs(base.shadows) if first in set(bank.pairs())]
    models = [model for first in pairs for model in (first, first + 1)]
    clean, dirty = (of.recordings(models) for of in (base.bank, bank))
    _require_same(base.bank, bank, clean, dirty)
    return Poisoned(Chosen(clean, rows), Chosen(dirty, rows), poisoning.copies)


def _require_same(one: Bank, other: Bank, clean: Recordings, dirty: Recordings) -> None:
    same = one.fingerprint.get("examples.sha256") == other.fingerprint.get("examples.sha256")
    if not clean.files or not same or not np.array_equal(clean.members > 0, dirty.members > 0):
        raise BankError(
            f"the models of {one.path} and {other.path} were trained on other examples each; fill both with the same "
            "seed, design and examples"
        )
