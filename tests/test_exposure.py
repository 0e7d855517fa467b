"""Exposure against its null law, exact sums and slow oracles; extrapolation against closed forms; the dose curve.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

import itertools
import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from memaudit.canaries import (
    NULL_MEAN_BITS,
    P_EXPOSED_BITS,
    calibrated,
    dose_curve,
    doses,
    exact_exposure,
    extrapolated_exposure,
    fisher,
    mean_exposure,
    null_survival,
    rank_exposure,
    sampled_exposure,
)
from memaudit.canaries.doses import mean_at_dose
from memaudit.canaries.skew_normal import SkewNormal, fit, left_tail_distance
from memaudit.errors import EvidenceError
from memaudit.stats import crossed_variance, effective_share

Array = np.ndarray


def _null_costs(rng: np.random.Generator, models: int, size: int) -> Array:
    """Returns costs of all secrets under models that prefer some of them by far, for reasons of their own."""
    return rng.gumbel(5, 3, (models, size)) + rng.exponential(20, (models, 1)) * rng.random((models, size))


# --- the null -------------------------------------------------------------------------------------------------------


def test_exposure_of_canaries_that_no_model_was_trained_on() -> None:
    """Mean 1.443 bits less what a space of 1000 lacks, and 1 % at 6.64 bits or more: 20 models × 1000 canaries.

    The mean of log₂(N/rank) is summed exactly; its sd is below 1.443, that of the exponential law. 5 SE each: false
    alarm 1e-6. The sum itself differs from 1/ln 2 by Stirling's ln(2πN)/(2N ln 2) up to O(1/N²).
    """
    rng = np.random.default_rng(0)
    size, models, canaries = 1000, 20, 1000
    costs = _null_costs(rng, models, size)
    secrets = rng.integers(0, size, (models, canaries))
    bits = exact_exposure(np.take_along_axis(costs, secrets, axis=1), costs[:, None, :])
    expected = np.log2(size / np.arange(1, size + 1)).mean()
    stirling = math.log(2 * math.pi * size) / (2 * size * math.log(2))
    assert expected == pytest.approx(NULL_MEAN_BITS - stirling, abs=1e-6)
    assert bits.mean() == pytest.approx(expected, abs=5 * NULL_MEAN_BITS / math.sqrt(bits.size))
    assert (bits >= P_EXPOSED_BITS).mean() == pytest.approx(0.01, abs=5 * math.sqrt(0.0099 / bits.size))


def test_a_canary_keeps_the_null_law_after_calibration() -> None:
    """Ranks of 4000 uniform secrets by calibrated costs are uniform over 100: χ², false alarm 1e-5.

    The preferences that the models share are taken out, so that the ranks themselves are others than before.
    """
    rng = np.random.default_rng(1)
    shared = rng.exponential(20, 100)
    costs = shared + rng.normal(size=(40, 100))
    outside = shared + rng.normal(size=(6, 40, 100))
    secrets = rng.integers(0, 100, (40, 100))
    adjusted = calibrated(costs, outside)
    bits = exact_exposure(np.take_along_axis(adjusted, secrets, axis=1), adjusted[:, None, :])
    ranks = np.rint(100 / np.exp2(bits)).astype(int)
    assert stats.chisquare(np.bincount(ranks.ravel(), minlength=101)[1:]).pvalue > 1e-5
    assert not np.array_equal(bits, exact_exposure(np.take_along_axis(costs, secrets, axis=1), costs[:, None, :]))


@pytest.mark.parametrize("size", [2, 10, 37, 1000])
def test_the_discrete_null_is_the_law_of_a_uniform_rank(size: int) -> None:
    """P[exposure ≥ e] at each exposure that occurs is rank/size, and just above it one rank less."""
    ranks = np.arange(1, size + 1)
    bits = rank_exposure(ranks, size)
    assert null_survival(bits, size) == pytest.approx(ranks / size, abs=1e-15)
    assert null_survival(bits + 1e-6, size) == pytest.approx((ranks - 1) / size, abs=1e-15)


@given(st.floats(-1, 60), st.integers(2, 10**15))
def test_the_discrete_null_never_exceeds_the_continuous_one(bits: float, size: int) -> None:
    assert 0 <= float(null_survival(bits, size)) <= min(1.0, 2**-bits * (1 + 1e-9))


def test_six_point_six_four_bits_is_one_in_a_hundred() -> None:
    """Also where a hundredth of the space is a whole number: rounding must not push the rank off the threshold."""
    for size in (100, 300, 1000, 10_000, 10**6, 4 * 26**6):
        assert float(null_survival(P_EXPOSED_BITS, size)) == pytest.approx(size // 100 / size, abs=1e-12)
        assert float(rank_exposure(size // 100, size)) >= P_EXPOSED_BITS
    assert float(rank_exposure(11, 1000)) < P_EXPOSED_BITS


# --- exact exposure -------------------------------------------------------------------------------------------------


def test_exact_exposure_against_sorting_and_with_ties_against_the_canary() -> None:
    rng = np.random.default_rng(2)
    costs = rng.integers(0, 8, (3, 4, 50)).astype(float)  # many ties
    for secret in range(50):
        bits = exact_exposure(costs[..., secret], costs)
        for model in range(3):
            for canary in range(4):
                rank = sorted(costs[model, canary]).index(costs[model, canary, secret]) + np.sum(
                    costs[model, canary] == costs[model, canary, secret]
                )
                assert bits[model, canary] == pytest.approx(math.log2(50 / rank), abs=1e-12)


def test_exact_exposure_spans_zero_to_the_size_of_the_space() -> None:
    costs = np.arange(64.0)
    assert float(exact_exposure(0.0, costs)) == 6.0
    assert float(exact_exposure(63.0, costs)) == 0.0
    assert float(exact_exposure(5.0, np.full(64, 5.0))) == 0.0


def test_exact_exposure_does_not_depend_on_units_or_order() -> None:
    rng = np.random.default_rng(3)
    costs = rng.random((5, 200))
    bits = exact_exposure(costs[:, 7], costs)
    order = rng.permutation(5)
    assert np.array_equal(exact_exposure(np.exp(costs[:, 7]), np.exp(costs)), bits)
    assert np.array_equal(exact_exposure(costs[order, 7], costs[order]), bits[order])


def test_exposure_refuses_what_would_flatter_or_blame() -> None:
    """NaN compares as dearer than the canary, and a canary below all costs would have rank 0."""
    costs = np.array([1.0, 2.0, np.nan])
    for call in (exact_exposure, sampled_exposure):
        with pytest.raises(ValueError, match="NaN"):
            call(1.0, costs)
        with pytest.raises(ValueError, match="NaN"):
            call(math.nan, costs[:2])
    with pytest.raises(ValueError, match="ranks"):
        exact_exposure(0.5, costs[:2])
    for rank in (0, 11):
        with pytest.raises(ValueError, match="between 1 and 10"):
            rank_exposure(rank, 10)


def test_rank_exposure_of_a_space_beyond_machine_integers() -> None:
    assert float(rank_exposure(4, 2**100)) == pytest.approx(98, abs=1e-12)


# --- sampled exposure -----------------------------------------------------------------------------------------------


def test_sampled_agrees_with_exact_on_average() -> None:
    """The share of references at or below the canary is an unbiased estimate of rank/size: 3000 draws of 200 from 500.

    5 SE of a mean of binomial shares: false alarm 6e-7 for each of five ranks. With the space itself as references the
    two differ by the canary that sampled exposure adds to both sides.
    """
    rng = np.random.default_rng(4)
    costs = rng.permutation(500).astype(float)
    for rank in (1, 5, 50, 250, 500):
        drawn = sampled_exposure(rank - 1.0, costs[rng.integers(0, 500, (3000, 200))])
        share = (201 * np.exp2(-drawn.bits) - 1) / 200
        p = rank / 500
        assert share.mean() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 200 / 3000) + 1e-12)
        whole = sampled_exposure(rank - 1.0, costs)
        assert float(whole.bits) == pytest.approx(math.log2(501 / (rank + 1)), abs=1e-12)


def test_sampled_exposure_is_an_exact_p_value() -> None:
    """Canary and 19 references exchangeable: (1 + k)/20 is uniform over 1/20 … 1; χ² on 20 000, false alarm 1e-5."""
    draws = np.random.default_rng(5).normal(size=(20_000, 20))
    bits = sampled_exposure(draws[:, 0], draws[:, 1:]).bits
    p = np.rint(20 / np.exp2(bits)).astype(int)
    assert stats.chisquare(np.bincount(p, minlength=21)[1:]).pvalue > 1e-5


def test_sampled_exposure_keeps_the_order_and_is_never_negative() -> None:
    """TensorFlow Privacy returns exposures sorted by rank, and log₂ n − log₂(k + 1), −0.0014 at n = k = 1000."""
    rng = np.random.default_rng(6)
    references = rng.normal(size=1000)
    costs = rng.normal(size=40)
    bits = sampled_exposure(costs, references).bits
    assert np.array_equal(bits, [float(sampled_exposure(cost, references).bits) for cost in costs.tolist()])
    assert np.all(np.diff(bits[np.argsort(costs)]) <= 0)
    assert np.any(np.diff(bits) > 0)
    assert np.any(np.diff(bits) < 0)
    assert float(sampled_exposure(references.max() + 1, references).bits) == 0.0


@pytest.mark.parametrize("n", [1, 20, 100, 999])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_of_sampled_exposure_covers_as_often_as_it_says(n: int, level: float) -> None:
    """The true exposure log₂(size/rank), for every rank of a space of 1000, summed over the binomial: exact."""
    size = 1000
    k = np.arange(n + 1)
    references = np.where(np.arange(n) < k[:, None], 0.0, 2.0)  # in line k, that many lie at or below the canary
    found = sampled_exposure(np.ones(n + 1), references, level, size)
    ranks = np.arange(1, size + 1)
    truth = rank_exposure(ranks, size)[:, None]
    held = (found.low - 1e-12 <= truth) & (truth <= found.high + 1e-12)
    coverage = (stats.binom.pmf(k, n, ranks[:, None] / size) * held).sum(axis=1)
    assert coverage.min() >= level - 1e-12
    assert np.all((found.low <= found.bits) & (found.bits <= found.high))


def test_a_canary_below_all_references_is_censored() -> None:
    found = sampled_exposure(np.array([-1.0, 0.5]), np.linspace(0, 1, 127), size=10**6)
    assert found.censored.tolist() == [True, False]
    assert found.cap == float(found.bits[0]) == 7.0
    assert float(found.high[0]) == pytest.approx(math.log2(10**6))
    assert math.isinf(float(sampled_exposure(-1.0, np.linspace(0, 1, 127)).high))
    small = sampled_exposure(-1.0, np.linspace(0, 1, 127), size=16)
    assert (small.cap, float(small.bits), float(small.low), float(small.high)) == (4.0, 4.0, 4.0, 4.0)


def test_calibration_is_a_difference_of_means_and_needs_finite_costs() -> None:
    costs, outside = np.array([[3.0, 1.0]]), np.array([[[1.0, 1.0]], [[2.0, 4.0]]])
    assert np.array_equal(calibrated(costs, outside), [[1.5, -1.5]])
    for bad in (outside[:0], np.where(outside > 3, np.inf, outside)):
        with pytest.raises(ValueError, match="calibration"):
            calibrated(costs, bad)


# --- several canaries -----------------------------------------------------------------------------------------------


def test_fisher_of_one_canary_is_its_p_value_and_of_many_is_uniform_under_the_null() -> None:
    """Kolmogorov–Smirnov on 3000 combinations of 7 exponential exposures; false alarm 1e-5."""
    assert float(fisher(np.array([6.0]))) == pytest.approx(2**-6, rel=1e-12)
    bits = np.random.default_rng(7).exponential(NULL_MEAN_BITS, (3000, 7))
    assert stats.kstest(fisher(bits), "uniform").pvalue > 1e-5
    assert float(fisher(bits[0])) == pytest.approx(float(stats.combine_pvalues(2 ** -bits[0]).pvalue), rel=1e-9)


def test_the_interval_of_a_mean_solves_halls_equation() -> None:
    """At both ends g(W) = W + γW²/3 + γ²W³/27 + γ/(6n) is the quantile of Student's t over √n."""
    bits = np.random.default_rng(8).exponential(NULL_MEAN_BITS, (50, 12))
    mean, low, high = mean_exposure(bits, 0.9)
    gamma, n = stats.skew(bits, axis=1), 12
    quantile = stats.t.ppf(0.95, 11) / math.sqrt(n)
    for end, expected in ((low, quantile), (high, -quantile)):
        w = (mean - end) / bits.std(axis=1, ddof=1)
        g = w + gamma * w**2 / 3 + gamma**2 * w**3 / 27 + gamma / (6 * n)
        assert g[low > 0] == pytest.approx(np.full((low > 0).sum(), expected), abs=1e-9)
    assert (low > 0).sum() > 25


