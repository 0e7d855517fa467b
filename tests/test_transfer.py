"""Rates at thresholds that shadow models set: variance components in closed form, coverage, ties, and own thresholds.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from memaudit.attacks import Lira
from memaudit.design import PairArrays
from memaudit.stats import (
    Couples,
    TransferredRate,
    clopper_pearson,
    own_tpr,
    roc_points,
    threshold,
    transferred_rate,
    unreachable,
)
from memaudit.stats.transfer import _between_models, _half_rise, _two_way, reached

Array = np.ndarray


def _pairs(like: Array) -> Couples:
    """Complementary pairs, of which the first model was always trained on the example."""
    return Couples.of_pairs(np.ones(like.shape, bool))


# --- closed forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hits", [0, 1, 37, 400])
def test_of_independent_members_at_a_known_threshold_it_is_clopper_pearson(hits: int) -> None:
    for level in (0.9, 0.95, np.array([0.9, 0.99])):
        found = TransferredRate(hits, 400, 1e-4, 1e-4, np.inf).interval(level)
        assert np.allclose(found, clopper_pearson(hits, 400, level), rtol=1e-9)


def test_shadows_that_all_find_every_member_add_no_variance() -> None:
    """No slope, nothing between models: the interval is that of the target's members alone."""
    rng = np.random.default_rng(1)
    outside = rng.normal(size=(8, 300))
    rate = transferred_rate(
        np.arange(150) < 30, outside * 0 + 9, outside, Couples.of_pairs(rng.random((8, 300)) < 0.5), 0.02
    )
    assert (rate.hits, rate.trials, rate.value, rate.design_effect) == (30, 150, 0.2, 1.0)
    assert np.allclose(rate.interval(), clopper_pearson(30, 150))


@pytest.mark.parametrize(("variance", "dof"), [(3e-4, np.inf), (1e-4, 4.0), (3e-4, 4.0)])
def test_more_variance_or_fewer_degrees_of_freedom_widen_the_interval(variance: float, dof: float) -> None:
    """Korn & Graubard 1998: trials/design effect, times the squared ratio of t quantiles."""
    found = TransferredRate(40, 400, 1e-4, variance, dof).interval(0.95)
    trials = 400 * 1e-4 / variance * (stats.t.ppf(0.975, 399) / stats.t.ppf(0.975, dof)) ** 2
    trials = min(trials, 400.0)
    assert np.allclose(found, clopper_pearson(np.array(0.1 * trials), np.array(trials)), rtol=1e-9)
    plain = clopper_pearson(40, 400)
    assert found[0] < plain[0] and plain[1] < found[1]


@pytest.mark.parametrize(("pairs", "examples", "on"), [(5, 40, 2), (16, 100, 1)])
def test_two_way_variance_of_models_alone_and_of_examples_alone(pairs: int, examples: int, on: int) -> None:
    """A share r of models (or examples) is above, whole: r(1 − r)/(models − 1), or r(1 − r)/examples, less cells'."""
    by_model = np.repeat(np.arange(pairs)[:, None] < on, examples, axis=1)
    r = on / pairs
    expected, cells = r * (1 - r) / (pairs - 1), r * (1 - r) / (pairs * examples)
    assert _two_way(by_model, _pairs(by_model)) == pytest.approx((expected, expected - cells))
    by_example = np.repeat(np.arange(examples)[None] < on, pairs, axis=0)
    r = on / examples
    expected, cells = r * (1 - r) / examples, r * (1 - r) / (pairs * examples)
    assert _two_way(by_example, _pairs(by_example)) == pytest.approx((0, expected - cells))


def test_two_way_variance_of_independent_cells_is_that_of_cells() -> None:
    """200 tables; the mean of the part of pairs within 4 SE, and the total no more than its floor adds.

    The total is at least the cells' and scatters by √(2/63) of it, so that the floor adds 7 %. False alarm: 6e-5.
    """
    rng = np.random.default_rng(2)
    found = np.array([_two_way(rng.random((64, 300)) < 0.05, _pairs(np.ones((64, 300)))) for _ in range(200)])
    cells = 0.05 * 0.95 / (64 * 300)
    assert found[:, 0].mean() == pytest.approx(cells, abs=4 * found[:, 0].std() / np.sqrt(200))
    assert 1 <= found[:, 1].mean() / cells < 1.15


def _found(rng: np.random.Generator, easy: float, spread: float) -> tuple[Array, Couples]:
    """Return which examples 50 pairs find, and the design: of easy examples a share 0.6 ± spread, of others none."""
    within = (rng.random(1000) < easy) & (rng.random((50, 1000)) < 0.6 + rng.uniform(-spread, spread, (50, 1)))
    return within, Couples.of_pairs(rng.random((50, 1000)) < 0.5)


