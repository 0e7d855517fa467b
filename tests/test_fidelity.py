"""How often the controls alarm falsely, what they have the power to see, and whom a failed one concerns.

Random tests fix their seed; each states the probability of a false alarm under a fresh one. The banks are those of
`benchmarks.simulation`: φ = μᵢ + σᵢ(noise + shiftᵢ·member + model).
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.simulation import Law, simulated
from memaudit.attacks import Lira
from memaudit.checks import ClassifierEvidence, controls
from memaudit.checks.controls import CONTROLS, null_area
from memaudit.policy.controls import overstated, trouble
from memaudit.stats import auc
from memaudit.types import Control, Estimate, Finding, Report, Subject

Array = np.ndarray

EXAMPLES = 600
FAST = ("lira-online", "rmia", "global-threshold")


def run(code: str, evidence: ClassifierEvidence) -> Control:
    return next(control for control in CONTROLS if control.code == code).run(evidence)


def _failures(runs: int, examples: int = EXAMPLES, **law: Any) -> float:
    """Return the share of audits with 16 shadow models whose target fails fidelity."""
    banks = (simulated(Law(name="", **law), 16, examples, seed) for seed in range(runs))
    return float(np.mean([run("CTL001", evidence).passed is False for evidence in banks]))


# --- CTL001 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [0.1, 0.2, 0.5])
def test_fidelity_alarms_falsely_in_one_of_a_hundred_audits_at_most(members: float) -> None:
    """With a share of members that differs from the shadows' half. False alarm over the 3: 1.5e-3."""
    assert _failures(150, members=members) <= 0.01 + 3.3 * np.sqrt(0.01 * 0.99 / 150)


@pytest.mark.slow
@pytest.mark.parametrize("members", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("law", [{}, {"between_models": 0.3}, {"dof": 3}])
def test_fidelity_alarms_falsely_as_rarely_in_a_long_simulation(members: float, law: dict[str, Any]) -> None:
    """False alarm over the 9: 4e-3."""
    assert _failures(600, members=members, **law) <= 0.01 + 3.3 * np.sqrt(0.01 * 0.99 / 600)


@pytest.mark.parametrize("members", [0.1, 0.5])
def test_fidelity_sees_a_target_that_is_a_little_less_confident(members: float) -> None:
    """A fifth of a standard deviation on 2,000 examples: a power of 0.95, simulated. False alarm over the 2: 1e-4."""
    assert _failures(20, 2000, target_shift=-0.2, members=members) >= 0.7


# --- CTL002 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decimals", [0, 6])
def test_the_null_area_is_the_mean_of_areas_and_its_error_that_of_coins(decimals: int) -> None:
    """Scores that differ by example, 2,000 tosses: the scatter of the area is the stated error within 4 SE (6 %).

    The mean area is ½ within 4 SE of tosses. False alarm: 2e-4 each.
    """
    rng = np.random.default_rng(1)
    gaps = rng.exponential(size=(3, 80)) * rng.choice([0.1, 3], 80)
    high, low = np.round(gaps + rng.normal(size=80), decimals), np.round(rng.normal(size=(3, 80)), decimals)
    areas, errors = [], []
    for _ in range(1000):
        heads = rng.random((3, 80)) < 0.5
        area, error = null_area(np.where(heads, low, high), np.where(heads, high, low))
        areas.append(area)
        errors.append(error)
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / np.sqrt(1000))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(areas), rel=4 / np.sqrt(2000))
    area, _ = null_area(high, low)
    assert area == pytest.approx(np.mean([auc(a, b) for a, b in zip(high, low, strict=True)]))


def test_the_error_of_the_null_area_allows_for_pairs_that_agree() -> None:
    """The same coins in all pairs: the area scatters √3 times as much, and the error says so, within 4 SE."""
    rng = np.random.default_rng(2)
    high, low = rng.normal(1, 1, (3, 80)), rng.normal(size=(3, 80))
    found = []
    for _ in range(1000):
        heads = np.repeat(rng.random((1, 80)) < 0.5, 3, axis=0)
        found.append(null_area(np.where(heads, low, high), np.where(heads, high, low)))
    areas, errors = np.array(found).T
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(areas.std(), rel=4 / np.sqrt(2000))


class Leaky:
    """An attack whose references include the model that it scores: it reads that model's label."""

    name, source = "leaky", "this test"

    def scores(self, target: Array, pairs: Any) -> Array:
        within, without = pairs.block(slice(None))
        return np.asarray((target * (within.mean(axis=0) - without.mean(axis=0)))[:, 0])

    def leave_pair_out(self, pairs: Any) -> tuple[Array, Array]:
        within, without = pairs.block(slice(None))
        slope = within.mean(axis=0) - without.mean(axis=0)
        return (within * slope)[..., 0], (without * slope)[..., 0]


