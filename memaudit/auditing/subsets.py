"""Memorization of everything that a bank's models were asked about; needs no target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memaudit.bank import Bank
from memaudit.design import Draw, by_pair
from memaudit.errors import BankError, EvidenceError
from memaudit.memorization import (
    Counterfactual,
    Memorization,
    counterfactual,
    counterfactual_of_models,
    memorization,
    paired_memorization,
)
from memaudit.recipe import Examples, Recipe, fingerprint, load_recipe
from memaudit.recipe.populations import candidates, number_of_units
from memaudit.training import population

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class SubsetMemorization:
    """Memorization of each unit: ids, those of their first examples, and scores with intervals in the same order."""

    ids: tuple[str, ...]
    scores: Memorization | Counterfactual


def subset_memorization(
    bank: Bank | str | Path, recipe: Recipe | str, shadows: int | None = None
) -> SubsetMemorization:
    """Return memorization of every example, or document, from a bank of pairs or of random shares.

    Of classes it is the rise of the chance to be right; of documents that of the share of tokens that are predicted; of
    several labels that of the share that is right; of a regression that of the explained share.

    Args:
        bank: The bank, or its folder.
        recipe: That it was filled with, or where it is (`recipe.py:recipe`).
        shadows: Use the first so many models; by default all.

    Raises:
        BankError: The bank leaves examples out one at a time, has another recipe's models, or a damaged file.
        EvidenceError: An example is in nearly all models, or in hardly any.

    Source: Feldman & Zhang 2020, the subset estimator; Zhang et al. 2021 for texts.
    """
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    whole = population(recipe)
    bank.require(fingerprint(recipe, whole, int(bank.fingerprint["seed"])) | bank.design_lines | bank.derivation_lines)
    design = bank.design(number_of_units(whole))
    if design.draw is Draw.LEAVE_ONE_OUT:
        raise BankError(f"the models in {bank.path} leave out one example each; use memaudit.leave_one_out")
    first = bank.pairs(shadows) if bank.paired else [m for m in bank.models() if shadows is None or m < shadows]
    recorded = bank.verified([m for t in first for m in (t, t + 1)] if bank.paired else first)
    if not recorded:
        raise BankError(f"the bank in {bank.path} holds no model; run `memaudit bank fill`")
    measured = candidates(whole, design)
    members, correct = (np.stack([found[name] for found in recorded]) for name in ("members", "correct"))
    ids = measured.ids[: len(measured)]
    if isinstance(measured, Examples):
        rows = measured.representatives
        members, ids, correct = members[:, rows], ids[rows], measured.by_unit(correct.T).T
    try:
        return SubsetMemorization(tuple(map(str, ids)), _scores(correct, members, bank.paired))
    except ValueError as error:
        raise EvidenceError(f"{bank.path}: {error}. Fill more models") from error


def _scores(correct: Array, members: Array, paired: bool) -> Memorization | Counterfactual:
    if correct.dtype == np.bool_:
        return paired_memorization(*by_pair(correct, members)) if paired else memorization(correct, members)
    correct = correct.astype(np.float64)
    found = counterfactual(*by_pair(correct, members)) if paired else counterfactual_of_models(correct, members)
    return found.of_shares()
