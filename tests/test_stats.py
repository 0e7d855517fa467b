"""Intervals, ROC points, thresholds and correlations against closed forms, published values and their own coverage.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from memaudit.stats import (
    auc,
    auc_interval,
    clopper_pearson,
    cluster_difference_interval,
    cluster_interval,
    cluster_mean_interval,
    crossed_variance,
    effective_share,
    floored,
    holm,
    newcombe_wilson,
    partial_spearman,
    predictive_p_value,
    predictive_share_p_value,
    resolvable,
    roc_points,
    spearman,
    spearman_interval,
    threshold,
    transferred_thresholds,
    wilson,
    without_variation,
)

Array = np.ndarray
GRID = np.linspace(0.0, 1.0, 401)


def _coverage(interval: Callable[..., tuple[Array, Array]], n: int, p: Array, level: float) -> Array:
    """Returns the exact coverage at each p, by summing the binomial over its n + 1 outcomes."""
    k = np.arange(n + 1)
    low, high = interval(k, n, level)
    held = (low <= p[:, None]) & (p[:, None] <= high)
    return (stats.binom.pmf(k, n, p[:, None]) * held).sum(axis=1)


# --- Clopper–Pearson ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, 30, 200])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_clopper_pearson_covers_at_least_as_often_as_it_says(n: int, level: float) -> None:
    """T13: coverage ≥ nominal at 401 values of p, summed exactly."""
    assert _coverage(clopper_pearson, n, GRID, level).min() >= level - 1e-12


@pytest.mark.parametrize("n", [1, 7, 50])
def test_clopper_pearson_solves_its_defining_equations(n: int) -> None:
    """At each end the tail beyond the observation is exactly α/2: the interval is no longer than it must be."""
    k, level = np.arange(n + 1), 0.95
    low, high = clopper_pearson(k, n, level)
    assert stats.binom.sf(k[1:] - 1, n, low[1:]) == pytest.approx(0.025, rel=1e-9)
    assert stats.binom.cdf(k[:-1], n, high[:-1]) == pytest.approx(0.025, rel=1e-9)


@pytest.mark.parametrize("n", [1, 10, 5000])
def test_clopper_pearson_at_the_edges(n: int) -> None:
    """No success: [0, 1 − (α/2)^(1/n)]; no failure: the mirror image."""
    end = 1 - 0.025 ** (1 / n)
    low, high = clopper_pearson(np.array([0, n]), n)
    assert low[0] == 0
    assert high[1] == 1
    assert high[0] == pytest.approx(end, rel=1e-12)
    assert low[1] == pytest.approx(1 - end, rel=1e-12)


@pytest.mark.parametrize(("hits", "trials"), [(-1, 5), (6, 5), (0, 0)])
def test_clopper_pearson_refuses_impossible_counts(hits: int, trials: int) -> None:
    with pytest.raises(ValueError, match=str(hits)):
        clopper_pearson(hits, trials)


# --- Wilson, Newcombe -----------------------------------------------------------------------------------------------


def test_wilson_ends_are_where_the_z_test_stops_rejecting() -> None:
    """Both ends solve (p̂ − p)² = z² p(1 − p)/n."""
    k, n = np.arange(41), 40
    z = stats.norm.ppf(0.975)
    for end in wilson(k, n):
        assert (k / n - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / n, abs=1e-14)
    low, high = wilson(k, n)
    assert np.all(low[1:] < k[1:] / n)
    assert np.all(high[:-1] > k[:-1] / n)
    assert low[0] == 0
    assert high[-1] == 1


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_against_published_values(hits: int, trials: int, low: float, high: float) -> None:
    """Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3."""
    assert np.round(wilson(hits, trials), 4).tolist() == [low, high]


@pytest.mark.parametrize("n", [10, 32, 128])
def test_wilson_covers_on_average(n: int) -> None:
    """Exactly summed: its mean coverage is nominal to 1.5 points (it is not a lower bound at each p)."""
    inner = np.linspace(0.005, 0.995, 199)
    assert _coverage(wilson, n, inner, 0.95).mean() == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_newcombe_against_published_values(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    """Newcombe 1998 (Statistics in Medicine 17:873), table II, method 10."""
    ends = newcombe_wilson(np.array([first[0]]), first[1], np.array([second[0]]), second[1])
    assert [round(float(end[0]), 4) for end in ends] == [low, high]


def test_newcombe_covers() -> None:
    """Exactly summed over both binomials (32 trials each) at 20 × 20 pairs of shares: the mean is nominal to a point.

    Like Wilson's it covers on average and not at each pair of shares; 9 in 10 is the least that is put up with.
    """
    n, level = 32, 0.95
    k = np.arange(n + 1)
    low, high = newcombe_wilson(k[:, None], n, k[None, :], n, level)
    shares = np.linspace(0.025, 0.975, 20)
    pmf = np.asarray(stats.binom.pmf(k, n, shares[:, None]))
    covered = np.empty((20, 20))
    for i, p1 in enumerate(shares):
        for j, p0 in enumerate(shares):
            held = (low <= p1 - p0 + 1e-12) & (p1 - p0 - 1e-12 <= high)
            covered[i, j] = pmf[i] @ held @ pmf[j]
    assert covered.mean() == pytest.approx(0.95, abs=0.01)
    assert covered.min() > 0.9


def test_newcombe_changes_sign_with_its_arguments() -> None:
    low, high = newcombe_wilson(np.array([12]), 40, np.array([3]), 25)
    back = newcombe_wilson(np.array([3]), 25, np.array([12]), 40)
    assert (low[0], high[0]) == pytest.approx((-back[1][0], -back[0][0]), abs=1e-15)


# --- clusters -------------------------------------------------------------------------------------------------------


def test_effective_share_of_independent_trials_is_clopper_pearson() -> None:
    """With the binomial variance and as many degrees of freedom; more trials than there are do not count."""
    share, n = np.array([0.1, 0.5, 0.9]), 40
    variance = share * (1 - share) / n
    exact = clopper_pearson(share * n, n, 0.9)
    for worth in (variance, variance / 3):
        assert np.array(effective_share(share, worth, n - 1.0, np.full(3, n), 0.9)) == pytest.approx(np.array(exact))


def test_effective_share_against_its_definition() -> None:
    """Korn & Graubard: n* = p(1 − p)/v (t_{n−1}/t_df)²; at least one trial."""
    share, variance, freedom, trials = 0.2, 0.004, 5.0, 600.0
    effective = 0.16 / 0.004 * (stats.t.ppf(0.975, 599) / stats.t.ppf(0.975, 5)) ** 2
    expected = stats.beta.ppf(0.025, 0.2 * effective, 0.8 * effective + 1)
    low, _ = effective_share(share, variance, freedom, trials)
    assert float(low) == pytest.approx(expected)
    least = effective_share(0.5, 0.25, 1.0, 8.0)
    assert np.array(least) == pytest.approx(np.array(clopper_pearson(np.array(0.5), 1)))


def test_cluster_interval_against_a_loop() -> None:
    """The linearised variance of a ratio of sums over clusters of uneven size, one of them without a trial."""
    hits, trials = np.array([3.0, 9, 4, 0, 7]), np.array([20.0, 35, 40, 0, 25])
    share = 23 / 120
    variance = 4 / 3 * sum((h - share * n) ** 2 for h, n in zip(hits, trials, strict=True)) / 120**2
    expected = effective_share(share, variance, 3.0, 120.0, 0.9)
    assert np.array(cluster_interval(hits, trials, 0.9)) == pytest.approx(np.array(expected))


_RATES: dict[str, tuple[float, Callable[[np.random.Generator, tuple[int, int]], Array]]] = {
    "alike": (0.05, lambda rng, shape: np.full(shape, 0.05)),
    "normal": (0.05, lambda rng, shape: np.clip(rng.normal(0.05, 0.01, shape), 0, 1)),
    "beta": (0.2, lambda rng, shape: rng.beta(2, 8, shape)),
    "rare": (0.002, lambda rng, shape: 0.002 * rng.gamma(2, 0.5, shape)),
    "very uneven": (0.1, lambda rng, shape: rng.beta(0.5, 4.5, shape)),
}


def _cluster_coverage(law: str, clusters: int, repetitions: int) -> float:
    """Return how often the interval holds the mean rate, of clusters of 200 trials."""
    rng = np.random.default_rng(clusters)
    truth, draw = _RATES[law]
    hits = rng.binomial(200, draw(rng, (repetitions, clusters))).astype(float)
    low, high = cluster_interval(hits.T, np.full(hits.T.shape, 200.0))
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("clusters", [3, 4, 6, 8, 16, 32])
@pytest.mark.parametrize("law", _RATES)
def test_cluster_interval_covers(law: str, clusters: int) -> None:
    """1000 draws: above .95 − 4 SE = .922, false alarm 3e-5 each; .925 − 4 SE = .892 for Beta(.5, 4.5)."""
    nominal = 0.925 if law == "very uneven" else 0.95
    assert _cluster_coverage(law, clusters, 1000) > nominal - 4 * np.sqrt(nominal * (1 - nominal) / 1000)


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [3, 4, 6, 8, 16, 32])
@pytest.mark.parametrize("law", _RATES)
def test_cluster_interval_covers_in_a_long_simulation(law: str, clusters: int) -> None:
    """40,000 draws: above nominal − .005 − 4 SE of .001; false alarm 3e-5 each."""
    covered = _cluster_coverage(law, clusters, 40_000)
    assert covered > (0.925 if law == "very uneven" else 0.95) - 0.005 - 4 * 0.0013
    assert covered < 0.9995


def test_cluster_interval_covers_where_a_binomial_interval_does_not() -> None:
    """64 target models with their own rates p ~ Beta(2, 8), 100 trials each: design effect 1 + 99/11 = 10.

    400 repetitions: SE of a coverage of .95 is .011, hence .95 − 4 SE = .906. The pooled Clopper–Pearson interval
    covers 2Φ(1.96/√10) − 1 = .46, with SE .025: below .46 + 5 SE < .6. False alarm: Φ(−4) + Φ(−5) < 4e-5.
    """
    rng = np.random.default_rng(20)
    truth, repetitions = 0.2, 400
    hits = rng.binomial(100, rng.beta(2, 8, (64, repetitions))).astype(float)
    low, high = cluster_interval(hits, np.full(hits.shape, 100.0))
    held = ((low <= truth) & (truth <= high)).mean()
    low, high = clopper_pearson(hits.sum(axis=0), 6400)
    assert 0.906 < held < 0.99
    assert ((low <= truth) & (truth <= high)).mean() < 0.6


def test_cluster_interval_treats_columns_alone() -> None:
    rng = np.random.default_rng(4)
    hits, trials = rng.poisson(3, (9, 2)).astype(float), np.full((9, 2), 30.0)
    low, high = cluster_interval(hits, trials)
    for column in range(2):
        one = cluster_interval(hits[:, column], trials[:, column])
        assert (low[column], high[column]) == pytest.approx((float(one[0]), float(one[1])), abs=1e-15)


def test_clusters_that_are_all_alike_promise_no_certainty() -> None:
    """Nine clusters of the same share, of nothing and of all; and shares of different numbers, one without a trial."""
    alike = 0.025 ** (1 / 9)
    shares, trials = np.array([0.3, 0.0, 1.0]), np.arange(10.0, 19.0)[:, None]
    low, high = cluster_interval(shares * trials, np.broadcast_to(trials, (9, 3)))
    assert low == pytest.approx(shares * alike)
    assert high == pytest.approx(1 - (1 - shares) * alike)
    low, high = cluster_interval(np.array([0.0, 0.0, 4.0]), np.array([4.0, 0.0, 4.0]))
    assert (float(low), float(high)) == pytest.approx(tuple(map(float, clopper_pearson(np.array(0.5), 1)))), "one trial"
    low, high = cluster_interval(np.zeros(3), np.array([4.0, 0.0, 4.0]))
    assert (float(low), float(high)) == pytest.approx((0, 1 - 0.025 ** (1 / 2))), "of two clusters, not of three"
    low, high = cluster_interval(np.zeros(3), np.zeros(3))
    assert (float(low), float(high)) == (0.0, 1.0)
    low, high = cluster_mean_interval(np.zeros(6))
    assert float(low) == pytest.approx(-float(high)), "differences of shares go both ways"


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.95])
def test_an_interval_without_variation_covers(p: float) -> None:
    """Of n clusters that are each a success or not, those samples in which all are alike: exact, not simulated."""
    for n in (1, 2, 6, 32):
        missed = 0.0
        for outcome, chance in ((0.0, (1 - p) ** n), (1.0, p**n)):
            low, high = without_variation(outcome, n)
            missed += chance * (not low <= p <= high)
        assert missed <= 0.05


@pytest.mark.parametrize("level", [0.9, 0.998])
def test_intervals_over_clusters_cover_as_often_as_they_say(level: float) -> None:
    """Ten clusters of uneven size; coverage over 2000 draws to 4 SE below, and two points for the linearised shares."""
    rng = np.random.default_rng(32)
    means, differences = 0, 0
    for _ in range(2000):
        low, high = cluster_mean_interval(0.1 + 0.05 * rng.normal(size=10), level)
        means += bool(low <= 0.1 <= high)
        trials1, trials0 = rng.integers(80, 120, (2, 10)).astype(float)
        tilt = 0.1 * rng.normal(size=10)  # the same in both shares
        hits1, hits0 = trials1 * (0.5 + tilt), trials0 * (0.3 + tilt + 0.03 * rng.normal(size=10))
        low, high = cluster_difference_interval(hits1, trials1, hits0, trials0, level)
        differences += bool(low <= 0.2 <= high)
    error = 4 * np.sqrt(level * (1 - level) / 2000)
    assert means / 2000 > level - error
    assert differences / 2000 > level - error - 0.02


def test_an_interval_of_the_difference_of_shares_is_students_where_clusters_are_of_one_size() -> None:
    """Times 1 + 4/(n + 2)."""
    rng = np.random.default_rng(33)
    hits1, hits0, trials = 0.3 * rng.random(7), 0.3 * rng.random(7), np.ones(7)
    expected = stats.ttest_rel(hits1, hits0).confidence_interval(0.99)
    low, high = cluster_difference_interval(hits1, trials, hits0, trials, 0.99)
    assert (low + high) / 2 == pytest.approx((expected.low + expected.high) / 2)
    assert high - low == pytest.approx((expected.high - expected.low) * (1 + 4 / 9))


def test_the_interval_of_a_mean_stays_within_its_range() -> None:
    low, high = cluster_mean_interval(np.array([0.3, -0.2, 0.1]), np.array([0.5, 0.999]))
    assert -1 < low[0] < high[0] < 1
    assert (low[1], high[1]) == (-1, 1)


_GAPS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Array]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1,
    "left": lambda rng, shape: 1 - rng.exponential(size=shape),
    "gamma": lambda rng, shape: rng.gamma(2, size=shape) / np.sqrt(2) - np.sqrt(2),
    "uniform": lambda rng, shape: rng.uniform(-1.7, 1.7, shape),
}


def _mean_coverage(law: str, clusters: int, repetitions: int) -> tuple[float, float]:
    """Return how often the 95 % interval, and the one-sided 95 % upper bound, hold the mean."""
    values = 0.1 + 0.02 * _GAPS[law](np.random.default_rng(clusters), (repetitions, clusters))
    ends = np.array([cluster_mean_interval(row, np.array([0.9, 0.95])) for row in values])
    return float(((ends[:, 0, 1] <= 0.1) & (ends[:, 1, 1] >= 0.1)).mean()), float((ends[:, 1, 0] >= 0.1).mean())


@pytest.mark.parametrize("clusters", [3, 4, 8, 16, 32])
@pytest.mark.parametrize("law", _GAPS)
def test_the_interval_of_a_mean_covers_skewed_clusters(law: str, clusters: int) -> None:
    """1000 draws: above .944 − 4 SE = .915, and the upper bound above .91 − 4 SE = .874; false alarm 3e-5 each.

    Student's t covers .88 at 3 to 8 exponential clusters.
    """
    both, upper = _mean_coverage(law, clusters, 1000)
    assert both > 0.944 - 4 * np.sqrt(0.944 * 0.056 / 1000)
    assert upper > 0.91 - 4 * np.sqrt(0.91 * 0.09 / 1000)


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [3, 4, 6, 8, 12, 16, 32, 64])
@pytest.mark.parametrize("law", _GAPS)
def test_the_interval_of_a_mean_covers_in_a_long_simulation(law: str, clusters: int) -> None:
    """20,000 draws: above .94 − 4 SE = .9333; false alarm below 1e-4 each."""
    both, upper = _mean_coverage(law, clusters, 20_000)
    assert both > 0.94 - 4 * np.sqrt(0.94 * 0.06 / 20_000)
    assert upper > 0.905 - 4 * np.sqrt(0.905 * 0.095 / 20_000)


# --- crossed samples ------------------------------------------------------------------------------------------------


def _crossed(cells: Array) -> tuple[float, float]:
    """Return the crossed variance of the mean of a table."""
    rows, columns = cells.shape
    total = cells.sum()
    return crossed_variance(
        float(cells.mean()),
        (total - cells.sum(axis=1)) / (cells.size - columns),
        (total - cells.sum(axis=0)) / (cells.size - rows),
        (total - cells.ravel()) / (cells.size - 1),
    )


def test_crossed_variance_of_rows_alone_is_that_of_their_mean() -> None:
    """Columns that are all alike add nothing; with many columns the cells add next to nothing."""
    effects = np.array([1.0, 4.0, 2.0, 7.0])
    variance, freedom = _crossed(np.tile(effects[:, None], (1, 500)))
    assert variance == pytest.approx(effects.var(ddof=1) / 4)
    assert freedom == pytest.approx(3)


def test_crossed_variance_counts_the_noise_of_cells_once() -> None:
    """Pure noise, 400 tables of 12 × 15: the mean is the true 1/180, to 5 SE, plus what cutting off at 0 adds.

    Rows and columns each scatter by √(2/11) and √(2/14) of it; the positive parts add .40 times that, .32 in all.
    """
    rng = np.random.default_rng(40)
    found = np.array([_crossed(rng.normal(size=(12, 15)))[0] for _ in range(400)]) * 180
    assert found.mean() == pytest.approx(1.32, abs=0.05 + 5 * found.std() / 20)


def test_crossed_variance_adds_rows_and_columns() -> None:
    """Row effects of variance 2, column effects of 3, cells of 1: 2/12 + 3/15 + 1/180, less the effects in the cells.

    These are (2 · 11/12 + 3 · 14/15)/179 = .026. 400 tables, to 5 SE; false alarm 6e-7.
    """
    rng = np.random.default_rng(41)
    found = np.array(
        [
            _crossed(2**0.5 * rng.normal(size=(12, 1)) + 3**0.5 * rng.normal(size=15) + rng.normal(size=(12, 15)))[0]
            for _ in range(400)
        ]
    )
    assert found.mean() == pytest.approx(2 / 12 + 3 / 15 + 1 / 180 - 0.026, abs=0.001 + 5 * found.std() / 20)


def test_clusters_that_are_all_alike_have_the_mean_of_as_many_trials() -> None:
    low, high = cluster_mean_interval(np.full(5, 1.0), np.array([0.95, 0.99]))
    assert low == pytest.approx(2 * (np.array([0.025, 0.005]) ** (1 / 5)) - 1)
    assert high == pytest.approx(1.0)


# --- prediction -----------------------------------------------------------------------------------------------------


def test_predictive_p_value_is_uniform_under_the_null() -> None:
    """The (n+1)-th normal draw against the first n: Kolmogorov–Smirnov on 3000 draws; false alarm 1e-5."""
    rng = np.random.default_rng(5)
    samples = 3 + 2 * rng.normal(size=(3000, 6))
    p = [predictive_p_value(float(row[0]), row[1:]) for row in samples]
    assert stats.kstest(p, "uniform").pvalue > 1e-5


def test_predictive_p_value_is_a_t_test_of_one_against_many() -> None:
    """With one observation on one side the pooled two-sample t statistic has the same form."""
    sample = np.array([0.1, 0.7, -0.4, 1.9, 0.3])
    n, value = len(sample), 3.0
    expected = stats.ttest_ind_from_stats(value, 0.0, 1, sample.mean(), sample.std(ddof=1), n)
    assert predictive_p_value(value, sample) == pytest.approx(float(expected.pvalue), rel=1e-9)


def test_predictive_p_value_of_a_constant_sample() -> None:
    assert predictive_p_value(2.0, np.full(4, 2.0)) == 1.0
    assert predictive_p_value(2.1, np.full(4, 2.0)) == 0.0
    one_step = predictive_p_value(2.1, np.full(4, 2.0), resolution=0.1)
    assert one_step == pytest.approx(2 * stats.t.sf(1.0, 3))


@pytest.mark.parametrize("models", [8, 64])
@pytest.mark.parametrize("scatter", [0.0, 0.2])
@pytest.mark.parametrize("expected", [1, 5, 60])
def test_predictive_share_p_value_alarms_no_more_often_than_it_says(models: int, scatter: float, expected: int) -> None:
    """Binomial counts of models whose true rates scatter: p < 0.05 in 400 draws, above 38 with probability 1e-4."""
    rng = np.random.default_rng(models + expected)
    rates = expected / 2000 * np.exp(scatter * rng.normal(size=(400, models + 1)) - scatter**2 / 2)
    hits, trials = rng.binomial(2000, rates), np.full(models, 2000)
    p = [predictive_share_p_value(int(row[0]), 2000, row[1:], trials) for row in hits]
    assert np.sum(np.array(p) < 0.05) <= 38


def test_predictive_share_p_value_sees_too_many_and_too_few() -> None:
    sample, trials = np.array([18, 22, 25, 20, 16, 23, 19, 21]), np.full(8, 2000)
    low, like, high = (predictive_share_p_value(hits, 2000, sample, trials) for hits in (4, 20, 50))
    assert max(low, high) < 0.005 < 0.5 < like


def test_predictive_share_p_value_of_a_sample_without_any_hit_is_the_exact_one() -> None:
    """Hypergeometric: the only hit is in the new model with probability 1/9."""
    nothing, trials = np.zeros(8, dtype=int), np.full(8, 50)
    assert predictive_share_p_value(0, 50, nothing, trials) == pytest.approx(1.0)
    assert predictive_share_p_value(1, 50, nothing, trials) >= 2 / 9 - 1e-12


def test_a_variance_is_floored_at_a_hundredth_of_the_mean() -> None:
    """Column by column; what lies above stays as it is."""
    variance = np.array([[0.0, 4.0], [0.5, 8.0], [40.0, 0.1]])
    assert np.array_equal(floored(variance, np.array([10.0, 400.0])), [[0.1, 4.0], [0.5, 8.0], [40.0, 4.0]])


def test_holm_against_the_definition() -> None:
    """Each sorted p-value times the number of tests from it on, made monotone, in the original order."""
    p = np.array([0.04, 0.01, 0.03, 0.5])
    assert holm(p) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])


# --- ROC ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_auc_against_sklearn(digits: int) -> None:
    """With many, few and no ties."""
    rng = np.random.default_rng(6)
    inside, outside = rng.normal(0.7, 1, 300).round(digits), rng.normal(0, 1, 450).round(digits)
    truth = np.repeat([1, 0], [300, 450])
    expected = roc_auc_score(truth, np.concatenate([inside, outside]))
    assert auc(inside, outside) == pytest.approx(float(expected), abs=1e-12)


def test_auc_of_ties_and_of_separation() -> None:
    assert auc(np.zeros(5), np.zeros(3)) == 0.5
    assert auc(np.ones(5), np.zeros(3)) == 1.0
    assert auc(np.zeros(5), np.ones(3)) == 0.0


@pytest.mark.parametrize(("members", "nonmembers", "d"), [(80, 80, 0.0), (60, 150, 1.0)])
def test_auc_interval_covers(members: int, nonmembers: int, d: float) -> None:
    """DeLong on the binormal model, AUC Φ(d/√2), 2000 repetitions: SE .0049.

    A normal interval of a U statistic lacks up to 1 point at these sizes; .95 ± (.01 + 4 SE). False alarm 7e-5 each.
    """
    rng = np.random.default_rng(7)
    truth = float(stats.norm.cdf(d / np.sqrt(2)))
    held = 0
    for _ in range(2000):
        low, high = auc_interval(rng.normal(d, 1, members), rng.normal(0, 1, nonmembers))
        held += low <= truth <= high
    assert held / 2000 == pytest.approx(0.95, abs=0.01 + 4 * 0.0049)


def test_auc_interval_against_the_placement_loop() -> None:
    """DeLong's variance from the m × n comparison matrix, ties counting one half."""
    rng = np.random.default_rng(8)
    inside, outside = rng.normal(0.8, 1, 40).round(1), rng.normal(0, 1, 55).round(1)
    wins = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    se = np.sqrt(wins.mean(axis=1).var(ddof=1) / 40 + wins.mean(axis=0).var(ddof=1) / 55)
    half = stats.norm.ppf(0.95) * se
    assert auc_interval(inside, outside, level=0.9) == pytest.approx(
        (wins.mean() - half, wins.mean() + half), abs=1e-12
    )


