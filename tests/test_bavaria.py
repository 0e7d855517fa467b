"""BaVarIA against quadrature, a naive refit, the hyperparameters that data were drawn from, and likelihood-ratio laws.

These check the conjugate model and the moment estimates. They cannot check that the hyperparameters are the paper's.
"""

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from memaudit.attacks.bavaria import Bavaria, Moments, NormalInverseGamma, Predictive, estimate_priors, moments
from memaudit.attacks.lira import Lira, Variance
from memaudit.design import PairArrays

Array = np.ndarray

every_predictive = pytest.mark.parametrize("predictive", list(Predictive))


@pytest.fixture
def bank() -> PairArrays:
    """7 pairs × 30 examples × 2 queries with unequal centres, shifts and spreads."""
    rng = np.random.default_rng(7)
    scale = np.exp(rng.normal(size=(30, 2)))
    inside, outside = 2 + 3 * rng.normal(size=(30, 2)) + scale * rng.normal(size=(2, 7, 30, 2))
    return PairArrays(inside + 1.5 * scale, outside)


def _drawn(pairs: int, examples: int, seed: int) -> tuple[PairArrays, dict[str, tuple[float, float, float, float]]]:
    """Signals drawn from the model itself; returns the hyperparameters (mean, κ, α, β) of each side."""
    rng = np.random.default_rng(seed)
    truth = {"inside": (3.0, 0.5, 4.0, 5.0), "outside": (1.0, 0.8, 3.0, 2.0)}
    sides = []
    for mean, kappa, alpha, beta in truth.values():
        variance = beta / rng.gamma(alpha, size=(examples, 1))
        centre = mean + np.sqrt(variance / kappa) * rng.normal(size=(examples, 1))
        sides.append(centre + np.sqrt(variance) * rng.normal(size=(pairs, examples, 1)))
    return PairArrays(sides[0], sides[1]), truth


# --- the conjugate model ----------------------------------------------------------------------------------------------


def test_predictive_law_by_quadrature() -> None:
    """p(x | data) = ∬ N(x; μ, σ²) p(μ, σ² | data), with the posterior by Bayes' rule on a grid; 3 observations."""
    mean, kappa, alpha, beta = 0.5, 0.7, 2.5, 1.2
    data = np.array([1.0, 1.8, 0.3])
    mu = np.linspace(-12, 14, 2001)[:, None]
    variance = np.exp(np.linspace(-6, 7, 1501))
    log_joint = (
        stats.invgamma.logpdf(variance, alpha, scale=beta)
        + stats.norm.logpdf(mu, mean, np.sqrt(variance / kappa))
        + sum(stats.norm.logpdf(x, mu, np.sqrt(variance)) for x in data)
        + np.log(variance)  # the grid is even in log σ²
    )
    weight = np.exp(log_joint - log_joint.max())
    prior = NormalInverseGamma(*(np.full((1, 1), value) for value in (mean, kappa, alpha, beta)))
    law = prior.posterior(Moments(np.array([[data.mean()]]), np.array([[data.var() * 3]]), 3))
    for x in (-3.0, 0.9, 6.0):
        expected = np.sum(weight * stats.norm.pdf(x, mu, np.sqrt(variance))) / weight.sum()
        assert np.exp(law.log_density(np.array([[x]]), Predictive.T)).item() == pytest.approx(expected, rel=1e-4)
    assert law.mean[0, 0] == pytest.approx(np.sum(weight * mu) / weight.sum(), rel=1e-4)
    assert law.beta[0, 0] / (law.alpha[0, 0] - 1) == pytest.approx(np.sum(weight * variance) / weight.sum(), rel=1e-3)


def test_predictive_t_is_a_density() -> None:
    prior = NormalInverseGamma(*(np.full(1, value) for value in (0.5, 0.7, 2.5, 1.2)))
    total, _ = integrate.quad(lambda x: np.exp(prior.log_density(np.array([x]), Predictive.T)).item(), -np.inf, np.inf)
    assert total == pytest.approx(1, rel=1e-7)


