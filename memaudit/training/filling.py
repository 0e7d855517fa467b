"""Train the missing shadow models in parallel and store each one atomically.

The folder is the only state. A fill that is killed goes on when it is called again; several fills, on one machine or
many, can share a folder, by shards or without: each takes what is missing in an order of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from memaudit.bank import Bank
from memaudit.bank.inputs import require_inputs
from memaudit.canaries.doses import target_doses
from memaudit.design import Design, Draw, Role, Subsets, redrawn, target_in_units, target_share
from memaudit.errors import BankError, RecipeError, SettingsError
from memaudit.recipe import (
    Counts,
    Examples,
    Population,
    Recipe,
    TextPopulation,
    fingerprint,
    load_recipe,
    member_counts,
    membership,
    own_values,
    recipe_folder,
    require_same_values,
)
from memaudit.recipe.populations import number_of_units, population, require_stable, units_of
from memaudit.recipe.weights import require_storable
from memaudit.training.designing import WAY_OUT, design_for, require_enough, require_models, resolved, size_mismatch
from memaudit.training.executors import Elsewhere
from memaudit.training.machine import choose_device, one_thread, starting
from memaudit.training.making import make_missing
from memaudit.training.model import Workshop

Array = np.ndarray

_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fill is: `done` of `total` models are there, `fresh` of them since it began `seconds` ago."""

    done: int
    total: int
    fresh: int
    seconds: float

    @property
    def remaining_seconds(self) -> float | None:
        """Time to go at the pace so far; None before the first model."""
        return self.seconds / self.fresh * (self.total - self.done) if self.fresh else None


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `of` equal parts of the models, counted from 1: model m belongs to shard (m mod of) + 1."""

    part: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.part <= self.of:
            raise SettingsError(f"a shard is I/N with 1 ≤ I ≤ N, got {self.part}/{self.of}")

    def models(self, shadows: int) -> range:
        """Return the models of this shard."""
        return range(self.part - 1, shadows, self.of)


def fill(
    path: str | Path,
    recipe: Recipe | str,
    shadows: int = 64,
    *,
    members: str | Path | Iterable[Any] | None = None,
    design: Subsets | None = None,
    seed: int = 0,
    workers: int = 1,
    shard: Shard | None = None,
    models: Collection[int] | None = None,
    executor: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    weights: bool = True,
    examples: Population | None = None,
    pack: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    repaired: Callable[[int, str], None] | None = None,
) -> Bank:
    """Return the bank in a folder after training every model that it lacks.

    Every model is trained on one thread and from a seed of its own, so that the bank is the same however many workers
    fill it, and whether or not it was interrupted.

    Args:
        path: The bank's folder; made if there is none.
        recipe: How to make a model, or where the recipe is (`recipe.py:recipe`).
        shadows: Number of models. They come in complementary pairs, unless the design says otherwise: a multiple of
            2. A larger number lets the bank grow.
        members: Who the target was trained on, as for `audit`. If these are not about half of the examples, the models
            of a new bank have training sets of the target's size all the same; the bank is then for this target.
        design: Which subsets of the examples the models are trained on, other than halves. A bank that has models
            keeps its design without being told again.
        seed: Decides memberships and all randomness of training.
        workers: Processes; more than one needs a recipe that can be imported. A script that asks for them must guard
            its main part with `if __name__ == "__main__"`. With an executor, the number of jobs at a time.
        shard: Train this part of the models only.
        models: Train these models only.
        executor: The engine that runs the jobs: `submitit`, `ray`, `dask`, `joblib`. The recipe must then be named
            (`recipe.py:recipe`), and the machines must see it and the bank under the same paths.
        options: Of the executor, as it calls them.
        device: `cpu`, `cuda`, `cuda:1`, …; `auto` takes a GPU if there is one. With an executor, of each job.
        weights: Whether to keep the networks' weights beside their signals.
        examples: The recipe's population, where it has been made already.
        pack: How many models of a ClassifierRecipe a process trains at once, as one batched network. By default 16 on
            a CPU, where that is faster and changes no bit: of small, plain stacks of linear layers. A number packs
            every network that can be; the models agree with those trained alone within rounding. 1 packs none.
        progress: Called now and then.
        repaired: Called with (model, what was wrong) for each damaged model that is trained again.

    Raises:
        SettingsError: The number of shadows, workers, the models, the design, the device or the executor makes no
            sense.
        RecipeError: The recipe failed.
        BankError: The folder holds another recipe's bank, or cannot be written, or the bank does not fit the target;
            or the jobs of an executor add no model.
    """
    if pack is not None and pack < 1:
        raise SettingsError(f"pack = {pack}: give a number of models, at least 1")
    if pack is not None and executor is not None:
        raise SettingsError("pack and executor exclude each other: jobs pack models as they do by default")
    wanted = _wanted(shadows, shard, models)
    elsewhere = None if executor is None else Elsewhere.on(executor, options, recipe, workers, device)
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    examples = population(recipe) if examples is None else examples
    who = None if members is None else units_of(examples, membership(members, examples).counts)
    of_bank = design_for(path, examples, seed, who, design)
    require_models(shadows, of_bank)
    if who is not None and of_bank.draw is Draw.INDEPENDENT:
        require_enough(shadows, of_bank)
    here = choose_device(device) if elsewhere is None else "cpu"  # a login node has no GPU
    workshop = Workshop(recipe, examples, seed, here, weights, of_bank, pack)
    workshop.require_classes()
    if weights:
        require_storable(recipe)
    bank = Bank.create(path, len(examples), fingerprint(recipe, examples, seed), of_bank)
    require_inputs(bank, recipe_folder(recipe))
    if not bank.models():
        require_stable(recipe, examples)
    discard(bank, bank.damage, repaired)
    if not all(map(bank.has, wanted)) and who is not None and (told := size_mismatch(of_bank, who)):
        raise BankError(f"{bank.path}: {told}. {WAY_OUT}")  # before hours are spent
    if elsewhere is None:
        complete(workshop, bank, wanted, workers, progress)
    else:
        elsewhere.complete(bank, wanted, seed, weights, _Watch(bank, wanted, progress))
    return bank


def _wanted(shadows: int, shard: Shard | None, models: Collection[int] | None) -> Collection[int]:
    """Return the models that a fill is to make."""
    if models is None:
        return shard.models(shadows) if shard else range(shadows)
    if shard is not None:
        raise SettingsError("name models or a shard of them, not both")
    if wrong := sorted(set(models) - set(range(shadows))):
        raise SettingsError(f"there is no model {wrong[0]}: with {shadows} shadow models they are 0 to {shadows - 1}")
    return sorted(set(models))


def discard(bank: Bank, problem_of: Callable[[int], str | None], told: Callable[[int, str], None] | None) -> None:
    """Take the models with a problem out of a bank, so that they are made again, and what killed processes left."""
    bank.sweep()
    for model in bank.models():
        if problem := problem_of(model):
            bank.discard(model)
            if told is not None:
                told(model, problem)


def complete(
    workshop: Workshop,
    bank: Bank,
    wanted: Collection[int],
    workers: int,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Make those of some models that a bank lacks."""
    missing = [model for model in wanted if not bank.has(model)]
    random.SystemRandom().shuffle(missing)  # two fills of one folder meet the same model seldom, and then harmlessly
    if missing:
        bank.require_writable()
    watch = _Watch(bank, wanted, progress)
    if workers > 1 and len(missing) > 1:
        _fill_in_processes(workshop, bank, missing, min(workers, len(missing)), watch)
    else:
        _fill_here(workshop, bank, missing, watch)


