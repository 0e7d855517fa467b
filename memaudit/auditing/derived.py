"""What a bank of derived models says: forgetting, holdout retraining and unlearning, read from parents and children."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

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
    divergence, members, seen = stacked(bank_of_children(children), "divergence", "members", "seen")
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
    loss, epochs, members, seen = stacked(
        bank_of_children(children), "observed.loss", "observed.epochs", "members", "seen"
    )
    return _rate_of_forgetting(-loss.astype(np.float64), epochs[0].astype(np.float64), members, seen)


def unlearning(parent: Bank | str | Path, children: Bank | str | Path, *, ascent: bool = False) -> Unlearning:
    """Return how far the children have forgotten what they were to forget, compared with models that never had it.

    Args:
        parent: The bank that the children were derived from.
        children: Derived by training on the members that are retained, `data=memaudit.Part("members", 0.1, rest=True)`;
            the other members are those to forget.
        ascent: The children were given the members to forget, as by `GradientAscent`.

    Raises:
        BankError: They are not the parent's children.
    """
    children = bank_of_children(children)
    after, members, seen = stacked(children, "phi", "members", "seen")
    (before,) = stacked(parent_of(parent, children), "phi", models=children.models())
    forgotten = (members > 0) & ((seen > 0) == ascent)
    return _unlearning(before.mean(axis=2), after.mean(axis=2), members, forgotten)


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
    return [np.stack([of[name] for of in found]) for name in names]