def test_a_rate_is_resolvable_from_one_expected_accusation_on() -> None:
    """1/n · n is 0.999… for n = 49 and other n; that must not refuse the rate."""
    assert all(resolvable(1 / n, n) for n in range(1, 2000))
    assert not resolvable(0.001, 999)
    assert resolvable(0.001, 1000)


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.29, 0.3, 0.57, 1.0])
@pytest.mark.parametrize("digits", [0, 1, 12])
def test_threshold_is_the_lowest_that_keeps_the_rate(fpr: float, digits: int) -> None:
    """Against a search over all candidates: at most ⌊fpr · n⌋ scores lie strictly above, and no lower one does that."""
    scores = np.random.default_rng(9).normal(size=100).round(digits)
    allowed = round(fpr * 100)
    candidates = np.concatenate([[-np.inf], np.unique(scores)])
    expected = min(c for c in candidates if (scores > c).sum() <= allowed)
    assert threshold(scores, fpr) == expected


def test_threshold_without_ties_accuses_exactly_the_allowed_number() -> None:
    scores = np.random.default_rng(10).permutation(1000).astype(float)
    for allowed in (1, 3, 10, 290, 999):
        assert (scores > threshold(scores, allowed / 1000)).sum() == allowed


def test_threshold_accuses_nobody_in_a_tied_block() -> None:
    """Strictness: all scores equal, nobody lies above; 5 tied at the top and 3 allowed, nobody is accused."""
    assert threshold(np.ones(50), 0.5) == 1.0
    scores = np.concatenate([np.full(5, 9.0), np.arange(95.0) / 100])
    assert (scores > threshold(scores, 0.03)).sum() == 0
    assert (scores > threshold(scores, 0.05)).sum() == 5


