"""Which units the models of a bank are trained on, given what was asked for and who the target was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from memaudit.bank import Bank
from memaudit.design import Design, Draw, Role, Subsets, about_half, about_share
from memaudit.errors import BankError, EvidenceError, SettingsError
from memaudit.recipe import Examples, Population, membership
from memaudit.recipe.labels import Task
from memaudit.recipe.populations import number_of_units, units_of

Array = np.ndarray

_LEAST_CANDIDATES = 20  # 10 members and 10 non-members
WAY_OUT = (
    "Fill a bank for this model in another folder: memaudit bank fill --bank FOLDER --members FILE, or "
    "memaudit.fill(folder, recipe, members=...)"
)


def design_for(
    path: str | Path,
    examples: Population,
    seed: int,
    members: Bool[Array, " units"] | None = None,
    subsets: Subsets | None = None,
) -> Design:
    """Return the design of the bank in a folder; of one that is still to be made, what was asked for.

    Args:
        path: The bank's folder.
        examples: The recipe's population.
        seed: Of the bank.
        members: Which units the target was trained on; without it, new models are trained on halves.
        subsets: The design that was asked for; a bank with models must have it.

    Raises:
        BankError: The bank's design is another, does not fit the target, or cannot be read.
        SettingsError: The design does not fit the examples.
    """
    bank = Bank.open(path) if (Path(path) / "bank.json").exists() else None
    asked = None if subsets is None else resolved(subsets, examples, members)
    if bank is not None and (bank.models() or (members is None and subsets is None)):
        design = bank.design(number_of_units(examples))
        if asked is not None and asked.lines() != design.lines():
            raise BankError(
                f"the bank in {bank.path} has another design ({design.words}) than was asked for ({asked.words}); name "
                "another folder (--bank FOLDER)"
            )
        if members is not None:
            require_auditable(bank.path, design, examples)
            require_fitting_design(bank.path, design, members)
        return design
    if asked is not None:
        if members is not None:
            require_auditable(path, asked, examples)
            require_fitting_design(path, asked, members)
        return asked
    return Design.halves(number_of_units(examples)) if members is None else Design.for_members(members, seed)


def resolved(subsets: Subsets, examples: Population, members: Bool[Array, " units"] | None = None) -> Design:
    """Return the design that a user asked for, on these examples.

    Args:
        subsets: What was asked for.
        examples: The recipe's population.
        members: Which units a target was trained on: units that are no candidates are in every model or in none by it.

    Raises:
        SettingsError: A unit has two roles, or the design is not for this kind of example.
    """
    if not isinstance(subsets, Subsets):
        raise SettingsError(f"design is {type(subsets).__name__}; give memaudit.Subsets(...)")
    _require_possible(subsets, examples)
    roles = np.full(number_of_units(examples), Role.CANDIDATE, np.uint8)
    named = {name: getattr(subsets, name) for name in ("candidates", "leave_one_out")}
    chosen = next((_units(name, ids, examples) for name, ids in named.items() if ids is not None), None)
    if chosen is not None:
        rest = Role.ALWAYS if members is None else np.where(members, Role.ALWAYS, Role.NEVER)
        roles[:] = np.where(chosen, Role.CANDIDATE, rest)
    if subsets.removed is not None:
        removed = _units("removed", subsets.removed, examples)
        if chosen is not None and (both := int((chosen & removed).sum())):
            raise SettingsError(f"{both} of the removed examples, or their copies, are candidates too; name them once")
        roles[removed] = Role.NEVER
    left = int((roles == Role.CANDIDATE).sum())
    if not left:
        raise SettingsError("the design leaves no candidate: no example would be in some models and not in others")
    if left < min(_LEAST_CANDIDATES, len(roles)) and subsets.leave_one_out is None:
        raise SettingsError(
            f"the design has {left} candidates, where copies and groups count as one; an audit needs at least "
            f"{_LEAST_CANDIDATES}. Name more, or leave these out one at a time: leave_one_out"
        )
    draw = Draw.PAIRS if subsets.share is None else Draw.INDEPENDENT
    return Design(
        roles,
        Draw.LEAVE_ONE_OUT if subsets.leave_one_out is not None else draw,
        0.5 if subsets.share is None else subsets.share,
        subsets.label_noise,
        subsets.candidates is not None or subsets.removed is not None,
    )


def _units(name: str, listed: Any, examples: Population) -> Bool[Array, " units"]:
    """Return which units some ids, a mask or a file of ids name."""
    if isinstance(listed, str | Path) and not Path(listed).is_file():
        raise SettingsError(f"{name}: there is no file {listed}; give a file of ids, ids, or a mask")
    try:
        found = units_of(examples, membership(listed, examples).counts)
    except EvidenceError as error:
        raise SettingsError(f"{name}: {str(error).removeprefix('members: ')}") from error
    if not found.any():
        raise SettingsError(f"{name} names no example")
    return found


def _require_possible(subsets: Subsets, examples: Population) -> None:
    if not subsets.label_noise:
        return
    if not isinstance(examples, Examples):
        raise SettingsError("label_noise redraws classes: documents have no label, and with other words are others")
    if examples.task is not Task.CLASSIFICATION:
        raise SettingsError("label_noise redraws classes: it needs examples with one class each")


def require_auditable(path: str | Path, design: Design, examples: Population) -> None:
    """Raise BankError if the models of a design support no audit of models of such examples.

    Canaries, extraction and the attacks on tokens compare complementary pairs of language models.
    """
    if design.draw is Draw.INDEPENDENT and not isinstance(examples, Examples):
        raise BankError(
            f"the models in {path} are each trained on a random share of the documents: they measure memorization "
            f"(memaudit.subset_memorization), and support no audit, which compares complementary pairs. {WAY_OUT}"
        )


def require_models(shadows: int, design: Design) -> None:
    """Raise SettingsError unless so many models are whole rounds of a design: pairs, or all cells of leave-one-out."""
    if shadows >= design.round and shadows % design.round == 0:
        return
    if design.draw is Draw.PAIRS:
        raise SettingsError(f"shadows = {shadows}: shadow models come in complementary pairs; give an even number")
    rounds = max(1, round(shadows / design.round))
    rounds += rounds * design.round % 2  # the settings take even numbers
    raise SettingsError(
        f"shadows = {shadows}: a round of this design is {design.round} models, one on all examples and one without "
        f"each of {design.round - 1}; give a multiple of it, such as {rounds * design.round}"
    )


def require_enough(shadows: int, design: Design) -> None:
    """Raise SettingsError if so many models of a design support no audit."""
    if shadows < design.least:
        raise SettingsError(
            f"an audit with this design needs at least {design.least} shadow models, and there are {shadows}: with "
            f"fewer, too many examples are in nearly all models, or in hardly any, as each is in one with probability "
            f"{design.inclusion:g}. Fill more: --shadows {design.least + design.least % 2}"
        )


def require_fitting_design(path: str | Path, design: Design, members: Bool[Array, " units"]) -> None:
    """Raise BankError unless a target has the units that every model of a bank has, and none that no model has.

    A bank of halves fits every target; whether its training sets are of the target's size is another question.
    """
    if design.draw is Draw.LEAVE_ONE_OUT:
        raise BankError(
            f"the models in {path} leave out one example each: they measure memorization (memaudit.leave_one_out), and "
            f"support no audit, as nearly all examples are in every model. {WAY_OUT}"
        )
    if misfits := design.misfits(members):
        raise BankError(
            f"the bank in {path} was filled for another training set: all shadow models were trained on "
            f"{design.count(Role.ALWAYS)} units and none on {design.count(Role.NEVER)}, and this differs from the "
            f"model in {misfits} of them. {WAY_OUT}"
        )
    halves = design.draw is Draw.PAIRS and bool(design.candidates.all())
    if not halves and not about_share(members[design.candidates], design.inclusion):
        expected = "half" if design.inclusion == 0.5 else f"{design.inclusion:.0%}"
        raise BankError(
            f"the bank in {path} was filled for another share of members: of its {design.count(Role.CANDIDATE)} "
            f"candidates, {int(members[design.candidates].sum())} are members of this model, and about {expected} "
            f"should be. {WAY_OUT}"
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
