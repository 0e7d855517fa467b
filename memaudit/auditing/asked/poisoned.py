"""A bank of models with poisoned training sets, beside the bank of an audit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from memaudit.auditing.asked.interface import Options, Question
from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target
from memaudit.bank import Bank, Recordings
from memaudit.checks import Poisoned, TargetEvidence
from memaudit.design import Chosen
from memaudit.errors import BankError, SettingsError
from memaudit.recipe import Examples, fingerprint, load_recipe
from memaudit.recipe.populations import population
from memaudit.training.poisoning import Poisoning
from memaudit.types import POISONED, Rung


@dataclass(frozen=True)
class Attacked(Question):
    """How much more poisoned records leak, by a bank of models with poisoned training sets."""

    bank: Bank
    examples: Examples
    poisoning: Poisoning

    def facts(self, base: Ground) -> dict[str, Any]:
        """Return the attacked records as the models of both banks see them.

        Raises:
            MemauditError: There is no bank of pairs to compare with, or the two do not fit together.
        """
        if base.bank is None or base.design is None or base.rung is not Rung.BANK or not base.bank.paired:
            raise SettingsError("a poisoned bank is compared with a bank of complementary pairs: memaudit bank fill")
        units = np.unique(self.examples.unit_of[self.poisoning.rows(self.examples)])
        rows = np.flatnonzero(np.isin(np.flatnonzero(base.design.measured), units))
        if not len(rows):
            raise SettingsError("none of the poisoned records is a candidate of the audit's bank")
        pairs = [first for first in base.bank.pairs(base.shadows) if first in set(self.bank.pairs())]
        models = [model for first in pairs for model in (first, first + 1)]
        clean, dirty = (of.recordings(models) for of in (base.bank, self.bank))
        _require_same(base.bank, self.bank, clean, dirty)
        return {"poisoned": Poisoned(Chosen(clean, rows), Chosen(dirty, rows), self.poisoning.copies)}

    def provenance(self, evidence: TargetEvidence) -> dict[str, str]:
        """Return how often each record was poisoned."""
        return {POISONED: f"{self.poisoning.copies} mislabeled copies of each record"}


def asked(target: Target, options: Options) -> Attacked | None:
    """Return the question about a bank that a recipe of `memaudit.poisoned` filled; None if none is given.

    Raises:
        MemauditError: There is no such bank, or another recipe filled it.
    """
    if options.poisoned is None:
        return None
    recipe = options.poisoned_recipe
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if recipe is None:
        raise SettingsError("which records are poisoned? Give the recipe too: what memaudit.poisoned returned")
    bank = options.poisoned if isinstance(options.poisoned, Bank) else Bank.open(options.poisoned)
    poisoning = getattr(recipe, "train", None)
    if not isinstance(poisoning, Poisoning):
        raise SettingsError(f"the recipe of {bank.path} was not made by memaudit.poisoned(recipe, targets)")
    examples = population(recipe)
    assert isinstance(examples, Examples)
    bank.require(fingerprint(recipe, examples, int(bank.fingerprint["seed"])) | bank.design_lines)
    if examples.units < len(examples):
        raise SettingsError("records with copies, or of a group, cannot be poisoned one by one: leave the copies out")
    return Attacked(bank, examples, poisoning)


def _require_same(one: Bank, other: Bank, clean: Recordings, dirty: Recordings) -> None:
    same = one.fingerprint.get("examples.sha256") == other.fingerprint.get("examples.sha256")
    if not clean.files or not same or not np.array_equal(clean.members > 0, dirty.members > 0):
        raise BankError(
            f"the models of {one.path} and {other.path} were trained on other examples each; fill both with the same "
            "seed, design and examples"
        )