def test_threshold_refuses_a_rate_that_cannot_be_seen() -> None:
    with pytest.raises(ValueError, match="99 non-member scores"):
        threshold(np.arange(99.0), 0.01)


def test_transferred_thresholds_keep_their_rate_on_independent_targets() -> None:
    """The exceedances of a fresh pair are BetaBinomial(N, k+1, n0−k), k = ⌊α n0⌋.

    16 pairs at two rates, each count inside its central 1 − 1e-5 interval: false alarm 3.2e-4.
    """
    rng = np.random.default_rng(11)
    examples = 2000
    outside = rng.standard_t(3, size=(16, examples))
    for fpr in (0.01, 0.001):
        cuts = transferred_thresholds(outside, fpr)
        accused = (outside > cuts[:, None]).sum(axis=1)
        used = 14 * examples  # 16 pairs in 8 folds
        k = int(fpr * used)
        law = stats.betabinom(examples, k + 1, used - k)
        assert np.all(accused >= law.ppf(5e-6))
        assert np.all(accused <= law.ppf(1 - 5e-6))


@pytest.mark.parametrize("pairs", [2, 5, 8, 19])
def test_transferred_thresholds_never_look_at_the_target(pairs: int) -> None:
    """Whatever a pair's own scores are, its threshold stays; the others' scores do move it."""
    outside = np.random.default_rng(12).normal(size=(pairs, 300))
    before = transferred_thresholds(outside, 0.05)
    for t in range(pairs):
        changed = outside.copy()
        changed[t] += 100
        after = transferred_thresholds(changed, 0.05)
        assert after[t] == before[t]
        fold = np.arange(pairs) % min(8, pairs)
        assert np.all(after[fold != fold[t]] > before[fold != fold[t]])


