"""RMIA against a naive loop, the paper's score with a dense population, BASE, and laws with a closed form."""

import math

import numpy as np
import pytest
from scipy import special, stats

from memaudit.attacks.interface import Signal, log_probability
from memaudit.attacks.rmia import DEFAULT_A, Rmia, log_mean_without_each
from memaudit.design import PairArrays
from memaudit.stats import auc

Array = np.ndarray

LANGUAGE = Signal.LOG_PROBABILITY


@pytest.fixture
def bank() -> PairArrays:
    """7 pairs × 40 examples × 2 queries of scaled logits."""
    rng = np.random.default_rng(5)
    inside, outside = 2 * rng.normal(size=(40, 2)) + 1.5 * rng.normal(size=(2, 7, 40, 2))
    return PairArrays(inside + rng.exponential(size=(40, 2)), outside)


# --- probabilities ----------------------------------------------------------------------------------------------------


def test_log_probability_of_scaled_logits() -> None:
    """From p ≈ e^−800 to 1 − p ≈ e^−700, where p itself is 0 or 1 in float64."""
    assert log_probability(np.array([-800.0, 0.0, 40.0]), Signal.SCALED_LOGIT) == pytest.approx(
        [-800, -math.log(2), -math.exp(-40)], rel=1e-12
    )
    assert log_probability(np.array([700.0]), Signal.SCALED_LOGIT)[0] == pytest.approx(-math.exp(-700), rel=1e-12)
    p = np.linspace(0.01, 0.99, 99)
    assert log_probability(special.logit(p), Signal.SCALED_LOGIT) == pytest.approx(np.log(p), rel=1e-12)


def test_log_probability_of_log_probabilities() -> None:
    phi = np.array([-3, -0.5], dtype=np.float32)
    values = log_probability(phi, LANGUAGE)
    assert values.dtype == np.float64
    assert np.array_equal(values, phi)


@pytest.mark.parametrize("pairs", [2, 3, 9, 128])
def testlog_mean_without_each(pairs: int) -> None:
    """Against a sum for every pair, with ties, and with one model that has all but e^−700 of the probability."""
    rng = np.random.default_rng(pairs)
    logs = 5 * rng.normal(size=(pairs, 30, 2))
    logs[:, 10:20] = logs[:, 10:20].round()
    logs[0, :10] = 700
    expected = [special.logsumexp(np.delete(logs, t, axis=0), axis=0) - np.log(pairs - 1) for t in range(pairs)]
    assert log_mean_without_each(logs) == pytest.approx(np.array(expected), rel=1e-12, abs=1e-12)


# --- oracles ----------------------------------------------------------------------------------------------------------


