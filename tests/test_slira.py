"""SLiRA: a target is scored as a shadow model is, chance is not learned, and what closed forms and RMIA reach.

Random tests fix their seed; each states the probability of a false alarm under a fresh one. Banks are
[pairs, examples, queries].
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats

from memaudit.attacks import Lira, Signal, Slira, Variance, interface, slira, taught
from memaudit.attacks.rmia import Rmia
from memaudit.attacks.slira import CANDIDATES, _Averaged, _Statistics
from memaudit.checks.controls import null_area
from memaudit.design import NullPairs, PairArrays, coins
from memaudit.stats import auc, roc_points, threshold

Array = np.ndarray

EXAMPLES = {2: 1000, 3: 700, 8: 250}  # just enough cells for the booster at each number of pairs
SUM = "booster and regressions"


def _bank(
    seed: int, pairs: int, examples: int, shift: float = 1.0, queries: int = 1, signal: Signal = Signal.SCALED_LOGIT
) -> PairArrays:
    """Examples with their own centre, spread and shift, which is exponential with the given mean."""
    rng = np.random.default_rng(seed)
    scale = np.exp(0.5 * rng.normal(size=(examples, queries)))
    inside, outside = 2 * rng.normal(size=(examples, queries)) + scale * rng.normal(size=(2, pairs, examples, queries))
    inside = inside + shift * scale * rng.exponential(size=(examples, queries))
    offset = 0.0 if signal is Signal.SCALED_LOGIT else 9.0
    return PairArrays((inside - offset).astype(np.float32), (outside - offset).astype(np.float32))


def _last(bank: PairArrays, pair: int) -> PairArrays:
    """Return the bank with one pair moved to the end, where a target's scores leave it out."""
    return bank.take(np.array([*np.delete(np.arange(len(bank.inside)), pair), pair]))


# --- a model outside the bank is scored as the shadow models are ------------------------------------------------------


@cache
def _learned(pairs: int, queries: int = 1, signal: Signal = Signal.SCALED_LOGIT) -> tuple[PairArrays, Slira]:
    """Return a bank and the attack that learned from it, made to use everything that it learned."""
    bank = _bank(pairs, pairs, EXAMPLES[pairs], queries=queries, signal=signal)
    return bank, _with(Slira(signal).learn(bank), SUM)


def _with(attack: Slira, candidate: str) -> Slira:
    assert attack.stack is not None
    return replace(attack, stack=replace(attack.stack, candidate=candidate))


@pytest.mark.parametrize(
    ("pairs", "queries", "signal"),
    [(pairs, 1, Signal.SCALED_LOGIT) for pairs in EXAMPLES]
    + [(3, 2, Signal.SCALED_LOGIT), (3, 1, Signal.LOG_PROBABILITY), (8, 2, Signal.LOG_PROBABILITY)],
)
def test_a_pair_as_a_target_has_its_leave_pair_out_scores(pairs: int, queries: int, signal: Signal) -> None:
    """Every pair in turn, moved to the end. A split of the booster may be a value of the bank: rounding shows there."""
    bank, attack = _learned(pairs, queries, signal)
    inside, outside = attack.leave_pair_out(bank)
    for pair in range(pairs):
        moved = _last(bank, pair)
        assert attack.scores(bank.inside[pair], moved) == pytest.approx(inside[pair], rel=1e-5, abs=1e-5)
        assert attack.scores(bank.outside[pair], moved) == pytest.approx(outside[pair], rel=1e-5, abs=1e-5)


def test_without_learning_first_every_call_learns_the_same() -> None:
    bank, anew = _learned(3)[0], Slira()
    once = taught(anew, bank)
    fresh = anew.leave_pair_out(bank)
    for learned, scores in zip(once.leave_pair_out(bank), fresh, strict=True):
        assert np.array_equal(learned, scores)
    target = anew.scores(bank.inside[-1], bank)
    assert np.array_equal(target, once.scores(bank.inside[-1], bank))
    assert target == pytest.approx(fresh[0][-1], rel=1e-5, abs=1e-5)
    assert anew.stack is None


def test_the_order_of_pairs_does_not_matter_to_what_is_learned() -> None:
    """But for rounding errors of sums in another order."""
    bank = _learned(8)[0]
    inside, outside = _learned(8)[1].leave_pair_out(bank)
    moved = _with(Slira().learn(_last(bank, 2)), SUM).leave_pair_out(_last(bank, 2))
    order = [0, 1, 3, 4, 5, 6, 7, 2]
    assert moved[0] == pytest.approx(inside[order], rel=1e-3, abs=1e-3)
    assert moved[1] == pytest.approx(outside[order], rel=1e-3, abs=1e-3)


