"""The controls find what they are there to find, and keep quiet otherwise.

The banks are simulated: φ = difficulty + gain · membership + a model's own level + noise.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from memaudit.attacks import DEFAULT
from memaudit.checks import ClassifierEvidence, controls
from memaudit.checks.controls import CONTROLS
from memaudit.design import halves
from memaudit.types import Control

Array = np.ndarray

EXAMPLES, MODELS = 600, 24


@dataclass(frozen=True)
class Simulated:
    """A bank in memory."""

    phi: Array
    members: Array

    @property
    def correct(self) -> Array:
        return self.phi > 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.phi) // 2, self.phi.shape[1], 1

    def block(self, examples: slice) -> tuple[Array, Array]:
        phi, first = self.phi[:, examples, None], self.members[0::2, examples, None] > 0
        return np.where(first, phi[0::2], phi[1::2]), np.where(first, phi[1::2], phi[0::2])

    def take(self, pairs: Array) -> "Simulated":
        rows = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        return Simulated(self.phi[rows], self.members[rows])


def simulated(seed: int, gain: float = 2.0, level: float = 0.1) -> ClassifierEvidence:
    """Returns a bank and a target that was made just as its shadows."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(1, 2, EXAMPLES)
    members = halves(seed, MODELS + 2, EXAMPLES)[: MODELS + 1]
    levels = rng.normal(0, level, (MODELS + 1, 1))
    phi = difficulty + gain * members + levels + rng.normal(size=members.shape)
    return ClassifierEvidence(
        bank=Simulated(phi[:MODELS].astype(np.float32), members[:MODELS]),
        phi=phi[MODELS:].T.astype(np.float32),
        correct=phi[MODELS] > 0,
        members=members[MODELS] > 0,
        x=rng.normal(size=(EXAMPLES, 5)),
        y=rng.integers(0, 3, EXAMPLES),
        fprs=(0.01,),
        attacks=("lira-online",),
    )


def run(code: str, evidence: ClassifierEvidence) -> Control:
    return next(control for control in CONTROLS if control.code == code).run(evidence)


def outcome(code: str, evidence: ClassifierEvidence) -> bool | None:
    return run(code, evidence).passed


def failures(code: str, seeds: int, **how: Any) -> int:
    return sum(outcome(code, simulated(seed, **how)) is False for seed in range(seeds))


def test_a_target_like_its_shadows_passes_fidelity() -> None:
    """A false alarm has probability 0.01; more than 3 in 40 have 0.0007."""
    assert failures("CTL001", 40) <= 3


@pytest.mark.parametrize("shift", [1.0, -1.0])
def test_a_target_whose_confidence_is_elsewhere_fails_fidelity(shift: float) -> None:
    """Ten standard deviations of a model's level."""
    evidence = simulated(1)
    phi = evidence.phi + np.float32(shift)
    assert outcome("CTL001", replace(evidence, phi=phi, correct=phi[:, 0] > 0)) is False


def test_a_wrong_list_of_members_fails_fidelity() -> None:
    evidence = simulated(2)
    assert outcome("CTL001", replace(evidence, members=~evidence.members)) is False


def test_accuracy_tells_where_the_confidence_of_shadows_is_all_over_the_place() -> None:
    """Levels of ±20 nats hide any shift of φ; a target that gets a fifth of its members wrong still stands out."""
    evidence = simulated(3)
    rng = np.random.default_rng(3)
    bank = evidence.bank.phi  # type: ignore[attr-defined]
    loud = Simulated(np.abs(bank) * rng.lognormal(0, 1.5, (MODELS, 1)).astype(np.float32) + 0.1, evidence.bank.members)
    phi, wrong = np.abs(evidence.phi) + np.float32(0.1), rng.random(EXAMPLES) < 0.2
    right = replace(evidence, bank=loud, phi=phi, correct=np.ones(EXAMPLES, dtype=bool))
    assert outcome("CTL001", right) is True
    assert outcome("CTL001", replace(right, correct=~wrong)) is False


@pytest.mark.parametrize("gain", [0.0, 2.0, 10.0])
def test_nothing_is_found_under_drawn_memberships_however_much_the_bank_leaks(gain: float) -> None:
    """Two tests at four standard errors: a false alarm in 8 runs has probability 0.001."""
    assert failures("CTL002", 8, gain=gain) == 0


@pytest.mark.parametrize("gain", [0.0, 2.0])
def test_a_planted_leak_is_found_in_a_bank_that_leaks_and_in_one_that_does_not(gain: float) -> None:
    """With 24 models the area is about 0.97 and its standard error 0.007: 0.9 lies ten of them below."""
    assert failures("CTL005", 4, gain=gain) == 0


def test_a_broken_attack_misses_the_planted_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes members for non-members."""

    class Upside:
        name, source = "upside", "this test"

        def scores(self, target: Array, pairs: Any) -> Array:
            return -DEFAULT.scores(target, pairs)

        def leave_pair_out(self, pairs: Any) -> tuple[Array, Array]:
            inside, outside = DEFAULT.leave_pair_out(pairs)
            return -inside, -outside

    monkeypatch.setattr(controls, "attack", lambda *_: Upside())
    assert outcome("CTL005", simulated(7)) is False


def test_members_that_are_other_examples_fail_the_blind_baseline() -> None:
    evidence = simulated(4)
    x = evidence.x + evidence.members[:, None]
    assert outcome("CTL003", evidence) is True
    assert outcome("CTL003", replace(evidence, x=x)) is False


def test_a_target_made_alike_keeps_its_false_positive_rate() -> None:
    """A false alarm has probability at most 0.01 each; more than 3 in 40 have 0.0007."""
    assert failures("CTL004", 40) <= 3


def test_non_members_that_look_trained_on_fail_calibration() -> None:
    evidence = simulated(5)
    phi = evidence.phi + np.float32(2) * ~evidence.members[:, None]
    found = run("CTL004", replace(evidence, phi=phi))
    assert (found.passed, found.overstates) == (False, ("tpr",))
    assert "true-positive rates are too high" in found.sentence


def test_non_members_that_look_less_trained_on_than_the_shadows_fail_calibration_too() -> None:
    """About 30 of 300 are to be accused; one standard deviation lower it is about 1 in 100."""
    evidence = replace(simulated(5), fprs=(0.1,))
    phi = evidence.phi - ~evidence.members[:, None]
    found = run("CTL004", replace(evidence, phi=phi))
    assert (found.passed, found.overstates) == (False, ())
    assert "true-positive rates are too low" in found.sentence


def test_too_few_non_members_leave_calibration_undecided() -> None:
    assert outcome("CTL004", replace(simulated(6), fprs=(0.0001,))) is None


def test_the_blind_baseline_sees_rare_members_too() -> None:
    """Twenty members among thirty thousand: all of them, and five thousand of the others."""
    rng = np.random.default_rng(8)
    members = np.arange(30_000) % 1500 == 0
    x, y = rng.normal(size=(30_000, 2)), rng.integers(0, 2, 30_000)
    scores, sampled = replace(simulated(8), members=members, x=x, y=y).blind
    assert len(scores) == 5020
    assert sampled.sum() == 20
