"""Thresholds on what one model answers: the same for all examples, or one for each class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from memaudit.attacks.answers import Answers, TargetAttack
from memaudit.attacks.language import STATISTICS

Array = np.ndarray

_PRIOR = 5  # examples that the law of all classes counts for in the law of one
_LEAST_ENTROPY = 1e-30  # nats


def by_class(answers: Answers, scores: Float[Array, " examples"]) -> Float[Array, " examples"]:
    """Return (score − mean) / deviation, both of the non-members of the example's class, cross-fitted.

    One threshold on it is a threshold for each class, at a place that fits the class's own non-members. Mean and
    variance of a class are drawn towards those of all classes, as by 5 more examples.
    """
    y = answers.y
    assert y is not None

    def fit(rows: Array) -> Callable[[Array], Array]:
        known, own = scores[rows], y[rows]
        center, spread = known.mean(), known.var() or 1.0
        count = np.bincount(own, minlength=y.max() + 1) + _PRIOR
        mean = (np.bincount(own, known, minlength=len(count)) + _PRIOR * center) / count
        square = np.bincount(own, (known - mean[own]) ** 2, minlength=len(count))
        deviation = np.sqrt((square + _PRIOR * spread) / count)
        return lambda some: (scores[some] - mean[y[some]]) / deviation[y[some]]

    return answers.cross_fitted(fit)


def _entropy(answers: Answers) -> Float[Array, " examples"]:
    assert answers.modified_entropy is not None
    return by_class(answers, -np.log(np.maximum(answers.modified_entropy.astype(np.float64), _LEAST_ENTROPY)))


GLOBAL = TargetAttack(
    name="global-threshold",
    source="Yeom et al. 2018 (CSF), Adversary 2; scaled logit of Carlini et al. 2022",
    score=lambda answers: answers.phi,
)
BY_CLASS = TargetAttack(
    name="class-threshold",
    source="Song & Mittal 2021 (USENIX Security), section 4: class-dependent thresholds on the confidence",
    score=lambda answers: by_class(answers, answers.phi.astype(np.float64)),
    fits=lambda answers: answers.has_classes,
)
MODIFIED_ENTROPY = TargetAttack(
    name="modified-entropy",
    source="Song & Mittal 2021 (USENIX Security), section 4: class-dependent thresholds on the modified entropy",
    score=_entropy,
    fits=lambda answers: answers.modified_entropy is not None and answers.has_classes,
)


def of_statistic(name: str) -> TargetAttack:
    """Return the attack that puts one threshold on a statistic of a text's tokens."""
    return TargetAttack(
        name=name,
        source=STATISTICS[name][1],
        score=lambda answers: answers.statistics[name],
        fits=lambda answers: name in answers.statistics,
    )
