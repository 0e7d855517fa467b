"""Attacks with one to five reference models: the target's answer beside theirs."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.attacks.answers import Answers, References, TargetAttack
from memaudit.attacks.interface import Signal, log_probability
from memaudit.attacks.rmia import DEFAULT_A, Rmia, log_mean, offline_log_mean
from memaudit.attacks.slira import Slira
from memaudit.types import Rung

Array = np.ndarray

_LEAST_PAIRS = 2  # one is scored with the other as its reference
_COMPARES = "it compares the model with reference models, and none were given: --reference PATH"


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


def learned(answers: Answers) -> Float[Array, " examples"]:
    """Return SLiRA's score in nats, learned from two complementary pairs of shadow models or more.

    `Slira.scores` leaves one pair out of the references, as a shadow model's own pair is left out when it learns. The
    score is the mean over the pairs that can be left out, so that every model serves as a reference. It depends on the
    target's signals and on the shadow models alone, not on the target's members.
    """
    pairs = _of(answers).pairs
    assert pairs is not None
    attack, order = Slira(answers.signal).learn(pairs), np.arange(len(pairs.inside))
    scores = [attack.scores(answers.phi[:, None], pairs.take(np.roll(order, turn))) for turn in order]
    return np.asarray(np.mean(scores, axis=0, dtype=np.float64))


def _has_pairs(answers: Answers) -> bool:
    few = answers.references
    return few is not None and few.pairs is not None and few.pairs.shape[0] >= _LEAST_PAIRS


SLIRA = TargetAttack(
    name="slira",
    source=Slira().source,
    score=learned,
    rung=Rung.REFERENCES,
    fits=_has_pairs,
    needs="it learns from complementary pairs of shadow models, four models at least: memaudit bank fill",
)
RMIA_OFFLINE = TargetAttack(
    name=Rmia(offline=True).name,
    source=Rmia(offline=True).source,
    score=offline_ratio,
    rung=Rung.REFERENCES,
    fits=lambda answers: answers.references is not None,
    needs=_COMPARES,
)
REFERENCE = TargetAttack(
    name="reference",
    source="Watson et al. 2022 (ICLR), difficulty calibration, with reference models",
    score=difference,
    rung=Rung.REFERENCES,
    fits=lambda answers: answers.references is not None,
    needs=_COMPARES,
)
BASE = TargetAttack(
    name="base",
    source="loss beside the base's: Carlini et al. 2021 (USENIX), section 5.2",
    score=lambda answers: answers.phi - answers.statistics["base"],
    rung=Rung.REFERENCES,
    fits=lambda answers: "base" in answers.statistics and answers.signal is Signal.LOG_PROBABILITY,
    needs=_COMPARES,
)
