"""Attacks on models that are really refitted and whose laws are known exactly, and the adversary without a model.

Random tests fix their seed; each states the probability of a false alarm under a fresh one. `methods.md` T10, T11.
"""

import numpy as np
import pytest
from scipy import stats

from memaudit.attacks import Lira, Variance, blind_scores
from memaudit.design import PairArrays, by_pair, halves
from memaudit.stats import auc, auc_interval, roc_points

Array = np.ndarray


def _likelihood_ratio_tpr(m: float, s: float, fpr: float) -> float:
    """TPR of the likelihood-ratio test of N(m, s²), s < 1, against N(0, 1): accept |x + h| ≤ r (`methods.md` T3)."""
    h = (m / s**2) / (1 - 1 / s**2)
    r2 = stats.ncx2.ppf(fpr, 1, h**2)
    return float(stats.ncx2.cdf(r2 / s**2, 1, ((m + h) / s) ** 2))


def _se(m: float, s: float, fpr: float, size: int) -> float:
    """The SE of a TPR whose threshold is read off as many non-members: binomial, plus slope × that of the FPR."""
    slope = (_likelihood_ratio_tpr(m, s, 1.05 * fpr) - _likelihood_ratio_tpr(m, s, 0.95 * fpr)) / (0.1 * fpr)
    tpr = _likelihood_ratio_tpr(m, s, fpr)
    return float(np.sqrt((tpr * (1 - tpr) + slope**2 * fpr * (1 - fpr)) / size))


# --- T10 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", [Variance.PER_EXAMPLE, Variance.EMPIRICAL_BAYES])
def test_t10_ordinary_least_squares(variance: Variance) -> None:
    """Least-squares refits with and without a probe of leverage h = .311 whose label lies e = 2.5 σ off the line.

    Its prediction is N(x·β, σ²h/(1−h)) when it is out and N(x·β + h·e, σ²h(1−h)) when it is in, so LiRA with many
    references has the TPRs of m = √(h(1−h))·e/σ and s = 1 − h: .0517 at 1 % and .4293 at 10 %. 4 probes × 20 000 pairs
    of refits. Laws: 5 SE of mean and standard deviation; TPRs: 5 SE. False alarm over 4 · 4 + 2 comparisons: 1e-5.
    """
    rng = np.random.default_rng(100)
    h, e, sigma, pairs, probes = 0.311, 2.5, 0.7, 20_000, 4
    rows, columns = 30, 4
    others, beta = rng.normal(size=(rows, columns)), rng.normal(size=columns)
    inside, outside = np.empty((2, pairs, probes, 1))
    for probe in range(probes):
        x = rng.normal(size=columns)
        x *= np.sqrt(h / (1 - h) / (x @ np.linalg.solve(others.T @ others, x)))  # leverage h with itself included
        labels = (others @ beta)[:, None] + sigma * rng.normal(size=(rows, pairs))
        own = x @ beta + (e if probe % 2 else -e) * sigma
        without = np.linalg.lstsq(others, labels)[0]
        within = np.linalg.lstsq(np.vstack([others, x]), np.vstack([labels, np.full(pairs, own)]))[0]
        outside[:, probe, 0], inside[:, probe, 0] = x @ without, x @ within
        for got, mean, sd in (
            (outside[:, probe, 0], x @ beta, sigma * np.sqrt(h / (1 - h))),
            (inside[:, probe, 0], x @ beta + h * (own - x @ beta), sigma * np.sqrt(h * (1 - h))),
        ):
            assert got.mean() == pytest.approx(mean, abs=5 * sd / np.sqrt(pairs))
            assert got.std() == pytest.approx(sd, abs=5 * sd / np.sqrt(2 * pairs))
    scores = Lira(variance=variance).leave_pair_out(PairArrays(inside, outside))
    for fpr, documented in ((0.01, 0.0517), (0.1, 0.4293)):
        m, s = np.sqrt(h * (1 - h)) * e, 1 - h
        expected = _likelihood_ratio_tpr(m, s, fpr)
        ends = [_likelihood_ratio_tpr(np.sqrt(a * (1 - a)) * e, 1 - a, fpr) for a in (h - 5e-4, h + 5e-4)]
        assert min(ends) - 5e-5 < documented < max(ends) + 5e-5  # documented for a leverage that rounds to .311
        tpr = roc_points(scores[0].ravel(), scores[1].ravel(), np.array([fpr]))[0][0]
        assert tpr == pytest.approx(expected, abs=5 * _se(m, s, fpr, pairs * probes))


# --- T11 --------------------------------------------------------------------------------------------------------------


