"""Ceilings and lower bounds of differential privacy: closed forms, mechanisms that attain them, and coverage."""

import math
import sys

import numpy as np
import pytest
from scipy import stats

from memaudit import privacy
from memaudit.privacy import Steps

Array = np.ndarray
CLAIMS = [(0.0, 0.0), (0.5, 0.0), (1.0, 0.01), (2.0, 0.1), (8.0, 1e-5)]


def randomized_response(epsilon: float, delta: float) -> Array:
    """Outcomes 0..3 of a bit under (ε, δ)-randomized response, by the bit: the bit is revealed with probability δ."""
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    rest = 1 - delta
    return np.array([[delta, rest * p, rest * (1 - p), 0.0], [0.0, rest * (1 - p), rest * p, delta]])


def attained(epsilon: float, delta: float, fpr: float) -> float:
    """The TPR of the most powerful test between the two laws (Neyman & Pearson 1933), by sorting outcomes."""
    out, inside = randomized_response(epsilon, delta)
    with np.errstate(divide="ignore"):
        order = np.argsort(-np.divide(inside, out, out=np.full(4, np.inf), where=out > 0), kind="stable")
    power, left = 0.0, fpr
    for outcome in order:
        share = 1.0 if out[outcome] <= left else left / out[outcome]
        power, left = power + share * inside[outcome], left - share * out[outcome]
    return power


@pytest.mark.parametrize(("epsilon", "delta"), CLAIMS)
def test_randomized_response_attains_the_ceilings(epsilon: float, delta: float) -> None:
    fprs = np.linspace(0, 1, 41)
    best = np.array([attained(epsilon, delta, fpr) for fpr in fprs])
    np.testing.assert_allclose(privacy.tpr_ceiling(fprs, epsilon, delta), best, atol=1e-12)
    out, inside = randomized_response(epsilon, delta)
    variation = 0.5 * np.abs(out - inside).sum()  # the largest TPR − FPR, and so the largest memorization
    assert privacy.memorization_ceiling(epsilon, delta) == pytest.approx(variation, abs=1e-12)


def test_the_ceiling_on_memorization_is_the_formula() -> None:
    for epsilon, delta in CLAIMS:
        stated = (math.exp(epsilon) - 1 + 2 * delta) / (math.exp(epsilon) + 1)
        assert privacy.memorization_ceiling(epsilon, delta) == pytest.approx(stated, abs=1e-14)


def test_of_a_group_each_record_counts() -> None:
    """Two steps of (ε, δ), taken one after the other, are those of the lemma."""
    epsilon, delta = privacy.of_group(1.0, 0.01, 2)
    assert [epsilon, delta] == pytest.approx([2.0, 0.01 * (1 + math.e)])
    assert [*privacy.of_group(0.0, 0.01, 3)] == pytest.approx([0.0, 0.03])
    assert [*privacy.of_group(3.0, 0.01, 1)] == pytest.approx([3.0, 0.01])
    fpr = 0.05  # applying the definition twice
    once = math.e * fpr + 0.01
    assert privacy.tpr_ceiling(fpr, epsilon, delta) == pytest.approx(math.e * once + 0.01)
    with pytest.raises(ValueError, match="at least 1 record"):
        privacy.of_group(1.0, 0.0, 0)


@pytest.mark.parametrize(("epsilon", "delta"), CLAIMS)
def test_exposure_ceiling_is_the_sum_over_ranks(epsilon: float, delta: float) -> None:
    """Oracle: a mechanism whose rank has, in a model with the canary, the law that the ceiling allows."""
    secrets = 2_000_000.0
    ranks = np.arange(1, secrets + 1)
    reached = privacy.tpr_ceiling(ranks / secrets, epsilon, delta)
    law = np.diff(reached, prepend=0.0)
    mean = float((law * np.log2(secrets / ranks)).sum())
    assert mean <= privacy.exposure_ceiling(epsilon, delta, secrets) + 1e-9
    assert mean == pytest.approx(privacy.exposure_ceiling(epsilon, delta, secrets), abs=0.02)
    assert privacy.exposure_ceiling(epsilon, 0.0, 1e12) <= (1 + epsilon) / math.log(2)