@pytest.mark.parametrize("easy", [1.0, 0.3])
def test_models_that_differ_by_chance_alone_have_no_excess(easy: float) -> None:
    """100 banks. Cut at 0, the estimate adds up to 0.4·√(2/99) of the binomial variance, 6 % of it, on average.

    With examples that are easy or not, half of the variance between these is not seen between models, which share them.
    """
    rng = np.random.default_rng(3)
    excess = np.mean([_between_models(*_found(rng, easy, 0.0)) for _ in range(100)])
    rate = 0.6 * easy
    assert excess < 0.1 * rate * (1 - rate) / 500


@pytest.mark.parametrize("easy", [1.0, 0.3])
def test_an_excess_between_models_is_measured(easy: float) -> None:
    """Rates that are uniform within ±0.2·easy: a variance of 0.04·easy²/3, within 4 SE over 100 banks.

    A pair shares its rate, so that 99 degrees of freedom are fewer; which changes no mean. False alarm: 1e-4.
    """
    rng = np.random.default_rng(4)
    excess = np.array([_between_models(*_found(rng, easy, 0.2)) for _ in range(100)])
    expected = 0.04 / 3 * easy**2
    assert excess.std() / 10 < 0.03 * expected
    assert excess.mean() == pytest.approx(expected, abs=4 * excess.std() / 10 + 0.011 * expected)


@pytest.mark.parametrize(("fpr", "step"), [(0.01, 0.002), (0.1, 0.03), (0.001, 0.0005)])
def test_the_slope_is_that_of_the_binormal_roc(fpr: float, step: float) -> None:
    """Φ(Φ⁻¹(α) + 2) at α ± step; 400,000 scores a side, 4 SE of the two thresholds and shares. False alarm: 2e-4."""
    rng = np.random.default_rng(5)
    inside, outside = rng.normal(2, 1, (40, 10_000)), rng.normal(0, 1, (40, 10_000))
    low, high = (stats.norm.cdf(stats.norm.ppf(rate) + 2) for rate in (fpr - step, fpr + step))
    slope = (high - low) / (2 * step)
    error = np.sqrt(((high - low) * (1 - high + low) + slope**2 * 2 * step * (1 - 2 * step)) / 400_000) / 2
    assert error < 0.1 * (high - low) / 2
    assert _half_rise(inside, outside, fpr, step) == pytest.approx((high - low) / 2, abs=4 * error)


def test_the_slope_beyond_the_ends_of_the_roc() -> None:
    inside, outside = np.arange(10.0)[None] + 0.5, np.arange(10.0)[None]
    assert _half_rise(inside, outside, 0.1, 0.5) == pytest.approx((0.7 - 0.1) / 2)
    assert _half_rise(inside, outside, 0.8, 0.5) == pytest.approx((1 - 0.4) / 2)


def test_the_threshold_alone_adds_its_variance_times_the_squared_slope() -> None:
    """Independent scores of N(1, 1) and N(0, 1) have no other: α(1 − α)/n·(dTPR/dα)².

    The mean of 40 is 1.1 to 1.35 times that, simulated: the share's variance is cut at its mean, and the slope is
    squared. False alarm: below 1e-3.
    """
    rng, fpr, pairs, examples = np.random.default_rng(11), 0.05, 8, 500
    slope = stats.norm.pdf(stats.norm.ppf(fpr) + 1) / stats.norm.pdf(stats.norm.ppf(fpr))
    expected = fpr * (1 - fpr) / (pairs * examples) * slope**2
    added = []
    for _ in range(40):
        inside, outside = rng.normal(1, 1, (pairs, examples)), rng.normal(size=(pairs, examples))
        first = Couples.of_pairs(rng.random((pairs, examples)) < 0.5)
        found = transferred_rate(rng.random(examples) < 0.2, inside, outside, first, fpr)
        cut = threshold(outside.ravel(), fpr)
        added.append(
            found.variance - found.binomial - _between_models(inside > cut, first) * _grown(found, inside > cut)
        )
    assert min(added) >= 0
    assert 0.9 < np.mean(added) / expected < 1.6


def _grown(rate: TransferredRate, found: Array) -> float:
    return float(max(1.0, (rate.hits + 0.5) / (rate.trials + 1) / found.mean()) ** 2)