def test_transferred_thresholds_need_another_pair() -> None:
    with pytest.raises(ValueError, match="got 1"):
        transferred_thresholds(np.zeros((1, 500)), 0.1)


def test_roc_points_against_a_loop() -> None:
    """Each point is read at the threshold that keeps the rate; below resolution, at zero false positives."""
    rng = np.random.default_rng(13)
    inside, outside = rng.normal(1, 1, 400).round(1), rng.normal(0, 1, 250).round(1)
    rates = np.array([1e-4, 0.004, 0.01, 0.1, 0.5])
    tpr, fpr = roc_points(inside, outside, rates)
    assert fpr[0] == 0
    for rate, hit, false in zip(rates, tpr, fpr, strict=True):
        cut = threshold(outside, rate) if resolvable(rate, 250) else outside.max()
        assert hit == pytest.approx((inside > cut).mean(), abs=1e-15)
        assert false == pytest.approx((outside > cut).mean(), abs=1e-15)
    assert np.all(fpr <= rates)


def test_roc_points_of_constant_scores_are_zero() -> None:
    """T16: a block of ties is not accused at all."""
    tpr, fpr = roc_points(np.ones(30), np.ones(20), np.array([0.0, 0.1, 0.5]))
    assert tpr.tolist() == fpr.tolist() == [0, 0, 0]


