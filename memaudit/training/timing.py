"""How long one shadow model takes, from training small parts of one; nothing of it is kept, and no bank is touched.

One epoch is timed on more and more of a model's members, then more and more epochs on as many. Both stop where the last
step took long enough to exceed timing noise, or where there is no more. With L examples and e epochs at the end, of n
and E, the whole takes

    t(L, e) + (E − e) · epoch + E · (n − L) · b

where `epoch` is what one more epoch on L examples costs, by the last two numbers of epochs, and b what one more example
costs in an epoch, by the last two sizes. This is exact where an epoch's cost is a straight line in its examples and the
epochs cost the same; whatever is paid once (to build a model, to load its base) cancels. Looks at the live model are
timed by one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from memaudit.design import Design, training_seed
from memaudit.errors import MemauditError, RecipeError
from memaudit.recipe import ClassifierRecipe, Examples, LanguageModelRecipe, Population, Recipe
from memaudit.recipe.labels import Task
from memaudit.recipe.observe import Observe
from memaudit.signals.observing import observer_of
from memaudit.training.machine import choose_device, one_thread
from memaudit.training.model import Workshop

Array = np.ndarray

_FIRST = 32  # examples of the smallest trial; a batch, if that is larger
_TELLING = 0.5  # seconds that a doubling adds when it is told from noise; the trial then takes one or two in all


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What one shadow model costs one process, in seconds, and the disk, in bytes; no two models take quite the same.

    `training` is the time of training it, `evaluation` that of taking its signals over the whole population, `stored`
    what it takes on the disk, and `tried` says in words what was really run. `rough` is True where the loop is not
    memaudit's own and a straight line in the number of examples is therefore a guess: some estimators take time in
    proportion to its square.
    """

    training: float
    evaluation: float
    stored: int
    tried: str
    rough: bool

    @property
    def seconds(self) -> float:
        """All of a model's time."""
        return self.training + self.evaluation


def time_model(
    recipe: Recipe,
    examples: Population,
    seed: int = 0,
    device: str = "auto",
    weights: bool = True,
    clock: Callable[[], float] = time.perf_counter,
    design: Design | None = None,
) -> Timing:
    """Return how long one shadow model takes on one thread, as `fill` trains it; takes some seconds to find out.

    A model that is trained within about a second is trained whole, and measured. Of a language model's training set
    the documents are fewer in a trial; its canaries are all there, as planted.

    Args:
        recipe: How to make a model.
        examples: The recipe's population.
        seed: The bank's.
        device: As for `fill`.
        weights: Whether they are kept.
        clock: Returns the time in seconds.
        design: Of the bank; by default halves.

    Raises:
        SettingsError: There is no such device.
        RecipeError: The recipe failed, or what it returned is no model.
    """
    trials = _Trials(Workshop(recipe, examples, seed, choose_device(device), weights, design), clock)
    try:
        with one_thread():
            size, first, per_example, sizes = trials.by_size()
            epochs, seconds, epoch = trials.by_epochs(size, first)
            evaluation, signals = trials.evaluation()
            look = trials.look()
    except MemauditError as error:
        raise RecipeError(f"a trial of shadow model 0: {error}") from error
    rest = (trials.epochs - epochs) * epoch + trials.epochs * (trials.most - size) * per_example
    return Timing(
        training=seconds + rest + max(trials.looks - 1, 0) * look,  # the last one is a part of measuring
        evaluation=evaluation,
        stored=trials.stored(signals, epochs),
        tried=trials.told(epochs, sizes),
        rough=trials.opaque and size < trials.most,
    )


