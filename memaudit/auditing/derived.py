"""What a bank of derived models says: forgetting, holdout retraining and unlearning, read from parents and children."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from memaudit.auditing.comparing import require_parents
from memaudit.bank import Bank
from memaudit.errors import BankError
from memaudit.memorization import (
    ForgettingRate,
    HoldoutRetraining,
    SecondSplit,
    Unlearning,
)
from memaudit.memorization import holdout_retraining as _holdout_retraining
from memaudit.memorization import rate_of_forgetting as _rate_of_forgetting
from memaudit.memorization import second_split as _second_split
from memaudit.memorization import unlearning as _unlearning

Array = np.ndarray


def holdout_retraining(children: Bank | str | Path) -> HoldoutRetraining:
    """Return how much the models' answers changed when they were retrained on held-out data, example by example.

    Args:
        children: Derived by `ContinueTraining` on `data="nonmembers"`, of a classifier.

    Raises:
        BankError: They are not derived, or no divergence was recorded.
    """
    children = bank_of_children(children)
    divergence, members, seen = stacked(children, "divergence", "members", "seen")
    _require_other_data(children, members, seen)
    return _holdout_retraining(divergence, members, seen)


def second_split(parent: Bank | str | Path, children: Bank | str | Path) -> SecondSplit:
    """Return when every example is forgotten by the children, which were trained further on other data.

    Args:
        parent: The bank that the children were derived from.
        children: Derived by `ContinueTraining` on `data="nonmembers"`, and observed while they were trained:
            `dataclasses.replace(recipe, observe=memaudit.Observe("every epoch"))`.

    Raises:
        BankError: They are not the parent's children, or were not observed.
    """
    children = bank_of_children(children)
    correct, epochs, members, seen = stacked(children, "observed.correct", "observed.epochs", "members", "seen")
    _require_other_data(children, members, seen)
    (learned,) = stacked(parent_of(parent, children), "correct", models=children.models())
    return _second_split(correct.astype(bool), epochs[0], members, seen, learned.astype(bool))


def rate_of_forgetting(children: Bank | str | Path) -> ForgettingRate:
    """Return how well members are found by the calibrated loss, by the epochs since they were last trained on.

    Args:
        children: Derived by `ContinueTraining` on a part of the non-members, `data=memaudit.Part("nonmembers", 0.5)`,
            and observed while they were trained.

    Raises:
        BankError: They are not derived, or were not observed.
    """
    children = bank_of_children(children)
    loss, epochs, members, seen = stacked(children, "observed.loss", "observed.epochs", "members", "seen")
    with of_children(children):
        return _rate_of_forgetting(-loss.astype(np.float64), epochs[0].astype(np.float64), members, seen)


def unlearning(parent: Bank | str | Path, children: Bank | str | Path, *, ascent: bool = False) -> Unlearning:
    """Return how far the children have forgotten what they were to forget, compared with models that never had it.

    Args:
        parent: The bank that the children were derived from.
        children: Derived by training on the members that are retained, `data=memaudit.Part("members", 0.1, rest=True)`;
            the other members are those to forget.
        ascent: The children were given the members to forget, as by `GradientAscent`.

    Raises:
        BankError: They are not the parent's children, or were given other data.
    """
    children = bank_of_children(children)
    forgotten, members = what_is_forgotten(children, ascent)
    (after,) = stacked(children, "phi")
    (before,) = stacked(parent_of(parent, children), "phi", models=children.models())
    with of_children(children):
        return _unlearning(before.mean(axis=2), after.mean(axis=2), members, forgotten)


def what_is_forgotten(children: Bank, ascent: bool) -> tuple[Array, Array]:
    """Return which members each child was to forget, and how often its parent was trained on each, [models, examples].

    Raises:
        BankError: They are derived by gradient ascent, and `ascent` is not set.
    """
    if not ascent and children.fingerprint["derivation.function"] == repr("GradientAscent"):
        raise BankError(f"the models of {children.path} were derived by gradient ascent; give ascent=True")
    members, seen = stacked(children, "members", "seen")
    return (members > 0) & ((seen > 0) == ascent), members


@contextmanager
def of_children(children: Bank) -> Iterator[None]:
    """Name the bank that an estimate is not defined for."""
    try:
        yield
    except ValueError as error:
        raise BankError(f"{children.path}: {error}") from error


def _require_other_data(children: Bank, members: Array, seen: Array) -> None:
    """Raise BankError where all members were in the data of the derivation."""
    if not ((members > 0) & (seen == 0)).any():
        raise BankError(
            f"the models of {children.path} were derived with all of their members as data, and what counts are "
            'members that were not: derive with data="nonmembers"'
        )


def bank_of_children(bank: Bank | str | Path) -> Bank:
    """Return a bank of derived models; BankError if it is none."""
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    if not bank.derived:
        raise BankError(f"the models of {bank.path} were not derived from others; make such a bank: memaudit.derive")
    return bank


def parent_of(parent: Bank | str | Path, children: Bank) -> Bank:
    """Return the parent of derived models; BankError if they have another."""
    parent = parent if isinstance(parent, Bank) else Bank.open(parent)
    if children.fingerprint["derivation.parent"] != parent.mark:
        raise BankError(f"the models of {children.path} were derived from another bank than {parent.path}")
    require_parents(parent, children, children.models())
    return parent


def stacked(bank: Bank, *names: str, models: Sequence[int] | None = None) -> list[Array]:
    """Return recordings of models `[models, …]`, after checking every file against its checksum."""
    found = bank.verified(bank.models() if models is None else models)
    for name in names:
        if missing := [model for model, of in enumerate(found) if name not in of]:
            told = (
                "its training was not observed: give the recipe of the derivation observe=memaudit.Observe(...)"
                if name.startswith("observed.")
                else "it is none of a classifier"
            )
            raise BankError(f"model {missing[0]} of {bank.path} has no recording {name!r}; {told}")
        shapes = {of[name].tobytes() if name == "observed.epochs" else of[name].shape for of in found}
        if len(shapes) > 1:
            raise BankError(f"the models of {bank.path} differ in {name!r}: observe all of them at the same epochs")
    return [np.stack([of[name] for of in found]) for name in names]
