"""Quantile regression, made on every model of a bank: each is scored by its own non-members alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memaudit.attacks import TARGET_ATTACKS, Answers
from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.own_nonmembers import by_own_nonmembers
from memaudit.design import PairArrays, halves
from memaudit.stats import Couples, auc

PAIRS, ROWS = 3, 120
NAME = "quantile-regression"


class Bank(PairArrays):
    def __init__(self, leak: float, hard: np.ndarray) -> None:
        rng = np.random.default_rng(0)
        inside, outside = (hard[:, None] + more + rng.normal(size=(PAIRS, ROWS, 1)) for more in (leak, 0.0))
        super().__init__(inside.astype(np.float32), outside.astype(np.float32))
        object.__setattr__(self, "members", halves(0, 2 * PAIRS, ROWS))
        object.__setattr__(self, "correct", np.ones((2 * PAIRS, ROWS), bool))


def evidence(leak: float) -> ClassifierEvidence:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, 2)).astype(np.float32)
    members = np.arange(ROWS) % 2 == 0
    bank: Any = Bank(leak, 3 * x[:, 0])
    return ClassifierEvidence(
        phi=(3 * x[:, :1] + leak * members[:, None] + rng.normal(size=(ROWS, 1))).astype(np.float32),
        correct=np.ones(ROWS, bool),
        members=members,
        fprs=(0.1,),
        bank=bank,
        x=x,
        y=rng.integers(0, 2, ROWS),
    )


def test_every_model_is_scored_as_a_target_alone_would_be() -> None:
    """Model by model against the attack itself; no signal of another model matters."""
    facts = evidence(1.0)
    found = by_own_nonmembers(facts, NAME)
    assert found is not None
    for model in (0, 5):
        own, pair = facts.bank.members[model] > 0, model // 2
        inside, outside = (side[pair, :, 0].astype(np.float64) for side in facts.bank.block(slice(0, ROWS)))
        answers = Answers(phi=np.where(own, inside, outside), members=own, seed=facts.seed, x=facts.x, y=facts.y)
        scores = TARGET_ATTACKS[NAME].score(answers)
        np.testing.assert_allclose(np.where(own, found.inside[pair], found.outside[pair]), scores)
    np.testing.assert_allclose(found.target, TARGET_ATTACKS[NAME].score(facts.answers))


@pytest.mark.parametrize(("leak", "low", "high"), [(0.0, 0.42, 0.58), (2.0, 0.7, 1.0)])
def test_members_of_shadow_models_are_told_apart_where_they_leak(leak: float, low: float, high: float) -> None:
    """Without a leak the AUC of 360 members and non-members is 1/2 with a standard error of 0.022: within 3.7 of it."""
    found = by_own_nonmembers(evidence(leak), NAME)
    assert found is not None and low < auc(found.inside.ravel(), found.outside.ravel()) < high


def test_models_that_are_no_pairs_have_no_row() -> None:
    facts = evidence(0.0)
    matched = Couples.of_pairs(facts.bank.members[0::2] > 0)
    assert by_own_nonmembers(replace(facts, matched=matched), NAME) is None