class _Trials:
    """Train parts of a bank's model 0 against a clock, and keeps the last one."""

    def __init__(self, workshop: Workshop, clock: Callable[[], float]):
        self.workshop, self.clock = workshop, clock
        self.counts = workshop.counts(0)
        self.order = _order(np.flatnonzero(self.counts[: len(workshop.examples)]), workshop.examples)
        self.most = len(self.order)
        recipe = workshop.recipe
        self.opaque = not isinstance(recipe, ClassifierRecipe | LanguageModelRecipe)
        self.epochs: int = getattr(recipe, "epochs", 1)
        self.least = min(self.most, max(_FIRST, getattr(recipe, "batch_size", 1)))
        self.model: Any = None
        self.dynamics: dict[str, Array] = {}
        self.seen: dict[str, Array] = {}
        self.looks: int = 0 if self.opaque else getattr(recipe, "observe", Observe(0)).looks(self.epochs)

    def training(self, size: int, epochs: int) -> float:
        """Return the seconds of training on `size` members."""
        workshop = self.workshop if self.opaque else self.workshop.with_epochs(epochs)
        counts = self.counts.copy()
        counts[self.order[size:]] = 0
        self.model = None  # two at once may not fit on the device
        started = self.clock()
        train = workshop.train_observed if self.opaque else workshop.train  # its looks are not known beforehand
        self.model, self.dynamics = train(counts, training_seed(workshop.seed, 0))
        return self.clock() - started

    def evaluation(self) -> tuple[float, dict[str, Array]]:
        """Return the seconds of taking the last model's signals, and these."""
        started = self.clock()
        signals = self.workshop.measure(self.model)
        return self.clock() - started, signals

    def look(self) -> float:
        """Return the seconds of one look at a model while it trains; 0 if there is none."""
        if not self.looks:
            return 0.0
        observer = observer_of(self.workshop.recipe, self.workshop.measured)
        started = self.clock()
        observer.see(self.model, self.epochs)
        self.seen = observer.tensors(self.model)
        return self.clock() - started

    def stored(self, signals: dict[str, Array], epochs: int) -> int:
        """Return the bytes that the whole model takes on the disk, up to the headers of files.

        Args:
            signals: Of the last model.
            epochs: Of its training; its dynamics grow with them.
        """
        workshop = self.workshop
        fixed = sum(array.nbytes for array in (workshop.memberships(self.counts) | signals).values())
        recorded = self.epochs / epochs * sum(array.nbytes for array in self.dynamics.values())
        seen = self.looks * sum(array.nbytes for array in self.seen.values())
        return int(fixed + recorded + seen + len(workshop.weights(self.model) or b""))

    def by_size(self) -> tuple[int, float, float, list[int]]:
        """Return the last size, its seconds for one epoch, those of one more example in it, and the last two sizes."""
        sizes = [self._warmed_up()]
        seconds, added = self.training(sizes[-1], 1), 0.0
        while sizes[-1] < self.most and added < _TELLING:
            sizes.append(min(2 * sizes[-1], self.most))
            longer = self.training(sizes[-1], 1)
            seconds, added = longer, longer - seconds
        grown = sizes[-1] - sizes[-2] if len(sizes) > 1 else 1
        return sizes[-1], seconds, max(added, 0.0) / grown, sizes[-2:]

    def by_epochs(self, size: int, seconds: float) -> tuple[int, float, float]:
        """Return the last number of epochs, its seconds, and those of one epoch more.

        Args:
            size: Members to train on.
            seconds: Of one epoch on them.
        """
        epochs, epoch, added = 1, 0.0, 0.0
        while epochs < self.epochs and added < _TELLING:
            more = min(2 * epochs, self.epochs)
            longer = self.training(size, more)
            added = longer - seconds
            epochs, seconds, epoch = more, longer, max(added, 0.0) / (more - epochs)
        return epochs, seconds, epoch

    def _warmed_up(self) -> int:
        """Return the smallest size that can be trained on, after doing so once: what is first loads libraries.

        A loop of the user's may need more examples than the smallest trial has: some of each class in every fold, say.
        """
        size = self.least
        while True:
            try:
                self.training(size, 1)
            except RecipeError:
                if not self.opaque or size == self.most:
                    raise
                size = min(2 * size, self.most)
            else:
                return size

    def told(self, epochs: int, sizes: list[int]) -> str:
        """Return in words what was tried."""
        size = sizes[-1]
        if (size, epochs) == (self.most, self.epochs):
            return "one whole training"
        of = f"of {self.most} {'examples' if isinstance(self.workshop.examples, Examples) else 'documents'}"
        if self.opaque:
            return f"one training on {size} and one on {sizes[0]} {of}, and a straight line through both"
        passes = "1 epoch" if self.epochs == 1 else f"{epochs} of {self.epochs} epochs"
        smaller = f", and 1 epoch on {sizes[0]}" if size < self.most else ""
        return f"{passes} on {size} {of}{smaller}"


def _order(members: Int[Array, " members"], examples: Population) -> Int[Array, " members"]:
    """Return the members in the order in which trials take them up: at random, but one of each class first."""
    shuffled = np.random.default_rng(0).permutation(members)
    if not isinstance(examples, Examples) or examples.task is not Task.CLASSIFICATION:
        return shuffled
    first = np.unique(examples.y[shuffled], return_index=True)[1]
    return np.concatenate([shuffled[first], np.delete(shuffled, first)])