@pytest.mark.parametrize(("hits", "grown"), [(80, 1.0), (200, 1.0), (320, (320.5 / 401 / 0.5) ** 2)])
def test_the_scatter_between_models_grows_with_the_rate(hits: int, grown: float) -> None:
    """Models find all or none of their members: 4 of 8 of them. Its variance of 2/7 is scaled up to a higher rate.

    Non-members scatter as little as they can and members are far from the threshold, which adds nothing.
    """
    first = Couples.of_pairs(np.random.default_rng(12).random((4, 600)) < 0.5)
    inside = np.where((np.arange(4) < 2)[:, None], 9.0, -9.0) * np.ones((4, 600))
    outside = np.random.default_rng(13).random((4, 600))
    rate = transferred_rate(np.arange(400) < hits, inside, outside, first, 0.02)
    smooth = (hits + 0.5) / 401
    assert rate.binomial == pytest.approx(smooth * (1 - smooth) / 400)
    assert rate.variance - rate.binomial == pytest.approx(2 / 7 * grown, rel=1e-6)
    assert rate.dof == pytest.approx((rate.variance / (2 / 7 * grown)) ** 2 * 7, rel=1e-6)


def test_degrees_of_freedom_of_a_threshold_are_those_of_pairs() -> None:
    """One pair of five has all false positives: the variance is that of pairs, and so are its degrees of freedom."""
    rng = np.random.default_rng(14)
    outside = rng.random((5, 400))
    outside[0] += 1
    inside = np.repeat(np.linspace(0, 2.5, 400)[None], 5, axis=0)
    flagged = np.linspace(0, 1, 100_000) < 0.4
    rate = transferred_rate(flagged, inside, outside, Couples.of_pairs(rng.random((5, 400)) < 0.5), 0.1)
    assert rate.variance > 100 * rate.binomial
    assert rate.dof == pytest.approx(4, rel=0.3)


# --- coverage ---------------------------------------------------------------------------------------------------------


class Audits(NamedTuple):
    """How often upper bounds at 95 % lie below the truth, and lower ones above it; mean variance over squared error."""

    kept: float
    broken: float
    variance: float = 0.0


@cache
def _audits(audits: int, shadows: int, between: float) -> tuple[Audits, Audits]:
    """Simulate audits by LiRA of φ = μᵢ + σᵢ(noise + shiftᵢ·member + model), 1,000 examples, at an FPR of 1 %.

    The truth is the TPR at the threshold that has this FPR over all audits. Second: the bounds of members alone.
    """
    rng, pairs, examples, fpr = np.random.default_rng(6), shadows // 2, 1000, 0.01
    scores, members, rates, alone = [], [], [], []
    for _ in range(audits):
        mean, scale = rng.normal(2, 2, (examples, 1)), np.exp(0.5 * rng.normal(size=(examples, 1)))
        shift = rng.choice([0.5, 1, 4], (examples, 1), p=[0.6, 0.3, 0.1])
        first, member = rng.random((pairs, examples)) < 0.5, rng.random(examples) < 0.5
        model = between * rng.normal(size=(2 * pairs + 1, 1, 1))
        own, other = (np.where(side[..., None], model[:-1:2], model[1::2]) for side in (first, ~first))
        noise = rng.normal(size=(2 * pairs + 1, examples, 1))
        bank = PairArrays(mean + scale * (noise[:pairs] + own + shift), mean + scale * (noise[pairs:-1] + other))
        phi = mean + scale * (noise[-1] + shift * member[:, None] + model[-1])
        inside, outside = Lira().leave_pair_out(bank)
        cut = threshold(outside.ravel(), fpr)
        target = Lira().scores(phi, bank)
        rates.append(transferred_rate((target > cut)[member], inside, outside, Couples.of_pairs(first), fpr))
        by_all = Lira().scores(phi, bank.take(np.array([*range(pairs), 0])))  # the last pair is no reference
        alone.append(clopper_pearson(int((by_all > cut)[member].sum()), int(member.sum()), 0.9))
        scores.append(target)
        members.append(member)
    of_all, who = np.concatenate(scores), np.concatenate(members)
    truth = (of_all[who] > threshold(of_all[~who], fpr)).mean()

    def errors(bounds: list[tuple[Array, Array]]) -> Audits:
        low, high = np.array(bounds).T
        return Audits(float((high <= truth).mean()), float((low > truth).mean()))

    squares = np.mean([(rate.value - truth) ** 2 for rate in rates])
    stated = float(np.mean([rate.variance for rate in rates]) / squares)
    return errors([rate.interval(0.9) for rate in rates])._replace(variance=stated), errors(alone)


def _most(audits: int) -> float:
    """Return the share of errors that a probability of 5 % exceeds once in 2,000 times."""
    return float(0.05 + 3.3 * np.sqrt(0.05 * 0.95 / audits))


def test_a_gate_on_the_bounds_errs_in_at_most_five_of_a_hundred_audits() -> None:
    """Six shadows, with a common shift between models. False alarm over both sides: 1e-3."""
    assert max(_audits(150, 6, 0.3)[0][:2]) <= _most(150)