def test_without_skewness_the_interval_of_a_mean_is_students() -> None:
    bits = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    mean, low, high = mean_exposure(bits)
    expected = stats.t.interval(0.95, 4, bits.mean(), stats.sem(bits))
    assert (float(mean), float(low), float(high)) == pytest.approx((3.0, *expected))
    nearly = mean_exposure(bits + np.array([0, 0, 0, 0, 1e-3]))
    assert (float(nearly[1]), float(nearly[2])) == pytest.approx(expected, abs=0.01)


def test_the_interval_of_a_mean_covers_the_skewed_null() -> None:
    """16 exponential exposures, 6000 runs. Hall's correction leaves an error of order 1/n, for which two points of the
    level are allowed beside 4 SE = .011: more than .919. Student's interval misses more often, by over 4 SE.
    """
    bits = np.random.default_rng(9).exponential(NULL_MEAN_BITS, (6000, 16))
    _, low, high = mean_exposure(bits)
    covered = np.mean((low <= NULL_MEAN_BITS) & (high >= NULL_MEAN_BITS))
    a, b = stats.t.interval(0.95, 15, bits.mean(axis=1), stats.sem(bits, axis=1))
    students = np.mean((a <= NULL_MEAN_BITS) & (b >= NULL_MEAN_BITS))
    assert 0.919 < covered < 0.981
    assert covered > students + 0.011


