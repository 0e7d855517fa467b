"""Attribute inference: guess an unknown column of a record from a model's answers about every possible value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Array = np.ndarray

_LEAST = 1e-6  # probability of a value that no record of the training data has


@dataclass(frozen=True, slots=True)
class Asked:
    """What an adversary has of each record: a model's answers about each value, and what the data alone say.

    Attributes:
        log_p: Log-probability of the record's label if the column had this value, in nats.
        right: Whether the model then predicts the label.
        prior: How frequent each value is among records of others.
        imputed: Probability of each value given the rest of the record and its label, without the model.
        reference: Mean probability of the label over models without the record, for each value, as a logarithm.
    """

    log_p: Float[Array, "records values"]
    right: Shaped[Array, "records values"]
    prior: Float[Array, " values"]
    imputed: Float[Array, "records values"]
    reference: Float[Array, "records values"]


def imputation(asked: Asked) -> Int[Array, " records"]:
    """Return the likeliest value by the data alone. Uses no model: the baseline of all others."""
    return np.asarray(asked.imputed.argmax(axis=1))


def confidence(asked: Asked) -> Int[Array, " records"]:
    """Return the value with the largest prior × probability of the label.

    Source: Fredrikson et al. 2014 (USENIX Security), Algorithm 1, with the model's probability as the likelihood; Yeom
    et al. 2018, section 4.2.
    """
    return np.asarray((np.log(asked.prior) + asked.log_p).argmax(axis=1))


def csmia(asked: Asked) -> Int[Array, " records"]:
    """Return the value for which the model is right and most confident; if it is never right, least confidently wrong.

    The confidence of a wrong prediction is taken as 1 less the probability of the label: with two classes it is that.

    Source: Mehnaz et al. 2022 (USENIX Security), section 4, the confidence score-based attack (CSMIA).
    """
    score = np.where(asked.right, 1, 0) * 1e6 + asked.log_p
    return np.asarray(score.argmax(axis=1))


def weighted(asked: Asked) -> Int[Array, " records"]:
    """Return the value with the largest imputed probability × probability of the label.

    Source: Jayaraman & Evans 2022 (CCS), weighted confidence attack (WCAI).
    """
    return np.asarray((np.log(asked.imputed) + asked.log_p).argmax(axis=1))


def calibrated(asked: Asked) -> Int[Array, " records"]:
    """Return the value with the largest imputed probability × ratio of the label's probability to other models'.

    The ratio is the evidence that the record with this value was trained on, as in RMIA; a model that has not seen the
    record leaves the imputation as it is, apart from noise.

    Source: this project; the ratio is that of Zarifzadeh et al. 2024, the weights those of Jayaraman & Evans 2022.
    """
    return np.asarray((np.log(asked.imputed) + asked.log_p - asked.reference).argmax(axis=1))


CALIBRATED = "calibrated"
ATTRIBUTE_ATTACKS: dict[str, Callable[[Asked], Int[Array, " records"]]] = {
    CALIBRATED: calibrated,
    "weighted": weighted,
    "csmia": csmia,
    "confidence": confidence,
}


def impute(
    features: Float[Array, "examples features"],
    y: Shaped[Array, " examples"],
    value: Int[Array, " examples"],
    known: Bool[Array, " examples"],
    values: int,
    seed: int = 0,
) -> Float[Array, "examples values"]:
    """Return the probability of each value for every example, learned from the known ones by gradient boosting.

    Args:
        features: The other columns, as numbers.
        y: The labels: the adversary knows them.
        value: The number of each example's value.
        known: The examples that are learned from; of the others `value` is not looked at.
        values: How many there are.
        seed: Of the booster.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    seen = np.column_stack([features, y])
    found = np.full((len(y), values), _LEAST)
    classes = np.unique(value[known])
    if len(classes) == 1:
        found[:, classes] = 1
    else:
        learner = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed)
        found[:, classes] += learner.fit(seen[known], value[known]).predict_proba(seen)
    return found / found.sum(axis=1, keepdims=True)