def test_t11_tracing_a_gaussian_mean() -> None:
    """A model is the mean of n = 50 people plus noise τ, asked ⟨x, θ⟩/‖x‖ about four orthogonal people of norm 8.08.

    OUT N(0, 1/n + τ²), IN N(‖x‖/n, (n−1)/n² + τ²): TPR at 1 % is .1037 (documented). Inside and outside of a pair share
    49 of their 50 people; laws and TPR to 5 SE over 8 000 pairs. False alarm over 17 comparisons: 1e-5.
    """
    rng = np.random.default_rng(101)
    n, norm, tau, pairs, probes, dimensions = 50, 8.08, 0.05, 8000, 4, 12
    people = norm * np.linalg.qr(rng.normal(size=(dimensions, probes)))[0].T
    inside, outside = np.empty((2, pairs, probes, 1))
    for pair in range(pairs):
        drawn = rng.normal(size=(n, dimensions))
        without = drawn.mean(axis=0) + tau * rng.normal(size=dimensions)
        outside[pair, :, 0] = people @ without / norm
        for probe in range(probes):
            trained = np.vstack([drawn[1:], people[probe]])
            within = trained.mean(axis=0) + tau * rng.normal(size=dimensions)
            inside[pair, probe, 0] = people[probe] @ within / norm
    sd_out, sd_in = np.sqrt(1 / n + tau**2), np.sqrt((n - 1) / n**2 + tau**2)
    for values, mean, sd in ((outside, 0.0, sd_out), (inside, norm / n, sd_in)):
        assert values.mean(axis=0) == pytest.approx(mean, abs=5 * sd / np.sqrt(pairs))
        assert values.std(axis=0) == pytest.approx(sd, abs=5 * sd / np.sqrt(2 * pairs))
    m, s = norm / n / sd_out, sd_in / sd_out
    ends = [_likelihood_ratio_tpr(a / n / sd_out, s, 0.01) for a in (norm - 0.005, norm + 0.005)]
    assert ends[0] - 5e-5 < 0.1037 < ends[1] + 5e-5  # documented for a norm that rounds to 8.08
    scores = Lira().leave_pair_out(PairArrays(inside, outside))
    tpr = roc_points(scores[0].ravel(), scores[1].ravel(), np.array([0.01]))[0][0]
    expected = _likelihood_ratio_tpr(m, s, 0.01)
    assert tpr == pytest.approx(expected, abs=5 * _se(m, s, 0.01, pairs * probes))


def test_t11_on_a_bank_of_complementary_halves() -> None:
    """The same model by the design: a row of `halves` trains on its members among 10 orthogonal people, and 49 others.

    With the divisor fixed at n = 50, both laws have variance (n−1)/n² + τ² and lie ‖x‖/n apart: d = 1.087, AUC Φ(d/√2)
    and TPR Φ(Φ⁻¹(α) + d). Scores of different models on different (orthogonal) people are independent given the
    references; 6000 models × 10 people, 3000 references a side. 5 SE: false alarm over 3 comparisons 2e-6.
    """
    rng = np.random.default_rng(102)
    n, norm, tau, models, probes = 50, 8.08, 0.05, 6000, 10
    people = norm * np.linalg.qr(rng.normal(size=(probes, probes)))[0].T
    members = halves(102, models, probes)
    asked = np.empty((models, probes, 1))
    for model in range(models):
        trained = np.vstack([rng.normal(size=(n - 1, probes)), people[members[model] > 0]])
        theta = trained.sum(axis=0) / n + tau * rng.normal(size=probes)
        asked[model, :, 0] = people @ theta / norm
    inside, outside = Lira().leave_pair_out(PairArrays(*by_pair(asked, members)))
    d = norm / n / np.sqrt((n - 1) / n**2 + tau**2)
    size = inside.size
    # Variance of the AUC for two normal laws a distance d apart, from the placements' moments (Hanley & McNeil 1982)
    area = stats.norm.cdf(d / np.sqrt(2))
    twice = stats.multivariate_normal.cdf([d / np.sqrt(2)] * 2, cov=[[1, 0.5], [0.5, 1]])
    assert auc(inside.ravel(), outside.ravel()) == pytest.approx(area, abs=5 * np.sqrt(2 * (twice - area**2) / size))
    for fpr in (0.01, 0.1):
        z = stats.norm.ppf(fpr)
        tpr, slope = stats.norm.cdf(z + d), np.exp(-d * z - d**2 / 2)
        se = np.sqrt((tpr * (1 - tpr) + slope**2 * fpr * (1 - fpr)) / size)
        got = roc_points(inside.ravel(), outside.ravel(), np.array([fpr]))[0][0]
        assert got == pytest.approx(tpr, abs=5 * se)


