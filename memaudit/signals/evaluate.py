"""One model over all examples: scaled logits for every query, and whether the plain view is classified correctly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from memaudit.errors import ModelError
from memaudit.recipe import Examples
from memaudit.signals.logits import is_correct, scaled_logit, scaled_logit_of_probabilities

Array = np.ndarray

_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Signals:
    """What one model says about every example: φ in nats, larger = more confident; correctness of the plain view."""

    phi: Float[Array, "examples queries"]
    correct: Bool[Array, " examples"]


def evaluate(model: Any, examples: Examples, queries: Sequence[Any] = (), device: str = "cpu") -> Signals:
    """Returns the signals of one model in evaluation mode: no dropout, no batch statistics, so no batch mates.

    Args:
        model: A torch network, or anything with `predict_proba` or `decision_function`.
        examples: What to score.
        queries: Further fixed views of a network's inputs, beside the plain one.
        device: Where a network is evaluated.

    Raises:
        ModelError: The outputs are not finite, or there is no output for some label.
    """
    if hasattr(model, "predict_proba") or hasattr(model, "decision_function"):
        return _evaluate_estimator(model, examples)
    from memaudit.signals.network import network_logits

    views = [_checked(logits, examples) for logits in network_logits(model, examples.x, queries, device, _BATCH)]
    phi = np.stack([scaled_logit(logits, examples.y) for logits in views], axis=1).astype(np.float32)
    return Signals(phi, is_correct(views[0], examples.y))


def _evaluate_estimator(model: Any, examples: Examples) -> Signals:
    probabilities = hasattr(model, "predict_proba")
    raw = np.asarray(model.predict_proba(examples.x) if probabilities else model.decision_function(examples.x))
    scores = _checked(_full_columns(raw, model, examples, 0.0 if probabilities else -np.inf), examples)
    phi = (scaled_logit_of_probabilities if probabilities else scaled_logit)(scores, examples.y)
    return Signals(phi[:, None].astype(np.float32), is_correct(scores, examples.y))


def _full_columns(raw: Array, model: Any, examples: Examples, absent: float) -> Float[Array, "examples classes"]:
    """Returns one column per class, also for classes that this model's training set happened to lack."""
    if raw.ndim == 1:
        return raw[:, None]
    seen = np.asarray(getattr(model, "classes_", np.arange(raw.shape[1])), dtype=int)
    if len(seen) == raw.shape[1] < examples.classes:
        full = np.full((len(raw), examples.classes), absent)
        full[:, seen] = raw
        return full
    return raw


def _checked(scores: Array, examples: Examples) -> Float[Array, "examples classes"]:
    if scores.ndim != 2 or len(scores) != len(examples):
        raise ModelError(f"the model's output has shape {scores.shape}; expected [{len(examples)} examples, classes]")
    outputs = max(2, scores.shape[1])
    if examples.classes > outputs:
        row = int(np.argmax(examples.y >= outputs))
        raise ModelError(f"labels out of range: row {row} has label {examples.y[row]}, the model has {outputs} classes")
    bad = np.flatnonzero(np.isnan(scores).any(axis=1) | np.isposinf(scores).any(axis=1))
    if len(bad):
        raise ModelError(f"the model's output is NaN or infinite for {len(bad)} examples, first in row {bad[0]}")
    return scores