# --- rank correlation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_spearman_against_scipy(digits: int) -> None:
    rng = np.random.default_rng(14)
    x = rng.normal(size=200).round(digits)
    y = (x + rng.normal(size=200)).round(digits)
    assert spearman(x, y) == pytest.approx(float(stats.spearmanr(x, y).statistic), abs=1e-12)


def test_spearman_of_a_constant_is_zero() -> None:
    assert spearman(np.ones(9), np.arange(9.0)) == 0.0


def test_partial_spearman_against_a_regression_of_ranks() -> None:
    """The correlation of what is left of two rank vectors after a straight line in the third."""
    rng = np.random.default_rng(15)
    z = rng.normal(size=300).round(1)
    x, y = z + rng.normal(size=300).round(1), 2 * z + rng.normal(size=300)
    a, b, c = (stats.rankdata(v) for v in (x, y, z))
    left = [v - np.polynomial.Polynomial.fit(c, v, 1)(c) for v in (a, b)]
    assert partial_spearman(x, y, z) == pytest.approx(float(np.corrcoef(left[0], left[1])[0, 1]), abs=1e-10)


def test_partial_spearman_where_nothing_is_left() -> None:
    x, y = np.arange(20.0), np.random.default_rng(0).normal(size=20)
    assert partial_spearman(x, y, -x) is None


