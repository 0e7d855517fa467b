"""The control on planted canaries: it fails where training drops them, and where it memorizes nothing it passes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from memaudit.canaries.doses import doses
from memaudit.checks.planted import planted_check
from memaudit.design import halves

Array = np.ndarray

MODELS, DOCUMENTS, CANARIES, STEPS = 12, 60, 8, 4


def evidence(of_documents: float, of_secrets: float, canaries: int = CANARIES, seed: int = 0) -> Any:
    """Returns what the control looks at: gains in nats per token, of a secret for each doubling of its dose."""
    rng = np.random.default_rng(seed)
    members = halves(seed, MODELS, DOCUMENTS)
    dose = np.stack([doses(seed, model, canaries) for model in range(MODELS)])
    gain = of_secrets * np.log2(1.0 + dose)
    recorded = {
        "phi": (-3 + of_documents * (members > 0) + rng.normal(0, 0.1, members.shape))[:, :, None],
        "canary_cost": STEPS * (2.3 - gain + rng.normal(0, 0.3, dose.shape)),
    }
    bank = SimpleNamespace(members=members, stacked=recorded.__getitem__)
    space = SimpleNamespace(alphabets=(np.arange(10),) * STEPS)
    return SimpleNamespace(bank=bank, shadow_doses=dose, population=SimpleNamespace(spaces=(space,) * canaries))


@pytest.mark.parametrize(
    ("of_documents", "of_secrets", "passed"),
    [(0.5, 0.5, True), (1.0, 0.0, False), (0.0, 0.0, True), (0.0, 0.5, True)],
    ids=["learned alike", "dropped", "nothing is memorized", "the secrets alone"],
)
def test_canaries_that_are_dropped_are_found(of_documents: float, of_secrets: float, passed: bool) -> None:
    control = planted_check.run(evidence(of_documents, of_secrets))
    assert control.passed is passed
    assert ("do not reach the training" in control.sentence) is not passed


def test_nothing_is_said_without_canaries() -> None:
    assert planted_check.run(evidence(1.0, 0.0, canaries=0)).passed is None


def test_a_training_without_effect_seldom_fails() -> None:
    """Of 200 simulated audits none: P[a failure] is at most 0.001 each, and that of two or more 0.02."""
    assert sum(planted_check.run(evidence(0.0, 0.0, seed=seed)).passed is False for seed in range(200)) <= 1


def test_a_failure_concerns_canaries_alone() -> None:
    control = planted_check.run(evidence(1.0, 0.0))
    findings: list[Any] = [SimpleNamespace(attack=attack) for attack in ("raw", "calibrated", "search", "slira")]
    concerned = [control.concerns(finding) for finding in findings]
    assert concerned == [True, True, True, False]