def test_an_attack_that_reads_its_own_label_fails_the_negative_control(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pairs of models are enough; the same attack with its pair left out passes. False alarm: 2e-4."""
    evidence = simulated(Law(name=""), 6, EXAMPLES, 3, fprs=(0.05,))
    monkeypatch.setattr(controls, "attack", lambda *_: Leaky())
    found = run("CTL002", evidence)
    assert found.passed is False
    assert "at fault" in found.sentence
    monkeypatch.setattr(controls, "attack", lambda *_: Lira())
    assert run("CTL002", evidence).passed is True


def test_members_that_are_flagged_too_often_fail_the_negative_control_at_an_even_area(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The area is ½, but a twelfth of the “members” has the highest scores, and as many of them the lowest."""
    rng = np.random.default_rng(4)

    class Tails:
        name, source = "tails", "this test"

        def scores(self, target: Array, pairs: Any) -> Array:
            raise NotImplementedError

        def leave_pair_out(self, pairs: Any) -> tuple[Array, Array]:
            inside, outside = rng.normal(size=(2, *pairs.shape[:2]))
            inside[:, ::12] += 9
            inside[:, 1::12] -= 9
            return inside, outside

    evidence = simulated(Law(name=""), 6, EXAMPLES, 5, fprs=(0.05,))
    monkeypatch.setattr(controls, "attack", lambda *_: Tails())
    assert run("CTL002", evidence).passed is False


# --- CTL004 -----------------------------------------------------------------------------------------------------------


def _finding(attack: str) -> Finding:
    estimate = Estimate(value=0.1, low=0.05, high=0.2, unit="share", method="m")
    return Finding(
        code="MIA",
        title="t",
        metric="tpr",
        attack=attack,
        at_fpr=0.02,
        estimate=estimate,
        sentence="s",
        n=9,
        source="s",
    )


@pytest.mark.parametrize(("push", "too_high"), [(3.0, True), (-3.0, False)])
@pytest.mark.parametrize("name", FAST)
def test_calibration_looks_at_every_attack_and_stops_gates_on_that_one_alone(
    name: str, push: float, too_high: bool
) -> None:
    """One attack's scores of non-members are moved by three standard deviations. False alarm of another: 1 %."""
    evidence = simulated(Law(name=""), 16, EXAMPLES, 6, fprs=(0.05,), attacks=FAST)
    attacked = evidence.attacked(name)
    moved = attacked.target + push * attacked.target.std() * ~evidence.members
    evidence._attacked[name] = replace(attacked, target=moved.astype(np.float32))
    found = run("CTL004", evidence)
    assert (found.passed, found.attacks, found.overstates) == (False, (name,), ("tpr",) if too_high else ())
    assert f"({name})" in found.sentence
    passed = (Control(code=code, title="", passed=True, sentence="") for code in ("CTL001", "CTL002", "CTL005"))
    report = Report(
        created="",
        subject=Subject(model="", sha256="", members=9, nonmembers=9, shadows=16),
        results=(),
        skipped=(),
        controls=(*passed, found),
        provenance={},
    )
    for other in FAST:
        assert bool(trouble(report, _finding(other))) == (other == name)
        assert bool(overstated(report, _finding(other))) == (other == name and too_high)


def test_calibration_that_is_kept_concerns_nobody() -> None:
    found = run("CTL004", simulated(Law(name=""), 16, EXAMPLES, 6, fprs=(0.05,), attacks=FAST))
    assert (found.passed, found.attacks, found.overstates) == (True, (), ())
    assert [row[0] for row in found.tables[0].rows] == [*FAST, "label-lira"]  # the strongest with labels alone


# --- CTL005 -----------------------------------------------------------------------------------------------------------


class Capped:
    """LiRA with all scores above a share of the non-members' tied."""

    name, source = "capped", "this test"

    def __init__(self, share: float) -> None:
        self.share = share

    def _cap(self, pairs: Any) -> Array:
        return np.quantile(Lira().leave_pair_out(pairs)[1], 1 - self.share)

    def scores(self, target: Array, pairs: Any) -> Array:
        return np.minimum(Lira().scores(target, pairs), self._cap(pairs)).astype(np.float32)

    def leave_pair_out(self, pairs: Any) -> tuple[Array, Array]:
        inside, outside = (np.minimum(s, self._cap(pairs)).astype(np.float32) for s in Lira().leave_pair_out(pairs))
        return inside, outside


@pytest.mark.parametrize(
    ("share", "missed", "advice"),
    [
        (0.0, "", ""),
        (0.05, "missed at 1% FPR", "or measure at the higher rates only"),
        (0.2, "missed at 10%, 1% FPR", "or use an attack whose scores are not tied"),
    ],
)
def test_a_rate_that_ties_keep_from_fails_the_positive_control(
    share: float, missed: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leak of three standard deviations is planted, and no threshold has the rate: it says which, and what helps."""
    evidence = simulated(Law(name=""), 16, EXAMPLES, 7, fprs=(0.1, 0.01))
    monkeypatch.setattr(controls, "attack", lambda *_: Capped(share))
    found = run("CTL005", evidence)
    assert found.passed is not bool(missed)
    assert missed in found.sentence and advice in found.sentence
    assert ("more than 16 shadow models" in found.sentence) == bool(missed)