def test_canaries_that_are_all_at_the_cap_do_not_make_the_mean_certain() -> None:
    mean, low, high = mean_exposure(np.full((2, 16), 9.0))
    assert np.array_equal(mean, [9, 9])
    assert np.array_equal(high, [9, 9])
    assert low == pytest.approx(np.full(2, 9 * 0.025 ** (1 / 16)))
    with pytest.raises(ValueError, match="got 1"):
        mean_exposure(np.ones(1))


# --- skew-normal ----------------------------------------------------------------------------------------------------

FAR = np.array([-40.0, -12.0, -6.0, -3.5, -1.0, 0.0, 0.7, 3.0])


def test_the_distribution_function_against_closed_forms() -> None:
    """Shape 0 is the normal distribution; 1 the larger of two normal variables, Φ²; −1 the smaller, Φ(2 − Φ)."""
    normal = special.log_ndtr(FAR)
    for shape, expected in ((0.0, normal), (1.0, 2 * normal), (-1.0, normal + np.log(2 - special.ndtr(FAR)))):
        assert SkewNormal(shape, 0.0, 1.0).log_cdf(FAR) == pytest.approx(expected, rel=1e-12, abs=1e-15)
        assert SkewNormal(shape, 5.0, 2.0).log_cdf(5 + 2 * FAR) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("shape", "z"), [(4.0, -10.0), (10.0, -5.0), (30.0, -1.0), (30.0, 0.0), (-30.0, -9.0), (2.0, -2.0)]
)
def test_the_left_tail_does_not_underflow(shape: float, z: float) -> None:
    """Where scipy's distribution function is 0, and exposure would be infinite: against the integral of the density."""

    def log_density(t: float) -> float:
        return math.log(2) - t * t / 2 - math.log(2 * math.pi) / 2 + float(special.log_ndtr(shape * t))

    width = 1 / (abs(z) + abs(shape) * (shape * z < 0) * abs(shape * z) + 1)
    relative = sum(
        integrate.quad(lambda t: math.exp(log_density(t) - log_density(z)), z - (i + 1) * width, z - i * width)[0]
        for i in range(60)
    )
    found = float(SkewNormal(shape, 0.0, 1.0).log_cdf(np.array([z]))[0])
    assert found == pytest.approx(log_density(z) + math.log(relative), abs=1e-8)