def test_the_stated_variance_is_that_of_the_estimate() -> None:
    """Its mean over the same audits, beside the mean squared error: conservative, but not twice as large."""
    assert 0.8 < _audits(150, 6, 0.3)[0].variance < 2


def test_bounds_of_members_alone_err_far_more_often() -> None:
    """Negative control: Clopper–Pearson, of a target that was scored with one more pair than the shadows."""
    assert max(_audits(150, 6, 0.3)[1][:2]) > 2 * _most(150)


@pytest.mark.slow
@pytest.mark.parametrize("between", [0.0, 0.3])
@pytest.mark.parametrize("shadows", [6, 16])
def test_a_gate_on_the_bounds_errs_as_rarely_in_a_long_simulation(shadows: int, between: float) -> None:
    """False alarm over the 8 comparisons: 4e-3. Bounds so wide that they never err would be useless."""
    found, alone = _audits(1500, shadows, between)
    assert max(found[:2]) <= _most(1500)
    assert sum(found[:2]) > 0.005
    assert sum(alone[:2]) > sum(found[:2])
    assert 0.8 < found.variance < 2


# --- ties -------------------------------------------------------------------------------------------------------------


def test_a_rate_without_ties_is_reached() -> None:
    outside = np.random.default_rng(8).permutation(1000.0 + np.arange(1000)).reshape(4, 250)
    assert unreachable(outside, 0.01) is None
    assert reached(outside, 0.01) == (0.01, 0.011)


@pytest.mark.parametrize(("above", "tied", "found"), [(8, 5, None), (7, 5, (0.007, 0.012)), (0, 400, (0.0, 0.4))])
def test_a_rate_is_reached_from_four_fifths_of_it_on(above: int, tied: int, found: tuple[float, float] | None) -> None:
    """Of 1,000 scores 10 may lie above; exactly 8 are enough, 7 are not."""
    outside = np.r_[np.full(above, 9.0), np.full(tied, 5.0), -np.arange(1000.0 - above - tied)].reshape(2, 500)
    assert unreachable(outside, 0.01) == found


def test_a_rate_that_so_few_scores_cannot_show_is_not_held_against_ties() -> None:
    """Of 150 scores 1 % is one: 0.67 % is all that there is, and is reached."""
    assert unreachable(np.arange(150.0).reshape(3, 50), 0.01) is None
    assert unreachable(np.zeros((3, 50)), 0.01) == (0.0, 1.0)


def test_too_few_scores_resolve_no_rate() -> None:
    with pytest.raises(ValueError, match="cannot resolve"):
        unreachable(np.zeros((2, 40)), 0.01)


# --- thresholds that the non-members at hand set ----------------------------------------------------------------------


def test_where_there_is_nothing_to_find_the_own_rate_is_the_nominal_one() -> None:
    """100 non-members: the mean of 500 within 4 SE; read off the ROC it is (k + 1)/101. False alarm: 5e-4."""
    rng = np.random.default_rng(9)
    fprs = np.array([0.004, 0.01, 0.05, 0.333])
    draws = [(rng.normal(size=400), rng.normal(size=100)) for _ in range(500)]
    own = np.array([[own_tpr(*scores, fpr) for fpr in fprs.tolist()] for scores in draws])
    read = np.array([roc_points(*scores, fprs)[0] for scores in draws])
    for found, expected in ((own, fprs), (read, ((100 * fprs + 1e-9).astype(int) + 1) / 101)):
        assert np.all(np.abs(found.mean(axis=0) - expected) < 4 * found.std(axis=0) / np.sqrt(500))


def test_own_rates_rise_from_none_to_all() -> None:
    rng = np.random.default_rng(10)
    inside, outside = rng.normal(1, 1, 50), rng.normal(size=60)
    rates = [own_tpr(inside, outside, fpr) for fpr in np.linspace(0, 1, 200)]
    assert rates[0] == 0
    assert np.all(np.diff(rates) >= 0)
    assert rates[-1] == (inside > outside.min()).mean()
    assert own_tpr(outside + 10, outside, 1.0) == 1
    assert own_tpr(outside - 10, outside, 0.5) == 0


def test_an_own_rate_against_its_definition() -> None:
    """Of four non-members, 0.5 lies at place 2.5: halfway between the rates above the second and the third."""
    outside, inside = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, 2.5, 3.5, 3.6, 5.0])
    assert own_tpr(inside, outside, 0.5) == pytest.approx((3 / 5 + 4 / 5) / 2)
    assert own_tpr(inside, outside, 0.1) == pytest.approx(0.5 * 1 / 5)