def _naive(attack: Rmia, x: float, inside: Array, outside: Array) -> float:
    """One target, one example, one query, with plain probabilities."""

    def p(phi: float) -> float:
        return math.exp(phi) if attack.signal is LANGUAGE else 1 / (1 + math.exp(-phi))

    p_out = sum(p(v) for v in outside) / len(outside)
    p_in = sum(p(v) for v in inside) / len(inside)
    a = attack.a if attack.a is not None else DEFAULT_A[attack.signal]
    if attack.offline:
        p_in = a * p_out + (1 - a)
    return math.log(p(x) / ((p_in + p_out) / 2))


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize(("offline", "a"), [(False, None), (True, None), (True, 0.0), (True, 0.6), (True, 1.0)])
def test_against_a_naive_loop(signal: Signal, offline: bool, a: float | None, bank: PairArrays) -> None:
    """`leave_pair_out` and `scores`, to float32 precision."""
    attack = Rmia(offline, a, signal)
    kept = attack.leave_pair_out(bank)
    for scores, targets in zip(kept, (bank.inside, bank.outside), strict=True):
        for pair in range(7):
            others = np.delete(np.arange(7), pair)
            for i in range(40):
                parts = [
                    _naive(attack, targets[pair, i, q], bank.inside[others, i, q], bank.outside[others, i, q])
                    for q in range(2)
                ]
                assert scores[pair, i] == pytest.approx(np.mean(parts), rel=1e-5, abs=1e-6)
    target = bank.inside[0] + 0.2
    scores = attack.scores(target, bank)
    for i in range(40):
        parts = [_naive(attack, target[i, q], bank.inside[:-1, i, q], bank.outside[:-1, i, q]) for q in range(2)]
        assert scores[i] == pytest.approx(np.mean(parts), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("gamma", [1.0, 1.2, 2.0])
def test_the_papers_score_is_a_monotone_function_of_the_log_ratio(offline: bool, gamma: float) -> None:
    """Dense O(examples × population): the share of z with LR(x, z) ≥ γ, for one target.

    A larger log ratio never has a smaller share. The AUCs differ only by pairs of examples that the share ties: its
    AUC counts each as ½.
    """
    rng = np.random.default_rng(int(10 * gamma))
    pairs, examples, population = 5, 400, 300
    total = examples + population
    inside, outside = 2 * rng.normal(size=(total, 1)) + rng.normal(size=(2, pairs, total, 1))
    inside += 1.5
    members = np.zeros(total, dtype=bool)
    members[: examples // 2] = True
    target = np.where(members[:, None], inside[0], outside[0])
    others = np.arange(1, pairs)
    refs = PairArrays(inside[others][:, :, 0][..., None], outside[others])
    p = 1 / (1 + np.exp(-target[:, 0]))
    p_in, p_out = (1 / (1 + np.exp(-side[1:, :, 0])) for side in (inside, outside))
    p_in, p_out = p_in.mean(axis=0), p_out.mean(axis=0)
    mean = 0.5 * (1.3 * p_out + 0.7) if offline else 0.5 * (p_in + p_out)
    ratio = p / mean
    x, z = ratio[:examples], ratio[examples:]
    dense = np.array([np.mean([value / other >= gamma for other in z]) for value in x])
    # a dummy last pair is left out, so that all of `refs` are references
    padded = PairArrays(np.concatenate([refs.inside, inside[:1]]), np.concatenate([refs.outside, outside[:1]]))
    scores = Rmia(offline).scores(target, padded)[:examples].astype(float)
    assert scores == pytest.approx(np.log(x), rel=1e-5, abs=1e-6)
    assert np.all(np.diff(dense[np.argsort(scores)]) >= 0)
    k = members[:examples]
    ties = np.mean(dense[k][:, None] == dense[~k])
    assert auc(dense[k], dense[~k]) == pytest.approx(auc(scores[k], scores[~k]), abs=ties / 2 + 1e-9)


def test_online_is_base() -> None:
    """BASE: log p(x|target) − log mean of p over all references, inside and outside in equal numbers."""
    rng = np.random.default_rng(2)
    inside, outside = rng.normal(size=(2, 6, 50, 1))
    logs = -np.log1p(np.exp(-np.concatenate([inside[:-1], outside[:-1]])[..., 0]))
    threshold = special.logsumexp(logs, axis=0) - np.log(10)
    expected = -np.log1p(np.exp(-inside[-1, :, 0])) - threshold
    assert Rmia().scores(inside[-1], PairArrays(inside, outside)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_offline_never_uses_inside_references(bank: PairArrays) -> None:
    changed = PairArrays(bank.inside[::-1] * 3 - 5, bank.outside)
    for a in (None, 0.0, 1.0):
        attack = Rmia(offline=True, a=a)
        assert np.array_equal(attack.scores(bank.inside[0], bank), attack.scores(bank.inside[0], changed))
        assert np.array_equal(attack.leave_pair_out(bank)[1], attack.leave_pair_out(changed)[1])


def test_defaults_of_a(bank: PairArrays) -> None:
    """0.3 for probabilities of a class; 1 for those of tokens, where a members' probability of 1 is far off."""
    for signal, a in ((Signal.SCALED_LOGIT, 0.3), (LANGUAGE, 1.0)):
        assert np.array_equal(
            Rmia(True, None, signal).scores(bank.inside[0], bank), Rmia(True, a, signal).scores(bank.inside[0], bank)
        )


@pytest.mark.parametrize("a", [-0.1, 1.1, math.nan])
def test_a_outside_0_to_1_is_refused(a: float) -> None:
    with pytest.raises(ValueError, match="a must be between 0 and 1"):
        Rmia(offline=True, a=a)


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offline", [False, True])
def test_scores_of_log_normal_probabilities(offline: bool) -> None:
    """log p|out ~ N(μ, s²), log p|in ~ N(μ + d, s²), many references: both scores are normal with variance s².

    log P_out = μ + s²/2 and log P_in = log P_out + d. With 4 × 30 000 scores the Kolmogorov–Smirnov distance exceeds
    .01 with probability 1e-10; the error of log P adds less than .004 (4 SE).
    """
    d, s, n = 0.8, 0.3, 30_001
    rng = np.random.default_rng(int(offline))
    centre = rng.normal(size=(4, 1))
    noise = s * rng.normal(size=(2, n, 4, 1))
    attack = Rmia(offline=offline, a=1.0, signal=LANGUAGE)
    scores = attack.leave_pair_out(PairArrays(centre + d + noise[0], centre + noise[1]))
    log_p = s**2 / 2 + (0 if offline else math.log((1 + math.exp(d)) / 2))
    for values, mean in zip(scores, (d - log_p, -log_p), strict=True):
        assert stats.kstest(values.ravel(), stats.norm(mean, s).cdf).statistic < 0.014


def test_confident_predictions_do_not_tie() -> None:
    """φ from 17 to 30: in float32 every p is 1; log p still differs."""
    phi = np.linspace(17, 30, 14)[:, None]
    bank = PairArrays(np.full((3, 14, 1), 20.0), np.full((3, 14, 1), 10.0))
    scores = Rmia().scores(phi, bank).astype(float)
    assert len(np.unique(log_probability(phi[:, 0], Signal.SCALED_LOGIT))) == 14
    assert np.all(np.diff(scores) >= 0)
