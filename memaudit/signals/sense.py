"""Whether a trained classifier's outputs mean what they are taken for, by what it says of its own training set."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int, UInt8
from scipy.stats import binom

from memaudit.errors import ModelError

Array = np.ndarray

_ALARM = 1e-9  # probability of a false one, for each model


def require_sense(
    correct: Bool[Array, " examples"], counts: UInt8[Array, " examples"], y: Int[Array, " examples"]
) -> None:
    """Refuse a model that is right on its own training set less often than by always naming the rarest class.

    Training does not do that. Outputs do that are smallest for the likeliest class, as distances or losses, or whose
    columns are in another order than the labels.

    Args:
        correct: Whether each example is classified correctly, as the outputs are read.
        counts: How often the model was trained on each.
        y: Labels.

    Raises:
        ModelError: By the binomial test.
    """
    trained = counts > 0
    hits, rows = int(correct[trained].sum()), int(trained.sum())
    sizes = np.bincount(y[trained])
    least = int(sizes[sizes > 0].min(initial=rows))
    if rows and float(binom.cdf(hits, rows, least / rows)) < _ALARM:
        raise ModelError(
            f"the model is right about {hits} of the {rows} examples it was trained on, as its outputs are read; "
            f"whoever always names the rarest class is right about {least}. Return one column for each label, in "
            "the order of the labels, and larger for a likelier class: neither losses nor distances"
        )
