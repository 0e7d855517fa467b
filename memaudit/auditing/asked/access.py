"""What adversaries with other access see of the target and of the bank's models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memaudit.auditing import scope
from memaudit.auditing.asked.interface import Options, Question
from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target
from memaudit.auditing.viewing import viewed
from memaudit.checks import TargetEvidence
from memaudit.errors import SettingsError
from memaudit.recipe import EstimatorRecipe, Examples, GeneratorRecipe, Population, Recipe
from memaudit.recipe.labels import Task
from memaudit.signals.views import VIEWS, Unseen, View
from memaudit.training.asking import cannot_ask
from memaudit.types import ASKED_ACCESS, Level

_SEARCH = "boundary"  # takes minutes for each model, so that it must be named
_NAMES = {
    **{str(level): (level, False) for level in (Level.LABELS, Level.CONFIDENCES, Level.WEIGHTS)},
    _SEARCH: (Level.LABELS, True),
    "all": (Level.WEIGHTS, True),
}
_UNSEARCHED = "it takes hundreds of queries per example; --access boundary or all measures these"


@dataclass(frozen=True)
class Accesses(Question):
    """What adversaries with less or more access find, up to a level; `search` also looks for the decision boundary."""

    level: Level
    device: str
    search: bool = False

    def facts(self, base: Ground) -> dict[str, Any]:
        """Return the views up to the level, and why others could not be had; nothing without a bank."""
        recipe, examples = base.target.recipe, base.target.population
        if base.recordings is None or isinstance(recipe, GeneratorRecipe):
            return {}
        if reason := _unviewable(base):
            unseen = {view.name: reason for view in VIEWS.values() if view.level.place <= self.level.place}
            return {"access": self.level, "unseen": unseen}
        assert recipe is not None and isinstance(examples, Examples)
        possible, unseen = views_for(self.level, recipe, examples, self.search)
        views = {}
        for view in possible:
            try:
                views[view.name] = viewed(base, view, self.device)
            except Unseen as error:
                unseen[view.name] = str(error)
        return {"access": self.level, "views": views, "unseen": unseen}

    def provenance(self, evidence: TargetEvidence) -> dict[str, str]:
        """Return the level, and whether the boundary was searched."""
        return {ASKED_ACCESS: f"{self.level}, {_SEARCH}" if self.search else str(self.level)}

    def tested(self, evidence: TargetEvidence) -> dict[str, str]:
        """Return what is left of the other attacks, where some were made: by the views that could be had."""
        levels = {VIEWS[name].level for name in getattr(evidence, "views", {})}
        if not levels:
            return {}
        return {scope.UNTESTED[0]: scope.OTHER_WHITE_BOX if Level.WEIGHTS in levels else scope.WHITE_BOX}


def asked(target: Target, options: Options) -> Accesses | None:
    """Return the question about the level that is named; None if none is.

    Raises:
        SettingsError: As for `highest`.
    """
    found = highest(options.access, target.population, options.weights)
    return None if found is None else Accesses(found[0], options.device, found[1])


def highest(access: str | None, examples: Population, weights: bool = True) -> tuple[Level, bool] | None:
    """Return the highest access level that was asked for, and whether to search for the boundary; None if none was.

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


def views_for(access: Level, recipe: Recipe, examples: Examples, search: bool) -> tuple[list[View], dict[str, str]]:
    """Return the views up to a level that models of a recipe allow, and why the others cannot be had, by name."""
    wanted = [view for view in VIEWS.values() if view.level.place <= access.place]
    lacking = {view.name: view.lacks(recipe, examples) for view in wanted}
    if not search:
        lacking[_SEARCH] = lacking[_SEARCH] or _UNSEARCHED
    return [view for view in wanted if not lacking[view.name]], {name: why for name, why in lacking.items() if why}


def _unviewable(base: Ground) -> str:
    """Return why no view can be had of the bank's models or the target; empty if views can."""
    target, bank = base.target, base.bank
    assert bank is not None
    if target.outputs or target.recipe is None:
        return "the model was audited from recorded outputs, and cannot be asked anything else"
    if isinstance(target.recipe, EstimatorRecipe):
        return "an EstimatorRecipe leaves no model in the bank that attacks by access could ask"
    if reason := cannot_ask(bank, target.recipe, base.used):
        return reason
    if getattr(target.population, "task", None) is not Task.CLASSIFICATION:
        return "attacks by access are for classifiers with one label per example"
    return ""