def test_one_update_with_all_data_is_many_updates() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(6, 4, 2))
    prior = NormalInverseGamma(*(np.full((1, 2), value) for value in (0.5, 0.7, 2.5, 1.2)))
    step = prior
    for row in data:
        step = step.posterior(moments(row[None], left_out=False))
    once = prior.posterior(moments(data, left_out=False))
    for name in ("mean", "kappa", "alpha", "beta"):
        assert getattr(step, name) == pytest.approx(np.broadcast_to(getattr(once, name), getattr(step, name).shape))


# --- the hyperparameters ----------------------------------------------------------------------------------------------


def _naive_prior(side: Array) -> tuple[float, float, float, float]:
    """Mean, κ, α, β of one query's references [references, examples], with a bracketing root finder."""
    n = len(side)
    variances = side.var(axis=0, ddof=1)
    pooled = float(variances.mean())
    means = side.mean(axis=0)
    kappa = pooled / max(float(means.var(ddof=1)) - pooled / n, pooled / 1e6)
    logs = np.log(np.maximum(variances, 0.01 * pooled))
    d = (n - 1) / 2
    excess = logs.var(ddof=1) - float(special.polygamma(1, d))
    alpha = 5e5
    if excess > 0:
        alpha = optimize.brentq(lambda y: float(special.polygamma(1, y)) - excess, 1e-6, 1e9, xtol=1e-14, rtol=1e-14)
    scale = float(np.exp(logs.mean() - special.digamma(d) + np.log(d) + special.digamma(alpha) - np.log(alpha)))
    return float(means.mean()), kappa, alpha, alpha * scale


@pytest.mark.parametrize("left_out", [False, True])
def test_priors_against_a_naive_estimate(left_out: bool, bank: PairArrays) -> None:
    priors = estimate_priors(bank, left_out)
    for pair in range(7) if left_out else [6]:
        for prior, side in zip(priors, (bank.inside, bank.outside), strict=True):
            for q in range(2):
                expected = _naive_prior(np.delete(side, pair, axis=0)[:, :, q])
                place = (pair, 0, q) if left_out else (0, q)
                found = [np.broadcast_to(v, prior.mean.shape)[place] for v in _fields(prior)]
                assert found == pytest.approx(expected, rel=1e-7)


def _fields(prior: NormalInverseGamma) -> list[Array]:
    return [prior.mean, prior.kappa, prior.alpha, prior.beta]


@pytest.mark.parametrize("pairs", [5, 33])
def test_priors_recover_what_the_data_were_drawn_from(pairs: int) -> None:
    """20 banks of 4000 examples: the mean estimate of every hyperparameter is the truth, to 5 SE over banks or 2 %.

    Moment estimates have a bias of order 1/examples. False alarm below 1e-4 (t, 19 degrees of freedom), and only if the
    error is also above 2 %.
    """
    estimates = []
    for seed in range(20):
        bank, truth = _drawn(pairs, 4000, seed)
        estimates.append([[v.item() for v in _fields(prior)] for prior in estimate_priors(bank, left_out=False)])
    found = np.array(estimates)
    expected = np.array(list(truth.values()))
    error = np.abs(found.mean(axis=0) - expected)
    assert np.all(error < np.maximum(5 * found.std(axis=0, ddof=1) / np.sqrt(20), 0.02 * expected))


# --- scores -----------------------------------------------------------------------------------------------------------


@every_predictive
def test_leave_pair_out_is_a_naive_refit(predictive: Predictive, bank: PairArrays) -> None:
    """Everything estimated again for every pair, with scipy's densities; to float32 precision."""
    kept = Bavaria(predictive).leave_pair_out(bank)
    for pair in range(7):
        for scores, targets in zip(kept, (bank.inside, bank.outside), strict=True):
            for i in range(30):
                parts = []
                for q in range(2):
                    logs = []
                    for side in (bank.inside, bank.outside):
                        rest = np.delete(side, pair, axis=0)[:, :, q]
                        m0, k0, a0, b0 = _naive_prior(rest)
                        v, n = rest[:, i], len(rest)
                        k, a = k0 + n, a0 + n / 2
                        m = (k0 * m0 + n * v.mean()) / k
                        b = b0 + 0.5 * np.sum((v - v.mean()) ** 2) + 0.5 * k0 * n / k * (v.mean() - m0) ** 2
                        x = targets[pair, i, q]
                        if predictive is Predictive.T:
                            logs.append(stats.t.logpdf(x, 2 * a, m, np.sqrt(b * (k + 1) / (a * k))))
                        else:
                            logs.append(stats.norm.logpdf(x, m, np.sqrt(b / (a - 1))))
                    parts.append(logs[0] - logs[1])
                assert scores[pair, i] == pytest.approx(np.mean(parts), rel=1e-5, abs=1e-5)


