"""Asking an estimator for its outputs, and again to see whether it answers the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from memaudit.errors import ModelError
from memaudit.recipe import Examples
from memaudit.recipe.blame import blame
from memaudit.recipe.inputs.kind import Rows
from memaudit.signals.steady import require_steady

Array = np.ndarray


def asked_again(
    ask: Callable[[Any], Any], examples: Examples, method: str, shape: tuple[int, ...]
) -> Float[Array, "examples columns"]:
    """Return an estimator's outputs for all examples, finite and the same when it is asked about some again.

    Args:
        ask: Returns the outputs for inputs, which it may change.
        examples: What to ask about.
        method: What the outputs are called in messages.
        shape: Of the outputs for one example; () for one number.

    Raises:
        ModelError: The outputs are of another shape, not finite, random, or depend on the rest of a batch.
    """

    def outputs(rows: Rows) -> Array:
        with blame("evaluating the model"):
            raw = np.asarray(ask(examples.inputs.take(rows)))
        if raw.dtype.kind not in "biuf":
            raise ModelError(f"{method}() returned an array of {raw.dtype}; expected real numbers")
        count = len(np.arange(len(examples))[rows])
        if raw.shape != (count, *shape) and raw.shape != (count, *(shape or (1,))):
            raise ModelError(f"{method}() returned shape {raw.shape}; expected {(count, *shape)}")
        return raw.reshape(count, -1)

    found = outputs(slice(None))
    if len(bad := np.flatnonzero(~np.isfinite(found).all(axis=1))):
        raise ModelError(f"{method}() is NaN or infinite for {len(bad)} examples, first in row {bad[0]}")
    require_steady(outputs, found)
    return found