def test_an_absurd_tail_is_cut_at_the_size_of_the_space() -> None:
    """Six scales below the location at shape 4: 454 bits, of which a space of 10⁶ holds 19.93."""
    assert -SkewNormal(4.0, 0.0, 1.0).log_cdf(np.array([-6.0]))[0] / math.log(2) == pytest.approx(454, abs=1)
    references = SkewNormal(4.0, 0.0, 1.0).draw(np.random.default_rng(10), (400,))
    found = extrapolated_exposure(-6.0, references, 10**6, resamples=20)
    assert found.bits == found.high == pytest.approx(math.log2(10**6))
    assert found.distance == pytest.approx((references.min() + 6) / references.std())


def test_a_good_fit_is_no_licence_to_extrapolate() -> None:
    """Costs of secrets of six independent digits are not skew-normal in their tail, and 1000 references cannot tell.

    Published runs err by up to 8.4 bits at rank 1 with a Kolmogorov–Smirnov p-value above .5. So the likeliest secret
    must come with its distance from the references; the one in their midst must not.
    """
    rng = np.random.default_rng(11)
    table = -np.log(rng.dirichlet(np.full(10, 2.0), 6))
    references = table[np.arange(6), rng.integers(0, 10, (1000, 6))].sum(axis=1)
    cheapest = float(table.min(axis=1).sum())
    found = extrapolated_exposure(cheapest, references, 10**6, resamples=50)
    assert found.distance == pytest.approx((references.min() - cheapest) / references.std())
    assert found.distance > 0
    assert found.bits <= math.log2(10**6)
    assert bool(sampled_exposure(cheapest, references).censored)
    assert extrapolated_exposure(float(np.median(references)), references, 10**6, resamples=5).distance == 0


def test_draws_have_the_moments_and_the_distribution_of_the_skew_normal() -> None:
    """Kolmogorov–Smirnov on 5000 against the distribution function, and the mean to 5 SE; false alarm 1e-5."""
    distribution = SkewNormal(3.0, 2.0, 0.5)
    x = distribution.draw(np.random.default_rng(12), (5000,))
    assert stats.kstest(np.exp(distribution.log_cdf(x)), "uniform").pvalue > 1e-5
    expected = 2 + 0.5 * (3 / math.sqrt(10)) * math.sqrt(2 / math.pi)
    assert x.mean() == pytest.approx(expected, abs=5 * x.std() / math.sqrt(5000))