def test_blocks_do_not_change_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was learned once, to rounding; learned anew, to that of sums in another order."""
    bank, attack = _learned(3)
    whole, target = attack.leave_pair_out(bank), attack.scores(bank.inside[1] + 0.1, bank)
    monkeypatch.setattr(interface, "_BLOCK", 3 * EXAMPLES[3] // 12)
    assert len(list(interface.blocks(bank))) > 10
    for again, tolerance in ((attack, 1e-5), (_with(Slira().learn(bank), SUM), 1e-3)):
        for piecewise, at_once in zip(again.leave_pair_out(bank), whole, strict=True):
            assert piecewise == pytest.approx(at_once, rel=tolerance, abs=tolerance)
        assert again.scores(bank.inside[1] + 0.1, bank) == pytest.approx(target, rel=tolerance, abs=tolerance)


def test_nothing_depends_on_the_target() -> None:
    """A target's score is the same whatever was scored before, and an example's whatever the others' signals are."""
    bank, learned = _learned(3)
    first, second = bank.inside[0] + 1, bank.outside[0] - 1
    for attack in (Slira(), learned):
        alone = attack.scores(second, bank)
        attack.scores(first, bank)
        assert np.array_equal(attack.scores(second, bank), alone)
        mixed = np.where(np.arange(EXAMPLES[3])[:, None] % 2, first, second)
        assert np.array_equal(attack.scores(mixed, bank)[::2], alone[::2])


def test_signals_are_left_alone_and_scores_are_float32() -> None:
    bank = _bank(8, 3, 200, queries=2)
    before = bank.inside.copy(), bank.outside.copy()
    inside, outside = Slira().leave_pair_out(bank)
    assert inside.dtype == outside.dtype == Slira().scores(bank.inside[0], bank).dtype == np.float32
    assert inside.shape == outside.shape == (3, 200)
    assert np.array_equal(before, (bank.inside, bank.outside))


def test_an_example_is_scored_by_what_other_examples_taught() -> None:
    """Move all signals of one example: what scores its fold learned from other folds, and does not change.

    The variances, which all examples share, do not change either. The other folds learned from the example.
    """
    bank, attack = _learned(3)
    example = 17
    changed = PairArrays(bank.inside.astype(np.float64), bank.outside.astype(np.float64))
    changed.inside[:, example] += 40
    changed.outside[:, example] += 40
    other = Slira().learn(changed)
    folds = np.random.default_rng(0).permutation(EXAMPLES[3]) % 4
    own = folds == folds[example]
    for candidate in ("booster", "regressions"):
        scores, after = (_with(a, candidate).scores(bank.inside[1], bank) for a in (attack, other))
        assert after[own] == pytest.approx(scores[own], rel=1e-5, abs=1e-5)
        assert np.abs(after[~own] - scores[~own]).max() > 0.01


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("pairs", [2, 3])
def test_its_first_features_are_the_scores_of_lira_and_rmia(pairs: int, signal: Signal) -> None:
    """For shadow models and for a target, in the unit of the signals."""
    bank, attack = _learned(pairs, 1, signal)
    only = _with(attack, "rmia")
    for mine, theirs in zip(only.leave_pair_out(bank), Rmia(signal=signal).leave_pair_out(bank), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5, abs=1e-5)
    target = bank.inside[0] + 0.5
    assert only.scores(target, bank) == pytest.approx(Rmia(signal=signal).scores(target, bank), rel=1e-5, abs=1e-5)
    if pairs > 2:
        statistics = _Statistics(_Averaged(bank), signal)
        everything = slice(0, EXAMPLES[pairs])
        found = statistics.of_target(target.astype(np.float64), everything)[:, 0]
        assert found == pytest.approx(Lira().scores(target, bank), rel=1e-5, abs=1e-5)
        ((_, (inside, _outside)),) = statistics.by_block()
        assert inside[..., 0] == pytest.approx(Lira().leave_pair_out(bank)[0], rel=1e-5, abs=1e-5)


