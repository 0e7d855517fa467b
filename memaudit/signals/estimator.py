"""Classifiers of scikit-learn's kind: their confidences by class, checked against what they predict."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import logsumexp

from memaudit.errors import ModelError
from memaudit.recipe import Examples
from memaudit.recipe.blame import blame
from memaudit.recipe.inputs.kind import Rows
from memaudit.recipe.recipes import Outputs
from memaudit.signals.boosters import Boosted, by_margins
from memaudit.signals.logits import (
    LEAST_LOGIT,
    is_correct,
    log_probabilities_of,
    modified_entropy,
    scaled_logit,
    scaled_logit_of_probabilities,
)
from memaudit.signals.steady import require_steady

Array = np.ndarray

_WAY_OUT = (
    'these are one-vs-one comparisons of classes, no confidences. Set decision_function_shape="ovr", or wrap the '
    "estimator in CalibratedClassifierCV"
)
_OFF = 0.01  # of a row's sum from 1, at most, as for a network's
_AGREEMENT = 0.5  # of the largest output with predict(); SVC decides ties otherwise


def estimator_signals(
    model: Any, examples: Examples, outputs: Outputs | None
) -> tuple[Float[Array, " examples"], Bool[Array, " examples"], str, Float[Array, " examples"]]:
    """Return φ in nats, correctness by the estimator's own `predict`, in words what was read, and modified entropies.

    Args:
        model: With `decision_function`, which is preferred because it does not saturate, or `predict_proba`. Of a
            booster of XGBoost, LightGBM or CatBoost, the margins are its decision function.
        examples: What to score; the model is given a copy.
        outputs: "logits" or "probabilities", to insist on one of the two.

    Raises:
        ModelError: The outputs are not finite or no confidences by class, or the model is random.
    """
    model = model if outputs == "probabilities" else by_margins(model, examples.x)
    method = _method(model, outputs)
    raw = _asked(model, method, examples, slice(None))
    if raw.ndim not in (1, 2):
        raise ModelError(f"{method}() returned shape {raw.shape}; expected [{len(examples)} examples, classes]")
    if len(bad := np.flatnonzero(~np.isfinite(raw.reshape(len(raw), -1)).all(axis=1))):
        raise ModelError(f"{method}() is NaN or infinite for {len(bad)} examples, first in row {bad[0]}")
    columns = raw[:, None] if raw.ndim == 1 else raw
    require_steady(lambda rows: _asked(model, method, examples, rows).reshape(-1, columns.shape[1]), columns)
    seen = _classes(model, columns, examples)
    scores = _by_class(columns, seen, method)
    predicted = _predicted(model, examples)
    if predicted is not None:
        _require_decisions(scores, predicted, seen, method)
    full = _full_columns(scores, seen, examples.classes, method)
    correct = is_correct(full, examples.y) if predicted is None else predicted == examples.y
    if method == "predict_proba":
        phi = scaled_logit_of_probabilities(full, examples.y, votes(model))
        logits = log_probabilities_of(full, votes(model))
    else:
        phi, logits = scaled_logit(full, examples.y), full
    return phi, correct, _told(model, method), modified_entropy(logits, examples.y)


def _told(model: Any, method: str) -> str:
    return "margins" if isinstance(model, Boosted) else f"{method}()"


def votes(model: Any) -> int | None:
    """Return how many trees or neighbours vote on a probability; None if it is no share of votes.

    Boosted trees do not vote, they add up; a calibrated forest's probability is no share any more; and neither says
    the number of trees in one step of a pipeline anything about another step's probabilities.
    """
    from sklearn.ensemble import BaggingClassifier, ExtraTreesClassifier, RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.tree import DecisionTreeClassifier

    if (inner := _inside(model)) is not None:
        return votes(inner)
    if isinstance(model, RandomForestClassifier | ExtraTreesClassifier):
        return len(model.estimators_)
    if isinstance(model, KNeighborsClassifier) and model.weights == "uniform":
        return int(model.n_neighbors)
    if isinstance(model, BaggingClassifier):
        base = model.estimators_[0]
        single = isinstance(base, DecisionTreeClassifier) or not hasattr(base, "predict_proba")
        each = 1 if single else votes(base)
        return each and each * len(model.estimators_)
    return None


def _inside(model: Any) -> Any:
    """Return the fitted classifier whose probabilities a wrapper hands on as they are; None if it is no such."""
    from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
    from sklearn.model_selection._search import BaseSearchCV
    from sklearn.pipeline import Pipeline

    if isinstance(model, Pipeline):
        return model.steps[-1][1]
    if isinstance(model, BaseSearchCV):
        return model.best_estimator_
    return model.estimator_ if isinstance(model, FixedThresholdClassifier | TunedThresholdClassifierCV) else None


def _method(model: Any, outputs: Outputs | None) -> str:
    methods = {"logits": "decision_function", "probabilities": "predict_proba"}
    if outputs is None:
        return next(name for name in methods.values() if hasattr(model, name))
    if outputs not in methods or not hasattr(model, methods[outputs]):
        has = " and ".join(name for name in methods.values() if hasattr(model, name))
        raise ModelError(f'outputs="{outputs}" does not go with a {type(model).__name__}, which has {has}')
    return methods[outputs]


def _asked(model: Any, method: str, examples: Examples, rows: Rows) -> Array:
    x, count = examples.inputs.take(rows), len(np.arange(len(examples))[rows])
    with blame("evaluating the model"):
        raw = np.asarray(getattr(model, method)(x))
        if raw.dtype.kind not in "biuf":
            raise ModelError(f"{method}() returned an array of {raw.dtype}; expected real numbers")
    if raw.ndim == 0 or len(raw) != count:
        raise ModelError(f"{method}() returned shape {raw.shape} for {count} examples; return one row for each")
    return raw


def _classes(model: Any, columns: Float[Array, "examples columns"], examples: Examples) -> Int[Array, " classes"]:
    """Return the labels that the model knows, in the order of its columns."""
    names = np.asarray(getattr(model, "classes_", np.arange(max(2, columns.shape[1]))))
    if examples.class_names and names.dtype.kind in "OUT":
        codes = coded(names, examples.class_names)
        if (codes < 0).any():
            strange = names[codes < 0][0]
            raise ModelError(
                f"the model knows the class {str(strange)!r}, and the examples have {examples.class_names[:5]}"
            )
        return codes
    if names.dtype.kind not in "biuf" or not np.array_equal(names, names.astype(np.int64)):
        raise ModelError(f"the model's classes_ are {names[:3]}; it must be trained on the labels as they are")
    return names.astype(np.int64)


def _by_class(columns: Float[Array, "examples columns"], seen: Array, method: str) -> Float[Array, "examples classes"]:
    """Return one column for each class that the model knows."""
    if method == "predict_proba" and (columns.min() < -1e-6 or columns.max() > 1 + 1e-6):
        raise ModelError(f"predict_proba() reaches from {columns.min():.3g} to {columns.max():.3g}: no probabilities")
    total = columns.sum(axis=1)
    if method == "predict_proba" and columns.shape[1] > 1 and max(total.max() - 1, 1 - total.min()) > _OFF:
        raise ModelError(
            f"the rows of predict_proba() sum to between {total.min():.3g} and {total.max():.3g}, not to 1: return a "
            "probability for each class, independent ones divided by their sum"
        )
    if columns.shape[1] == 1 and len(seen) == 2:
        return np.concatenate([1 - columns if method == "predict_proba" else np.zeros_like(columns), columns], axis=1)
    if columns.shape[1] != len(seen):
        pairs = len(seen) * (len(seen) - 1) // 2
        hint = _WAY_OUT if columns.shape[1] == pairs else "return one column for each class"
        raise ModelError(f"{method}() has {columns.shape[1]} columns for {len(seen)} classes; {hint}")
    return columns


def coded(names: Array, known: tuple[str, ...]) -> Int[Array, " names"]:
    """Return the number of each name among the known ones; −1 of one that is not."""
    numbers = {name: number for number, name in enumerate(known)}
    return np.array([numbers.get(str(name), -1) for name in names], np.int64)


def _predicted(model: Any, examples: Examples) -> Shaped[Array, " examples"] | None:
    """Return the labels that the model predicts; None if its `predict`, if any, returns something else."""
    if not hasattr(model, "predict"):
        return None
    with blame("evaluating the model"):
        found = np.asarray(model.predict(examples.inputs.take(slice(None))))
    if examples.class_names and found.shape == (len(examples),) and found.dtype.kind in "OUT":
        return coded(found, examples.class_names)
    return found if found.shape == (len(examples),) and found.dtype.kind in "biuf" else None


def _require_decisions(
    scores: Float[Array, "examples classes"], predicted: Shaped[Array, " examples"], seen: Array, method: str
) -> None:
    """Refuse outputs that are no confidences in the classes, by what the model predicts.

    Of two classes, the second's score is the larger where it is predicted, wherever the threshold is. Of more, the
    largest score decides; where pairs of classes decide, they predict exactly what is predicted.
    """
    if len(seen) == 2:
        difference, second = scores[:, 1] - scores[:, 0], predicted == seen[1]
        if second.any() and not second.all() and difference[second].mean() < difference[~second].mean():
            raise ModelError(f"{method}() is the lower, the likelier the model predicts a class; turn its sign")
        return
    agreement = float((seen[scores.argmax(axis=1)] == predicted).mean())
    paired = len(seen) == 3 and method == "decision_function" and np.array_equal(_by_pairs(scores, seen), predicted)
    if paired and agreement < 1:
        raise ModelError(f"{method}() has a column for each pair of the 3 classes: {_WAY_OUT}")
    if agreement < _AGREEMENT:
        raise ModelError(
            f"{method}() is not what the model decides by: its largest column is the class that predict() returns for "
            f"{agreement:.0%} of the examples only; {_WAY_OUT if 'decision' in method else 'fix predict_proba()'}"
        )


def _by_pairs(scores: Float[Array, "examples 3"], seen: Array) -> Shaped[Array, " examples"]:
    """Return what the columns (0, 1), (0, 2), (1, 2) of a one-vs-one decision function vote for."""
    won = (scores > 0).astype(int)
    lost = 1 - won
    votes_of = [won[:, 0] + won[:, 1], lost[:, 0] + won[:, 2], lost[:, 1] + lost[:, 2]]
    return np.asarray(seen[np.argmax(votes_of, axis=0)])


def _full_columns(
    scores: Float[Array, "examples seen"], seen: Array, classes: int, method: str
) -> Float[Array, "examples classes"]:
    """Return one column per class, also for classes that this model's training set happened to lack.

    Such a class gets probability 0, or a decision score as far below all others as makes its probability 1e-6.
    """
    count = max(classes, int(seen.max()) + 1)
    if len(seen) == count:
        return scores
    absent = np.zeros(len(scores)) if method == "predict_proba" else logsumexp(scores, axis=1) + LEAST_LOGIT
    full = np.repeat(absent[:, None], count, axis=1)
    full[:, seen] = scores
    return full
