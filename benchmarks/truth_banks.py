"""The banks of benchmarks/memorization_truth.py: leave-one-out models, and the models that estimate what those say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import memaudit as ma
from benchmarks import truth_recipes
from memaudit.bank import Bank
from memaudit.bank.recordings import Recordings
from memaudit.design import Subsets, by_pair
from memaudit.memorization import Observations
from memaudit.memorization.proxies.accuracy import APB

Array = np.ndarray

EDGES = (0.1, 0.3, 0.5, 0.7)  # of estimated memorization: between the strata that examples are drawn from
NEVER, _EVERY = ma.Observe(0), ma.Observe("every epoch")
_GRADIENTS = ma.Observe(5, also=("gradient", "input_gradient", "curvature"))  # a look costs many epochs


@dataclass(frozen=True)
class Task:
    """How large the banks of a data set are.

    `without` models lack each of `chosen` examples, as many have all; `estimate` models estimate pLOO in each way,
    `select` models choose the examples, `runs` training runs are observed after every epoch, `gradients` runs
    with gradients and curvature at five looks.
    """

    recipe: Callable[[Path, ma.Observe], Any]
    without: int = 20
    chosen: int = 40
    estimate: int = 100
    select: int = 40
    runs: int = 10
    gradients: int = 2  # none for documents
    share: bool = True  # independent draws are for examples, not for documents

    @property
    def few(self) -> int:
        """A tenth of the models that estimate pLOO, and 4 at least."""
        return max(2 * round(self.estimate / 20), 4)


TASKS = {
    "location30": Task(truth_recipes.location30),
    "fashion": Task(truth_recipes.fashion),
    "language": Task(
        truth_recipes.language, without=6, chosen=24, estimate=40, select=20, runs=6, gradients=0, share=False
    ),
}


@dataclass(frozen=True)
class Banks:
    """The banks of one data set, in a folder of their own; each is filled when it is first asked for."""

    task: Task
    data: Path
    folder: Path
    workers: int = 2

    def _bank(self, name: str, models: int, seed: int, design: Subsets | None, **settings: Any) -> Bank:
        recipe = self.task.recipe(self.data, settings.pop("observe", NEVER))
        return ma.fill(
            self.folder / name, recipe, models, design=design, seed=seed, workers=self.workers, device="cpu",
            **{"weights": False, **settings},
        )  # fmt: skip

    def _recorded(self, bank: Bank, models: int) -> Recordings:
        return bank.recordings(range(models))  # a bank may have more

    @cached_property
    def select(self) -> Recordings:
        """Complementary halves that choose the examples, and serve for nothing else."""
        return self._recorded(self._bank("select", self.task.select, 1, None), self.task.select)

    def _runs(self, name: str, models: int, seed: int, observe: ma.Observe, weights: bool) -> Bank:
        """Return models on everything, and as many that lack one example, which is not among the chosen."""
        left = np.arange(self.select.shape[1]) == 0
        return self._bank(name, models, seed, Subsets(leave_one_out=left), observe=observe, weights=weights)

    @cached_property
    def runs_bank(self) -> Bank:
        """The training runs that are observed after every epoch."""
        return self._runs("runs", self.task.runs, 2, _EVERY, weights=True)

    @cached_property
    def runs(self) -> Observations:
        """What was seen of them, of all examples."""
        return _observations(self._recorded(self.runs_bank, self.task.runs))

    @cached_property
    def gradients(self) -> Observations | None:
        """Training runs with gradients and curvature; None for documents."""
        if not self.task.gradients:
            return None
        bank = self._runs("gradients", self.task.gradients, 8, _GRADIENTS, weights=False)
        return _observations(self._recorded(bank, self.task.gradients))

    @cached_property
    def candidates(self) -> Array:
        """The fifth of the examples with the lowest accuracy per batch in one training run, as a mask."""
        score = APB.score(self.runs)[0]
        rows = np.argsort(-score, kind="stable")[: len(score) // 5]
        return np.isin(np.arange(len(score)), rows)

    @cached_property
    def chosen(self) -> Array:
        """Rows of the examples: half candidates and half others, as evenly as can be from strata of memorization."""
        inside, outside = by_pair(self.select.correct, self.select.members)
        estimated = inside.mean(axis=0, dtype=float) - outside.mean(axis=0, dtype=float)
        rng = np.random.default_rng(3)
        found: list[int] = []
        for side in (self.candidates, ~self.candidates):
            strata = np.digitize(estimated, EDGES)
            order = rng.permutation(np.flatnonzero(side & (np.arange(len(side)) > 0)))
            place = np.empty(len(order), int)
            for stratum in np.unique(strata[order]):
                here = strata[order] == stratum
                place[here] = np.arange(here.sum())
            found += order[np.argsort(place, kind="stable")][: self.task.chosen // 2].tolist()
        return np.sort(np.array(found))

    @cached_property
    def left_out(self) -> Recordings:
        """Models on everything, and models without each chosen example."""
        mask = np.isin(np.arange(self.select.shape[1]), self.chosen)
        models = self.task.without * (self.task.chosen + 1)
        return self._recorded(self._bank("left-out", models, 4, Subsets(leave_one_out=mask)), models)

    def _estimating(self, name: str, seed: int, design: Subsets | None) -> Recordings:
        return self._recorded(self._bank(name, self.task.estimate, seed, design), self.task.estimate)

    @cached_property
    def halves(self) -> Recordings:
        """Complementary halves of everything: pLOO at r = 0.5."""
        return self._estimating("halves", 5, None)

    @cached_property
    def shares(self) -> Recordings | None:
        """Every example in a model with probability 0.7: pLOO at r = 0.7; None for documents."""
        if not self.task.share:
            return None
        return self._estimating("shares", 6, Subsets(share=0.7))

    @cached_property
    def improved(self) -> Recordings:
        """Complementary halves of the candidates, with all others in every model: pLOO_improved."""
        return self._estimating("improved", 7, Subsets(candidates=self.candidates))

    def fill(self) -> None:
        """Fill them all."""
        for name in ("select", "runs", "left_out", "halves", "shares", "improved", "gradients"):
            getattr(self, name)

    def seconds(self) -> float:
        """Return how long training took, all models together."""
        banks = [Bank.open(path.parent) for path in sorted(self.folder.glob("*/bank.json"))]
        return sum(float(bank.record(model)["seconds"]) for bank in banks for model in bank.models())


def _observations(recorded: Recordings) -> Observations:
    members = recorded.members
    return Observations(members=members, **recorded.observed(np.arange(members.shape[1])))


def quick(task: Task) -> Task:
    """Return a task of a few minutes, for a first look."""
    return replace(task, without=4, chosen=16, estimate=20, select=12, runs=4)