@pytest.mark.parametrize("shape", [-6.0, -1.5, 2.0, 8.0])
def test_the_fit_is_as_likely_as_scipys_and_moves_with_the_data(shape: float) -> None:
    x = SkewNormal(shape, 1.0, 2.0).draw(np.random.default_rng(13), (500,))
    fitted = fit(x)
    ours = stats.skewnorm.logpdf(x, fitted.shape, fitted.location, fitted.scale).sum()
    theirs = stats.skewnorm.logpdf(x, *stats.skewnorm.fit(x)).sum()
    assert ours >= theirs - 1e-4
    moved = fit(30 - 7 * x)
    assert moved.shape == pytest.approx(-fitted.shape, rel=1e-3)
    assert (moved.location, moved.scale) == pytest.approx((30 - 7 * fitted.location, 7 * fitted.scale), rel=1e-3)


def test_the_fit_of_extreme_samples_stays_finite() -> None:
    """The likelihood of a half-normal sample rises with the shape without end."""
    rng = np.random.default_rng(14)
    for x in (
        abs(rng.normal(size=300)),
        -rng.exponential(size=300),
        np.array([1.0, 2.0, 5.0]),
        rng.standard_cauchy(99),
    ):
        found = extrapolated_exposure(float(x.min()) - 1, x, 10**6, resamples=5)
        assert all(math.isfinite(getattr(found, field.name)) for field in fields(found) if field.name != "distribution")
        assert abs(found.distribution.shape) <= 30


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(EvidenceError, match="cost the same"):
        extrapolated_exposure(1.0, np.full(9, 2.0), 10)
    for cost, references in ((math.inf, np.arange(9.0)), (1.0, np.array([1.0, math.nan]))):
        with pytest.raises(ValueError, match="finite"):
            extrapolated_exposure(cost, references, 10)


def test_the_left_tail_statistic_against_its_integral() -> None:
    """n ∫ (Fₙ − u)²/u du in closed form between the sorted u: ∫ (c − u)²/u du = c² ln u − 2cu + u²/2."""
    x = np.sort(np.random.default_rng(15).normal(0.3, 1.2, 9))
    distribution = SkewNormal(1.0, 0.0, 1.0)
    u = np.append(np.exp(distribution.log_cdf(x)), 1.0)
    expected = u[0] ** 2 / 2  # c = 0 below the first
    for i, c in enumerate(np.arange(1, 10) / 9):
        a, b = u[i], u[i + 1]
        expected += c**2 * math.log(b / a) - 2 * c * (b - a) + (b**2 - a**2) / 2
    assert left_tail_distance(x, distribution) == pytest.approx(9 * expected, rel=1e-9)


@pytest.mark.slow
def test_the_p_value_of_the_fit_is_uniform_where_kolmogorov_smirnovs_is_not() -> None:
    """150 skew-normal samples, each fitted: χ² over fifths, false alarm 1e-5. The naive test never sees its own fit.

    Its p-values of fitted samples pile up at 1: fewer below .4 than 60 − 4 SE = 36.
    """
    rng = np.random.default_rng(16)
    p, naive = np.empty((2, 150))
    for run in range(150):
        x = SkewNormal(3.0, 10.0, 2.0).draw(rng, (200,))
        found = extrapolated_exposure(5.0, x, 10**6, resamples=39, seed=run)
        p[run] = found.p_fit
        naive[run] = stats.kstest(np.exp(found.distribution.log_cdf(x)), "uniform").pvalue
    fifths = (np.rint(40 * p).astype(int) - 1) // 8
    assert stats.chisquare(np.bincount(fifths, minlength=5)).pvalue > 1e-5
    assert (naive < 0.4).sum() < 36


def test_the_p_value_of_the_fit_sees_a_heavy_left_tail() -> None:
    """Student's t with two degrees of freedom is not skew-normal: the least p-value that 50 resamples allow."""
    x = stats.t(2).rvs(500, random_state=np.random.default_rng(17))
    assert extrapolated_exposure(-3.0, x, 10**6, resamples=50).p_fit == pytest.approx(1 / 51)


@pytest.mark.slow
def test_the_interval_of_the_extrapolation_covers_if_costs_are_skew_normal() -> None:
    """100 samples of 500, shape 3, true exposure about 12 bits. Percentiles of a non-linear estimate: two points of the
    level are allowed beside 4 SE = .087, hence above .843; false alarm 3e-5.
    """
    rng = np.random.default_rng(18)
    truth = SkewNormal(3.0, 10.0, 2.0)
    cost = 8.4
    bits = -truth.log_cdf(np.array([cost]))[0] / math.log(2)
    assert 10 < bits < 14
    held = 0
    for run in range(100):
        found = extrapolated_exposure(cost, truth.draw(rng, (500,)), 2**40, resamples=100, seed=run)
        held += found.low <= bits <= found.high
    assert held / 100 > 0.843