# --- the null hypothesis ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "examples", "shift"), [(2, 1000, 2.0), (3, 200, 10.0), (3, 700, 10.0), (8, 250, 2.0)]
)
def test_null(pairs: int, examples: int, shift: float) -> None:
    """Under permuted labels the mean AUC is ½ within 4 SE, however much the bank leaks. False alarm: 5e-3 each.

    Folds teach each other, so that the area scatters by up to 1.3 of the error of independent examples (simulated).
    Three pairs of 200 examples that differ by ten standard deviations show which pairs have labels in common.
    """
    rng = np.random.default_rng(10 + pairs)
    noise, centre = rng.normal(size=(2, pairs, examples, 1)), 2 * rng.normal(size=(examples, 1))
    bank = PairArrays(centre + noise[0] + shift, centre + noise[1])
    null = NullPairs(bank, coins(pairs, pairs, examples))
    inside, outside = Slira().leave_pair_out(null)
    area, error = null_area(inside, outside)
    assert 0 < error < 0.03
    assert abs(area - 0.5) < 4 * error


def test_chance_is_not_learned_over_many_draws_of_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Null AUCs of 12 draws: their mean deviation in standard errors is 0 within 5.6/√12. False alarm: 5e-3.

    A deviation scatters by up to √2: folds teach each other, so that examples are not quite independent.

    Learning from the other pairs, but from the same examples, has a mean of about 2.3 (simulated): what two pairs have
    in common by chance is learned from the one and applied to the other. The booster shows it best.
    """
    monkeypatch.setattr(slira, "_BOOSTED", 0)
    rng = np.random.default_rng(20)
    noise, centre = rng.normal(size=(2, 3, 200, 1)), 2 * rng.normal(size=(200, 1))
    bank = PairArrays(centre + noise[0] + 10, centre + noise[1])
    deviations = []
    for seed in range(12):
        null = NullPairs(bank, coins(seed, 3, 200))
        area, error = null_area(*_with(Slira().learn(null), SUM).leave_pair_out(null))
        deviations.append((area - 0.5) / error)
    assert abs(np.mean(deviations)) < 5.6 / np.sqrt(12)
    assert np.std(deviations) < 2.3


@pytest.mark.parametrize(
    ("pairs", "examples"),
    [(3, 120), pytest.param(3, 700, marks=pytest.mark.slow), pytest.param(8, 250, marks=pytest.mark.slow)],
)
def test_a_fresh_target_keeps_the_false_positive_rate(pairs: int, examples: int) -> None:
    """At the threshold that outside scores set for 2 %, on 6 fresh targets of each of 12 banks.

    Of fresh scores (k + 1)/(n + 1) lie above the threshold, up to 1/n more than 2 %. The share flagged is that within 4
    SE over banks, which are independent. False alarm: 2e-3 each.
    """
    rates, n = [], pairs * examples
    for seed in range(12):
        whole = _bank(100 * pairs + seed, pairs + 6, examples, shift=1.5)
        targets, rest = whole.outside[:6], whole.take(np.arange(6, pairs + 6))
        attack = Slira().learn(rest)
        cut = threshold(attack.leave_pair_out(rest)[1].ravel(), 0.02)
        rates.append(np.mean([attack.scores(target, rest) > cut for target in targets]))
    error = np.std(rates, ddof=1) / np.sqrt(12)
    assert error < 0.005
    assert -4 * error < np.mean(rates) - 0.02 < 4 * error + 1 / n


# --- what it finds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_every_candidate_finds_a_leak(candidate: str) -> None:
    """The area is 0.67 to 0.71, with a standard error over 700 examples of about 0.01. False alarm: 1e-2 at most."""
    bank, attack = _learned(3)
    inside, outside = _with(attack, candidate).leave_pair_out(bank)
    assert auc(inside.ravel(), outside.ravel()) > 0.64


def test_with_many_pairs_it_finds_what_the_likelihood_ratio_test_finds() -> None:
    """φ|out ~ N(μ, 1), φ|in ~ N(μ + 2, 1): TPR(α) = Φ(Φ⁻¹(α) + 2), less what 31 references cost pooled LiRA.

    12 800 scores a side. At 1 % SLiRA is not below pooled LiRA by more than 4 SE of one of them, nor above the oracle.
    """
    rng = np.random.default_rng(30)
    noise, centre = rng.normal(size=(2, 32, 400, 1)), 3 * rng.normal(size=(400, 1))
    bank = PairArrays(centre + noise[0] + 2, centre + noise[1])
    found = []
    for attack in (Slira(), Lira(variance=Variance.POOLED)):
        inside, outside = attack.leave_pair_out(bank)
        found.append(float(roc_points(inside.ravel(), outside.ravel(), np.array([0.01]))[0][0]))
    slira, lira = found
    oracle = float(stats.norm.cdf(stats.norm.ppf(0.01) + 2))
    slope = stats.norm.pdf(stats.norm.ppf(0.01) + 2) / stats.norm.pdf(stats.norm.ppf(0.01))
    error = np.sqrt(oracle * (1 - oracle) / 12_800 + slope**2 * 0.01 * 0.99 / 12_800)
    assert lira == pytest.approx(oracle, abs=0.05)
    assert lira - 4 * error < slira < oracle + 4 * error


def test_votes_with_a_ceiling_do_not_break_it() -> None:
    """Signals on 20 levels, where most members are at the top: not below RMIA by more than 4 SE over examples."""
    rng = np.random.default_rng(31)
    pairs, examples = 6, 1500
    scale, shift = (
        np.exp(0.5 * rng.normal(size=(examples, 1))),
        rng.choice([0.5, 1, 4], (examples, 1), p=[0.6, 0.3, 0.1]),
    )
    phi = 2 * rng.normal(size=(examples, 1)) + 2 + scale * (rng.normal(size=(2, pairs, examples, 1)))
    phi[0] += scale * shift
    votes = np.round(20 / (1 + np.exp(-phi)))
    inside, outside = np.log((votes + 0.5) / (20 - votes + 0.5))
    bank = PairArrays(inside, outside)
    found = []
    for attack in (Slira(), Rmia()):
        scores = attack.leave_pair_out(bank)
        assert np.isfinite(scores).all()
        found.append((scores[0] > threshold(scores[1].ravel(), 0.01)).mean(axis=0))
    difference = found[0] - found[1]
    assert difference.mean() > -4 * difference.std() / np.sqrt(examples)
    assert found[0].mean() > 0.05


# --- refusals and degenerate banks ------------------------------------------------------------------------------------


def test_one_pair_is_refused() -> None:
    bank = _bank(40, 1, 50)
    for call in (Slira().learn, Slira().leave_pair_out, lambda pairs: Slira().scores(bank.inside[0], pairs)):
        with pytest.raises(ValueError, match="at least 2 pairs of models, got 1"):
            call(bank)


@pytest.mark.parametrize("shape", [(49, 1), (50, 2), (51, 1)])
def test_a_target_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="the bank's"):
        Slira().scores(np.zeros(shape), _bank(41, 3, 50))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_signal_that_is_not_finite_is_named(bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "_BLOCK", 40)
    bank, spoiled = _bank(42, 3, 50), _bank(42, 3, 50)
    spoiled.outside[1, 33] = bad
    target = bank.inside[0].copy()
    target[41] = bad
    for call in (Slira().learn, Slira().leave_pair_out, Slira().learn(bank).leave_pair_out):
        with pytest.raises(ValueError, match="example 33 "):
            call(spoiled)
    with pytest.raises(ValueError, match="example 41 "):
        Slira().scores(target, bank)


@pytest.mark.parametrize(("pairs", "signal"), [(2, Signal.SCALED_LOGIT), (8, Signal.LOG_PROBABILITY)])
def test_constant_signals_have_finite_scores(pairs: int, signal: Signal) -> None:
    same = np.full((pairs, EXAMPLES[pairs], 1), -3.0, dtype=np.float32)
    scores = Slira(signal).leave_pair_out(PairArrays(same, same.copy()))
    assert np.isfinite(scores).all()
    assert np.array_equal(scores[0], scores[1])
    by_example = np.broadcast_to(np.linspace(-5, -1, EXAMPLES[pairs], dtype=np.float32)[:, None], same.shape).copy()
    assert np.isfinite(Slira(signal).leave_pair_out(PairArrays(by_example, by_example.copy()))).all()


def test_a_single_example_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1 example"):
        Slira().leave_pair_out(_bank(43, 6, 1))


@pytest.mark.parametrize("examples", [2, 5, 40])
def test_a_few_examples_have_scores(examples: int) -> None:
    bank = _bank(43, 6, examples)
    assert np.isfinite(Slira().leave_pair_out(bank)).all()
    assert np.isfinite(Slira().scores(bank.inside[0], bank)).all()
