"""Cross-influence against models whose influences are known exactly.

Random tests fix their seed; each states the probability of a false alarm under a fresh one. `methods.md` T8, T9.
"""

import itertools

import numpy as np
import pytest
from scipy import stats

from memaudit.design import by_pair, halves
from memaudit.memorization import (
    banzhaf,
    beyond_chance,
    c_score,
    influence,
    memorization,
    paired_memorization,
    self_influence,
    strongest,
    tail,
)
from memaudit.memorization.influence import DrawInfluence, PairInfluence
from memaudit.memorization.signs import SignLaw
from memaudit.stats import cluster_mean_interval

Array = np.ndarray
ALL = slice(None)


def _points(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two classes in the plane, 15 % of the labels wrong."""
    x = rng.normal(size=(n, 2))
    return x, (x[:, 0] > 0) ^ (rng.random(n) < 0.15)


def _nearest_right(x: Array, y: Array, members: Array, z: Array, labels: Array) -> Array:
    """Whether the nearest member of each test point has its label; without any member it is wrong."""
    distance = ((z[:, None] - x) ** 2).sum(axis=2)
    right = np.zeros((len(members), len(z)), bool)
    for model, row in enumerate(members > 0):
        if row.any():
            right[model] = y[row][np.argmin(distance[:, row], axis=1)] == labels
    return right


def _exact_influence(x: Array, y: Array, z: Array, labels: Array, r: float) -> Array:
    """T8: of i at rank k from z, (1−r)^(k−1) [c_k − Σ_{l>k} r(1−r)^(l−k−1) c_l], c whether a point has z's label."""
    found = np.zeros((len(x), len(z)))
    for j, point in enumerate(z):
        order = np.argsort(((x - point) ** 2).sum(axis=1))
        c = (y[order] == labels[j]).astype(float)
        for k, i in enumerate(order):
            rest = c[k + 1 :] @ (r * (1 - r) ** np.arange(len(c) - k - 1))
            found[i, j] = (1 - r) ** k * (c[k] - rest)
    return found


def _draws(models: int, n: int, r: float, rng: np.random.Generator) -> Array:
    return (rng.random((models, n)) < r).astype(np.uint8)


# --- T8: the nearest neighbour ----------------------------------------------------------------------------------------


def test_t8_formula_of_influence_against_all_subsets() -> None:
    """The oracle itself, on 8 points and 3 test points, by enumerating all 2⁸ training sets."""
    x, y = _points(8, np.random.default_rng(1))
    z, labels = _points(3, np.random.default_rng(2))
    subsets = np.array(list(itertools.product([0, 1], repeat=8)), np.uint8)
    right = _nearest_right(x, y, subsets, z, labels)
    for r in (0.5, 0.7):
        weight = r ** subsets.sum(axis=1) * (1 - r) ** (8 - subsets.sum(axis=1))
        for i in range(8):
            sides = [weight * (subsets[:, i] == side) for side in (1, 0)]
            inside, outside = (side @ right / side.sum() for side in sides)
            assert inside - outside == pytest.approx(_exact_influence(x, y, z, labels, r)[i], abs=1e-12)


@pytest.mark.parametrize("r", [0.5, 0.7])
def test_t8_influence_on_test_examples(r: float) -> None:
    """Real 1-NN models: unbiased over 40 × 30 influences, and errors as large as their standard errors say.

    The mean of (error²) / (mean variance) over 12 banks is 1 within 5 SE over banks (t, 11 degrees: false alarm 4e-4),
    and the mean error within 5 SE of 0. Of pairs at r = 1/2, of independent draws at .7.
    """
    rng = np.random.default_rng(3)
    x, y = _points(40, rng)
    z, labels = _points(30, rng)
    exact, ratios, biases = _exact_influence(x, y, z, labels, r), [], []
    for bank in range(12):
        members = halves(bank, 64, 40) if r == 0.5 else _draws(64, 40, r, rng)
        found = influence(_nearest_right(x, y, members, z, labels), members)
        assert isinstance(found, PairInfluence if r == 0.5 else DrawInfluence)
        error = found.block(ALL) - exact
        ratios.append((error**2).mean() / found.variance(ALL).mean())
        biases.append(error.mean())
    for values, truth in ((ratios, 1), (biases, 0)):
        assert abs(np.mean(values) - truth) < 5 * np.std(values, ddof=1) / np.sqrt(12)


def test_influence_of_models_without_the_measured_example() -> None:
    """`without` makes a training example a test example: the exact influence on it is that of a bank that lacks it.

    Mean over 12 banks of 64 models; 30 × 29 influences with an error of the mean below 6 SE each (false alarm below
    870 × P[t₁₁ > 6] ≈ .08 if they were independent; the seed is fixed). The mean over all is within 5 SE.
    """
    rng = np.random.default_rng(4)
    x, y = _points(30, rng)
    exact = np.zeros((30, 30))
    for j in range(30):
        others = np.delete(np.arange(30), j)
        exact[others, j] = _exact_influence(x[others], y[others], x[[j]], y[[j]], 0.5)[:, 0]
    for design in ("pairs", "draws"):
        errors = []
        for bank in range(12):
            members = halves(bank + 50, 64, 30) if design == "pairs" else _draws(64, 30, 0.5, rng)
            found = influence(_nearest_right(x, y, members, x, y), members, without=members).block(ALL)
            off = ~np.eye(30, dtype=bool)
            errors.append((found - exact)[off])
        each = np.array(errors)
        assert (np.abs(each.mean(axis=0)) < 6 * np.maximum(each.std(axis=0, ddof=1), 0.02) / np.sqrt(12)).all()
        assert abs(each.mean()) < 5 * each.mean(axis=1).std(ddof=1) / np.sqrt(12)


# --- T9: ridge regression, for real-valued metrics --------------------------------------------------------------------


def test_t9_self_influence_of_a_real_metric_near_the_exact_one_left_out() -> None:
    """All 2⁸ training sets of ridge regression: the mean over sets is that of refitting, by hand, for any metric."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    subsets = np.array(list(itertools.product([0, 1], repeat=8)), np.uint8)
    fitted = []
    for row in subsets > 0:
        beta = np.linalg.solve(x[row].T @ x[row] + np.eye(2), x[row].T @ y[row])
        fitted.append(-((y - x @ beta) ** 2))
    metric = np.array(fitted)
    found = self_influence(metric, subsets)
    block = influence(metric, subsets).block(ALL)
    for i in range(8):
        by_hand = 0.0
        for row in subsets[subsets[:, i] == 0]:
            more = row.copy()
            more[i] = 1
            with_it, without = (metric[np.all(subsets == s, axis=1)][0, i] for s in (more, row))
            by_hand += (with_it - without) / 128
        assert found.value[i] == pytest.approx(by_hand)
        assert block[i, i] == pytest.approx(by_hand, abs=1e-5)


# --- What holds by construction ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [True, False])
def test_the_diagonal_is_memorization_with_its_variance(pairs: bool) -> None:
    rng = np.random.default_rng(6)
    members = halves(6, 40, 50) if pairs else _draws(40, 50, 0.6, rng)
    correct = rng.random((40, 50)) < 0.4 + 0.4 * members
    found = influence(correct, members)
    expected = paired_memorization(*by_pair(correct, members)) if pairs else memorization(correct, members)
    np.testing.assert_allclose(np.diag(found.block(ALL)), expected.value, atol=1e-6)
    np.testing.assert_allclose(np.diag(found.variance(ALL)), expected.variance, atol=1e-6)
    own = self_influence(correct, members)
    np.testing.assert_allclose(own.value, expected.value)
    np.testing.assert_allclose(own.se**2, expected.variance, atol=1e-12)


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("without", [True, False])
def test_influence_against_a_loop_over_masked_means(pairs: bool, without: bool) -> None:
    """The slow way, for every pair of examples; block by block, and in contributions of single draws.

    Of pairs without the measured example it is another estimate of the same: each is the mean of its contributions.
    """
    rng = np.random.default_rng(7)
    members = halves(7, 60, 20) if pairs else _draws(60, 20, 0.5, rng)
    metric = rng.normal(size=(60, 20)) + members
    found = influence(metric, members, members if without else None)
    block = found.block(ALL)
    np.testing.assert_allclose(found.block(slice(3, 9)), block[:, 3:9], atol=1e-5)
    grid = np.indices(block.shape).reshape(2, -1)[:, [i for i in range(400) if i % 21 or not without]]
    np.testing.assert_allclose(found.contributions(*grid).mean(axis=0), block[tuple(grid)], atol=1e-5)
    if pairs and without:
        return
    for i, j in grid.T:
        used = members[:, j] == 0 if without else np.ones(60, bool)
        inside, outside = (metric[used & (members[:, i] == side), j] for side in (1, 0))
        assert block[i, j] == pytest.approx(inside.mean() - outside.mean(), abs=1e-5)
        if not pairs:
            variance = inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside)
            assert found.variance(ALL)[i, j] == pytest.approx(variance, rel=1e-4)


def test_a_metric_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="metric of example 3 is not finite"):
        influence(np.where(np.arange(5) == 3, np.nan, 1.0) * np.ones((4, 5)), halves(0, 4, 5))
    with pytest.raises(ValueError, match="example 0 has fewer than two models"):
        influence(np.ones((4, 2)), np.array([[1, 1], [0, 1], [0, 0], [0, 0]], np.uint8))


# --- Beyond chance ----------------------------------------------------------------------------------------------------


def test_the_law_of_signs_against_enumeration() -> None:
    """P[|Σ ±m| ≥ s] by all 2¹⁰ signs, for one, two and three sizes; three are bounded from above."""
    signs = np.array(list(itertools.product([-1, 1], repeat=10)))
    for sizes in ((1.0,) * 10, (1.0,) * 6 + (0.0,) * 4, (1.5,) * 4 + (0.5,) * 6, tuple(map(float, range(10)))):
        sums = np.abs(signs @ np.array(sizes))
        law = SignLaw.of(np.array(sizes))
        exact = np.array([(sums >= s - 1e-9).mean() for s in np.unique(sums)])
        found = law.p_values(np.unique(sums))
        if len(set(sizes)) <= 3:
            np.testing.assert_allclose(found, exact, atol=1e-12)
            reachable = exact.min()
            assert law.least(reachable * 1.001) == pytest.approx(sums.max(), rel=1e-3)
            assert law.least(reachable / 2) == np.inf
        else:
            assert (found >= exact - 1e-12).all()


@pytest.mark.parametrize("design", ["pairs", "draws", "fixed count"])
@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("without", [False, True])
def test_p_values_without_influence_are_no_smaller_than_chance(design: str, real: bool, without: bool) -> None:
    """Null: the metric depends on j's own membership and on the model, on nobody else's. 600 columns × 20 rows × 5.

    P[p ≤ α] ≤ α for α = .1, .01, .001: at most α plus 5 SE of 60,000 (a column's 20 are independent given the column).
    """
    rng = np.random.default_rng(8)
    counts = np.zeros(3)
    for bank in range(5):
        if design == "pairs":
            members = halves(bank, 24, 620)
        elif design == "draws":
            members = _draws(24, 620, 0.4, rng)
        else:
            members = (rng.random((24, 620)).argsort(axis=0) < 12).astype(np.uint8)
        level = rng.normal(size=(24, 1)) + rng.normal(size=620) + members
        metric = level + rng.normal(size=members.shape)
        metric = metric if real else metric > 0
        rows, columns = members[:, :20], slice(20, 620)
        found = influence(metric[:, columns], rows, members[:, columns] if without else None)
        sums = found.sums(ALL)
        at = np.repeat(np.arange(600), 20)
        p = found.p_values(at, sums.T.ravel())
        counts += [(p <= alpha).sum() for alpha in (0.1, 0.01, 0.001)]
    for count, alpha in zip(counts, (0.1, 0.01, 0.001), strict=True):
        assert count / 60_000 <= alpha + 5 * np.sqrt(alpha / 60_000)


def test_nothing_is_found_where_there_is_no_influence() -> None:
    """Under the null the false discovery rate is the probability of finding anything: at most 5 %, of 100 banks.

    More than 14 of 100 has probability 2e-4 at 5 %.
    """
    rng, any_found = np.random.default_rng(9), 0
    for bank in range(100):
        members = halves(bank, 32, 60)
        correct = rng.random(members.shape) < np.where(members, 1.0, rng.random(60))
        any_found += len(beyond_chance(influence(correct, members, members)).p) > 0
    assert any_found <= 14


@pytest.mark.parametrize("pairs", [True, False])
def test_a_metric_that_never_varies_has_no_influence(pairs: bool) -> None:
    members = halves(15, 16, 4) if pairs else _draws(16, 4, 0.5, np.random.default_rng(15))
    found = influence(np.ones((16, 4)), members)
    assert len(beyond_chance(found).p) == 0
    assert (found.p_values(np.arange(4), np.zeros(4)) == 1).all()


def test_a_copy_shows_as_a_large_influence() -> None:
    """Points 0 and 1 are copies with a wrong label: each decides the prediction for the other."""
    rng = np.random.default_rng(10)
    x, y = _points(60, rng)
    x[1] = x[0] + 1e-9
    y[[0, 1]] = x[0, 0] <= 0
    members = halves(10, 128, 60)
    found = influence(_nearest_right(x, y, members, x, y), members, without=members)
    sure = beyond_chance(found)
    assert {(0, 1), (1, 0)} <= set(zip(sure.training.tolist(), sure.measured.tolist(), strict=True))
    assert (sure.p[1:] >= sure.p[:-1]).all() and sure.tests == 60 * 59
    top = strongest(found, 3)
    assert top.influencers[0, 1] == 0 and top.influenced[0, 0] == 1
    assert top.on[0, 1] == pytest.approx(found.block(ALL)[0, 1])
    block = found.block(ALL)
    np.fill_diagonal(block, -np.inf)
    np.testing.assert_allclose(top.on, np.sort(block, axis=0)[:-4:-1], atol=1e-6)
    np.testing.assert_allclose(top.of, np.sort(block.T, axis=0)[:-4:-1], atol=1e-6)


# --- The tail ---------------------------------------------------------------------------------------------------------


def _bank_with_a_tail(seed: int, pairs: int, helped: float) -> tuple[Array, Array]:
    """60 examples: 0–9 memorized and of use for 10–19 (right with probability `helped` more), 20–29 for nobody."""
    rng = np.random.default_rng(seed)
    members = halves(seed, 2 * pairs, 60)
    inside, outside = np.ones(members.shape), np.full(members.shape, 0.95)
    outside[:, :10] = outside[:, 20:30] = 0.2
    outside[:, 10:20] = 0.4 + helped * members[:, :10]
    inside[:, 10:20] = 0.4 + helped / 2
    return rng.random(members.shape) < np.where(members, inside, outside), members


def test_the_tail_split_measures_use_without_the_winners_curse() -> None:
    """Without any influence the mean reach is 0 within 4.5 SE over 200 banks, and 95 % intervals miss it at most 9 %.

    (18 of 200 at 5 %: .01.) Selecting and measuring on the same models gives 0.2 or more.
    """
    means, missed, naive, decided = [], 0, [], []
    for seed in range(200):
        correct, members = _bank_with_a_tail(seed, 12, 0.0)
        split = tail(correct, members)
        _, reach = split.means(split.memorized())
        low, high = cluster_mean_interval(reach)
        means.append(reach.mean())
        decided.append(split.decided.mean())
        missed += not low <= 0 <= high
        block = influence(correct, members, members).block(ALL)
        naive.append(block[:10].max(axis=1).mean())
    assert abs(np.mean(means)) < 4.5 * np.std(means) / np.sqrt(200)
    assert abs(np.mean(decided)) < 4.5 * np.std(decided) / np.sqrt(200)
    assert missed <= 18
    assert np.mean(naive) > 0.2


def test_the_tail_split_finds_what_is_useful() -> None:
    """With 64 pairs and an effect of .55, half of the memorized examples reach .55 and half nobody: .275 in all.

    The interval over pairs covers it in 17 of 20 banks or more (16 or fewer at 95 %: .016; selection is then perfect).
    """
    covered = 0
    for seed in range(20):
        split = tail(*_bank_with_a_tail(seed, 64, 0.55))
        own, reach = split.means(split.memorized())
        low, high = cluster_mean_interval(reach)
        covered += bool(low <= 0.275 <= high)
        assert own.mean() > 0.6
    assert covered >= 17


# --- Values -----------------------------------------------------------------------------------------------------------


def test_banzhaf_against_the_definition() -> None:
    """A game of 6 players by all 2⁶ subsets: mean over the 2⁵ subsets of others of U(S ∪ i) − U(S)."""
    rng = np.random.default_rng(11)
    subsets = np.array(list(itertools.product([0, 1], repeat=6)), np.uint8)
    utility = rng.normal(size=64)
    found = banzhaf(utility, subsets)
    for i in range(6):
        without = np.flatnonzero(subsets[:, i] == 0)
        with_it = without + 2 ** (5 - i)
        assert found.value[i] == pytest.approx((utility[with_it] - utility[without]).mean())


def test_banzhaf_of_pairs_is_unbiased_and_its_errors_are_those_of_pairs() -> None:
    """An additive game with a product: 300 banks of 8 pairs; mean within 5 SE, and the mean variance as found."""
    rng = np.random.default_rng(12)
    worth, values, variances = rng.normal(size=10), [], []
    for bank in range(300):
        members = halves(bank, 16, 10)
        utility = members @ worth + 2.0 * members[:, 0] * members[:, 1] + rng.normal(size=16)
        found = banzhaf(utility, members)
        values.append(found.value)
        variances.append(found.se**2)
    truth = worth + np.where(np.arange(10) < 2, 1.0, 0.0)
    spread = np.std(values, axis=0, ddof=1)
    assert (np.abs(np.mean(values, axis=0) - truth) < 5 * spread / np.sqrt(300)).all()
    assert np.mean(variances) == pytest.approx((spread**2).mean(), rel=0.15)


def test_c_score_is_the_accuracy_of_models_without_the_example() -> None:
    rng = np.random.default_rng(13)
    members = halves(13, 20, 30)
    correct = rng.random(members.shape) < 0.5
    value, low, high = c_score(correct, members)
    for i in range(30):
        assert value[i] == correct[members[:, i] == 0, i].mean()
    assert ((low <= value) & (value <= high)).all()
    np.testing.assert_allclose(value, paired_memorization(*by_pair(correct, members)).outside_accuracy)
    with pytest.raises(ValueError, match="every model was trained on example 2"):
        c_score(correct, np.where(np.arange(30) == 2, 1, members).astype(np.uint8))


def test_hoeffding_is_used_for_real_metrics_only() -> None:
    """Signs of right and wrong have an exact law: all of 20 pairs alike has probability 2⁻¹⁹."""
    members = halves(14, 40, 5)
    signs = np.where(members[0::2, 0] > 0, 1, 0)
    correct = np.empty((40, 1))
    correct[0::2, 0], correct[1::2, 0] = signs, 1 - signs
    found = influence(correct > 0, members[:, :1])
    assert found.block(ALL) == pytest.approx(1)
    assert found.p_values(np.array([0]), found.sums(ALL).ravel())[0] == pytest.approx(2.0**-19)
    assert stats.binom.sf(19, 20, 0.5) * 2 == pytest.approx(2.0**-19)
