"""The per-example threshold of Sablayrolles et al. against a naive loop and its exact law."""

import numpy as np
import pytest
from scipy import stats

from memaudit.attacks.calibration import Sablayrolles
from memaudit.design import PairArrays

ATTACK = Sablayrolles()


@pytest.fixture
def bank() -> PairArrays:
    rng = np.random.default_rng(7)
    inside, outside = 3 * rng.normal(size=(50, 2)) + rng.normal(size=(2, 6, 50, 2))
    return PairArrays(inside + rng.exponential(size=(50, 2)), outside)


def test_against_a_naive_loop(bank: PairArrays) -> None:
    for scores, targets in zip(ATTACK.leave_pair_out(bank), (bank.inside, bank.outside), strict=True):
        for pair in range(6):
            others = np.delete(np.arange(6), pair)
            for i in range(50):
                middle = [
                    (np.mean(bank.inside[others, i, q]) + np.mean(bank.outside[others, i, q])) / 2 for q in range(2)
                ]
                assert scores[pair, i] == pytest.approx(np.mean(targets[pair, i] - middle), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("pairs", [2, 5, 33])
def test_exact_law_under_equal_variances(pairs: int) -> None:
    """φ|out ~ N(μ, 1), φ|in ~ N(μ + d, 1): scores are N(∓d/2, 1 + 1/2n), with n references a side.

    Shares of 20 000 examples above the exact cuts, to 4.5 SE over examples. False alarm over 18 comparisons: 1.2e-4.
    """
    d, examples = 2.0, 20_000
    rng = np.random.default_rng(pairs)
    noise = 3 * rng.normal(size=(examples, 1)) + rng.normal(size=(2, pairs, examples, 1))
    inside, outside = ATTACK.leave_pair_out(PairArrays(noise[0] + d, noise[1]))
    sd = np.sqrt(1 + 1 / (2 * (pairs - 1)))
    for fpr in (0.001, 0.01, 0.1):
        cut = stats.norm.isf(fpr, -d / 2, sd)
        for scores, expected in ((outside, fpr), (inside, stats.norm.sf(cut, d / 2, sd))):
            shares = (scores > cut).mean(axis=0)
            assert shares.mean() == pytest.approx(expected, abs=4.5 * shares.std() / np.sqrt(examples))


def test_a_constant_per_example_changes_nothing_and_a_unit_scales_the_scores(bank: PairArrays) -> None:
    rng = np.random.default_rng(1)
    c, s = 50 * rng.normal(size=(50, 2)), np.exp(rng.normal(size=(50, 1)))
    moved = PairArrays(s * bank.inside + c, s * bank.outside + c)
    for scores, kept in zip(ATTACK.leave_pair_out(moved), ATTACK.leave_pair_out(bank), strict=True):
        assert scores == pytest.approx(s[:, 0] * kept, rel=1e-5, abs=1e-5)


def test_exchanging_inside_and_outside_exchanges_the_scores(bank: PairArrays) -> None:
    inside, outside = ATTACK.leave_pair_out(bank)
    swapped = ATTACK.leave_pair_out(PairArrays(bank.outside, bank.inside))
    assert np.array_equal(swapped, (outside, inside))
