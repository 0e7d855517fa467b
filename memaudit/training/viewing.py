"""What adversaries see of a bank's models, from the weights that it keeps; trains nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from memaudit.bank import Bank
from memaudit.bank.views import Views
from memaudit.errors import ModelError
from memaudit.recipe import Examples, Recipe, changing
from memaudit.recipe.recipes import asking
from memaudit.signals import measure
from memaudit.signals.views import View
from memaudit.training.machine import choose_device, one_thread
from memaudit.training.stored import require_recorded, stored_model

Array = np.ndarray

_PROBED = 64  # examples by which loaded weights are compared with what was recorded


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
        bank: The bank, filled with weights.
        models: Of the bank.
        recipe: The recipe that filled it.
        examples: Those that the view asks about.
        view: The view.
        measured: The examples that the bank recorded, in its order; by default `examples`.
        device: As for `fill`.
        progress: Called with the view's name, models done, models in all.

    Raises:
        BankError: The bank keeps no weights of a model, or they are damaged.
        ModelError: The weights do not give what was recorded, or models give different numbers of columns.
    """
    kept, on = Views(bank, view.name, repr(view), examples.digest()), choose_device(device)
    told = examples if measured is None else measured
    probed = told.take(np.arange(min(_PROBED, len(told))))
    seen: list[Array] = []
    seconds: list[float] = []
    for done, model in enumerate(models):
        found = kept.read(model)
        if found is None or len(found) != len(examples):
            started = time.perf_counter()
            with one_thread(), changing(recipe):
                network = stored_model(bank, model, recipe, device=on)
                require_recorded(bank, model, measure(network, probed, device=on, **asking(recipe))["phi"])
                found = np.asarray(view.see(network, recipe, examples, on))
            seconds.append(time.perf_counter() - started)
            kept.write(model, found)
        if seen and found.shape != seen[0].shape:
            raise ModelError(f"the view {view.name} of model {model} has shape {found.shape}, not {seen[0].shape}")
        seen.append(found)
        if progress is not None:
            progress(view.name, done + 1, len(models))
    return np.stack(seen), float(np.mean(seconds)) if seconds else 0.0
