"""Several yes-or-no labels an example: one signal for all of them together."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logit

from memaudit.errors import ModelError
from memaudit.recipe import Examples
from memaudit.recipe.recipes import Outputs
from memaudit.signals.asked import asked_again
from memaudit.signals.kinds import Range
from memaudit.signals.logits import log_odds

Array = np.ndarray

_LEAST_PROBABILITY = 1e-6  # as of a class
_AGREEMENT = 0.5  # of the signs of outputs with predict()


def joint_logit(margins: Float[Array, "examples labels"]) -> Float[Array, " examples"]:
    """Return φ = log P − log(1 − P) in nats, with P the model's probability of all the labels of an example together.

    P is the product over the labels, as the cross-entropy of a multi-label model takes it. φ is then the scaled logit
    of a classifier whose classes are the combinations of labels: −log P is the sum of the labels' cross-entropies, and
    all attacks on classifiers apply as they are. On simulated banks (networks, logistic regressions; 3 to 20 labels)
    LiRA found 1.4 to 3.1 times as many members by it at a 1 % FPR as by the sum of the labels' own scaled logits
    (`benchmarks.task_signals`).

    Args:
        margins: The logit of each label, with its sign changed where the label is 0.

    Source: Carlini et al. 2022, the φ of Algorithm 1, with the combination of labels as the class.
    """
    loss = np.logaddexp(0, -margins.astype(np.float64)).sum(axis=1)
    loss = np.maximum(loss, np.finfo(np.float64).tiny)
    return -loss - np.log(-np.expm1(-loss))


def multilabel_signals(
    logits: Float[Array, "examples labels"], y: Int[Array, "examples labels"]
) -> tuple[Float[Array, " examples"], Float[Array, " examples"]]:
    """Return φ of all labels together, and the share of an example's labels that are predicted right."""
    return joint_logit(np.where(y == 1, logits, -logits)), ((logits > 0) == (y == 1)).mean(axis=1)


def logits_of(outputs: Float[Array, "rows labels"], kind: Outputs | None) -> Float[Array, "rows labels"]:
    """Return a network's outputs of some kind as logits; None is read as logits."""
    return log_odds(outputs) if kind in ("probabilities", "one-vs-rest") else outputs


def require_multilabel(seen: Range, kind: Outputs | None, last_layer: Any) -> str:
    """Return in words what outputs are read as.

    Raises:
        ModelError: They are not what the recipe says, or it says nothing and they look like probabilities.
    """
    if kind == "log-probabilities":
        raise ModelError('outputs="log-probabilities" is for one class an example; return the logits of the labels')
    if kind in ("probabilities", "one-vs-rest"):
        if not seen.in_unit_interval:
            raise ModelError(
                f'the model\'s outputs are not what the recipe says, outputs="{kind}": they reach from '
                f"{seen.low:.3g} to {seen.high:.3g}"
            )
        return "one probability for each label"
    constant = bool((seen.lowest == seen.highest).all())
    if kind is None and seen.in_unit_interval and not constant and last_layer() != "affine":
        raise ModelError(
            f"every output of the model is between 0 and 1 ({seen.low:.3g} to {seen.high:.3g}), as probabilities do "
            "and logits hardly ever. If it ends in a sigmoid, remove it and train on logits, or say what they are with "
            'outputs="logits" or "probabilities" in the recipe'
        )
    return "one logit for each label"


def multilabel_estimator(
    model: Any, examples: Examples, outputs: Outputs | None, votes: int | None
) -> tuple[Float[Array, " examples"], Float[Array, " examples"], str]:
    """Return φ, the share of labels right by the estimator's own `predict`, and in words what was read.

    Args:
        model: With `decision_function` or `predict_proba`; the latter may return an array for each label.
        examples: What to score.
        outputs: "logits" or "probabilities", to insist on one of the two.
        votes: Of how many votes a probability is a share; None if it is none.

    Raises:
        ModelError: The outputs are no confidences by label, or the model is random.
    """
    y = examples.y
    preferred = {"logits": ("decision_function",), "probabilities": ("predict_proba",), None: None}.get(outputs, ())
    names = ("decision_function", "predict_proba") if preferred is None else preferred
    method = next((name for name in names if hasattr(model, name)), None)
    if method is None:
        raise ModelError(f'outputs="{outputs}" does not go with a {type(model).__name__}')

    def ask(x: Any) -> Array:
        found = getattr(model, method)(x)
        if method == "decision_function":
            return np.asarray(found)
        return _logits(_by_label(model, found), votes)

    z = asked_again(ask, examples, method, y.shape[1:])
    predicted = np.asarray(model.predict(examples.inputs.take(slice(None))))
    if predicted.shape != y.shape:
        raise ModelError(f"predict() returned shape {predicted.shape}; expected {y.shape}, a 0 or 1 for each label")
    if (agreement := float(((z > 0) == (predicted == 1)).mean())) < _AGREEMENT:
        raise ModelError(
            f"{method}() is not what the model decides by: its signs are what predict() returns for {agreement:.0%} of "
            "the labels only"
        )
    phi, _ = multilabel_signals(z, y)
    return phi, (predicted == y).mean(axis=1), f"{method}()"


def _by_label(model: Any, found: Any) -> Float[Array, "examples labels"]:
    """Return the probability of each label, of an array for all or of one `[examples, 2]` for each.

    A label that had one value in training has one column; `classes_` says of which.
    """
    if not isinstance(found, list):
        return np.asarray(found, np.float64)
    classes = getattr(model, "classes_", None) or [np.arange(2)] * len(found)
    columns = []
    for label, (p, known) in enumerate(zip(found, classes, strict=True)):
        at = np.flatnonzero(np.asarray(known) == 1)
        if np.shape(p)[1] != len(known):
            raise ModelError(
                f"predict_proba() has {np.shape(p)[1]} columns for label {label}, of classes {list(known)}"
            )
        columns.append(np.asarray(p)[:, at[0]] if len(at) else np.zeros(len(p)))
    return np.stack(columns, axis=1)


def _logits(p: Float[Array, "examples labels"], votes: int | None) -> Float[Array, "examples labels"]:
    if p.min() < -1e-6 or p.max() > 1 + 1e-6:
        raise ModelError(f"predict_proba() reaches from {p.min():.3g} to {p.max():.3g}: no probabilities")
    if votes is not None:
        return np.asarray(np.log(votes * p + 0.5) - np.log(votes * (1 - p) + 0.5))
    return np.asarray(logit(np.clip(p, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)))
