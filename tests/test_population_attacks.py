"""Attacks P and R against naive loops, and the exact laws of their scores for non-members."""

import numpy as np
import pytest
from scipy import stats

from memaudit.attacks.loss import GlobalThreshold
from memaudit.attacks.population import AttackP, AttackR
from memaudit.design import PairArrays
from memaudit.stats import roc_points

Array = np.ndarray


@pytest.fixture
def bank() -> PairArrays:
    """6 pairs × 40 examples × 2 queries; half of the examples are rounded, so that they have ties."""
    rng = np.random.default_rng(7)
    inside, outside = 2 * rng.normal(size=(40, 2)) + rng.normal(size=(2, 6, 40, 2))
    inside += rng.exponential(size=(40, 2))
    for side in (inside, outside):
        side[:, :20] = side[:, :20].round()
    return PairArrays(inside, outside)


# --- Attack P ---------------------------------------------------------------------------------------------------------


def test_attack_p_against_a_naive_loop(bank: PairArrays) -> None:
    for scores, targets in zip(AttackP().leave_pair_out(bank), (bank.inside, bank.outside), strict=True):
        for pair in range(6):
            population = np.delete(bank.outside, pair, axis=0)
            for i in range(40):
                shares = [np.mean(population[:, :, q] < targets[pair, i, q]) for q in range(2)]
                assert scores[pair, i] == pytest.approx(np.mean(shares), abs=1e-6)


def test_attack_p_ranks_as_the_global_threshold(bank: PairArrays) -> None:
    """Within one model and with one query, up to ties."""
    one = PairArrays(bank.inside[..., :1], bank.outside[..., :1])
    shares, signals = AttackP().leave_pair_out(one), GlobalThreshold().leave_pair_out(one)
    for share, signal in zip(np.concatenate(shares), np.concatenate(signals), strict=True):
        assert np.all(np.diff(share[np.argsort(signal)]) >= 0)


def test_attack_p_has_its_pre_set_fpr() -> None:
    """A threshold of 1 − α has an FPR of α, to 4.5 SE over 20 000 examples. False alarm over 3 comparisons: 2e-5.

    The population has 6 × 20 000 values of as many examples: its own error is part of the SE, which is over examples.
    """
    rng = np.random.default_rng(3)
    outside = 3 * rng.normal(size=(20_000, 1)) + rng.normal(size=(7, 20_000, 1))
    scores = AttackP().leave_pair_out(PairArrays(outside + 1, outside))[1]
    for fpr in (0.001, 0.01, 0.1):
        shares = (scores > 1 - fpr).mean(axis=0)
        assert shares.mean() == pytest.approx(fpr, abs=4.5 * shares.std() / np.sqrt(20_000))


def test_attack_p_is_invariant_to_a_rising_function_of_all_signals(bank: PairArrays) -> None:
    moved = PairArrays(np.exp(bank.inside), np.exp(bank.outside))
    assert np.array_equal(AttackP().leave_pair_out(moved), AttackP().leave_pair_out(bank))


# --- Attack R ---------------------------------------------------------------------------------------------------------


def _naive_share(x: float, references: Array) -> float:
    """The k-th of n references has the share k/(n + 1), a run of tied ones the mean of theirs; linear in between."""
    ordered = sorted(references)
    n = len(ordered)
    if x in ordered:
        return float(np.mean([k for k, v in enumerate(ordered, start=1) if v == x])) / (n + 1)
    if x < ordered[0]:
        return 0.0
    if x > ordered[-1]:
        return 1.0
    k = max(k for k, v in enumerate(ordered, start=1) if v < x)
    return (k + (x - ordered[k - 1]) / (ordered[k] - ordered[k - 1])) / (n + 1)


@pytest.mark.parametrize("pairs", [2, 3, 6])
def test_attack_r_against_a_naive_loop(pairs: int, bank: PairArrays) -> None:
    """With ties between references, and between a target and its references."""
    some = bank.take(np.arange(pairs))
    for scores, targets in zip(AttackR().leave_pair_out(some), (some.inside, some.outside), strict=True):
        for pair in range(pairs):
            references = np.delete(some.outside, pair, axis=0)
            for i in range(40):
                shares = [_naive_share(targets[pair, i, q], references[:, i, q]) for q in range(2)]
                assert scores[pair, i] == pytest.approx(np.mean(shares), abs=1e-6)


def test_attack_r_without_ties_is_linear_interpolation() -> None:
    """The same by numpy.interp, which knows no ties."""
    rng = np.random.default_rng(4)
    inside, outside = rng.normal(size=(2, 9, 200, 1))
    scores = AttackR().scores(inside[-1], PairArrays(inside, outside))
    for i in range(200):
        ordered = np.sort(outside[:-1, i, 0])
        expected = np.interp(inside[-1, i, 0], ordered, np.arange(1, 9) / 9, left=0, right=1)
        assert scores[i] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("pairs", [2, 5, 17])
def test_attack_r_law_of_non_members(pairs: int) -> None:
    """P(score > k/(n + 1)) = 1 − k/(n + 1) exactly, whatever the law of the signals; to 4.5 SE over 5000 examples.

    False alarm over 21 comparisons: 1.4e-4.
    """
    rng = np.random.default_rng(pairs)
    outside = rng.standard_cauchy(size=(pairs, 5000, 1)) * np.exp(rng.normal(size=(5000, 1)))
    scores = AttackR().leave_pair_out(PairArrays(outside + 1, outside))[1]
    for k in range(1, pairs):
        shares = (scores > np.float32(k / pairs)).mean(axis=0)
        assert shares.mean() == pytest.approx(1 - k / pairs, abs=4.5 * shares.std() / np.sqrt(5000) + 1e-9)


def test_attack_r_finds_nothing_below_one_over_the_references_plus_one() -> None:
    """16 references and a perfect separation: TPR 1 at an FPR of 1/17 and above, 0 below.

    One target with 20 000 examples, of which 1176 ± 33 non-members score 1.
    """
    rng = np.random.default_rng(9)
    outside = rng.normal(size=(17, 20_000, 1))
    inside, out = AttackR().leave_pair_out(PairArrays(outside + 20, outside))
    assert np.all(inside == 1)
    tpr, fpr = roc_points(inside[0], out[0], np.array([0.001, 0.01, 0.05]))
    assert tpr.tolist() == fpr.tolist() == [0, 0, 0]
    assert (out[0] == 1).sum() == pytest.approx(20_000 / 17, abs=4.5 * np.sqrt(20_000 * 16) / 17)
    assert stats.binom(20_000, 1 / 17).std() == pytest.approx(np.sqrt(20_000 * 16) / 17)


def test_attack_r_is_invariant_to_a_unit_and_a_constant_per_example(bank: PairArrays) -> None:
    rng = np.random.default_rng(1)
    c, s = rng.integers(-9, 9, (40, 2)), 2.0 ** rng.integers(-3, 3, (40, 2))
    moved = PairArrays(s * bank.inside + c, s * bank.outside + c)
    for scores, kept in zip(AttackR().leave_pair_out(moved), AttackR().leave_pair_out(bank), strict=True):
        assert scores == pytest.approx(kept, abs=1e-6)