def test_t_scores_are_log_likelihood_ratios() -> None:
    """On data from the model, P_out(S ≥ c) = E_in[exp(−S); S ≥ c] and P_in(S < c) = E_out[exp(S); S < c].

    4 references, hyperparameters from 40 000 examples, identities on the first 4000, to 4.5 SE: the hyperparameters'
    errors are √10 times smaller than those of the shares. False alarm over 8 comparisons: 6e-5.
    """
    bank, _ = _drawn(pairs=5, examples=40_000, seed=11)
    inside, outside = (scores[:, :4000].astype(float) for scores in Bavaria().leave_pair_out(bank))
    for c in (-1.0, 0.0, 1.0, 3.0):
        above = (outside >= c).mean(axis=0) - (np.exp(-inside) * (inside >= c)).mean(axis=0)
        below = (inside < c).mean(axis=0) - (np.exp(outside) * (outside < c)).mean(axis=0)
        for gap in (above, below):
            assert gap.mean() == pytest.approx(0, abs=4.5 * gap.std() / np.sqrt(4000))


@every_predictive
def test_with_many_references_it_is_lira(predictive: Predictive) -> None:
    """2000 references: the prior has the weight of a few observations, and both are the same ratio of normal laws."""
    rng = np.random.default_rng(3)
    scale = np.exp(0.3 * rng.normal(size=(50, 1)))
    inside, outside = rng.normal(size=(50, 1)) + scale * rng.normal(size=(2, 2001, 50, 1))
    bank = PairArrays(inside + scale, outside)
    lira = Lira(variance=Variance.PER_EXAMPLE).leave_pair_out(bank)
    for scores, expected in zip(Bavaria(predictive).leave_pair_out(bank), lira, strict=True):
        assert np.abs(scores - expected).mean() < 0.01


@every_predictive
def test_the_prior_stabilizes_small_banks(predictive: Predictive) -> None:
    """3 references: an exact variance of 3 values sends scores to extremes, the shrunken one does not.

    The largest score of a non-member stays below 30 nats; with per-example variances it is above 1000.
    """
    bank, _ = _drawn(pairs=4, examples=5000, seed=2)
    outside = Bavaria(predictive).leave_pair_out(bank)[1]
    assert outside.max() < 30
    assert Lira(variance=Variance.PER_EXAMPLE).leave_pair_out(bank)[1].max() > 1000


@every_predictive
def test_a_unit_and_a_constant_for_all_change_nothing(predictive: Predictive, bank: PairArrays) -> None:
    kept = Bavaria(predictive).leave_pair_out(bank)
    moved = Bavaria(predictive).leave_pair_out(PairArrays(7 * bank.inside + 40, 7 * bank.outside + 40))
    for scores, expected in zip(moved, kept, strict=True):
        assert scores == pytest.approx(expected, rel=1e-5, abs=1e-5)


@every_predictive
def test_exchanging_inside_and_outside_negates_the_score(predictive: Predictive, bank: PairArrays) -> None:
    inside, outside = Bavaria(predictive).leave_pair_out(bank)
    swapped = Bavaria(predictive).leave_pair_out(PairArrays(bank.outside, bank.inside))
    assert np.array_equal(swapped, (-outside, -inside))


def test_an_outlier_that_is_left_out_leaves_no_trace() -> None:
    rng = np.random.default_rng(1)
    inside, outside = rng.normal(size=(2, 5, 20, 1))
    outside[-1, 3] = 1e4
    bank = PairArrays(inside, outside)
    scores = Bavaria().leave_pair_out(bank)[0][-1]
    outside_without = outside.copy()
    outside_without[-1, 3] = 0
    assert scores == pytest.approx(Bavaria().scores(inside[-1], PairArrays(inside, outside_without)), rel=1e-4)
