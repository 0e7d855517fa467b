"""Training without some of the examples: chosen beforehand, hardest, or most exposed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from memaudit.auditing import most_exposed
from memaudit.auditing.unit_scores import UnitRecordings, by_unit
from memaudit.bank import Bank
from memaudit.design import Subsets, by_pair
from memaudit.errors import RecipeError, SettingsError, hint
from memaudit.memorization.observations import Observations
from memaudit.memorization.proxies import Of, Others, all_proxies
from memaudit.recipe import Examples, Population
from memaudit.recipe.labels import Task
from memaudit.training import fill
from memaudit.whatif.base import LEAST, Base, Comparable, Made

Array = np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Without(Comparable):
    """Train on all examples but some; they are in no model, and what is compared is about the others.

    Args:
        removed: Their ids, a mask over all examples, or a file of ids.
    """

    removed: Any

    def make(self, base: Base, folder: Path) -> Made:
        """Return the bank without the examples."""
        return Made(bank=_without(base, folder, self.removed))


@dataclass(frozen=True, slots=True)
class WithoutMostExposed:
    """Train without the units that an attack finds best: the privacy onion.

    Args:
        share: Of the units.
        chosen_by: So many of the base's first models choose; the comparison is made on the others.
        attack: By which they are chosen.

    Source: Carlini et al. 2022 (NeurIPS), "The privacy onion effect: memorization is relative".
    """

    share: float = 0.1
    chosen_by: int = 8
    attack: str = "lira-online"

    @property
    def least(self) -> int:
        """Those that choose, and three pairs to measure on."""
        return self.chosen_by + LEAST

    def make(self, base: Base, folder: Path) -> Made:
        """Return the bank without the units that the base's first models chose."""
        exposed = most_exposed(base.bank, base.recipe, self.share, shadows=self.chosen_by, attack=self.attack)
        return Made(bank=_without(base, folder, exposed), first=self.chosen_by)


@dataclass(frozen=True, slots=True)
class WithoutHardest:
    """Train without the examples that a memorization proxy finds hardest: data pruning.

    Args:
        share: Of the units.
        chosen_by: So many of the base's first models choose; the comparison is made on the others.
        proxy: A proxy of models without the example, or of training runs: then the mean over the models that have it.
            Larger = harder. "el2n" and "el2n-early" need a recipe that is observed: `observe=memaudit.Observe(5)`.

    Source: Paul, Ganguli & Dziugaite 2021 (NeurIPS), "Deep Learning on a Data Diet": without the few examples of the
    highest EL2N, which are mislabelled and unusual ones, accuracy can rise.
    """

    share: float = 0.02
    chosen_by: int = 8
    proxy: str = "others-confidence"

    @property
    def least(self) -> int:
        """Those that choose, and three pairs to measure on."""
        return self.chosen_by + LEAST

    def make(self, base: Base, folder: Path) -> Made:
        """Return the bank without the units that the base's first models chose.

        Raises:
            SettingsError: There is no such proxy, or the share removes nobody.
            RecipeError: The bank did not record what the proxy needs.
        """
        hardness = hardest(base, self.chosen_by, self.proxy)
        count = round(self.share * len(hardness))
        if not 0 < count < len(hardness):
            raise SettingsError(f"share = {self.share}: remove a share of the {len(hardness)} units that leaves some")
        chosen = np.argsort(-hardness, kind="stable")[:count]
        return Made(bank=_without(base, folder, _ids(base, chosen)), first=self.chosen_by)


def hardest(base: Base, chosen_by: int, name: str) -> Float[Array, " units"]:
    """Return a proxy's score of each unit by a bank's first models; larger = harder."""
    proxies = {proxy.name: proxy for proxy in all_proxies() if proxy.of is not Of.DATA}
    if name not in proxies:
        raise SettingsError(f"there is no proxy {name!r} of models; {hint(name, proxies)}")
    proxy, examples = proxies[name], base.examples
    recordings = base.bank.recordings(range(chosen_by))
    if proxy.of is Of.OTHERS:
        material: Any = _others(examples, by_unit(recordings, examples))
    else:
        found = recordings.observed(np.arange(recordings.shape[1]))
        if not found:
            raise RecipeError(f"the proxy {name} is about training runs, and none was observed; choose another")
        material = Observations(members=recordings.members, **found)
    if lacking := proxy.lacks(material):
        raise RecipeError(
            f"the proxy {name} needs {', '.join(lacking)}, which the bank has not recorded; choose another, or set "
            "`observe` in the recipe"
        )
    score = np.asarray(proxy.score(material))
    if proxy.of is Of.OTHERS:
        return score
    inside = by_pair(score, recordings.members)[0].mean(axis=0)
    return examples.by_unit(inside) if isinstance(examples, Examples) else inside


def _others(examples: Population, recordings: UnitRecordings) -> Others:
    """Return what a bank's models say of the units that they lack."""
    outside = recordings.block(slice(0, recordings.shape[1]))[1].mean(axis=2, dtype=np.float64)
    correct = by_pair(recordings.correct.astype(np.float64), recordings.members)[1]
    if not isinstance(examples, Examples):
        return Others(log_probability=outside, correct=correct)
    if examples.task is not Task.CLASSIFICATION:
        raise RecipeError(f"proxies of models without the example are for classes, and this is {examples.task}")
    y = examples.y[examples.representatives]
    return Others(log_probability=-np.logaddexp(0, -outside), correct=correct, prior=(np.bincount(y) / len(y))[y])


def _ids(base: Base, units: Int[Array, " some"]) -> list[str]:
    """Return the ids of all examples of some units."""
    whole = base.examples
    if not isinstance(whole, Examples):
        return [str(name) for name in whole.ids[np.sort(units)]]
    return [str(name) for name in whole.ids[np.isin(whole.unit_of, units)]]


def _without(base: Base, folder: Path, removed: Any) -> Bank:
    design = Subsets(removed=removed)
    return fill(
        folder, base.recipe, base.shadows, seed=base.seed, design=design, examples=base.examples, **base.training
    )