def test_without_privacy_loss_nothing_beats_chance() -> None:
    assert privacy.exposure_ceiling(0.0, 0.0, 1e12) == pytest.approx(1 / math.log(2), abs=1e-6)
    assert privacy.memorization_ceiling(0.0, 0.0) == 0
    np.testing.assert_allclose(privacy.tpr_ceiling(np.array([0.0, 0.3, 1.0]), 0.0, 0.0), [0.0, 0.3, 1.0])


def test_gaussian_conversions() -> None:
    """Values of δ = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2), and Gaussian DP lies below its (ε, δ) ceiling, and touches."""
    for mu, epsilon in ((1.0, 4.38), (2.0, 10.00), (4.0, 24.38)):
        found = privacy.epsilon_of_gaussian(mu, 1e-5)
        assert found == pytest.approx(epsilon, abs=0.005)
        assert privacy.mu_of_epsilon(found, 1e-5) == pytest.approx(mu, abs=1e-6)
        fprs = stats.norm.cdf(np.linspace(-8, 8, 4001))
        slack = privacy.tpr_ceiling(fprs, found, 1e-5) - privacy.gaussian_ceiling(fprs, mu)
        assert slack.min() == pytest.approx(0, abs=1e-6)
    assert privacy.epsilon_of_gaussian(1e-9, 0.1) == 0


STEINKE = [  # (m, guesses, right, δ, ε) at 95 % confidence
    (1000, 1000, 731, 0.0, 0.8806),
    (1000, 100, 100, 0.0, 3.493),
    (1000, 100, 100, 1e-5, 3.465),
    (1000, 100, 95, 1e-5, 2.165),
    (100, 10, 10, 0.0, 1.052),
    (10_000, 200, 190, 1e-5, 2.353),
]


@pytest.mark.parametrize(("m", "guesses", "right", "delta", "epsilon"), STEINKE)
def test_one_run_bounds_are_those_of_the_reference_code(
    m: int, guesses: int, right: int, delta: float, epsilon: float
) -> None:
    """Values that google-deepmind/jax_privacy's auditing.py gives for the same counts."""
    assert privacy.epsilon_bound(m, guesses, right, 0.05, delta) == pytest.approx(epsilon, abs=6e-4)


def test_all_right_has_a_closed_form() -> None:
    for guesses in (10, 100, 1000):
        q = 0.05 ** (1 / guesses)
        assert privacy.epsilon_bound(guesses, guesses, guesses, 0.05, 0.0) == pytest.approx(
            math.log(q / (1 - q)), abs=1e-5
        )


def test_the_share_of_delta_is_searched_whole() -> None:
    """Oracle: the p-value by direct sums over the binomial law, without the short cut."""
    for m, guesses, right, epsilon, delta in (
        (50, 20, 15, 1.0, 0.01),
        (9000, 6000, 3300, 0.1, 1e-4),
        (5000, 5000, 2600, 0.2, 1e-3),
    ):
        share = math.exp(epsilon) / (1 + math.exp(epsilon))
        law = stats.binom.pmf(np.arange(guesses + 1), guesses, share)
        steps = np.arange(1, right + 1)
        between = law[:right][::-1].cumsum()  # P[v > W ≥ v − i]
        exact = law[right:].sum() + 2 * m * delta * (between / steps).max()
        assert privacy.p_value(m, guesses, right, epsilon, delta) == pytest.approx(min(1, exact), rel=1e-6)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold"):
        privacy.p_value(10, 20, 5, 1.0, 0.0)
    with pytest.raises(ValueError, match="delta in"):
        privacy.tpr_ceiling(0.1, 1.0, 1.0)
    with pytest.raises(ValueError, match="epsilon must be"):
        privacy.tpr_ceiling(0.1, -1.0, 0.0)