def train(
    recipe: Recipe | str,
    members: Sequence[str] | Bool[Array, " examples"] | UInt8[Array, " examples"],
    *,
    seed: int = 0,
    device: str = "auto",
    label_noise: float = 0.0,
) -> Any:
    """Return one model made by a recipe on given members: a target that is made just as its shadows are.

    Args:
        recipe: How to make a model, or where the recipe is (`recipe.py:recipe`).
        members: The ids of the training examples, a mask over all examples, or what `draw_members` returned.
        seed: Of everything random in training.
        device: As for `fill`.
        label_noise: The share of labels to replace by another class, for the target of a bank whose models have such.

    Raises:
        RecipeError: The recipe failed.
        EvidenceError: The members do not fit the examples.
        SettingsError: The label noise is no share, or not for such examples.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    examples = population(recipe)
    counts = member_counts(members, examples)
    if resolved(Subsets(label_noise=label_noise), examples).label_noise:
        assert isinstance(examples, Examples)
        y = redrawn(seed, None, examples.y, examples.unit_of, examples.classes, label_noise)
        examples = examples.relabelled(y)
    with one_thread():
        model, _ = Workshop(recipe, examples, seed, choose_device(device)).train(counts, seed)
    return model


def draw_members(
    recipe: Recipe | str, *, seed: int = 0, share: float | None = None, design: Subsets | None = None
) -> Counts:
    """Return how often a target is to be trained on each example: 0 or 1, the same for all of a unit.

    Each canary of a language model gets a dose, as in the shadow models: 0 for half of them. Only random membership
    makes an audit's false-positive rates and exposures valid.

    Args:
        recipe: Whose examples, or where the recipe is (`recipe.py:recipe`).
        seed: Seed of the draw; independent of the bank's, even if the number is the same.
        share: Share of the units that become members. One half: each with probability 1/2. Any other: exactly so.
        design: Of the bank that the target is to be compared with: the share of its candidates become members, and
            all other units that are in every model. The share is that of the design.

    Raises:
        SettingsError: The share leaves no member or no non-member, or the design has its own.
    """
    examples = population(load_recipe(recipe) if isinstance(recipe, str) else recipe)
    of_bank = Design.halves(number_of_units(examples)) if design is None else resolved(design, examples)
    share = _share(share, of_bank, design is not None)
    if not isinstance(examples, TextPopulation):
        return Counts(target_in_units(seed, examples.unit_of, examples.strata, share, of_bank.roles), examples)
    drawn = target_share(seed, len(examples), share, of_bank.roles)
    planted = target_doses(seed, len(examples.canaries), examples.probes.doses)
    return Counts(np.concatenate([drawn, planted]), examples)


def _share(share: float | None, design: Design, asked: bool) -> float:
    """Return the share of the candidates that become members of a target.

    Raises:
        SettingsError: It leaves no member or no non-member, or contradicts the design.
    """
    if design.draw is Draw.LEAVE_ONE_OUT:
        raise SettingsError("a leave-one-out design supports no audit, so there is no target to draw members for")
    if share is not None and asked:
        raise SettingsError(f"share = {share}: the design says which share of its candidates are members; give one")
    share, units = design.inclusion if share is None else share, design.count(Role.CANDIDATE)
    if not 0 < round(share * units) < units:
        raise SettingsError(
            f"share = {share}: it must be between 0 and 1 and leave at least one member and one non-member"
        )
    return share


class _Watch:
    """Count the models in the folder, whichever process trained them, and report to the caller."""

    def __init__(self, bank: Bank, wanted: Collection[int], tell: Callable[[Progress], None] | None):
        self.bank, self.wanted, self.tell = bank, wanted, tell
        self.started = time.perf_counter()
        self.before = self._count()
        self()

    def _count(self) -> int:
        return sum(1 for model in self.bank.models() if model in self.wanted)

    def __call__(self) -> None:
        if self.tell is not None:
            done = self._count()
            self.tell(Progress(done, len(self.wanted), done - self.before, time.perf_counter() - self.started))


def _fill_here(workshop: Workshop, bank: Bank, missing: list[int], watch: _Watch) -> None:
    make_missing(workshop, bank, missing, watch)


def _fill_in_processes(workshop: Workshop, bank: Bank, missing: list[int], workers: int, watch: _Watch) -> None:
    try:
        pickle.dumps(workshop.code)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise RecipeError(
            f"the recipe cannot be sent to worker processes: {error}. Define its functions with names at the top level "
            "of recipe.py (no lambda, nothing inside another function), or train in one process: workers=1, --workers 1"
        ) from error
    with ProcessPoolExecutor(workers, starting(), _follow_parent, (dict(os.environ),)) as executor:
        try:
            values = list(map(own_values, workshop.code))
            futures = {executor.submit(_work, workshop, bank, missing[w::workers], values) for w in range(workers)}
            while futures:
                done, futures = wait(futures, _POLL_SECONDS, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                watch()
        except BrokenProcessPool as error:
            raise BankError(
                "a worker process died (out of memory? a script that is not guarded, or read from stdin?); see above, "
                "and run the same command again"
            ) from error
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _follow_parent(environment: dict[str, str]) -> None:
    """Run first in a worker process: the parent alone answers Ctrl-C, and a worker ends when its parent is gone.

    Its environment variables are the parent's of now; a fork server has those of when it started.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(workshop: Workshop, bank: Bank, models: list[int], values: list[dict[str, tuple[str | None, ...]]]) -> None:
    """Run in a worker process: makes the models that are still missing."""
    for code, given in zip(workshop.code, values, strict=True):
        require_same_values(code, given)
    make_missing(workshop, bank, models)
