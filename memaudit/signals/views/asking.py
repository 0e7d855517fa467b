"""Ask a network about examples as they are, or about changed inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp

from memaudit.errors import ModelError
from memaudit.recipe import Examples, Recipe
from memaudit.recipe.inputs import Arrays, Inputs
from memaudit.recipe.labels import Task
from memaudit.recipe.recipes import asking
from memaudit.signals.evaluate import checked
from memaudit.signals.logits import log_odds, log_probabilities

Array = np.ndarray

_BATCH = 1024


def lacks_classes(examples: Examples) -> str:
    """Return why labels and confidences of the models cannot be seen; empty if they can."""
    return "" if examples.task is Task.CLASSIFICATION else f"it is for classifiers, and this is {examples.task}"


def log_confidences(
    network: Any, recipe: Recipe, examples: Examples, device: str, inputs: Inputs | None = None
) -> Float[Array, "examples classes"]:
    """Return the log-probability of every class in nats, float64, two columns at least.

    Args:
        network: In evaluation mode, on the device.
        recipe: How it was made.
        examples: Whose labels say how many classes there are.
        device: Where the network is.
        inputs: What the network is asked about in place of the examples' own inputs, row by row.
    """
    from memaudit.signals.network import asked

    how = asking(recipe)
    ask = asked(network, examples.inputs if inputs is None else inputs, device, how["output"])
    parts = []
    for start in range(0, len(examples), _BATCH):
        rows = slice(start, min(start + _BATCH, len(examples)))
        parts.append(_normalized(checked(ask(rows), examples, rows), how["outputs"]))
    return np.concatenate(parts)


def predicted(network: Any, recipe: Recipe, device: str) -> Callable[[Float[Array, "rows ..."]], Int[Array, " rows"]]:
    """Return a function from any number of inputs to the labels that a network predicts.

    Args:
        network: In evaluation mode, on the device.
        recipe: How it was made.
        device: Where the network is.
    """
    from memaudit.signals.network import asked

    how = asking(recipe)
    ask = asked(network, Arrays(np.empty((0, 1), np.float32)), device, how["output"])

    def labels(x: Float[Array, "rows ..."]) -> Int[Array, " rows"]:
        ask.x = Arrays(x)
        found = []
        for start in range(0, len(x), _BATCH):
            outputs = ask(slice(start, min(start + _BATCH, len(x))))
            if np.isnan(outputs).any():
                raise ModelError("the model's output is NaN for an input that is near an example")
            found.append(_logits(outputs, how["outputs"]).argmax(axis=1))
        return np.concatenate(found)

    return labels


def _normalized(outputs: Float[Array, "rows classes"], kind: str | None) -> Float[Array, "rows classes"]:
    logits = _logits(outputs, kind).astype(np.float64)
    found: Array = logits - logsumexp(logits, axis=1, keepdims=True)
    return found


def _logits(outputs: Float[Array, "rows classes"], kind: str | None) -> Float[Array, "rows classes"]:
    if kind in ("probabilities", "one-vs-rest"):
        outputs = log_odds(outputs) if outputs.shape[1] == 1 or kind == "one-vs-rest" else log_probabilities(outputs)
    return np.concatenate([np.zeros_like(outputs), outputs], axis=1) if outputs.shape[1] == 1 else outputs