def false_alarms(bounds: list[float], truth: float) -> int:
    return sum(bound > truth for bound in bounds)


def most_alarms(runs: int, alpha: float) -> float:
    """So many false alarms a sound bound has with a probability of 0.001 at most."""
    return float(stats.binom.isf(0.001, runs, alpha))


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("m", [10, 200])
def test_coverage_with_randomized_response(epsilon: float, m: int) -> None:
    """The tight case: each membership is revealed by randomized response, and guessed as it is revealed."""
    rng = np.random.default_rng(int(10 * epsilon) + m)
    runs, keep = 400, math.exp(epsilon) / (1 + math.exp(epsilon))
    bounds = []
    for _ in range(runs):
        members = rng.random((1, m)) < 0.5
        revealed = np.where(rng.random((1, m)) < keep, members, ~members)
        scores = revealed + 0.1 * rng.random((1, m))  # ties are broken by noise
        bounds.append(privacy.lower_bound(scores, members, 0.05, 0.0))
    assert false_alarms(bounds, epsilon) <= most_alarms(runs, 0.05)
    assert m == 10 or epsilon < 1 or np.mean(bounds) > 0.35 * epsilon  # and it sees something


def test_coverage_with_a_delta_that_reveals() -> None:
    """With probability δ everything about a candidate is revealed, otherwise nothing: (0, δ)-private."""
    rng, runs, m, delta = np.random.default_rng(4), 300, 100, 0.05
    bounds = []
    for _ in range(runs):
        members = rng.random((1, m)) < 0.5
        revealed = rng.random((1, m)) < delta
        scores = np.where(revealed, np.where(members, 1.0, -1.0), 0.0) + 1e-3 * rng.random((1, m))
        bounds.append(privacy.lower_bound(scores, members, 0.05, delta))
    assert false_alarms(bounds, 0.0) <= most_alarms(runs, 0.05)
    without = [privacy.lower_bound(scores, members, 0.05, 0.0)]
    assert max(without) >= 0


@pytest.mark.parametrize("runs", [1, 4])
def test_coverage_with_gaussian_noise(runs: int) -> None:
    """Each candidate's contribution of 1 with noise of deviation 1/μ: exactly μ-Gaussian DP, in many runs or one."""
    rng, mu, delta, times = np.random.default_rng(9), 1.0, 1e-5, 15
    truth = privacy.epsilon_of_gaussian(mu, delta)
    plain, gaussian = [], []
    for _ in range(times):
        members = rng.random((runs, 250)) < 0.5
        scores = members + rng.normal(0, 1 / mu, members.shape)
        plain.append(privacy.lower_bound(scores, members, 0.05, delta))
        gaussian.append(privacy.lower_bound(scores, members, 0.05, delta, privacy.gaussian_bound))
    assert false_alarms(plain, truth) == 0 and false_alarms(gaussian, truth) <= most_alarms(times, 0.05)
    assert np.mean(gaussian) > np.mean(plain) > 0.5


def test_a_null_shows_nothing() -> None:
    rng = np.random.default_rng(2)
    bounds = [
        privacy.lower_bound(rng.normal(size=(1, 300)), rng.random((1, 300)) < 0.5, 0.05, 1e-5) for _ in range(200)
    ]
    assert false_alarms(bounds, 0.0) <= most_alarms(200, 0.05)


def test_the_best_number_of_guesses_must_be_paid_for() -> None:
    """The sentinel: without Bonferroni, the largest bound over all numbers of guesses is wrong far too often."""
    rng, runs, m = np.random.default_rng(3), 200, 1000
    greedy = []
    for _ in range(runs):
        members, scores = rng.random((1, m)) < 0.5, rng.normal(size=(1, m))
        right = [(r, privacy.right_guesses(scores, members, r)) for r in range(10, m, 20)]
        greedy.append(max(privacy.epsilon_bound(m, r, v, 0.05, 0.0) for r, v in right))
    assert false_alarms(greedy, 0.0) > 2 * most_alarms(runs, 0.05)