# --- the blind baseline -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6,), (1, 9, 9)])
def test_blind_scores_of_random_members_are_at_chance(shape: tuple[int, ...]) -> None:
    """Members drawn by coin: AUC ½ to 6 SE of the rank sum of 2 × 600, .0167.

    Scores of one fold share a fitted model, which raises the SE by about a third (.0215 over 60 other seeds): the bound
    is 4.5 of those. False alarm 1e-5.
    """
    rng = np.random.default_rng(110)
    x, y = rng.normal(size=(1200, *shape)), rng.integers(0, 10, 1200)
    members = rng.permutation(1200) < 600
    scores = blind_scores(x, y, members)
    assert scores.shape == (1200,)
    assert auc(scores[members], scores[~members]) == pytest.approx(0.5, abs=6 * np.sqrt(1201 / (12 * 600 * 600)))


def test_the_area_of_blind_scores_scatters_at_most_by_the_root_of_two_that_the_control_allows_for() -> None:
    """60 draws of a fair coin; a standard deviation from 60 draws is 1.36 times the true one with probability 1e-4."""
    rng = np.random.default_rng(114)
    deviations = []
    for seed in range(60):
        members = rng.permutation(200) < 100
        scores = blind_scores(rng.normal(size=(200, 5)), rng.integers(0, 3, 200), members, seed)
        inside, outside = scores[members], scores[~members]
        area, (_, high) = auc(inside, outside), auc_interval(inside, outside, level=0.6827)
        deviations.append((area - 0.5) / (high - area))
    assert np.std(deviations) < 1.36 * np.sqrt(2)


@pytest.mark.slow
def test_blind_scores_of_large_images_are_at_chance_and_find_brighter_members() -> None:
    """6,912 pixels. At chance to 5 times the standard error of 2 × 100 scores, .041 · √2; false alarm 1e-6."""
    rng = np.random.default_rng(115)
    x = rng.integers(0, 200, (200, 3, 48, 48)).astype(np.uint8)
    members, y = rng.permutation(200) < 100, np.zeros(200, dtype=np.int64)
    scores = blind_scores(x, y, members)
    assert auc(scores[members], scores[~members]) == pytest.approx(0.5, abs=5 * np.sqrt(2 * 201 / (12 * 100 * 100)))
    x[members] += 20  # a third of a standard deviation in every pixel
    scores = blind_scores(x, y, members)
    assert auc(scores[members], scores[~members]) > 0.95


def test_blind_scores_find_a_planted_shift() -> None:
    """Members are one standard deviation off in one of six features: the best AUC is Φ(1/√2) = .760.

    A logistic model of 16 weights on 2000 examples loses less than .01 of it; SE of the AUC .011, bound 5 SE below.
    False alarm below 1e-6.
    """
    rng = np.random.default_rng(111)
    x, y = rng.normal(size=(2000, 6)), rng.integers(0, 10, 2000)
    members = rng.permutation(2000) < 1000
    x[members, 2] += 1
    scores = blind_scores(x, y, members)
    assert 0.760 - 0.01 - 5 * 0.011 < auc(scores[members], scores[~members]) < 0.760 + 5 * 0.011


@pytest.mark.parametrize("classes", [4, 100])
def test_blind_scores_read_the_label(classes: int) -> None:
    """Members come twice as often from the upper half of the classes; up to 64 classes one by one, above as a number.

    AUC of the true log odds: ½ + (2/3 − 1/3)/2 = 2/3; SE .012 at 2 × 1000. More than .6 is 5.5 SE above ½ + nothing and
    5 SE below 2/3. False alarm below 1e-6.
    """
    rng = np.random.default_rng(112)
    members = rng.permutation(2000) < 1000
    upper = rng.random(2000) < np.where(members, 2 / 3, 1 / 3)
    y = rng.integers(0, classes // 2, 2000) + np.where(upper, classes // 2, 0)
    scores = blind_scores(rng.normal(size=(2000, 3)), y, members)
    assert auc(scores[members], scores[~members]) > 0.6


def test_blind_scores_are_reproducible_and_survive_constant_features() -> None:
    rng = np.random.default_rng(113)
    x, y, members = rng.integers(0, 256, (200, 5), dtype=np.uint8), np.zeros(200, dtype=np.int64), np.arange(200) < 80
    x[:, 3] = 7
    first, again = blind_scores(x, y, members, seed=3), blind_scores(x, y, members, seed=3)
    assert np.isfinite(first).all()
    assert np.array_equal(first, again)
