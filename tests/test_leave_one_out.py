"""Leave-one-out memorization against models whose answer is known, and agreement with it.

Random tests fix their seed; each states the probability of a false alarm under a fresh one. `methods.md` T8, T9.
"""

import numpy as np
import pytest

from memaudit.memorization import LeaveOneOut, agreement, leave_one_out, memorization

Array = np.ndarray


def _cells(examples: int, chosen: Array, times: int) -> Array:
    """Memberships: `times` models with everything, then `times` without each chosen example."""
    members = np.ones((times * (1 + len(chosen)), examples), np.uint8)
    for place, i in enumerate(chosen, 1):
        members[place * times : (place + 1) * times, i] = 0
    return members


def test_t8_nearest_neighbour_left_out() -> None:
    """1-NN: LOO memorization is 1 less whether the nearest other point has the label; without any noise."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 2))
    y = (x[:, 0] > 0) ^ (rng.random(80) < 0.2)
    chosen = np.arange(0, 80, 2)
    members = _cells(80, chosen, 2)
    distance = ((x[:, None] - x) ** 2).sum(axis=2)
    correct = np.array([y[row][np.argmin(distance[:, row], axis=1)] == y for row in members > 0])
    nearest = np.argsort(distance, axis=1)[:, 1]
    truth = leave_one_out(correct, members, chosen)
    np.testing.assert_array_equal(truth.value, (y[nearest] != y)[chosen].astype(float))
    assert (truth.variance == 0).all() and ((truth.low <= truth.value) & (truth.value <= truth.high)).all()
    found = agreement(truth.value, truth)
    assert found.rmse == found.bias == (0, 0, 0)
    assert found.pearson == pytest.approx((1, 1, 1)) and found.spearman_corrected == pytest.approx((1, 1, 1))
    assert found.reliability == 1


def test_t9_ridge_left_out() -> None:
    """Ridge: what refits say of the left-out example is what ŷ − h/(1 − h) (y − ŷ) says."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 6)), np.sign(rng.normal(size=30))
    hat = x @ np.linalg.solve(x.T @ x + 0.1 * np.eye(6), x.T)
    fitted, h = hat @ y, np.diag(hat)
    left_out = fitted - h / (1 - h) * (y - fitted)
    members = _cells(30, np.arange(30), 2)
    correct = []
    for row in members > 0:
        beta = np.linalg.solve(x[row].T @ x[row] + 0.1 * np.eye(6), x[row].T @ y[row])
        correct.append(np.sign(x @ beta) == y)
    expected = (np.sign(fitted) == y).astype(float) - (np.sign(left_out) == y)
    np.testing.assert_array_equal(leave_one_out(np.array(correct), members, np.arange(30)).value, expected)
    assert expected.any()


def _random(seed: int, examples: int, times: int) -> tuple[Array, LeaveOneOut]:
    """Exact memorization, and what `times` models say of it; p_out has the law of a real bank: some low, most high."""
    rng = np.random.default_rng(seed)
    p_out, p_in = rng.beta(0.7, 0.7, examples), np.full(examples, 0.97)
    chosen = np.arange(examples)
    members = _cells(examples, chosen, times)
    correct = rng.random(members.shape) < np.where(members, p_in, p_out)
    return p_in - p_out, leave_one_out(correct, members, chosen)


def test_scores_are_unbiased_with_the_variance_and_coverage_they_state() -> None:
    """40 sets of 60 examples, 20 models each: mean error within 5 SE, mean square within 5 SE of the mean variance.

    Intervals of single scores cover 93 % or more (Newcombe's is near nominal; 2,400 scores, SE .0045, shared models).
    """
    errors, squares, variances, covered = [], [], [], []
    for seed in range(40):
        truth, found = _random(seed, 60, 20)
        errors.append((found.value - truth).mean())
        squares.append(((found.value - truth) ** 2 - found.variance).mean())
        variances.append(found.variance.mean())
        covered.append(((found.low <= truth) & (truth <= found.high)).mean())
    assert abs(np.mean(errors)) < 5 * np.std(errors, ddof=1) / np.sqrt(40)
    assert abs(np.mean(squares)) < 5 * np.std(squares, ddof=1) / np.sqrt(40)
    assert np.mean(covered) > 0.93