# --- the dose curve -------------------------------------------------------------------------------------------------


def _design(models: int, canaries: int, seed: int = 0) -> Array:
    return np.stack([doses(seed, model, canaries) for model in range(models)])


def test_the_slope_of_an_exact_law_is_found_without_width() -> None:
    rng = np.random.default_rng(19)
    dose = _design(12, 9)
    bits = 20 + rng.normal(size=(12, 1)) + rng.normal(size=9) + 1.5 * np.log2(1.0 + dose)
    curve = dose_curve(bits, dose)
    assert (curve.slope, curve.slope_low, curve.slope_high) == pytest.approx((1.5, 1.5, 1.5), abs=1e-9)


def test_the_slope_is_that_of_least_squares_with_dummies() -> None:
    rng = np.random.default_rng(20)
    dose = _design(10, 7)
    bits = rng.exponential(2, (10, 7))
    models, canaries = np.repeat(np.eye(10), 7, axis=0), np.tile(np.eye(7), (10, 1))
    design = np.column_stack([np.log2(1.0 + dose).ravel(), models, canaries])
    expected = np.linalg.lstsq(design, bits.ravel(), rcond=None)[0][0]
    assert dose_curve(bits, dose).slope == pytest.approx(float(expected), abs=1e-9)


def test_effects_of_models_and_canaries_leave_the_slope_alone() -> None:
    rng = np.random.default_rng(21)
    dose = _design(10, 7)
    bits = rng.exponential(2, (10, 7))
    plain, moved = dose_curve(bits, dose), dose_curve(bits + 9 * rng.random((10, 1)) + 9 * rng.random(7), dose)
    assert (moved.slope, moved.slope_low, moved.slope_high) == pytest.approx(
        (plain.slope, plain.slope_low, plain.slope_high), abs=1e-9
    )


def _dummies(bits: Array, dose: Array) -> Array:
    """Return the residuals and the slope of least squares with dummies, in one array [models + 1, canaries]."""
    models, canaries = bits.shape
    x = np.log2(1.0 + dose).ravel()
    dummies = np.column_stack([np.repeat(np.eye(models), canaries, axis=0), np.tile(np.eye(canaries), (models, 1))])
    fit = np.linalg.lstsq(np.column_stack([x, dummies]), bits.ravel(), rcond=None)[0]
    residual = bits.ravel() - np.column_stack([x, dummies]) @ fit
    return np.vstack([residual.reshape(models, canaries), np.full(canaries, fit[0])])


def test_the_interval_of_the_slope_is_students_of_the_crossed_jackknife() -> None:
    """Fitted anew without each pair and without each canary; cells by what they pull, x̃e, and their share of Σx̃²."""
    rng = np.random.default_rng(22)
    dose = _design(8, 6)
    bits = np.log2(1.0 + dose) * rng.random(6) + rng.exponential(1, (8, 6))
    fit = _dummies(bits, dose)
    slope, residual = fit[-1, 0], fit[:-1]
    x = _dummies(np.log2(1.0 + dose), np.zeros_like(dose))[:-1]  # the slope is 0, and what is left of x is x̃
    without = [
        np.array([_dummies(np.delete(bits, of, axis), np.delete(dose, of, axis))[-1, 0] for of in every])
        for axis, every in ((0, [[2 * t, 2 * t + 1] for t in range(4)]), (1, [[c] for c in range(6)]))
    ]
    cells = []
    for t, canary in itertools.product(range(4), range(6)):
        at = np.ix_([2 * t, 2 * t + 1], [canary])
        cells.append(slope - (x * residual)[at].sum() / ((x**2).sum() - (x**2)[at].sum()))
    variance, freedom = crossed_variance(slope, without[0], without[1], np.array(cells))
    half = stats.t.ppf(0.95, freedom) * math.sqrt(variance)
    curve = dose_curve(bits, dose, level=0.9)
    assert (curve.slope, curve.slope_low, curve.slope_high) == pytest.approx((slope, slope - half, slope + half))


