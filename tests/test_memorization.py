"""Memorization against models whose memorization is known exactly.

Random tests fix their seed; each states the probability of a false alarm under a fresh one. `methods.md` T8, T9.
"""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from memaudit.design import PairArrays, by_pair, halves
from memaudit.memorization import margin, memorization, paired_memorization
from memaudit.stats import newcombe_paired, newcombe_wilson

Array = np.ndarray


# --- T8: the nearest neighbour, whose memorization is known exactly --------------------------------------------------


def _noisy_points(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two classes in the plane, 15 % of the labels wrong."""
    x = rng.normal(size=(n, 2))
    return x, (x[:, 0] > 0) ^ (rng.random(n) < 0.15)


def _neighbours(x: Array) -> Array:
    """Row i: all other points, nearest first."""
    distance = ((x[:, None] - x) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1)[:, :-1]


def _exact_outside_accuracy(x: Array, y: Array, r: float) -> Array:
    """P[1-NN right on i | i outside], members drawn with probability r: Σ_k r(1−r)^(k−1)·1[y_jk = y_i]."""
    near = _neighbours(x)
    weights = r * (1 - r) ** np.arange(near.shape[1])
    return (y[near] == y[:, None]) @ weights


def _train_and_test(x: Array, y: Array, members: Array) -> Array:
    """Whether the nearest *member* of each point, itself if it is one, has its label; no member at all is wrong."""
    distance = ((x[:, None] - x) ** 2).sum(axis=2)
    correct = np.zeros(members.shape, dtype=bool)
    for model, row in enumerate(members > 0):
        if row.any():
            nearest = np.flatnonzero(row)[np.argmin(distance[:, row], axis=1)]
            correct[model] = y[nearest] == y
    return correct


def test_t8_formula_against_all_subsets() -> None:
    """The formula of the oracle itself, on 9 points, by enumerating the 2⁸ training sets without each point."""
    x, y = _noisy_points(9, np.random.default_rng(80))
    for r in (0.5, 0.7):
        formula = _exact_outside_accuracy(x, y, r)
        for i in range(9):
            others = np.delete(np.arange(9), i)
            total = 0.0
            for bits in itertools.product([0, 1], repeat=8):
                members = np.zeros((1, 9), dtype=np.uint8)
                members[0, others] = bits
                total += r ** sum(bits) * (1 - r) ** (8 - sum(bits)) * _train_and_test(x, y, members)[0, i]
            assert formula[i] == pytest.approx(total, abs=1e-12)


def test_t8_memorization_of_the_nearest_neighbour() -> None:
    """Real 1-NN models on the paired design: a member is always right, so mem = 1 − P_out, known exactly.

    25 banks of 64 models on 200 points. (a) Unbiased: each point's mean error over the banks is within 5.5 SE (200
    points: false alarm 8e-6). (b) The mean of squared errors is the mean of P_out(1−P_out)/n0, to 5 SE over banks (t,
    24 degrees of freedom: 4e-5), and so is the mean variance. (c) Intervals cover: below.
    """
    x, y = _noisy_points(200, np.random.default_rng(81))
    p_out = _exact_outside_accuracy(x, y, 0.5)
    truth, n0, banks = 1 - p_out, 32, 25
    noise = (p_out * (1 - p_out) / n0).mean()
    errors, variances, covered = np.empty((banks, 200)), np.empty(banks), np.empty(banks)
    for seed in range(banks):
        members = halves(seed, 2 * n0, 200)
        found = paired_memorization(*by_pair(_train_and_test(x, y, members), members))
        assert np.array_equal(found.inside_accuracy, np.ones(200))
        assert found.value == pytest.approx(1 - found.outside_accuracy, abs=1e-15)
        errors[seed] = found.value - truth
        variances[seed] = found.variance.mean()
        covered[seed] = ((found.low <= truth) & (truth <= found.high)).mean()
    se = np.sqrt(p_out * (1 - p_out) / (n0 * banks))
    assert np.all(np.abs(errors.mean(axis=0)) <= 5.5 * se + 1e-9)
    for estimate in ((errors**2).mean(axis=1), variances):
        assert estimate.mean() == pytest.approx(noise, abs=5 * estimate.std(ddof=1) / np.sqrt(banks))
    # (c) P_in = 1 sits at the edge, where method 10 covers more than nominal; never less, over points
    assert covered.mean() > 0.95 - 5 * covered.std(ddof=1) / np.sqrt(banks)


def test_t8_with_a_design_that_is_not_paired() -> None:
    """The estimator takes any membership: Bernoulli(.7), 25 banks of 200 models on 200 points.

    RMSE² over mean P_out(1−P_out)/n0 averages 1 within 15 % and 5 SE over banks (`methods.md` asks 15 % of the RMSE).
    Points share neighbours, so a single bank's ratio has an SE of about .15 however many points. False alarm 4e-5.
    """
    ratios = np.empty(25)
    for seed in range(25):
        rng = np.random.default_rng([82, seed])
        x, y = _noisy_points(200, rng)
        members = (rng.random((200, 200)) < 0.7).astype(np.uint8)
        p_out = _exact_outside_accuracy(x, y, 0.7)
        found = memorization(_train_and_test(x, y, members), members)
        n0 = (members == 0).sum(axis=0)
        ratios[seed] = ((found.value - (1 - p_out)) ** 2).mean() / (p_out * (1 - p_out) / n0).mean()
    se = ratios.std(ddof=1) / 5
    assert se < 0.15 / 4
    assert ratios.mean() == pytest.approx(1, abs=5 * se)


# --- estimator, variance, interval ------------------------------------------------------------------------------


def test_memorization_against_a_loop() -> None:
    """Shares, difference, variance and interval, example by example; counts above one are membership."""
    rng = np.random.default_rng(83)
    members = rng.integers(0, 3, size=(30, 12)).astype(np.uint8)
    correct = rng.random((30, 12)) < 0.6
    found = memorization(correct, members, level=0.9)
    for i in range(12):
        inside, outside = correct[members[:, i] > 0, i], correct[members[:, i] == 0, i]
        assert found.inside_accuracy[i] == pytest.approx(inside.mean())
        assert found.outside_accuracy[i] == pytest.approx(outside.mean())
        assert found.value[i] == pytest.approx(inside.mean() - outside.mean())
        assert found.variance[i] == pytest.approx(inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside))
        low, high = newcombe_wilson(np.array([inside.sum()]), len(inside), np.array([outside.sum()]), len(outside), 0.9)
        assert (found.low[i], found.high[i]) == pytest.approx((low[0], high[0]))


def test_memorization_is_unbiased_and_its_intervals_cover() -> None:
    """20 000 examples with P_in, P_out ~ U(0, 1), 32 models a side.

    Mean error 0 and mean variance equal to the true one, to 5 SE over examples; coverage of the 95 % interval: method
    10 averages .95 to .965 (as summed exactly in test_stats), so within 5 SE of that, SE .0015. False alarm 2e-6.
    """
    rng = np.random.default_rng(84)
    p_in, p_out = rng.random((2, 20_000))
    members = np.repeat([[1], [0]], 32, axis=0).astype(np.uint8) * np.ones((1, 20_000), dtype=np.uint8)
    correct = rng.random((64, 20_000)) < np.where(members > 0, p_in, p_out)
    found = memorization(correct, members)
    error = found.value - (p_in - p_out)
    assert error.mean() == pytest.approx(0, abs=5 * error.std() / np.sqrt(20_000))
    surplus = found.variance - (p_in * (1 - p_in) + p_out * (1 - p_out)) / 32
    assert surplus.mean() == pytest.approx(0, abs=5 * surplus.std() / np.sqrt(20_000))
    covered = ((found.low <= p_in - p_out) & (p_in - p_out <= found.high)).mean()
    assert 0.95 - 5 * 0.0015 < covered < 0.965 + 5 * 0.0015


def test_paired_memorization_against_a_loop() -> None:
    """The variance of the mean difference within pairs, and Newcombe's interval, example by example."""
    rng = np.random.default_rng(95)
    inside, outside = rng.random((2, 14, 10)) < 0.6
    found = paired_memorization(inside, outside, level=0.9)
    for i in range(10):
        gain = inside[:, i].astype(float) - outside[:, i]
        a, b, both = (int(right[:, i].sum()) for right in (inside, outside, inside & outside))
        low, high = newcombe_paired(a, b, both, 14, 0.9)
        assert (found.inside_accuracy[i], found.outside_accuracy[i]) == pytest.approx((a / 14, b / 14))
        assert found.value[i] == pytest.approx(gain.mean())
        assert found.variance[i] == pytest.approx(gain.var(ddof=1) / 14)
        assert (found.low[i], found.high[i]) == pytest.approx((float(low), float(high)))


