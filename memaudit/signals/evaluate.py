"""One model over all examples: scaled logits for every query, and whether the plain view is classified correctly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import logsumexp

from memaudit.errors import ModelError
from memaudit.recipe import Examples, Population
from memaudit.recipe.blame import blame
from memaudit.signals.logits import LEAST_LOGIT, is_correct, scaled_logit, scaled_logit_of_probabilities

Array = np.ndarray

_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Signals:
    """What one model says about every example: φ in nats, larger = more confident; correctness of the plain view."""

    phi: Float[Array, "examples queries"]
    correct: Bool[Array, " examples"]


def measure(model: Any, population: Population, queries: Sequence[Any] = (), device: str = "cpu") -> dict[str, Array]:
    """Returns everything that is recorded about one model, by name; see `evaluate` and `measure_text`."""
    if isinstance(population, Examples):
        signals = evaluate(model, population, queries, device)
        return {"phi": signals.phi, "correct": signals.correct}
    from memaudit.signals.text import measure_text

    return measure_text(model, population, device)


def evaluate(model: Any, examples: Examples, queries: Sequence[Any] = (), device: str = "cpu") -> Signals:
    """Returns the signals of one model in evaluation mode: no dropout, no batch statistics, so no batch mates.

    Args:
        model: A torch network, or anything with `predict_proba` or `decision_function`.
        examples: What to score.
        queries: Further fixed views of a network's inputs, beside the plain one.
        device: Where a network is evaluated.

    Raises:
        ModelError: The outputs are not finite, there is no output for some label, or it is no model at all.
    """
    if hasattr(model, "predict_proba") or hasattr(model, "decision_function"):
        return _evaluate_estimator(model, examples)
    if not hasattr(model, "state_dict"):
        raise ModelError(f"a {type(model).__name__} is neither a torch network nor a classifier of scikit-learn's kind")
    from memaudit.signals.network import network_logits

    views = [_checked(logits, examples) for logits in network_logits(model, examples.x, queries, device, _BATCH)]
    phi = np.stack([scaled_logit(logits, examples.y) for logits in views], axis=1).astype(np.float32)
    return Signals(phi, is_correct(views[0], examples.y))


def _evaluate_estimator(model: Any, examples: Examples) -> Signals:
    probabilities = not hasattr(model, "decision_function")  # which is unbounded, where a probability saturates
    with blame("evaluating the model"):
        raw = np.asarray(model.predict_proba(examples.x) if probabilities else model.decision_function(examples.x))
        raw = _full_columns(raw, model, examples, probabilities)
    scores = _checked(raw, examples)
    phi = (
        scaled_logit_of_probabilities(scores, examples.y, _votes(model))
        if probabilities
        else scaled_logit(scores, examples.y)
    )
    return Signals(phi[:, None].astype(np.float32), is_correct(scores, examples.y))


def _votes(model: Any) -> int | None:
    """Returns how many trees or neighbours vote on a probability; None if it is no share of votes."""
    parameters = model.get_params() if hasattr(model, "get_params") else {}
    votes = [v for k, v in parameters.items() if k.rpartition("__")[2] in ("n_estimators", "n_neighbors")]
    return min(votes, default=None)


def _full_columns(raw: Array, model: Any, examples: Examples, probabilities: bool) -> Float[Array, "examples classes"]:
    """Returns one column per class, also for classes that this model's training set happened to lack.

    Such a class gets probability 0, or a decision score as far below all others as makes its probability 1e-6.
    """
    seen = np.asarray(getattr(model, "classes_", np.arange(max((2, *raw.shape[1:])))), dtype=int)
    if raw.ndim == 1:
        if np.array_equal(seen, [0, 1]) and examples.classes == 2:
            return raw[:, None]
        raw = np.stack([np.zeros_like(raw), raw], axis=1)
    if len(seen) != raw.shape[1] or np.array_equal(seen, np.arange(max(examples.classes, len(seen)))):
        return raw
    absent = np.zeros(len(raw)) if probabilities else logsumexp(raw, axis=1) + LEAST_LOGIT
    full = np.repeat(absent[:, None], max(examples.classes, int(seen.max()) + 1), axis=1)
    full[:, seen] = raw
    return full


def _checked(scores: Array, examples: Examples) -> Float[Array, "examples classes"]:
    if scores.ndim != 2 or len(scores) != len(examples):
        raise ModelError(f"the model's output has shape {scores.shape}; expected [{len(examples)} examples, classes]")
    outputs = max(2, scores.shape[1])
    if examples.classes > outputs:
        row = int(np.argmax(examples.y >= outputs))
        raise ModelError(f"labels out of range: row {row} has label {examples.y[row]}, the model has {outputs} classes")
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        raise ModelError(f"the model's output is NaN or infinite for {len(bad)} examples, first in row {bad[0]}")
    return scores