def test_spearman_interval_has_both_parts() -> None:
    """Without variation between models it is Bonett & Wright's interval, and with it Fisher's z plus a jackknife.

    The part of the models is ¾ · 4 · 0.01 with 3 degrees of freedom, so that the sum has 3 (sum/part)².
    """
    rho, n = 0.4, 103
    low, high = spearman_interval(rho, n, np.full(8, rho))
    half = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / 100)
    assert (np.arctanh(low), np.arctanh(high)) == pytest.approx((np.arctanh(rho) - half, np.arctanh(rho) + half))
    without = np.tanh(np.arctanh(rho) + np.array([-0.1, 0.1, -0.1, 0.1]))
    low, high = spearman_interval(rho, n, without, np.array([0.95, 0.99]))
    variance = (1 + rho**2 / 2) / 100 + 0.03
    half = stats.t.ppf([0.975, 0.995], 3 * (variance / 0.03) ** 2) * np.sqrt(variance)
    assert np.arctanh(low) == pytest.approx(np.arctanh(rho) - half)
    assert np.arctanh(high) == pytest.approx(np.arctanh(rho) + half)


def test_spearman_interval_of_perfect_correlation_and_of_too_few_examples() -> None:
    low, high = spearman_interval(1.0, 50, np.ones(5))
    assert 0.9 < low < high <= 1.0
    with pytest.raises(ValueError, match="got 3"):
        spearman_interval(0.5, 3, np.full(5, 0.5))
