"""What adversaries with other access see of the target and of the bank's models."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target
from memaudit.bank import Matched
from memaudit.checks.evidence import Viewed
from memaudit.design import PairArrays, Pairs, by_pair
from memaudit.errors import BankError, SettingsError
from memaudit.recipe import Examples, Population, Recipe, load_target
from memaudit.recipe.labels import Task
from memaudit.recipe.populations import candidates
from memaudit.signals.views import VIEWS, View
from memaudit.training import choose_device, population
from memaudit.training.viewing import view_bank
from memaudit.types import Level

Array = np.ndarray

_NAMES = {"all": Level.WEIGHTS, **{str(level): level for level in (Level.LABELS, Level.CONFIDENCES, Level.WEIGHTS)}}


def highest(access: str | None, examples: Population, weights: bool = True) -> Level | None:
    """Return the highest access level that was asked for; None if none was.

    Args:
        access: Its name.
        examples: The audited population.
        weights: Whether the bank will keep its models' weights.

    Raises:
        SettingsError: There is no such level, or there is nothing that it could be measured on.
    """
    if access is None:
        return None
    if access not in _NAMES:
        raise SettingsError(f"access = {access!r}: choose one of {', '.join(_NAMES)}")
    if not isinstance(examples, Examples) or examples.task is Task.GENERATION:
        raise SettingsError(
            "attacks by access are for classifiers, not for language models or generators; leave --access out"
        )
    if not weights:
        raise SettingsError("attacks by access ask the bank's models again: set weights = true, or leave --access out")
    return _NAMES[access]


def views_for(access: Level, recipe: Recipe, examples: Examples) -> tuple[list[View], dict[str, str]]:
    """Return the views up to a level that models of a recipe allow, and why the others cannot be had, by name."""
    wanted = [view for view in VIEWS.values() if view.level.place <= access.place]
    lacking = {view.name: view.lacks(recipe, examples) for view in wanted}
    return [view for view in wanted if not lacking[view.name]], {name: why for name, why in lacking.items() if why}


def views_of(base: Ground, access: Level | None, device: str) -> dict[str, Any]:
    """Return what evidence has of views: those of the level that was asked for, and why others could not be had."""
    if access is None:
        return {}
    if reason := _unviewable(base):
        unseen = {view.name: reason for view in VIEWS.values() if view.level.place <= access.place}
        return {"access": access, "unseen": unseen}
    recipe, examples = base.target.recipe, base.target.population
    assert recipe is not None and isinstance(examples, Examples)
    measured = _measured(base)
    _require_order(base, _models(base), measured)
    possible, unseen = views_for(access, recipe, examples)
    views = {view.name: _viewed(base, view, measured, device) for view in possible}
    return {"access": access, "views": views, "unseen": unseen}


def _unviewable(base: Ground) -> str:
    """Return why no view can be had of the bank's models or the target; empty if views can."""
    target, bank = base.target, base.bank
    assert bank is not None
    if target.outputs or target.recipe is None:
        return "the model was audited from recorded outputs, and cannot be asked anything else"
    if bank.imported:
        return "the bank was imported: it has outputs of its models, and no model that could be asked anything else"
    if getattr(target.recipe, "model", None) is None:
        return (
            f"a {type(target.recipe).__name__} without model=... leaves no model in the bank that could be asked "
            "anything else; give model=..., which returns an untrained network, and fill a bank with weights"
        )
    if any(bank.weights_sha256(model) is None for model in _models(base)):
        return f"the bank in {bank.path} keeps no weights; fill one with weights (weights = true)"
    if getattr(target.population, "task", None) is not Task.CLASSIFICATION:
        return "attacks by access are for classifiers with one label per example"
    return ""


def _models(base: Ground) -> list[int]:
    """Return the numbers of the bank's models that are used, in the order of the recordings."""
    bank = base.bank
    assert bank is not None
    used = [m for first in bank.pairs() for m in (first, first + 1)] if bank.paired else bank.models()
    return used[: base.shadows]


def _measured(base: Ground) -> Examples:
    """Return the examples that the bank recorded, in its order."""
    assert base.bank is not None and base.target.recipe is not None
    whole = population(base.target.recipe)
    assert isinstance(whole, Examples)
    found = candidates(whole, base.bank.design(whole.units))
    assert isinstance(found, Examples)
    return found


def _require_order(base: Ground, models: list[int], measured: Examples) -> None:
    """Raise BankError unless the models, in this order, have the training sets of the recordings."""
    assert base.bank is not None and base.recordings is not None and isinstance(base.target.population, Examples)
    examples = base.target.population
    rows = [measured.rows_by_id[str(examples.ids[row])] for row in examples.representatives]
    members = np.stack([base.bank.tensor(model, "members")[rows] for model in models])
    if not np.array_equal(members > 0, base.recordings.members > 0):
        raise BankError(f"the models of {base.bank.path} are not in the order of their recordings; fill a new bank")


def _viewed(base: Ground, view: View, measured: Examples, device: str) -> Viewed:
    target, bank = base.target, base.bank
    assert bank is not None and isinstance(target.population, Examples) and target.recipe is not None
    examples, models = target.population, _models(base)
    seen, seconds = view_bank(bank, models, target.recipe, examples, view, measured=measured, device=device)
    units = np.stack([examples.by_unit(of) for of in seen])
    return Viewed(_of_target(target, view, device), _pairs(base, units), view.queries, seconds)


def _of_target(target: Target, view: View, device: str) -> Float[Array, "examples columns"]:
    assert target.recipe is not None and isinstance(target.population, Examples)
    on = choose_device(device)
    network = load_target(target.model, target.recipe, None, target.state_dict).to(on).eval()
    return np.asarray(target.population.by_unit(view.see(network, target.recipe, target.population, on)))


def _pairs(base: Ground, seen: Float[Array, "models units columns"]) -> Pairs:
    """Return what is seen of the models in the form of the bank's recordings."""
    recordings = base.recordings
    assert recordings is not None
    if isinstance(recordings, Matched):
        couples, columns = recordings.couples, np.arange(seen.shape[1])
        return PairArrays(seen[couples.inside, columns], seen[couples.outside, columns])
    return PairArrays(*by_pair(seen, recordings.members))
