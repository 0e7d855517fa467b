"""What a bank's models answer when they are asked again, and keep; trains nothing but estimators again.

Networks are loaded from the weights that the bank keeps. Estimators are fitted again, from the same seed and training
set. Either is compared with what was recorded before it is asked.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from memaudit.bank import Bank
from memaudit.bank.answers import Answers
from memaudit.design import Design, training_seed
from memaudit.errors import ModelError
from memaudit.recipe import EstimatorRecipe, Examples, Recipe, changing
from memaudit.recipe.populations import population
from memaudit.recipe.recipes import asking
from memaudit.signals import measure
from memaudit.signals.views import View
from memaudit.training.machine import choose_device, one_thread
from memaudit.training.model import Workshop
from memaudit.training.stored import require_recorded, stored_model

Array = np.ndarray

_PROBED = 64  # examples by which a model is compared with what was recorded


def view_bank(
    bank: Bank,
    models: Sequence[int],
    recipe: Recipe,
    examples: Examples,
    view: View,
    *,
    measured: Examples | None = None,
    device: str = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Float[Array, "models examples columns"], float]:
    """Return what is seen of a bank's models, and the seconds that one model takes; what is kept is not asked again.

    Args:
        bank: The bank.
        models: Of the bank.
        recipe: The recipe that filled it.
        examples: Those that the view asks about.
        view: The view.
        measured: The examples that the bank recorded, in its order; by default `examples`.
        device: As for `fill`.
        progress: Called with the view's name, models done, models in all.

    Raises:
        BankError: The bank keeps no weights of a network, or they are damaged.
        ModelError: A model does not give what was recorded, or models give different numbers of columns.
    """
    digest = hashlib.sha256(f"{view!r}\0{examples.digest()}".encode()).hexdigest()[:32]
    found, seconds = ask_bank(
        bank,
        models,
        recipe,
        examples if measured is None else measured,
        lambda model, on: {"seen": np.asarray(view.see(model, recipe, examples, on))},
        Answers(bank, "views", f"{view.name}-{digest}", len(examples)),
        device,
        None if progress is None else lambda done, every: progress(view.name, done, every),
    )
    seen = [answers["seen"] for answers in found]
    for model, columns in zip(models, seen, strict=True):
        if columns.shape != seen[0].shape:
            raise ModelError(f"the view {view.name} of model {model} has shape {columns.shape}, not {seen[0].shape}")
    return np.stack(seen), seconds


def ask_bank(
    bank: Bank,
    models: Sequence[int],
    recipe: Recipe,
    measured: Examples,
    ask: Callable[[Any, str], dict[str, Shaped[Array, "..."]]],
    answers: Answers,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[dict[str, Shaped[Array, "..."]]], float]:
    """Return what each model answers, and the mean seconds of asking one, 0 if all answers were kept.

    Args:
        bank: The bank.
        models: Of the bank.
        recipe: The recipe that filled it.
        measured: The examples that the bank recorded, in its order.
        ask: The question: called with a model and its device.
        answers: Where the answers are kept.
        device: As for `fill`.
        progress: Called with models done, and models in all.

    Raises:
        BankError: The bank keeps no weights of a network, or they are damaged.
        ModelError: A model does not give what was recorded.
    """
    again = _Again(bank, recipe, measured, choose_device(device))
    found, seconds = [], []
    for done, model in enumerate(models, 1):
        answered = answers.read(model)
        if answered is None:
            started = time.perf_counter()
            with one_thread(), changing(recipe):
                answered = ask(again.model(model), again.device)
            seconds.append(time.perf_counter() - started)
            answers.write(model, answered)
        found.append(answered)
        if progress is not None:
            progress(done, len(models))
    return found, float(np.mean(seconds)) if seconds else 0.0


def cannot_ask(bank: Bank, recipe: Recipe, models: Sequence[int]) -> str:
    """Return why the models of a bank cannot be asked again; empty if they can."""
    if bank.imported:
        return "the bank was imported: it has outputs of its models, and no model that could be asked anything else"
    if isinstance(recipe, EstimatorRecipe):
        return "" if not bank.derived else "the bank's estimators were derived, and cannot be fitted again"
    if getattr(recipe, "model", None) is None:
        return (
            f"a {type(recipe).__name__} without model=... leaves no model in the bank that could be asked anything "
            "else; give model=..., which returns an untrained network, and fill a bank with weights"
        )
    if any(bank.weights_sha256(model) is None for model in models):
        return f"the bank in {bank.path} keeps no weights; fill one with weights (weights = true)"
    return ""


class _Again:
    """The models of a bank, loaded or fitted again."""

    def __init__(self, bank: Bank, recipe: Recipe, measured: Examples, device: str) -> None:
        self.bank, self.recipe, self.device = bank, recipe, device
        self.probed = measured.take(np.arange(min(len(measured), _PROBED)))

    def model(self, number: int) -> Any:
        """Return a model that gives what was recorded of it."""
        if isinstance(self.recipe, EstimatorRecipe):
            found = self._fitted(number)
        else:
            found = stored_model(self.bank, number, self.recipe, device=self.device)
        phi = measure(found, self.probed, device=self.device, **asking(self.recipe))["phi"]
        require_recorded(self.bank, number, phi)
        return found

    def _fitted(self, number: int) -> Any:
        shop = self._workshop
        own = shop.with_labels(shop.given(number)) if self._design.label_noise else shop
        return own.train(own.counts(number), training_seed(own.seed, number))[0]

    @cached_property
    def _workshop(self) -> Workshop:
        seed = int(self.bank.fingerprint["seed"])
        return Workshop(self.recipe, self._whole, seed, self.device, design=self._design)

    @cached_property
    def _design(self) -> Design:
        return self.bank.design(self._whole.units)

    @cached_property
    def _whole(self) -> Examples:
        whole = population(self.recipe)
        assert isinstance(whole, Examples)
        return whole
