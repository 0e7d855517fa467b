"""Attacks with one to five reference models: the target's answer beside theirs."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.attacks.answers import Answers, References, TargetAttack
from memaudit.attacks.interface import Signal, log_probability
from memaudit.attacks.rmia import DEFAULT_A, Rmia, log_mean, offline_log_mean
from memaudit.types import Rung

Array = np.ndarray


def _of(answers: Answers) -> References:
    assert answers.references is not None
    return answers.references


def offline_ratio(answers: Answers) -> Float[Array, " examples"]:
    """Return log P(x | target) − log ½[(1 + a)·P_out + (1 − a)] in nats.

    P_out is the mean probability under the references that were not trained on the example; a is 0.3 for classifiers
    and 1 for language models, as in `Rmia`.
    """
    few = _of(answers)
    logs = np.where(few.out, log_probability(few.phi, answers.signal), -np.inf)
    log_out = log_mean(logs) - np.log(few.out.mean(axis=0))
    return np.asarray(
        log_probability(answers.phi, answers.signal) - offline_log_mean(log_out, DEFAULT_A[answers.signal])
    )


def difference(answers: Answers) -> Float[Array, " examples"]:
    """Return the target's signal less the mean signal of the references that were not trained on the example."""
    few = _of(answers)
    return np.asarray(answers.phi - np.where(few.out, few.phi, 0).sum(axis=0) / few.out.sum(axis=0))


RMIA_OFFLINE = TargetAttack(
    name=Rmia(offline=True).name,
    source=Rmia(offline=True).source,
    score=offline_ratio,
    rung=Rung.REFERENCES,
    fits=lambda answers: answers.references is not None,
)
REFERENCE = TargetAttack(
    name="reference",
    source="Watson et al. 2022 (ICLR), difficulty calibration, with reference models",
    score=difference,
    rung=Rung.REFERENCES,
    fits=lambda answers: answers.references is not None,
)
BASE = TargetAttack(
    name="base",
    source="loss beside the base's: Carlini et al. 2021 (USENIX), section 5.2",
    score=lambda answers: answers.phi - answers.statistics["base"],
    rung=Rung.REFERENCES,
    fits=lambda answers: "base" in answers.statistics and answers.signal is Signal.LOG_PROBABILITY,
)
