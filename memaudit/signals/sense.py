"""Whether a trained classifier's outputs mean what they are taken for, by what it says of its own training set."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.stats import binom, t

from memaudit.errors import ModelError
from memaudit.recipe import Examples
from memaudit.recipe.labels import Task

Array = np.ndarray

_ALARM = 1e-9  # probability of a false one, for each model
_ROUNDING = 1e-6  # relative, of a mean
_LEAST_SIDE = 20  # images that were and were not trained on
_WORSE = 1.25  # mean absolute error, as a multiple of a constant's


def require_sense(signals: dict[str, Array], counts: UInt8[Array, " examples"], examples: Examples) -> None:
    """Refuse a model that does worse on its own training set than one that knows nothing.

    Training does not do that. Outputs do that are smallest for the likeliest class, as distances or losses, whose
    columns are in another order than the labels, or that predict a number in another unit.

    Args:
        signals: What `signals.measure` returned.
        counts: How often the model was trained on each example.
        examples: All of them.

    Raises:
        ModelError: It does worse, by more than chance explains.
    """
    trained = counts > 0
    if not trained.any():
        return
    match examples.task:
        case Task.MULTILABEL:
            _require_labels(signals["correct"][trained], examples.y[trained])
        case Task.GENERATION:
            _require_fit(signals["phi"][:, 0].astype(np.float64), trained)
        case Task.REGRESSION:
            _require_unit(-signals["phi"][trained, 0] * examples.y.std(), examples.y[trained])
        case _:
            _require_classes(signals["correct"][trained], examples.y[trained])


def _require_classes(correct: Bool[Array, " rows"], y: Int[Array, " rows"]) -> None:
    """Refuse a model that is right less often than by always naming the rarest class, by the binomial test."""
    hits, rows = int(correct.sum()), len(y)
    sizes = np.bincount(y)
    least = int(sizes[sizes > 0].min(initial=rows))
    if float(binom.cdf(hits, rows, least / rows)) < _ALARM:
        raise ModelError(
            f"the model is right about {hits} of the {rows} examples it was trained on, as its outputs are read; "
            f"always predicting the rarest class is right for {least}. Return one column for each label, in "
            "the order of the labels, and larger for a likelier class: neither losses nor distances"
        )


def _require_fit(phi: Float[Array, " examples"], trained: Bool[Array, " examples"]) -> None:
    """Refuse a generator that fits its training images worse than others, by Welch's t-test, of the fewest degrees."""
    if min(trained.sum(), (~trained).sum()) < _LEAST_SIDE:
        return
    own, other = phi[trained], phi[~trained]
    error = np.sqrt(own.var(ddof=1) / len(own) + other.var(ddof=1) / len(other)) + _ROUNDING * np.abs(phi).max()
    if error > 0 and float(t.sf((other.mean() - own.mean()) / error, min(len(own), len(other)) - 1)) < _ALARM:
        raise ModelError(
            f"the model fits the {int(trained.sum())} images it was trained on worse than the others: mean signal "
            f"{own.mean():.4g}, of the others {other.mean():.4g}. loss() must be larger where the "
            "model fits an image worse: return an error, not a likelihood or a score"
        )


def _require_labels(correct: Float[Array, " rows"], y: Int[Array, "rows labels"]) -> None:
    """Refuse a model that has fewer labels right than by always naming the rarer value of each.

    Source: Hoeffding 1963, for the mean of shares of examples.
    """
    rarer = np.minimum(y.mean(axis=0), 1 - y.mean(axis=0)).mean()
    if correct.mean() < rarer - np.sqrt(-np.log(_ALARM) / (2 * len(y))):
        raise ModelError(
            f"the model is right about {correct.mean():.0%} of the labels of the examples it was trained on, as its "
            f"outputs are read; always naming the rarer value of a label is right about {rarer:.0%}. Return one "
            "column for each label, in the order of the labels, larger where the label is likelier to be 1"
        )


def _require_unit(error: Float[Array, " rows"], y: Float[Array, " rows"]) -> None:
    """Refuse predictions that are further from the labels than a constant is, as in another unit."""
    constant = float(np.abs(y - np.median(y)).mean())
    if constant > 0 and error.mean() > _WORSE * constant:
        raise ModelError(
            f"the model's predictions are off by {error.mean():.4g} on average on the examples it was trained on, and "
            f"the median label by {constant:.4g}. Return predictions in the unit of the labels, neither scaled nor "
            "transformed"
        )
