"""Ask a network about examples as they are, or about changed inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from memaudit.recipe import Examples, Recipe
from memaudit.recipe.inputs import Inputs
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


def _normalized(outputs: Float[Array, "rows classes"], kind: str | None) -> Float[Array, "rows classes"]:
    if kind in ("probabilities", "one-vs-rest"):
        outputs = log_odds(outputs) if outputs.shape[1] == 1 or kind == "one-vs-rest" else log_probabilities(outputs)
    logits = outputs.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    found: Array = logits - logsumexp(logits, axis=1, keepdims=True)
    return found