def test_both_models_of_a_pair_are_no_two_runs() -> None:
    """The sentinel: a complementary model repeats the coins. Taken for another run, one run's luck counts twice."""
    rng, times, m = np.random.default_rng(5), 400, 60
    wrong = []
    for _ in range(times):
        members, scores = rng.random(m) < 0.5, rng.normal(size=m)
        both, twice = np.stack([members, ~members]), np.stack([scores, -scores])
        wrong.append(privacy.lower_bound(twice, both, 0.05, 0.0))
    assert false_alarms(wrong, 0.0) > most_alarms(times, 0.05)


def test_guesses_by_hand() -> None:
    scores = np.array([[5.0, 4.0, 1.0, 0.0], [3.0, 2.0, -1.0, -2.0]])
    members = np.array([[True, False, True, False], [True, True, False, False]])
    assert privacy.right_guesses(scores, members, 4) == 3  # 5 and 4 members? one is; −1 and −2 are none
    assert privacy.right_guesses(scores, members, 8) == 1 + 2 + 1 + 2
    assert privacy.guess_numbers(100) == (100, 50, 24, 12)
    assert privacy.guess_numbers(9) == ()
    assert privacy.most_shown(9, 0.05, 0.0) == 0


def test_scores_may_be_shifted_and_scaled() -> None:
    rng = np.random.default_rng(6)
    members, scores = rng.random((2, 50)) < 0.5, rng.normal(size=(2, 50))
    assert privacy.lower_bound(scores + members, members, 0.05, 0.0) == privacy.lower_bound(
        3 * (scores + members) - 7, members, 0.05, 0.0
    )


@pytest.mark.parametrize("trials", [5, 200])
def test_coverage_of_bounds_from_counts(trials: int) -> None:
    """Randomized response: TPR and FPR are those of the ceiling."""
    rng, times = np.random.default_rng(7), 1000
    for epsilon in (0.5, 2.0):
        keep = math.exp(epsilon) / (1 + math.exp(epsilon))
        hits, alarms = rng.binomial(trials, keep, times), rng.binomial(trials, 1 - keep, times)
        bounds = [
            privacy.epsilon_of_counts(int(h), trials, int(a), trials, 0.05, 0.0)
            for h, a in zip(hits, alarms, strict=True)
        ]
        assert false_alarms(bounds, epsilon) <= most_alarms(times, 0.05)
    truth, mu = privacy.epsilon_of_gaussian(1.5, 1e-5), 1.5
    hits, alarms = (
        rng.binomial(trials, stats.norm.cdf(mu / 2), times),
        rng.binomial(trials, stats.norm.cdf(-mu / 2), times),
    )
    bounds = [
        privacy.gaussian_of_counts(int(h), trials, int(a), trials, 0.05, 1e-5)
        for h, a in zip(hits, alarms, strict=True)
    ]
    assert false_alarms(bounds, truth) <= most_alarms(times, 0.05)


def test_bounds_from_counts_by_hand() -> None:
    """All of n flagged with the example, none without: ln(low/high) of the Clopper–Pearson bounds."""
    n = 100
    low = 0.025 ** (1 / n)
    assert privacy.epsilon_of_counts(n, n, 0, n, 0.05, 0.0) == pytest.approx(math.log(low / (1 - low)))
    assert privacy.epsilon_of_counts(50, 100, 50, 100, 0.05, 0.0) == 0
    assert privacy.gaussian_of_counts(50, 100, 50, 100, 0.05, 1e-5) == 0


