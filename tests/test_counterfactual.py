"""Counterfactual memorization: closed forms, enumeration of all exchanges, coverage, and the winner's curse.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from memaudit.design import by_pair, halves, swapped
from memaudit.memorization.counterfactual import counterfactual, cross_fitted_top, null_deviation

Array = np.ndarray


def test_counterfactual_against_scipy() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=(2, 9, 5))
    found = counterfactual(inside, outside, level=0.9)
    assert found.value == pytest.approx((inside - outside).mean(axis=0))
    for i in range(5):
        paired = stats.ttest_rel(inside[:, i], outside[:, i])
        interval = paired.confidence_interval(0.9)
        assert (found.low[i], found.high[i]) == pytest.approx((interval.low, interval.high))
        assert found.value[i] / found.se[i] == pytest.approx(paired.statistic)


def test_permuting_and_scaling_examples_permutes_and_scales_scores() -> None:
    rng = np.random.default_rng(1)
    inside, outside = rng.normal(size=(2, 6, 20))
    found, order = counterfactual(inside, outside), rng.permutation(20)
    moved = counterfactual(7 * inside[:, order] + 3, 7 * outside[:, order] + 3)
    for name in ("value", "se", "low", "high"):
        assert getattr(moved, name) == pytest.approx(7 * getattr(found, name)[order])
    flipped = counterfactual(outside, inside)
    assert np.array_equal(flipped.value, -found.value)


def test_a_score_that_never_varies_has_an_interval_of_no_width() -> None:
    found = counterfactual(np.ones((4, 1)), np.zeros((4, 1)))
    assert (found.value[0], found.se[0], found.low[0], found.high[0]) == (1, 0, 1, 1)


def test_intervals_cover_although_the_models_of_a_pair_share_out_the_rest() -> None:
    """Memorization 0.3; one neighbour helps whichever model of the pair has it, by 1: the correlation is negative.

    2000 examples, 20 pairs: coverage of the 95 % interval within five SE (.005), false alarm 6e-7. Welch's interval of
    independent means, shown for comparison, is too narrow by more than that.
    """
    rng = np.random.default_rng(2)
    helped = rng.integers(0, 2, (20, 2000))
    noise = 0.2 * rng.normal(size=(2, 20, 2000))
    inside, outside = 0.3 + helped + noise[0], 1 - helped + noise[1]
    found = counterfactual(inside, outside)
    assert ((found.low <= 0.3) & (found.high >= 0.3)).mean() == pytest.approx(0.95, abs=0.025)
    welch = stats.ttest_ind(inside, outside, axis=0, equal_var=False).confidence_interval()
    assert ((welch.low <= 0.3) & (welch.high >= 0.3)).mean() < 0.95 - 0.025


def test_complementary_halves_do_correlate_real_models() -> None:
    """Ridge regression on 100 points, 60 pairs; M is the squared error, negated.

    Of independent models the ratio of paired to Welch variance averages 1, with an SD of at most 1/√60 even if all
    examples moved together. Complementary halves of the data exceed it by two of them.
    """
    rng = np.random.default_rng(3)
    x = rng.normal(size=(100, 8))
    y = x[:, 0] + rng.normal(size=100)
    members = halves(3, 120, 100)
    fits = [np.linalg.solve(x[m].T @ x[m] + np.eye(8), x[m].T @ y[m]) for m in members > 0]
    inside, outside = by_pair(-((y - np.stack(fits) @ x.T) ** 2), members)
    welch = (inside.var(axis=0, ddof=1) + outside.var(axis=0, ddof=1)) / 60
    assert np.mean(counterfactual(inside, outside).se ** 2 / welch) > 1 + 2 / np.sqrt(60)


def test_null_deviation_against_all_exchanges() -> None:
    """All 2⁶ ways to exchange inside and outside within the pairs."""
    inside, outside = np.random.default_rng(4).normal(size=(2, 6, 3)) + np.array([1, 0])[:, None, None]
    values = [
        counterfactual(*swapped(inside, outside, np.array(heads)[:, None].repeat(3, axis=1))).value
        for heads in product([False, True], repeat=6)
    ]
    assert np.mean(values, axis=0) == pytest.approx(np.zeros(3), abs=1e-12)
    assert null_deviation(inside, outside) == pytest.approx(np.std(values, axis=0))


def test_the_top_without_the_winners_curse() -> None:
    """Nothing is memorized: the 20 largest of 1000 scores look memorized, cross-fitted they do not.

    400 banks of 10 pairs. The mean over banks is 0 to five SE (6e-7); the interval covers 0 in at least 95 % less five
    SE (.011). The scores of the selected ones, by the pairs that selected them, are far above their noise.
    """
    found, naive = [], []
    for seed in range(400):
        inside, outside = np.random.default_rng([5, seed]).normal(size=(2, 10, 1000))
        found.append(cross_fitted_top(inside, outside, 20))
        naive.append(np.sort(counterfactual(inside, outside).value)[-20:].mean())
    values = np.array([top.value for top in found])
    assert values.mean() == pytest.approx(0, abs=5 * values.std() / 20)
    assert np.mean([top.low <= 0 <= top.high for top in found]) > 0.95 - 5 * 0.011
    assert np.mean(naive) > 2 * np.sqrt(2 / 10)  # two standard deviations of one score


def test_the_top_of_truly_memorized_examples() -> None:
    """10 of 500 examples at 3, noise SD 1 each side: the selection is right and the estimate is 3, within 5 SE."""
    rng = np.random.default_rng(6)
    inside, outside = rng.normal(size=(2, 12, 500))
    inside[:, :10] += 3
    found = cross_fitted_top(inside, outside, 10)
    assert found.value == pytest.approx(3, abs=5 * np.sqrt(2 / (12 * 10)))
    assert 0 < found.low < found.value < found.high


def test_top_of_all_examples_is_their_mean() -> None:
    inside, outside = np.random.default_rng(7).normal(size=(2, 8, 30))
    assert cross_fitted_top(inside, outside, 30).value == pytest.approx((inside - outside).mean())


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    """A suffix that top-k sampling never writes has log p = −inf: there the plain probabilities are to be compared."""
    inside = np.zeros((4, 3))
    inside[2, 1] = bad
    for estimate in (counterfactual, null_deviation, lambda a, b: cross_fitted_top(a, b, 1)):
        with pytest.raises(ValueError, match="example 1 has a value that is not finite"):
            estimate(inside, np.zeros((4, 3)))


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 pairs of models, got 1"):
        counterfactual(np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="3 pairs; at least 4"):
        cross_fitted_top(np.zeros((3, 2)), np.zeros((3, 2)), 1)
    with pytest.raises(ValueError, match="top 3 of 2"):
        cross_fitted_top(np.zeros((4, 2)), np.zeros((4, 2)), 3)
