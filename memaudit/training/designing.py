"""Which units the models of a bank are trained on, given who the target was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from memaudit.bank import Bank
from memaudit.design import Design, Role, about_half
from memaudit.errors import BankError
from memaudit.recipe import Population
from memaudit.recipe.populations import number_of_units

Array = np.ndarray

WAY_OUT = (
    "Fill a bank for this model in another folder: memaudit bank fill --bank FOLDER --members FILE, or "
    "memaudit.fill(folder, recipe, members=...)"
)


def design_for(
    path: str | Path, examples: Population, seed: int, members: Bool[Array, " units"] | None = None
) -> Design:
    """Return the design of the bank in a folder; of one that is still to be made, the design for a target.

    Args:
        path: The bank's folder.
        examples: The recipe's population.
        seed: Of the bank.
        members: Which units the target was trained on; without it, new models are trained on halves.

    Raises:
        BankError: The bank's design does not fit the target, or cannot be read.
    """
    bank = Bank.open(path) if (Path(path) / "bank.json").exists() else None
    if bank is not None and (members is None or bank.models()):
        design = bank.design(number_of_units(examples))
        if members is not None:
            require_fitting_design(bank, design, members)
        return design
    return Design.halves(number_of_units(examples)) if members is None else Design.for_members(members, seed)


def require_fitting_design(bank: Bank, design: Design, members: Bool[Array, " units"]) -> None:
    """Raise BankError unless a target has the units that every model of a bank has, and none that no model has.

    A bank of halves fits every target; whether its training sets are of the target's size is another question.
    """
    if misfits := design.misfits(members):
        raise BankError(
            f"the bank in {bank.path} was filled for another training set: all shadow models were trained on "
            f"{design.count(Role.ALWAYS)} units and none on {design.count(Role.NEVER)}, and this differs from the "
            f"model in {misfits} of them. {WAY_OUT}"
        )
    if not design.is_halves and not about_half(members[design.candidates]):
        raise BankError(
            f"the bank in {bank.path} was filled for another share of members: of its {design.count(Role.CANDIDATE)} "
            f"candidates, {int(members[design.candidates].sum())} are members of this model, and about half should be. "
            f"{WAY_OUT}"
        )


def size_mismatch(design: Design, members: Bool[Array, " units"]) -> str:
    """Return how the training sets of a bank of halves differ from a target's in size; empty if hardly."""
    if not design.is_halves or about_half(members):
        return ""
    inside, units = int(members.sum()), len(members)
    return (
        f"the model was trained on {inside:,} of the {units:,} units ({100 * inside / units:.3g} %), but the shadow "
        "models of this bank on half of them. It is then likely not to look like them, and the audit withholds its "
        "figures"
    )
