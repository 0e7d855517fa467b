"""Whether more shadow models would find more: against a closed form, and where the answer is known to be no.

The banks are simulated: φ = difficulty + shift · membership + noise, with a shift of its own for every example.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from memaudit.attacks import Attack, Calibrated, GlobalThreshold, Lira
from memaudit.checks import Attacked, ClassifierEvidence
from memaudit.checks.enough import attacked_by, enough, gain, sizes
from memaudit.checks.membership import offline_check, slira_check
from memaudit.design import PairArrays, halves
from memaudit.stats import threshold, tpr_draws
from memaudit.types import FigureKind

Array = np.ndarray

EXAMPLES, FPR = 400, 0.05


@dataclass(frozen=True)
class Simulated(PairArrays):
    """Pairs held in memory, with memberships."""

    members: Array

    def take(self, pairs: Array) -> "Simulated":
        rows = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        return Simulated(self.inside[pairs], self.outside[pairs], self.members[rows])


def simulated(seed: int, models: int, shift: float = 2.0, spread: float = 1.0) -> ClassifierEvidence:
    """Returns a bank, and a target made just as its shadows; an example's shift is N(shift, spread²), noise N(0, 1)."""
    rng = np.random.default_rng(seed)
    shifts, difficulty = rng.normal(shift, spread, EXAMPLES), rng.normal(1, 3, EXAMPLES)
    inside, outside = difficulty + rng.normal(size=(2, models // 2, EXAMPLES)) + [[shifts], [0 * shifts]]
    members = rng.random(EXAMPLES) < 0.5
    phi = difficulty + shifts * members + rng.normal(size=EXAMPLES)
    bank: Any = Simulated(inside[..., None], outside[..., None], halves(seed, models, EXAMPLES))
    return ClassifierEvidence(
        bank=bank,
        phi=phi[:, None],
        correct=phi > 0,
        members=members,
        x=rng.normal(size=(EXAMPLES, 2)),
        y=rng.integers(0, 2, EXAMPLES),
        fprs=(FPR,),
    )


def scored(evidence: ClassifierEvidence, attack: Attack) -> Attacked:
    return Attacked(attack, attack.scores(evidence.phi, evidence.bank), *attack.leave_pair_out(evidence.bank))


def gained(evidence: ClassifierEvidence, attack: Attack) -> tuple[float, float, float]:
    whole = scored(evidence, attack)
    return gain(attacked_by(evidence, whole, len(whole.inside) // 2), whole, FPR)


def calibrated_tpr(references: int, shift: float, spread: float) -> float:
    """TPR of φ minus the mean of so many references: N(0, 1 + 1/n) without, N(shift, 1 + 1/n + spread²) with."""
    noise = 1 + 1 / references
    cut = np.sqrt(noise) * stats.norm.isf(FPR)
    return float(stats.norm.sf((cut - shift) / np.sqrt(noise + spread**2)))


@pytest.mark.parametrize(("pairs", "expected"), [(32, [8, 16, 32]), (7, [3, 7]), (6, [3, 6]), (5, [5])])
def test_sizes_are_a_quarter_half_and_all_if_the_attack_can_do_with_them(pairs: int, expected: list[int]) -> None:
    assert sizes(pairs) == expected


def test_the_gain_is_that_of_the_closed_form() -> None:
    """Half of 6 pairs, and all of them, less the target's own: 2 references and 5.

    The mean over 40 banks, to 5 of its own standard errors: false alarm 1e-5 (Student's t with 39 degrees of freedom).
    """
    gains = [gained(simulated(seed, 12), Calibrated())[0] for seed in range(40)]
    expected = calibrated_tpr(5, 2, 1) - calibrated_tpr(2, 2, 1)
    assert expected > 0.05
    assert np.mean(gains) == pytest.approx(expected, abs=5 * np.std(gains, ddof=1) / np.sqrt(len(gains)))


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_the_interval_of_the_gain_covers_the_closed_form(shift: float) -> None:
    """300 banks of 24 models. At 95% coverage fewer than 269 are covered with probability 1e-4.

    The pigeonhole bootstrap counts the noise of single scores more than once, so that it covers more often.
    """
    expected = calibrated_tpr(11, shift, shift / 2) - calibrated_tpr(5, shift, shift / 2)
    ends = [gained(simulated(seed, 24, shift, shift / 2), Calibrated())[1:] for seed in range(300)]
    assert sum(low <= expected <= high for low, high in ends) >= 269


@pytest.mark.parametrize("attack", [Calibrated(), Lira()])
def test_nothing_is_gained_where_training_leaves_no_trace(attack: Attack) -> None:
    """A gain is shown by accident with probability 0.025: in more than 5 of 30 banks with less than 2e-4."""
    assert sum(gained(simulated(seed, 12, 0, 0), attack)[1] > 0 for seed in range(30)) <= 5


def test_an_attack_without_references_gains_exactly_nothing() -> None:
    assert gained(simulated(0, 24), GlobalThreshold()) == (0, 0, 0)


def test_a_small_bank_is_seen_to_gain_by_growing() -> None:
    """From 6 models to 12, LiRA's gain was shown in 68 of 100 other banks.

    Then fewer than 5 of 20 show it with probability 1e-5.
    """
    assert sum(gained(simulated(seed, 12), Lira())[1] > 0 for seed in range(20)) >= 5


def test_the_curve_of_a_small_bank_begins_that_of_the_bank_it_grows_to() -> None:
    large = simulated(2, 24)
    bank: Any = large.bank.take(np.arange(6))
    small = replace(large, bank=bank)
    rows = [enough(evidence, scored(evidence, Lira()), FPR).tables[0].rows for evidence in (small, large)]
    assert [[row[0] for row in table] for table in rows] == [[6, 12], [6, 12, 24]]
    assert rows[0] == rows[1][:2]


@pytest.mark.parametrize(("models", "tables"), [(10, 1), (12, 2)])
def test_the_finding_of_the_main_attack_shows_it_if_the_bank_is_large_enough(models: int, tables: int) -> None:
    evidence = simulated(3, models)
    (finding,), _ = slira_check.run(evidence)
    assert len(finding.tables) == tables + 1
    assert [figure.kind for figure in finding.figures] == [FigureKind.ROC, FigureKind.SHARES][:tables]
    said = "Doubling the shadow models from 6 to 12" if models == 12 else "The power curve needs at least 12"
    assert any(note.startswith(said) for note in finding.notes)
    (other,), _ = offline_check.run(evidence)
    assert (other.figures, other.tables, len(other.notes)) == ((), (), 1)


def test_no_gain_is_said_to_be_none() -> None:
    evidence = simulated(4, 24)
    (note,) = enough(evidence, scored(evidence, GlobalThreshold()), FPR).notes
    assert note.startswith(
        "Doubling the shadow models from 12 to 24 is not shown to raise the TPR: the difference is 0"
    )


@pytest.mark.parametrize("kind", ["continuous", "tied", "constant", "few examples above all others"])
@pytest.mark.parametrize("fpr", [0.02, 0.1, 0.5])
def test_draws_are_the_resampling_of_pairs_and_examples(kind: str, fpr: float) -> None:
    """Against the definition: counts repeat scores, and the threshold is that of the repeated non-members."""
    rng = np.random.default_rng(5)
    inside, outside = rng.normal(1, 1, (5, 40)), rng.normal(size=(5, 40))
    if kind == "tied":
        inside, outside = inside.round(), outside.round()
    elif kind == "constant":
        inside, outside = 0 * inside, 0 * outside
    elif kind != "continuous":
        outside[:, :2] += 9  # resamples without them need far more candidates
    draws = tpr_draws(inside, outside, fpr, resamples=50, seed=6)
    of_pairs, of_examples = (np.random.default_rng((6, stream)) for stream in (0, 1))
    for draw in draws:
        drawn = of_pairs.integers(5, size=5), of_examples.integers(40, size=40)
        counts = np.outer(*(np.bincount(some, minlength=n) for some, n in zip(drawn, (5, 40), strict=True))).ravel()
        cut = threshold(np.repeat(outside.ravel(), counts), fpr)
        assert draw == pytest.approx((np.repeat(inside.ravel(), counts) > cut).mean())


def test_draws_have_the_law_of_multinomial_resampling() -> None:
    """2000 draws of either kind, Kolmogorov–Smirnov: false alarm 1e-4."""
    rng = np.random.default_rng(7)
    inside, outside = rng.normal(1, 1, (6, 50)), rng.normal(size=(6, 50))
    naive = []
    for _ in range(2000):
        counts = np.outer(rng.multinomial(6, np.full(6, 1 / 6)), rng.multinomial(50, np.full(50, 1 / 50))).ravel()
        cut = threshold(np.repeat(outside.ravel(), counts), 0.1)
        naive.append((np.repeat(inside.ravel(), counts) > cut).mean())
    assert stats.ks_2samp(tpr_draws(inside, outside, 0.1, resamples=2000), naive).pvalue > 1e-4


def test_draws_of_the_same_seed_are_of_the_same_examples_at_every_rate_and_size_of_bank() -> None:
    """An example is inside above all others in every pair: its count in a resample is what every draw shows."""
    rng = np.random.default_rng(8)
    outside = rng.normal(size=(6, 50))
    inside = np.full((6, 50), -9.0)
    inside[:, 3] = 9
    first = tpr_draws(inside, outside, 0.1)
    assert len(set(first)) > 2
    assert np.array_equal(tpr_draws(inside, outside, 0.05), first)
    assert np.array_equal(tpr_draws(inside[:3], outside[:3], 0.1), first)
