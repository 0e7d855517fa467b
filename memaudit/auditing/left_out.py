"""Leave-one-out memorization from a bank: models trained on everything, and on everything but one unit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from memaudit.bank import Bank
from memaudit.design import Draw
from memaudit.errors import BankError, EvidenceError
from memaudit.memorization import LeaveOneOut
from memaudit.memorization import leave_one_out as of_arrays
from memaudit.recipe import Examples, Recipe, fingerprint, load_recipe
from memaudit.recipe.populations import candidates, number_of_units
from memaudit.training import population

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Cells:
    """The recordings of a leave-one-out bank, unit by unit.

    `correct` is what each model says of each unit, `members` how often it was trained on it, `phi` its signal. `chosen`
    are the columns of the units that are left out, `ids` their names, or those of their first examples.
    """

    correct: Shaped[Array, "models units"]
    members: UInt8[Array, "models units"]
    phi: Shaped[Array, "models units queries"]
    chosen: Int[Array, " chosen"]
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Leave-one-out memorization of chosen examples: their ids, and their scores with intervals in the same order."""

    ids: tuple[str, ...]
    scores: LeaveOneOut


def leave_one_out(bank: Bank | str | Path, recipe: Recipe | str, shadows: int | None = None) -> LeftOut:
    """Return leave-one-out memorization of the examples that a bank's models leave out.

    It is in what the models' correctness is: of classes, right or wrong; of documents, the share of tokens that are
    predicted; of several labels, the share that is right; of a regression, the explained share.

    Args:
        bank: The bank, or its folder, filled with `design=Subsets(leave_one_out=ids)`.
        recipe: That it was filled with, or where it is (`recipe.py:recipe`).
        shadows: Use the first so many models; by default all.

    Raises:
        BankError: The bank has another design, another recipe's models, or a damaged file.
        EvidenceError: There are fewer than two rounds.

    Source: Feldman 2020, the definition of mem(A, S, i).
    """
    found = cells(bank, recipe, shadows)
    try:
        return LeftOut(found.ids, of_arrays(found.correct, found.members, found.chosen))
    except ValueError as error:
        raise EvidenceError(f"{error}. Fill another round: {len(found.chosen) + 1} more models") from error


def cells(bank: Bank | str | Path, recipe: Recipe | str, shadows: int | None = None) -> Cells:
    """Return the recordings of a leave-one-out bank.

    Args:
        bank: The bank, or its folder.
        recipe: That it was filled with, or where it is (`recipe.py:recipe`).
        shadows: Use the first so many models; by default all.

    Raises:
        BankError: The bank has another design, another recipe's models, or a damaged file.
    """
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    whole = population(recipe)
    bank.require(fingerprint(recipe, whole, int(bank.fingerprint["seed"])) | bank.design_lines)
    design = bank.design(number_of_units(whole))
    if design.draw is not Draw.LEAVE_ONE_OUT:
        raise BankError(
            f"the bank in {bank.path} leaves no single examples out. Fill one that does: "
            "memaudit.fill(folder, recipe, models, design=memaudit.Subsets(leave_one_out=ids))"
        )
    recorded = bank.verified([model for model in bank.models() if shadows is None or model < shadows])
    if not recorded:
        raise BankError(f"the bank in {bank.path} holds no model; run `memaudit bank fill`")
    measured = candidates(whole, design)
    rows = measured.representatives if isinstance(measured, Examples) else np.arange(len(measured))
    chosen = np.flatnonzero(design.candidates[design.measured])
    correct, members, phi = (np.stack([f[name] for f in recorded])[:, rows] for name in ("correct", "members", "phi"))
    return Cells(correct, members, phi, chosen, tuple(str(name) for name in measured.ids[rows[chosen]]))