@pytest.mark.slow
def test_agreement_without_the_noise_of_truth_and_score() -> None:
    """A score with known error .15 and known noise, against a noisy truth: corrected measures cover what is exact.

    60 sets of 80 examples; the 95 % intervals of RMSE, bias and Pearson miss in at most 10 (5 %: 8e-4 for more).
    Uncorrected, the RMSE is too large and the correlation too low in nearly all.
    """
    missed = dict.fromkeys(("rmse_corrected", "bias", "pearson_corrected"), 0)
    raw, rank = 0, []
    for seed in range(60):
        exact, truth = _random(100 + seed, 80, 20)
        rng = np.random.default_rng(seed)
        wrong = exact + 0.05 + rng.normal(0, 0.15, 80)
        noise = np.full(80, 0.01)
        found = agreement(wrong + rng.normal(0, 0.1, 80), truth, noise, seed=seed)
        rho = np.sqrt(np.var(exact) / (np.var(exact) + 0.15**2))
        for name, value in (("rmse_corrected", np.hypot(0.15, 0.05)), ("bias", 0.05), ("pearson_corrected", rho)):
            _, low, high = getattr(found, name)
            missed[name] += not low <= value <= high
        raw += found.rmse[0] > np.hypot(0.15, 0.05) and found.pearson[0] < found.pearson_corrected[0]
        rank.append(found.spearman_corrected[0] - found.spearman[0])
    assert max(missed.values()) <= 10, missed
    assert raw >= 50 and np.mean(rank) > 0


@pytest.mark.slow
def test_an_unrelated_score_has_no_correlation() -> None:
    """Null: of 80 sets, the Spearman interval excludes 0 in at most 12 (5 %: 3e-4 for more)."""
    wrong = 0
    for seed in range(80):
        _, truth = _random(300 + seed, 40, 10)
        _, low, high = agreement(np.random.default_rng(seed).normal(size=40), truth, seed=seed).spearman
        wrong += not low <= 0 <= high
    assert wrong <= 12


def test_models_that_lack_several_examples_do_not_count() -> None:
    rng = np.random.default_rng(5)
    members = np.concatenate([_cells(20, np.arange(10), 3), (rng.random((9, 20)) < 0.5).astype(np.uint8)])
    correct = rng.random(members.shape) < 0.5
    found = leave_one_out(correct, members, np.arange(10))
    assert len(found.inside) == 3 and all(len(models) == 3 for models in found.outside)
    one = memorization(correct[[0, 1, 2, 3, 4, 5]][:, :1], members[[0, 1, 2, 3, 4, 5]][:, :1])
    assert found.value[0] == one.value[0] and found.variance[0] == pytest.approx(one.variance[0])
    with pytest.raises(ValueError, match="everything but example 12"):
        leave_one_out(correct, members, np.array([3, 12]))
    with pytest.raises(ValueError, match="0 models were trained on everything"):
        leave_one_out(correct[-9:], members[-9:], np.array([3]))
    with pytest.raises(ValueError, match="at least 8 examples"):
        agreement(np.zeros(3), leave_one_out(correct, members, np.arange(3)))


def test_shares_have_their_own_variance_and_intervals() -> None:
    """Shares of tokens, 40 sets of 60 texts, 10 models: unbiased variance (5 SE), and intervals that cover 93 %.

    0 and 1 as numbers have the variance that they have as yes or no.
    """
    squares, covered = [], []
    chosen, members = np.arange(60), _cells(60, np.arange(60), 10)
    for seed in range(40):
        rng = np.random.default_rng(500 + seed)
        p_out = rng.uniform(0.05, 0.6, 60)
        share = np.where(members, 0.8, p_out)
        shares = rng.beta(8 * share, 8 * (1 - share))
        found = leave_one_out(shares.astype(np.float32), members, chosen)
        error = found.value - (0.8 - p_out)
        squares.append((error**2 - found.variance).mean())
        covered.append(((found.low <= 0.8 - p_out) & (0.8 - p_out <= found.high)).mean())
    assert abs(np.mean(squares)) < 5 * np.std(squares, ddof=1) / np.sqrt(40)
    assert np.mean(covered) > 0.93
    right = np.random.default_rng(6).random(members.shape) < 0.5
    as_numbers, as_answers = (leave_one_out(of, members, chosen) for of in (right.astype(float), right))
    np.testing.assert_allclose(as_numbers.variance, as_answers.variance)