def test_the_intervals_at_a_dose_are_those_of_the_crossed_jackknife() -> None:
    """The mean on the log scale and the share by its effective trials, without each pair, canary and cell."""
    rng = np.random.default_rng(30)
    dose = _design(8, 6)
    bits = np.log2(1.0 + dose) * rng.random(6) + rng.exponential(6, (8, 6))
    at = dose == 1
    pair, canary = np.arange(8)[:, None] // 2 + np.zeros(6), np.arange(6.0) + np.zeros((8, 1))
    labels = pair, canary, 6 * pair + canary
    curve = dose_curve(bits, dose, most=50.0)
    where = int(np.flatnonzero(curve.dose == 1)[0])
    for values in (bits, (bits >= P_EXPOSED_BITS).astype(float)):
        without = [
            np.array([values[at & (label != group)].mean() for group in np.unique(label[at])]) for label in labels
        ]
        mean = values[at].mean()
        variance, freedom = crossed_variance(float(mean), *without)
        if values is bits:
            factor = math.exp(stats.t.ppf(0.975, freedom) * math.sqrt(variance) / mean)
            ends = (curve.mean_low[where], curve.mean_high[where])
            assert ends == pytest.approx((mean / factor, min(mean * factor, 50)))
        else:
            assert 0 < mean < 1
            ends = (curve.share_low[where], curve.share_high[where])
            expected = effective_share(float(mean), variance, freedom, float(at.sum()))
            assert ends == pytest.approx(tuple(map(float, expected)))


def test_the_mean_exposure_at_a_dose_ends_at_what_can_be_shown() -> None:
    """Strict levels of few clusters are without bound on the log scale."""
    dose = _design(6, 8)
    bits = np.random.default_rng(32).exponential(2, (6, 8))
    mean, low, high = mean_at_dose(bits, dose, 1, np.array([0.9, 0.999]), most=12.0)
    assert 0 <= low[1] < low[0] < mean < high[0] <= high[1] == 12


def test_strict_bounds_of_the_mean_exposure_at_a_dose_hold() -> None:
    """Exponential canary and noise in 32 models: of 200 upper bounds at 99 % at most 8 miss, and so of the lower ones.

    At a rate of 1 % more have probability 2e-4 for each side.
    """
    rng = np.random.default_rng(31)
    missed = np.zeros(2)
    for run in range(200):
        dose = _design(32, 24, seed=run)
        bits = rng.exponential(1, 24) + rng.exponential(1, (32, 24)) + 1.0
        _, low, high = mean_at_dose(bits, dose, 1, np.array([0.98]), most=40.0)
        missed += [low[0] > 3, high[0] < 3]
    assert missed.max() <= 8


def test_means_and_shares_by_dose() -> None:
    rng = np.random.default_rng(23)
    dose = _design(12, 9)
    bits = rng.exponential(2, (12, 9)) + np.log2(1.0 + dose)
    curve = dose_curve(bits, dose)
    assert curve.dose.tolist() == [0, 1, 2, 4, 8, 16]
    assert curve.cells.sum() == bits.size
    for i, level in enumerate(curve.dose):
        at = bits[dose == level]
        assert curve.cells[i] == len(at)
        assert curve.mean[i] == pytest.approx(at.mean())
        assert curve.share[i] == pytest.approx((at >= P_EXPOSED_BITS).mean())
    assert np.all((curve.mean_low <= curve.mean) & (curve.mean <= curve.mean_high))
    assert np.all((curve.share_low >= 0) & (curve.share_low <= curve.share))
    assert np.all((curve.share <= curve.share_high) & (curve.share_high <= 1))


def test_a_share_of_none_or_all_is_not_certain() -> None:
    """The open end is that of Clopper–Pearson for as many trials as there are pairs, or canaries, at that dose."""
    dose = (_design(12, 9) > 0).astype(np.uint8)
    curve = dose_curve(np.where(dose > 0, 9.0, 1.0), dose)
    alike = 0.025 ** (1 / 6)
    assert curve.share.tolist() == [0, 1]
    assert curve.share_low == pytest.approx([0, alike])
    assert curve.share_high == pytest.approx([1 - alike, 1])
    assert curve.mean_low == pytest.approx([alike, 9 * alike])
    assert curve.mean_high == pytest.approx([9 - 8 * alike, 9])