def test_accounting_of_the_gaussian_mechanism() -> None:
    """Without sampling, one step is 1/σ-Gaussian DP: Rényi DP is an upper bound, and a close one."""
    exact = privacy.epsilon_of_gaussian(math.sqrt(10) / 5, 1e-5)
    found = privacy.epsilon_of_steps([Steps(5.0, 1.0, 10)], 1e-5)
    assert exact < found < 1.15 * exact
    assert privacy.epsilon_of_steps([Steps(5.0, 1.0, 4), Steps(5.0, 1.0, 6)], 1e-5) == pytest.approx(found)
    assert privacy.epsilon_of_steps([Steps(0.0, 1.0, 1)], 1e-5) == privacy.LARGEST
    assert privacy.epsilon_of_steps([Steps(1.0, 0.0, 100)], 1e-5) < 0.1


OPACUS = [  # (noise multiplier, sampling rate, steps, ε at δ = 1e-5) of the RDP accountant of Opacus 1.6
    (1.1, 0.01, 1000, 1.711770),
    (4.0, 0.1, 100, 1.081702),
    (1.0, 1.0, 5, 12.301691),
    (0.6, 0.05, 300, 21.016332),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "epsilon"), OPACUS)
def test_accounting_agrees_with_opacus(noise: float, rate: float, steps: int, epsilon: float) -> None:
    """Its accountant has fractional orders, too, so that ε can only be smaller; by a few percent."""
    found = privacy.epsilon_of_steps([Steps(noise, rate, steps)], 1e-5)
    assert epsilon - 1e-5 <= found <= 1.03 * epsilon


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "rate", "steps", "epsilon"), OPACUS)
def test_the_known_values_are_those_of_opacus(noise: float, rate: float, steps: int, epsilon: float) -> None:
    accountants = pytest.importorskip("opacus.accountants")
    accountant = accountants.RDPAccountant()
    accountant.history = [(noise, rate, steps)]
    assert accountant.get_epsilon(1e-5) == pytest.approx(epsilon, abs=1e-5)


def test_the_layer_loads_no_torch() -> None:
    import subprocess

    code = "import sys, memaudit.privacy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("m", "guesses", "right", "pure", "approximate", "gaussian"),
    [
        (100, 100, 70, 0.471672, 0.471419, 1.060703),
        (1000, 1000, 600, 0.297468, 0.297227, 0.583540),
        (1000, 200, 150, 0.821396, 0.819973, 1.296916),
        (5000, 500, 400, 1.198645, 1.195218, 1.683156),
        (200, 40, 40, 2.554010, 2.548240, 4.534248),
    ],
)
def test_bounds_of_one_run_are_those_of_jax_privacy(
    m: int, guesses: int, right: int, pure: float, approximate: float, gaussian: float
) -> None:
    """`_epsilon_one_run` at δ = 0 and 1e-5 and `_epsilon_one_run_fdp` of jax_privacy 2.0.0, α = 0.05; root to 1e-6."""
    assert privacy.epsilon_bound(m, guesses, right, 0.05, 0.0) == pytest.approx(pure, abs=3e-6)
    assert privacy.epsilon_bound(m, guesses, right, 0.05, 1e-5) == pytest.approx(approximate, abs=3e-6)
    assert privacy.gaussian_bound(m, guesses, right, 0.05, 1e-5) == pytest.approx(gaussian, abs=3e-6)


@pytest.mark.parametrize(
    ("hits", "inside", "alarms", "outside", "delta", "epsilon"),
    [
        (90, 100, 5, 100, 0.0, 1.987975),
        (90, 100, 5, 100, 1e-3, 1.986760),
        (50, 64, 2, 64, 1e-3, 1.805628),
        (30, 40, 10, 40, 0.0, 0.355861),
    ],
)
def test_bounds_of_counts_are_those_of_jax_privacy(
    hits: int, inside: int, alarms: int, outside: int, delta: float, epsilon: float
) -> None:
    """`CanaryScoreAuditor.epsilon_clopper_pearson` of jax_privacy 2.0.0, two-sided, at an explicit threshold."""
    assert privacy.epsilon_of_counts(hits, inside, alarms, outside, 0.05, delta) == pytest.approx(epsilon, abs=1e-6)