def test_paired_memorization_of_one_pair_is_refused() -> None:
    one = np.ones((1, 4), dtype=bool)
    with pytest.raises(ValueError, match="got 1"):
        paired_memorization(one, one)


def _complementary(p_in: Array, p_out: Array, pairs: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Correctness inside and outside with these probabilities, of pairs whose latent correlation is −0.6."""
    latent = rng.multivariate_normal([0, 0], [[1, -0.6], [-0.6, 1]], (pairs, len(p_in)))
    correct = stats.norm.cdf(latent)
    return correct[..., 0] < p_in, correct[..., 1] < p_out


def test_paired_errors_are_right_where_the_models_of_a_pair_are_not_independent() -> None:
    """20 000 examples with P_in, P_out ~ U(0, 1), 32 complementary pairs.

    The variance is unbiased: its surplus over the squared error has mean 0, to 5 SE; that of two independent shares is
    too small, by 5 SE at least. Method 10 covers .95 within 1.5 points on average (as summed exactly for 12
    pairs in test_extraction), plus 5 SE of .0015; independent intervals cover less. False alarm 1e-6.
    """
    rng = np.random.default_rng(96)
    p_in, p_out = rng.random((2, 20_000))
    inside, outside = _complementary(p_in, p_out, 32, rng)
    found = paired_memorization(inside, outside)
    members = np.repeat([[1], [0]], 32, axis=0).astype(np.uint8) * np.ones((1, 20_000), dtype=np.uint8)
    independent = memorization(np.concatenate([inside, outside]), members)
    truth = p_in - p_out
    surplus, lack = (score.variance - (score.value - truth) ** 2 for score in (found, independent))
    assert surplus.mean() == pytest.approx(0, abs=5 * surplus.std() / np.sqrt(20_000))
    assert lack.mean() < -5 * lack.std() / np.sqrt(20_000)
    covered, less = (((s.low <= truth) & (truth <= s.high)).mean() for s in (found, independent))
    assert covered == pytest.approx(0.95, abs=0.015 + 5 * 0.0015)
    assert less < covered


def test_nothing_is_memorized_where_membership_changes_nothing() -> None:
    """Null: P_in = P_out. An interval leaves 0 out on one side in 2.5 % of the examples, within a point and 5 SE."""
    rng = np.random.default_rng(97)
    p = rng.random(20_000)
    found = paired_memorization(*_complementary(p, p, 32, rng))
    assert found.value.mean() == pytest.approx(0, abs=5 * found.value.std() / np.sqrt(20_000))
    for missed in (found.low > 0, found.high < 0):
        assert missed.mean() < 0.025 + 0.01 + 5 * np.sqrt(0.025 / 20_000)


def test_memorization_refuses_an_example_that_is_hardly_ever_outside() -> None:
    """An example that is never held out has no score; 0 would be a lie."""
    members = np.ones((6, 4), dtype=np.uint8)
    members[:3, [0, 1, 3]] = 0
    members[0, 2] = 0
    with pytest.raises(ValueError, match="example 2 is inside 5 and outside 1"):
        memorization(np.ones((6, 4), dtype=bool), members)


def test_permuting_models_and_examples_permutes_memorization() -> None:
    rng = np.random.default_rng(85)
    members, correct = halves(85, 20, 30), rng.random((20, 30)) < 0.5
    m, e = rng.permutation(20), rng.permutation(30)
    moved = memorization(correct[m][:, e], members[m][:, e])
    assert np.array_equal(moved.value, memorization(correct, members).value[e])


# --- the margin score -------------------------------------------------------------------------------------------------


def test_t9_margin_of_ridge_regression_is_the_closed_form() -> None:
    """Pairs that differ by one example: inside trained on all, outside on all but i, refitted by brute force.

    The shift of the prediction at x_i is h(y − ŷ)/(1 − h) exactly; four label vectors make four pairs.
    """
    rng = np.random.default_rng(90)
    n, columns, penalty, pairs = 25, 4, 0.8, 4
    x = rng.normal(size=(n, columns))
    ridge = penalty * np.eye(columns)
    hat = x @ np.linalg.solve(x.T @ x + ridge, x.T)
    h = np.diag(hat)
    inside, outside, closed = np.empty((3, pairs, n, 1))
    for pair in range(pairs):
        y = rng.normal(size=n)
        inside[pair, :, 0] = x @ np.linalg.solve(x.T @ x + ridge, x.T @ y)
        for i in range(n):
            rest = np.delete(np.arange(n), i)
            beta = np.linalg.solve(x[rest].T @ x[rest] + ridge, x[rest].T @ y[rest])
            outside[pair, i, 0] = x[i] @ beta
        closed[pair, :, 0] = h / (1 - h) * (y - hat @ y)
    found = margin(PairArrays(inside, outside))
    assert found.shift == pytest.approx(closed[..., 0].mean(axis=0), abs=1e-12)


def test_margin_against_a_loop_and_in_blocks() -> None:
    """Shift, its standard error and Hedges' g, example by example, averaged over queries first.

    Hedges' factor for 2k = 16 degrees of freedom is (k − 1)!² 4^(k − 1) / (√(kπ) (2k − 2)!) = .9523.
    """
    factor = math.factorial(7) ** 2 * 4**7 / (math.sqrt(8 * math.pi) * math.factorial(14))
    assert factor == pytest.approx(1 - 3 / (4 * 16 - 1), abs=2e-4)
    rng = np.random.default_rng(91)
    bank = PairArrays(1 + rng.normal(size=(9, 33, 3)), 2 * rng.normal(size=(9, 33, 3)))
    found = margin(bank)
    for i in range(33):
        a, b = bank.inside[:, i].mean(axis=1), bank.outside[:, i].mean(axis=1)
        pooled = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
        assert found.shift[i] == pytest.approx(a.mean() - b.mean())
        assert found.shift_se[i] == pytest.approx((a - b).std(ddof=1) / np.sqrt(9))
        assert found.separation[i] == pytest.approx(factor * (a.mean() - b.mean()) / pooled)
    small = margin(bank, block=7)
    assert np.array_equal(small.shift, found.shift)
    assert np.array_equal(small.separation, found.separation)


@pytest.mark.parametrize("correlation", [-0.5, 0.0])
def test_margin_finds_the_shift_of_a_known_law(correlation: float) -> None:
    """φ|in − φ|out = d σ_i: z = (shift − dσ)/se is Student with ν = pairs − 1, whatever the correlation in a pair.

    10 000 examples, 16 pairs: mean 0 and variance ν/(ν−2), 5 SE each; the kurtosis of t_15 is 3 + 6/11; and |z| exceeds
    its 95 % quantile in 5 % of the examples, to 5 SE. False alarm 2e-6.
    """
    rng = np.random.default_rng(92)
    n, d = 10_000, 1.5
    sigma = np.exp(rng.normal(size=(n, 1)))
    noise = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], (16, n))
    inside, outside = (sigma * noise[..., [side]] for side in range(2))
    found = margin(PairArrays(inside + d * sigma, outside))
    z = (found.shift - d * sigma[:, 0]) / found.shift_se
    assert z.mean() == pytest.approx(0, abs=5 * np.sqrt(15 / 13 / n))
    assert z.var() == pytest.approx(15 / 13, abs=5 * 15 / 13 * np.sqrt((2 + 6 / 11) / n))
    assert (np.abs(z) > stats.t.isf(0.025, 15)).mean() == pytest.approx(0.05, abs=5 * np.sqrt(0.05 * 0.95 / n))


def test_margin_separation_predicts_an_attack() -> None:
    """With many pairs, Φ(Φ⁻¹(α) + d) is the TPR of a threshold at the outside law's α tail: here α = 5 %.

    40 examples × 20 000 pairs; the d of each has SE ≤ √(2/20 000)(1 + d²/8)½ < .015 and the empirical TPR an SE below
    .005 (slope of α included): |Δ| < .04 is 5 SE. False alarm over 40 comparisons: 2e-5.
    """
    rng = np.random.default_rng(93)
    d = np.linspace(0, 3, 40)[:, None]
    noise = rng.normal(size=(2, 20_000, 40, 1))
    inside, outside = noise[0] + d, noise[1]
    found = margin(PairArrays(inside, outside))
    tpr = (inside > np.quantile(outside, 0.95, axis=0)).mean(axis=0)[:, 0]
    assert stats.norm.cdf(stats.norm.ppf(0.05) + found.separation) == pytest.approx(tpr, abs=0.04)


@pytest.mark.parametrize("pairs", [3, 4, 8, 32])
@pytest.mark.parametrize("correlation", [0.0, -0.3])
def test_margin_separation_is_unbiased(pairs: int, correlation: float) -> None:
    """20,000 normal examples with d = 1: the mean is 1 to 5 SE, false alarm 6e-7 each.

    Without Hedges' correction it is 1.25 at 3 pairs. A correlation r within pairs takes degrees of freedom away,
    2(P − 1)/(1 + r²): at r = −.3 and 3 pairs the mean may be 2 % above 1.
    """
    rng = np.random.default_rng(98 + pairs)
    noise = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], (pairs, 20_000))
    found = margin(PairArrays(noise[..., [0]] + 1, noise[..., [1]])).separation
    slack = 0.25 * correlation**2 / (pairs - 2)
    assert found.mean() == pytest.approx(1, abs=slack + 5 * found.std() / np.sqrt(20_000))


def test_margin_of_too_few_pairs_is_refused() -> None:
    one = np.zeros((1, 4, 1))
    with pytest.raises(ValueError, match="got 1"):
        margin(PairArrays(one, one))


def test_margin_sees_what_flips_no_prediction() -> None:
    """All models right on all examples: memorization 0, while confidence moves and the margin shows it."""
    rng = np.random.default_rng(94)
    members = halves(94, 32, 50)
    phi = 20 + rng.normal(size=(32, 50)) + 5 * members
    found = margin(PairArrays(*by_pair(phi[..., None], members)))
    assert np.all(memorization(phi > 0, members).value == 0)
    assert np.all(found.shift > 2)
