"""Watching a training: the loop calls `observe(model, epoch)`, and whoever watches looks at the live model.

Nobody watches by default, and the call does nothing. What watches is in a context variable, so that a loop needs no
reference to it: our own loops, users' loops, and callbacks of trainers call the same function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

import numpy as np

from memaudit.errors import ModelError, RecipeError
from memaudit.recipe import Population, Recipe, TextPopulation, load_recipe
from memaudit.recipe.networks import is_network
from memaudit.recipe.observe import Observe
from memaudit.recipe.observed import Observed
from memaudit.recipe.populations import population
from memaudit.recipe.recipes import asking
from memaudit.signals.undisturbed import evaluating, undisturbed

Array = np.ndarray

_ROUNDING = 1e-6  # of an epoch: sums of fractions
_MOST = 1e6  # passes over a training set: more are steps


@dataclass(eq=False)
class Observer:
    """Whoever watches a training: looks at the live model when it is due.

    Args:
        population: The examples that are measured.
        wanted: When to look, and at what.
        asked: How a model is asked, as by `recipe.recipes.asking`.
        epochs: How many the training has, where that is known; otherwise the loop may say it when it first calls.

    Raises:
        RecipeError: Gradients are wanted of a language model.
    """

    population: Population
    wanted: Observe
    asked: dict[str, Any]
    epochs: int | None = None
    _latest: float = field(default=-1.0, init=False)
    _looks: dict[float, dict[str, Array]] = field(default_factory=dict, init=False)
    _shown: Callable[[], Any] | None = field(default=None, init=False)  # the latest network

    def __post_init__(self) -> None:
        if self.wanted.also and isinstance(self.population, TextPopulation):
            raise RecipeError(
                f"Observe(also={self.wanted.also}): gradients and curvature are of examples, not of documents. "
                "Leave also=... out"
            )
        self._plan(self.epochs)

    def _plan(self, epochs: int | None) -> None:
        self.epochs, self._times = epochs, self.wanted.times(epochs)
        self._due = next(self._times, None)

    def see(self, model: Any, epoch: float, epochs: int | None = None) -> None:
        """Look at the model if it is due; the end is left to `of`, which is given the model that the training returns.

        Args: As of `observe`.

        Raises:
            RecipeError: The epoch is no number of passes, or smaller than that of an earlier call.
            ModelError: The model is no network, or its outputs cannot be used.
        """
        epoch = _passes("epoch", epoch, least=0)
        if self._latest < 0 and epochs is not None:
            self._plan(math.ceil(_passes("epochs", epochs, least=1)))
        if epoch < self._latest - _ROUNDING:
            raise RecipeError(
                f"observe() was called at epoch {epoch:g} after epoch {self._latest:g}: count all passes over the "
                "training set from the beginning of training. Of several trainings one after the other, only one can "
                "be observed; Observe(0) in the recipe observes none"
            )
        self._require_one(model, epoch)
        self._latest = max(epoch, self._latest)
        ended = self.epochs is not None and epoch >= self.epochs
        if ended or self._due is None or epoch < self._due - _ROUNDING:
            return
        while self._due is not None and self._due <= epoch + _ROUNDING:
            self._due = next(self._times, None)
        self._look(model)

    def _require_one(self, model: Any, epoch: float) -> None:
        """Raise RecipeError if two networks are shown at one epoch, such as a teacher and its student."""
        other = None if self._shown is None else self._shown()
        if other is not None and other is not model and abs(epoch - self._latest) <= _ROUNDING:
            raise RecipeError(
                f"observe() was called with two networks at epoch {epoch:g}: call it with the one that train() returns"
            )
        with suppress(TypeError):  # what is no network is refused when it is looked at
            self._shown = ref(model)

    @property
    def ends(self) -> bool:
        """Whether there is to be a last look: one is wanted, and `see` was called."""
        none = not self.wanted.at if self.epochs is None else self.wanted.looks(self.epochs) == 0
        return not none and self._latest >= 0

    def of(self, model: Any, taken: dict[str, Array] | None = None) -> Observed | None:
        """Return what was seen of a model, the last look at it now; None if none is wanted, or `see` was never called.

        Args:
            model: As the training returned it: it may have taken averaged weights, or those of its best epoch.
            taken: What a look takes, where the model was measured already: then it is not asked again.
        """
        if not self.ends:
            return None
        if not is_network(model):
            raise ModelError(
                f"the training showed a network to observe() and returned a {type(model).__name__}; return the "
                "network, or do not call observe()"
            )
        self._look(model, taken)
        return Observed.of_looks(list(self._looks), list(self._looks.values()))

    def tensors(self, model: Any, taken: dict[str, Array] | None = None) -> dict[str, Array]:
        """Return what was seen of a trained model, by name, as a bank stores it; the arguments are those of `of`."""
        seen = self.of(model, taken)
        return {} if seen is None else seen.tensors()

    def _look(self, model: Any, taken: dict[str, Array] | None = None) -> None:
        import torch

        from memaudit.signals.looks import look, on_request

        if not is_network(model):
            raise ModelError(f"observe() takes the torch network that is trained, got a {type(model).__name__}")
        asked = {name: self.asked[name] for name in ("outputs", "output")}
        take = look if taken is None else on_request
        try:
            with torch.inference_mode(False), undisturbed(), evaluating(model):
                found = take(model, self.population, **asked, also=self.wanted.also)
                self._looks[self._latest] = found | (taken or {})
        except ModelError as error:
            raise ModelError(f"observed after epoch {self._latest:g}: {error}") from error


def _passes(name: str, given: Any, least: float) -> float:
    """Return a number of passes over the training set.

    Raises:
        RecipeError: It is none.
    """
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not least <= number <= _MOST:
        raise RecipeError(
            f"observe() was called with {name}={given!r}; give passes over the training set, not steps: a number from "
            f"{least:g} to 1,000,000"
        )
    return number


_watching: ContextVar[Observer | None] = ContextVar("watching", default=None)


def observe(model: Any, epoch: float, epochs: int | None = None) -> None:
    """Show the live model to whoever watches the training; does nothing if nobody does.

    Call it in your own loop before the first epoch and after each, and where you like in between. The recipe's
    `observe` says what is recorded, and at which of the calls. The model is looked at in evaluation mode; its modes and
    all random generators are restored.

    Args:
        model: The torch network that is trained.
        epoch: Passes over the training set so far, from 0.
        epochs: How many there will be, if that is known: looks are then spaced as in memaudit's own loops. Otherwise
            they are after 16, 32, 64, … epochs by default. Either way they cost at most about 10 % of training.

    Raises:
        RecipeError: The epoch is smaller than that of an earlier call.
        ModelError: The model is no network, or its outputs cannot be used.
    """
    if (observer := _watching.get()) is not None:
        observer.see(model, epoch, epochs)


@contextmanager
def watched(observer: Observer) -> Iterator[Observer]:
    """Let an observer watch what is trained meanwhile."""
    token = _watching.set(observer)
    try:
        yield observer
    finally:
        _watching.reset(token)


@contextmanager
def unwatched() -> Iterator[None]:
    """Let nobody watch what is trained meanwhile, such as a training that is repeated."""
    token = _watching.set(None)
    try:
        yield
    finally:
        _watching.reset(token)


@contextmanager
def observing(recipe: Recipe | str) -> Iterator[Observer]:
    """Watch the training of a target, so that its observations can be saved beside it.

        with memaudit.observing(recipe) as seen:
            model = memaudit.train(recipe, members)
        memaudit.save_target(model, "model.pt", members, recipe, observed=seen)

    Any training that calls `memaudit.observe(model, epoch)` can be watched.

    Args:
        recipe: Whose examples the model is asked about, when and how; or where the recipe is.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    with watched(observer_of(recipe, population(recipe))) as observer:
        yield observer


def observer_of(recipe: Recipe, examples: Population) -> Observer:
    """Return an observer of a model of a recipe, which asks it about some of the recipe's examples."""
    wanted = getattr(recipe, "observe", Observe(0))
    return Observer(examples, wanted, asking(recipe), getattr(recipe, "epochs", None))