def _bank(
    pairs: int, canaries: int, of_canaries: float, of_models: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return (bits, doses): effects of models and canaries, exponential noise, slopes of 1.2 that vary or not."""
    dose = _design(2 * pairs, canaries, seed=int(rng.integers(2**30)))
    slope = 1.2 + of_canaries * rng.normal(size=canaries)
    slope = slope + of_models * np.repeat(rng.normal(size=pairs), 2)[:, None]
    effects = rng.normal(size=(2 * pairs, 1)) + rng.normal(size=canaries) + 8
    return np.log2(1.0 + dose) * slope + effects + rng.exponential(1, dose.shape), dose


def _coverage(pairs: int, canaries: int, of_canaries: float, of_models: float, runs: int) -> tuple[Array, float]:
    """Return how often the slope and the mean at dose 1 are covered, and the slope's width over the ideal one."""
    rng = np.random.default_rng(24 + pairs)
    rows = []
    for _ in range(runs):
        bits, dose = _bank(pairs, canaries, of_canaries, of_models, rng)
        curve = dose_curve(bits, dose, most=40.0)
        at = int(np.flatnonzero(curve.dose == 1)[0])
        rows.append((curve.slope, curve.slope_low, curve.slope_high, curve.mean_low[at], curve.mean_high[at]))
    slope, low, high, mean_low, mean_high = np.array(rows).T
    held = [((low <= 1.2) & (high >= 1.2)).mean(), ((mean_low <= 10.2) & (mean_high >= 10.2)).mean()]
    return np.array(held), float((high - low).mean() / (2 * 1.96 * slope.std()))


@pytest.mark.parametrize(("of_canaries", "of_models"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.3), (0.5, 0.3)])
@pytest.mark.parametrize("pairs", [3, 8])
def test_the_intervals_of_slope_and_mean_cover(pairs: int, of_canaries: float, of_models: float) -> None:
    """150 banks with 24 canaries, whose slopes vary or not: more than .93 − 4 SE = .847; false alarm below 1e-4 each.

    .93 is what longer simulations found at worst. Without variation of slopes the width at 8 pairs is at most 1.45 of
    the ideal one, and 4 SE of a standard deviation from 150 runs, 23 %; the pigeonhole bootstrap has √3.
    """
    held, width = _coverage(pairs, 24, of_canaries, of_models, 150)
    assert np.all(held > 0.93 - 4 * np.sqrt(0.93 * 0.07 / 150))
    if pairs == 8 and of_canaries == of_models == 0:
        assert width < 1.45 * 1.23


@pytest.mark.slow
@pytest.mark.parametrize(("of_canaries", "of_models"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.3), (0.5, 0.3)])
@pytest.mark.parametrize("canaries", [8, 24])
@pytest.mark.parametrize("pairs", [3, 4, 8, 16])
def test_the_intervals_of_slope_and_mean_cover_in_a_long_simulation(
    pairs: int, canaries: int, of_canaries: float, of_models: float
) -> None:
    """1000 banks: coverage above .92 − 4 SE = .886, and below 1; false alarm 3e-5 each."""
    held, _ = _coverage(pairs, canaries, of_canaries, of_models, 1000)
    assert np.all(held > 0.92 - 4 * np.sqrt(0.92 * 0.08 / 1000))
    assert held[0] < 1


@pytest.mark.parametrize("pairs", [3, 4, 8])
def test_the_interval_of_the_mean_exposure_covers_skewed_canaries(pairs: int) -> None:
    """300 banks, exponential canaries and noise, seen once: above .93 − 4 SE = .871; false alarm 3e-5 each."""
    rng = np.random.default_rng(33)
    held = 0
    for run in range(300):
        dose = _design(2 * pairs, 24, seed=run)
        bits = rng.exponential(1, 24) + rng.exponential(1, dose.shape)
        _, low, high = mean_at_dose(bits, dose, 1, 0.95, most=40.0)
        held += bool(low <= 2 <= high)
    assert held / 300 > 0.871


def test_two_canaries_have_a_slope_with_an_interval() -> None:
    """Without one of them nothing varies; its part is then linear."""
    rng = np.random.default_rng(34)
    curve = dose_curve(rng.exponential(2, (8, 2)), _design(8, 2))
    assert -50 < curve.slope_low < curve.slope < curve.slope_high < 50


def test_a_dose_that_one_canary_has_is_hardly_known() -> None:
    """Not without width: one trial leaves all of [0, most] but a fortieth at each end."""
    dose = np.minimum(_design(8, 6), 8)
    dose[tuple(np.argwhere(dose > 0)[0])] = 16
    bits = np.where(dose == 16, 5.0, np.random.default_rng(26).uniform(0, 8, (8, 6)))
    curve = dose_curve(bits, dose)
    most = bits.max()
    assert (curve.mean_low[-1], curve.mean_high[-1]) == pytest.approx((0.125, most - 0.025 * (most - 5)))


def test_canaries_that_no_dose_exposes_have_no_slope() -> None:
    """Exposures of the null law: 100 banks, the interval holds 0 in at least .95 − 4 SE = .863; false alarm 3e-5."""
    rng = np.random.default_rng(25)
    dose = _design(16, 16)
    held = 0
    for _ in range(100):
        curve = dose_curve(rng.exponential(NULL_MEAN_BITS, (16, 16)), dose)
        held += curve.slope_low <= 0 <= curve.slope_high
    assert held > 86


def test_a_dose_curve_refuses_what_cannot_be_resampled() -> None:
    dose = _design(8, 6)
    bits = np.ones((8, 6))
    for models, canaries in ((2, 6), (7, 6), (8, 1)):
        with pytest.raises(EvidenceError, match=rf"got \({models}, {canaries}\)"):
            dose_curve(bits[:models, :canaries], dose[:models, :canaries])
    with pytest.raises(EvidenceError, match="do not vary"):
        dose_curve(bits, np.ones_like(dose))
