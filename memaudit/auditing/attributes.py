"""The columns that an adversary infers, and what the models say of each value that they may have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target
from memaudit.bank import Matched
from memaudit.checks import Attribute
from memaudit.design import by_pair
from memaudit.errors import BankError, SettingsError
from memaudit.recipe import Examples, load_target
from memaudit.recipe.altered import sensitive, shown
from memaudit.recipe.labels import Task
from memaudit.training import choose_device
from memaudit.training.asking import ask_bank, ask_model, cannot_ask

Array = np.ndarray


def require_attributes(target: Target, columns: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns that are inferred, after checking that they can be.

    Raises:
        MemauditError: There is no such column, it has too many values, or the model is no classifier of tables.
    """
    names = (columns,) if isinstance(columns, str) else tuple(dict.fromkeys(columns))
    for name in names:
        examples = target.population
        if not isinstance(examples, Examples) or examples.task is not Task.CLASSIFICATION:
            raise SettingsError(f"attribute = {name!r}: attributes are inferred of classifiers with one label")
        if target.outputs:
            raise SettingsError(f"attribute = {name!r}: recorded outputs cannot be asked about other inputs")
        if examples.pools:
            raise SettingsError(f"attribute = {name!r}: it is inferred record by record, and units here have several")
        sensitive(examples, name)
    return names


def inferred(base: Ground, columns: Sequence[str], device: str = "auto") -> tuple[Attribute, ...]:
    """Return what the target and the bank's models say of each value of some columns.

    Raises:
        MemauditError: A model cannot be asked, or does not give what was recorded.
    """
    return tuple(_inferred(base, name, device) for name in columns)


def _inferred(base: Ground, name: str, device: str) -> Attribute:
    target, examples, recipe = base.target, base.target.population, base.target.recipe
    assert isinstance(examples, Examples) and recipe is not None
    models = _models(base)
    if (reason := _lacking(base, models)) or base.bank is None or base.recordings is None:
        return Attribute(name, reason)
    column, rows = sensitive(examples, name), examples.representatives
    answers = ask_bank(base.bank, models, recipe, examples, column, device)
    _require_order(base, models, examples)
    members = base.recordings.members
    phi, correct = (by_pair(of[:, rows], members) for of in answers)
    on = choose_device(device)
    loaded = load_target(target.model, recipe, None, target.state_dict)
    own = ask_model(loaded.to(on).eval() if hasattr(loaded, "state_dict") else loaded, recipe, examples, column, on)
    return Attribute(
        name,
        values=shown(column.values),
        of=column.of[rows],
        features=column.features(examples)[rows],
        phi=own["phi"][rows],
        correct=own["correct"][rows],
        pairs=phi,
        pairs_correct=correct,
    )


def _lacking(base: Ground, models: Sequence[int]) -> str:
    """Return why a bank's models cannot be asked; empty if they can."""
    if base.bank is None or base.recordings is None:
        return "it needs a bank of shadow models: only models without a record show what is learned of it"
    if isinstance(base.recordings, Matched):
        return "it needs shadow models that are complementary pairs"
    assert base.target.recipe is not None
    return cannot_ask(base.bank, base.target.recipe, models)


def _models(base: Ground) -> list[int]:
    """Return the numbers of the bank's models, in the order of the recordings."""
    if base.bank is None:
        return []
    used = [m for first in base.bank.pairs() for m in (first, first + 1)] if base.bank.paired else base.bank.models()
    return used[: base.shadows]


def _require_order(base: Ground, models: Sequence[int], examples: Examples) -> None:
    """Raise BankError unless the models, in this order, have the training sets of the recordings."""
    assert base.bank is not None and base.recordings is not None
    rows = examples.representatives
    members = np.stack([base.bank.tensors(model)["members"][rows] for model in models])
    if not np.array_equal(members > 0, base.recordings.members > 0):
        raise BankError(f"the models of {base.bank.path} are not in the order of their recordings; fill a new bank")
