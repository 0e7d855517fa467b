"""Which attacks and rates an audit may be asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from memaudit.attack_names import ATTACKS_BY_METRIC, USUAL_ATTACKS
from memaudit.attacks import OF_DISTRIBUTION, STATISTICS
from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target
from memaudit.checks import all_checks
from memaudit.errors import SettingsError, hint
from memaudit.metrics import require_limits
from memaudit.recipe import LanguageModelRecipe, Population, Recipe, TextPopulation
from memaudit.recipe.labels import Task
from memaudit.types import Limit, Rung

_OF_CLASSIFIERS = ("class-threshold", "modified-entropy")


def default_attacks(recipe: Recipe | None, population: Population, limits: Sequence[Limit]) -> tuple[str, ...]:
    """Return the names of the attacks that are usual for the kind of model, and of those that a limit is set for."""
    usual: tuple[str, ...] = USUAL_ATTACKS
    if isinstance(population, TextPopulation):
        has_base = isinstance(recipe, LanguageModelRecipe) and recipe.base is not None
        usual += ("reference", *(["base"] if has_base else []), *_statistics(population))
    limited = [limit.attack for limit in limits if limit.metric == "tpr" and limit.attack is not None]
    return tuple(dict.fromkeys([*usual, *limited]))


def usual_attacks(target: Target, base: Ground, limits: Sequence[Limit]) -> tuple[str, ...]:
    """Return the attacks that are usual for a target by what there is to go on, and those that a limit is set for."""
    if base.rung is Rung.BANK:
        return default_attacks(target.recipe, target.population, limits)
    with_references = (
        *(("slira",) if base.references is not None and base.references.pairs is not None else ()),
        *(("rmia-offline", "reference") if base.references is not None else ()),
        *(("base",) if base.base else ()),
    )
    return (*with_references, *default_without_bank(target.recorded, target.population, limits, with_references))


def attacks_without_bank(
    recipe: Recipe | None, population: Population, limits: Sequence[Limit], shadows: int, references: int
) -> tuple[str, ...]:
    """Return the attacks that are usual with fewer shadow models than a bank has, before there is a target."""
    has_base = getattr(recipe, "base", None) is not None
    made = (
        *(("slira",) if shadows >= 4 else ()),
        *(("rmia-offline", "reference") if shadows + references else ()),
        *(("base",) if has_base else ()),
    )
    classifies = not isinstance(population, TextPopulation) and population.task is Task.CLASSIFICATION
    entropy = {"modified_entropy": None} if classifies else {}
    return (*made, *default_without_bank(entropy, population, limits, made))


def default_without_bank(
    recorded: Mapping[str, Any], population: Population, limits: Sequence[Limit], made: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the attacks that are usual without other models, and those that a limit is set for and are not made."""
    own: Iterable[str]
    if isinstance(population, TextPopulation):
        own = (*_statistics(population), "quantile-regression")
    else:
        has_classes = population.task is Task.CLASSIFICATION
        own = ("quantile-regression", *(("class-threshold",) if has_classes else ()))
    usual = (*(("modified-entropy",) if "modified_entropy" in recorded else ()), *own, "global-threshold")
    limited = [limit.attack for limit in limits if limit.metric == "tpr" and limit.attack is not None]
    return tuple(name for name in dict.fromkeys([*usual, *limited]) if name not in made)


def _statistics(population: TextPopulation) -> tuple[str, ...]:
    """Return the attacks on texts that the kind of model allows."""
    return tuple(name for name in STATISTICS if population.token_logprobs is None or name not in OF_DISTRIBUTION)


def require_fitting(target: Target, attacks: Sequence[str]) -> None:
    """Raise SettingsError for an attack that this kind of model cannot be attacked with."""
    text = isinstance(target.population, TextPopulation)
    for name in attacks:
        if (name in STATISTICS and not text) or (name == "base" and "base" not in target.recorded):
            kind = "language models" if name in STATISTICS else "language models that start from a base"
            raise SettingsError(f"the attack {name!r} is for {kind}")
        if name in _OF_CLASSIFIERS and text:
            raise SettingsError(f"the attack {name!r} is for classifiers")
        if name in OF_DISTRIBUTION and "token_gap" not in target.recorded:
            raise SettingsError(
                f"the attack {name!r} needs the probabilities of all tokens, and token_logprobs() gives one; leave it "
                "out"
            )


def require_choices(fprs: Sequence[float], attacks: Sequence[str] | None, limits: Sequence[Limit] = ()) -> None:
    """Raise SettingsError for a rate outside (0, 1), an unknown attack, none of either, or a wrong limit."""
    require_limits(limits, (check.metric for check in all_checks()))
    if not fprs or (attacks is not None and not attacks):
        raise SettingsError(f"no {'attack' if fprs else 'false-positive rate'} is named; name one, or leave it out")
    for fpr in fprs:
        if not 0 < fpr < 1:
            raise SettingsError(f"a false-positive rate must be between 0 and 1, got {fpr:g}")
    for name in attacks or ():
        if name not in ATTACKS_BY_METRIC["tpr"]:
            raise SettingsError(f"there is no attack {name!r}; {hint(name, ATTACKS_BY_METRIC['tpr'])}")
