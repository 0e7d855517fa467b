"""The link between memorization and attack success, and why it is cross-fitted.

Random tests fix their seed; each states the probability of a false alarm under a fresh one. `methods.md` T15 and 4.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from memaudit.attacks import Lira
from memaudit.design import PairArrays, by_pair, coins, halves, swapped
from memaudit.memorization import cross_fitted_link, rates_by_bin
from memaudit.memorization.link import EDGES
from memaudit.stats import auc, cluster_interval, partial_spearman, spearman, spearman_interval, transferred_thresholds

Array = np.ndarray

# Kinds of examples: (P[right | outside], P[caught | inside]); all members are right, so memorization is 1 − P_out.
KINDS = ((1.0, 0.02), (0.7, 0.10), (0.4, 0.35), (0.05, 0.90))
FALSE_POSITIVES = 0.02


def _simulate(pairs: int, examples: int, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """Returns (inside right, outside right, caught, accused), everything independent given the kind of the example."""
    p_out, tpr = (np.array(column)[np.arange(examples) % len(KINDS)] for column in zip(*KINDS, strict=True))
    u = rng.random((3, pairs, examples))
    return np.ones((pairs, examples), dtype=bool), u[0] < p_out, u[1] < tpr, u[2] < FALSE_POSITIVES


def _pick(caught: Array, accused: Array) -> Callable[[Array], tuple[Array, Array]]:
    return lambda pairs: (caught[pairs], accused[pairs])


def _null_bank(models: int, examples: int, seed: int) -> tuple[Array, Array]:
    """Inside and outside signals [pairs, examples, 1] of models that learned nothing about their members."""
    members = halves(seed, models, examples)
    rng = np.random.default_rng(seed)
    return by_pair((rng.normal(size=members.shape) + 0.5 * rng.normal(size=examples))[..., None], members)


# --- T15: the double dip ----------------------------------------------------------------------------------------------


def test_t15_double_dipping_manufactures_a_headline_and_cross_fitting_does_not() -> None:
    """NEGATIVE CONTROL: no leakage at all, M = 64, top 1 % by memorization.

    Memorization measured on the attacked models themselves: the signal's AUC there is .66 ± .02 and LiRA's, even with
    the pair left out, is above .60. Memorization from the other half, as `cross_fitted_link` deals it: .50 ± .02. Over
    other seeds a bank's AUC has an SE of .005 (naive) and a half's one of .016 (honest): means of 6 and 12 make .002
    and .0046. False alarm 2e-5.
    """
    examples, naive_phi, naive_lira, honest = 10_000, [], [], []
    for seed in range(6):
        inside, outside = _null_bank(64, examples, 150 + seed)
        bank = PairArrays(inside, outside)
        right_in, right_out = inside[..., 0] > 0, outside[..., 0] > 0
        gain = right_in.astype(float) - right_out

        def top(of: Array, gain: Array = gain) -> Array:
            return np.argsort(-gain[of].mean(axis=0), kind="stable")[:100]

        same = top(np.arange(32))
        naive_phi.append(auc(inside[:, same].ravel(), outside[:, same].ravel()))
        scores = Lira().leave_pair_out(bank)
        naive_lira.append(auc(scores[0][:, same].ravel(), scores[1][:, same].ravel()))

        def attack(own: Array, bank: PairArrays = bank, top: Callable[[Array], Array] = top) -> tuple[Array, Array]:
            scores_in, scores_out = Lira().leave_pair_out(bank.take(own))
            best = top(np.setdiff1d(np.arange(32), own))
            honest.append(auc(scores_in[:, best].ravel(), scores_out[:, best].ravel()))
            return scores_in > 2, scores_out > 2

        cross_fitted_link(right_in, right_out, attack)
    assert np.mean(naive_phi) == pytest.approx(0.66, abs=0.02)
    assert np.mean(naive_lira) > 0.60
    assert len(honest) == 12
    assert np.mean(honest) == pytest.approx(0.5, abs=0.02)


def test_t15_bins_of_the_cross_fitted_link_are_flat_without_leakage() -> None:
    """The same null bank through the public path, thresholds transferred at 5 %: in each bin TPR = FPR, and ρ = 0.

    Bins over the models' own memorization are not flat: there the top bin's TPR exceeds its FPR by far. TPR − FPR of
    a bin, over its pairs as clusters: 5 SE (t, 31 degrees of freedom, 6 bins: 1e-4). ρ: its 99.9 % interval holds 0.
    """
    inside, outside = _null_bank(64, 4000, 7)
    bank = PairArrays(inside, outside)
    right_in, right_out = inside[..., 0] > 0, outside[..., 0] > 0
    flags: dict[str, Array] = {"caught": np.empty_like(right_in), "accused": np.empty_like(right_in)}

    def attack(own: Array) -> tuple[Array, Array]:
        scores_in, scores_out = Lira().leave_pair_out(bank.take(own))
        cuts = transferred_thresholds(scores_out, 0.05)[:, None]
        flags["caught"][own], flags["accused"][own] = scores_in > cuts, scores_out > cuts
        return scores_in > cuts, scores_out > cuts

    link = cross_fitted_link(right_in, right_out, attack)
    low, high = link.interval(0.999)
    assert low < 0 < high
    for found in link.bins:
        trials = found.examples * 32
        se = np.sqrt(2 * 0.05 * 0.95 / trials) * 1.5  # 1.5: examples' flags hang together within their references
        assert found.tpr[0] - found.fpr[0] == pytest.approx(0, abs=5 * se)
    dipped = (right_in.astype(float) - right_out).mean(axis=0)
    top = rates_by_bin(np.tile(dipped, (32, 1)), flags["caught"], flags["accused"])[-1]
    assert top.low >= 0.25
    assert top.tpr[0] > 1.5 * top.fpr[0]


# --- known structure --------------------------------------------------------------------------------------------------


def _bin_law(half: int) -> tuple[Array, Array]:
    """P[bin | kind] and TPR of each bin, when memorization is measured on `half` pairs: sums over the binomial."""
    k = np.arange(half + 1)
    bins = np.digitize(k / half, EDGES)
    weight = np.array(
        [[stats.binom.pmf(k, half, 1 - p_out)[bins == b].sum() for b in range(len(EDGES) + 1)] for p_out, _ in KINDS]
    )
    rates = np.array([tpr for _, tpr in KINDS])
    return weight, rates @ weight / np.maximum(weight.sum(axis=0), 1e-300)


@pytest.mark.parametrize("pairs", [20, 32])
def test_bins_have_the_rates_that_the_law_says(pairs: int) -> None:
    """Bins over *measured* memorization mix the kinds: size, TPR and FPR of each bin against the exact mixture.

    20 pairs put 9 of 10 exactly on the edge .90, which belongs to the upper bin. 4000 examples; an example is in the
    same bin for all pairs of its half, so SEs are over examples: 5 SE. False alarm over 2 · 7 · 3 comparisons: 3e-5.
    """
    examples = 4000
    right_in, right_out, caught, accused = _simulate(pairs, examples, np.random.default_rng(160 + pairs))
    link = cross_fitted_link(right_in, right_out, _pick(caught, accused))
    weight, rates = _bin_law(pairs // 2)
    expected_size = weight.sum(axis=0) * examples / len(KINDS)
    edges = (-1.0, *EDGES, 1.0)
    seen = {found.low: found for found in link.bins}
    for b, size in enumerate(expected_size):
        if size < 50:
            continue
        found, units = seen[edges[b]], 2 * size  # both halves of the bank bin the examples anew
        assert found.high == edges[b + 1]
        assert found.examples == pytest.approx(size, abs=5 * np.sqrt(size))
        mixed = weight[:, b] / weight[:, b].sum()
        kinds = np.array([tpr for _, tpr in KINDS])
        spread = mixed @ (kinds - rates[b]) ** 2 + rates[b] * (1 - rates[b]) / (pairs // 2)
        assert found.tpr[0] == pytest.approx(rates[b], abs=5 * np.sqrt(spread / (units / 2)))
        false = np.sqrt(FALSE_POSITIVES * (1 - FALSE_POSITIVES) / (size * pairs))
        assert found.fpr[0] == pytest.approx(FALSE_POSITIVES, abs=5 * false)
        assert found.tpr[1] <= found.tpr[0] <= found.tpr[2]
        assert found.fpr[1] <= found.fpr[0] <= found.fpr[2]


def test_bins_add_up() -> None:
    """Examples, true positives, false positives and shares of the bins sum to the totals; empty bins are left out."""
    rng = np.random.default_rng(161)
    scores = rng.choice([-0.5, 0.0, 0.02, 0.3, 1.0], size=(6, 50))
    caught, accused = rng.random((2, 6, 50)) < 0.3
    bins = rates_by_bin(scores, caught, accused)
    assert [(b.low, b.high) for b in bins] == [(-1.0, 0.02), (0.02, 0.1), (0.25, 0.5), (0.9, 1.0)]
    assert sum(b.examples for b in bins) == pytest.approx(50)
    assert sum(b.examples * 6 * b.tpr[0] for b in bins) == pytest.approx(caught.sum())
    assert sum(b.examples * 6 * b.fpr[0] for b in bins) == pytest.approx(accused.sum())
    assert sum(b.share[0] for b in bins) == pytest.approx(1)
    for found in bins:
        there = (scores >= found.low) & ((scores < found.high) | (found.high == 1.0))
        assert found.tpr[0] == pytest.approx(caught[there].mean())
        assert found.fpr[0] == pytest.approx(accused[there].mean())


def test_the_share_of_true_positives_is_over_pairs_and_takes_the_bins_as_given() -> None:
    """Six pairs, of which the first half is binned by other scores than the second: hits over hits, by Korn & Graubard.

    `memorized` is the share of all bins from .5 on.
    """
    right_in, right_out, caught, accused = _simulate(6, 200, np.random.default_rng(169))
    link = cross_fitted_link(right_in, right_out, _pick(caught, accused))
    gain = right_in.astype(float) - right_out
    binned_by = np.empty(gain.shape)
    for own, other in ((0, 1), (1, 0)):
        binned_by[own::2] = gain[other::2].mean(axis=0)
    hits, found = (caught & (binned_by >= 0.5)).sum(axis=1), caught.sum(axis=1)
    low, high = cluster_interval(hits.astype(float), found.astype(float))
    assert link.memorized == pytest.approx((hits.sum() / found.sum(), float(low), float(high)))
    assert link.memorized[0] == pytest.approx(sum(b.share[0] for b in link.bins if b.low >= 0.5))


@pytest.mark.parametrize("between_models", [0.0, 0.3])
@pytest.mark.parametrize("pairs", [6, 16])
def test_the_share_of_true_positives_covers(pairs: int, between_models: float) -> None:
    """400 banks of 300 examples in two bins, whose TPRs rise and fall with the model. The bins are given.

    Above .95 − 4 SE = .906; false alarm 3e-5 each. Examples are fixed, so the interval may cover more.
    """
    rng = np.random.default_rng(170 + pairs)
    kind = np.arange(300) % len(KINDS)
    tpr = 0.7 * np.array([tpr for _, tpr in KINDS])[kind]
    scores = np.tile(np.where(rng.random((2, 300)) < 0.1 + 0.25 * kind, 0.6, 0.0), (pairs // 2, 1))
    none = np.zeros(scores.shape, dtype=bool)
    truth = ((scores > 0.5) @ tpr).mean() / tpr.sum()
    held = []
    for _ in range(400):
        effect = 1 + between_models * rng.uniform(-1, 1, (pairs, 1))
        _, low, high = rates_by_bin(scores, rng.random(scores.shape) < tpr * effect, none)[1].share
        held.append(low <= truth <= high)
    assert np.mean(held) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 400)


def test_nobody_caught_is_no_share_of_anything() -> None:
    bins = rates_by_bin(np.zeros((4, 10)), np.zeros((4, 10), dtype=bool), np.zeros((4, 10), dtype=bool))
    none = (0, 0, 1 - 0.025 ** (1 / 4))  # in four clusters, which promises no certainty
    assert [b.share for b in bins] == [(0, 0, 1)], "of nothing: no information"
    assert [rate for b in bins for rate in (b.tpr, b.fpr)] == [pytest.approx(none)] * 2


def _population_rho(half: int) -> float:
    """Spearman's ρ of memorization on `half` pairs and the caught share on as many others, from their joint law."""
    k = np.arange(half + 1)
    joint = np.mean(
        [np.outer(stats.binom.pmf(k, half, 1 - p_out), stats.binom.pmf(k, half, tpr)) for p_out, tpr in KINDS], axis=0
    )
    sides = joint.sum(axis=1), joint.sum(axis=0)
    x, y = (np.cumsum(side) - side / 2 - 0.5 for side in sides)
    return float(x @ joint @ y / np.sqrt((sides[0] @ x**2) * (sides[1] @ y**2)))


def test_rho_is_the_one_of_the_law() -> None:
    """ρ against the exact joint law, 5 SE with SE = √((1 + ρ²/2)/(n − 3)); the mean of two directions has less.

    False alarm 6e-7.
    """
    right_in, right_out, caught, accused = _simulate(24, 4000, np.random.default_rng(162))
    link = cross_fitted_link(right_in, right_out, _pick(caught, accused))
    rho = _population_rho(12)
    assert np.arctanh(link.rho) == pytest.approx(np.arctanh(rho), abs=5 * np.sqrt((1 + rho**2 / 2) / 3997))
    low, high = link.interval()
    assert low < rho < high


def test_partial_is_nothing_where_memorization_is_only_difficulty() -> None:
    """With members always right, memorization is 1 − P_out to the last digit: controlling for P_out leaves nothing."""
    right_in, right_out, caught, accused = _simulate(16, 400, np.random.default_rng(163))
    link = cross_fitted_link(right_in, right_out, _pick(caught, accused))
    assert link.rho > 0.5
    assert link.partial is None


def _with_help(pairs: int, examples: int, link: float, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """Return flags of examples whose memorization U(0, .6) does not depend on how hard they are."""
    p_out, rise = rng.uniform(0.1, 0.4, examples), rng.uniform(0, 0.6, examples)
    u = rng.random((4, pairs, examples))
    return u[0] < p_out + rise, u[1] < p_out, u[2] < 0.3 + link * (rise - 0.3), u[3] < FALSE_POSITIVES


def test_partial_is_cross_fitted_with_the_accuracy_of_models_without_the_example() -> None:
    """Against a direct computation on the two halves; its interval is that of ρ with one example less."""
    right_in, right_out, caught, accused = _with_help(8, 300, 1.0, np.random.default_rng(171))
    link = cross_fitted_link(right_in, right_out, _pick(caught, accused))
    gain = right_in.astype(float) - right_out

    def partial(of: Array) -> float:
        found = []
        for a, b in ((0, 1), (1, 0)):
            a_, b_ = of[of % 2 == a], of[of % 2 == b]
            value = partial_spearman(gain[a_].mean(axis=0), caught[b_].mean(axis=0), right_out[a_].mean(axis=0))
            assert value is not None
            found.append(value)
        return float(np.mean(found))

    everyone = np.arange(8)
    value, without = partial(everyone), np.array([partial(np.delete(everyone, t)) for t in everyone])
    low, high = spearman_interval(value, 299, without)
    assert link.partial == pytest.approx((value, float(low), float(high)))


@pytest.mark.slow
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_the_interval_of_the_partial_correlation_covers(strength: float) -> None:
    """200 banks of 6 pairs; the estimand is the mean over banks. It is conservative like that of ρ: .99 to 1.

    Above .95 − 4 SE = .888; false alarm 3e-5 each.
    """
    value, low, high = _partials(strength, 200)
    assert ((low <= value.mean()) & (value.mean() <= high)).mean() > 0.888
    assert value.mean() > 0.05 if strength else abs(value.mean()) < 5 * value.std() / np.sqrt(200)


def test_the_interval_of_the_partial_correlation_covers_in_a_few_banks() -> None:
    """40 banks of 6 pairs: at most 7 intervals at 95 % miss. False alarm 7e-4 if they were exact; they are wider."""
    value, low, high = _partials(1.0, 40)
    assert ((low > value.mean()) | (value.mean() > high)).sum() <= 7


def _partials(strength: float, banks: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(172)
    found = []
    for _ in range(banks):
        right_in, right_out, caught, accused = _with_help(6, 200, strength, rng)
        found.append(cross_fitted_link(right_in, right_out, _pick(caught, accused)).partial)
    value, low, high = np.array(found, dtype=float).T
    return value, low, high


def test_an_attack_that_does_not_care_about_memorization_has_no_link() -> None:
    """Caught by coin: the 99.99 % interval of ρ holds 0, and all bins have the same TPR to 5 SE. False alarm 1e-4."""
    right_in, right_out, _, accused = _simulate(16, 2000, np.random.default_rng(164))
    caught = np.random.default_rng(165).random(accused.shape) < 0.3
    link = cross_fitted_link(right_in, right_out, _pick(caught, accused))
    low, high = link.interval(0.9999)
    assert low < 0 < high
    for found in link.bins:
        assert found.tpr[0] == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / (found.examples * 16)))


def test_the_null_run_is_flat_whatever_the_bank_holds() -> None:
    """Coins decide what is called inside: strong memorization and a strong attack leave no link and no rate above FPR.

    All correctness and flags are swapped by the same coins: TPR = FPR in each bin to 5 SE (binomial, per pair and
    example at most ¼ each), |ρ| inside its 99.99 % interval. False alarm 1e-4.
    """
    right_in, right_out, caught, accused = _simulate(16, 3000, np.random.default_rng(166))
    heads = coins(5, 16, 3000)
    right_in, right_out = swapped(right_in, right_out, heads)
    caught, accused = swapped(caught, accused, heads)
    link = cross_fitted_link(right_in, right_out, _pick(caught, accused))
    low, high = link.interval(0.9999)
    assert low < 0 < high
    for found in link.bins:
        assert found.tpr[0] == pytest.approx(found.fpr[0], abs=5 * np.sqrt(0.5 / (found.examples * 16)))


# --- cross-fitting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [6, 7, 16])
def test_each_half_is_attacked_alone_and_binned_by_the_other(pairs: int) -> None:
    """The attack sees two disjoint halves that cover the bank; what it flags is binned by the other half's models."""
    rng = np.random.default_rng(167)
    right_in, right_out, caught, accused = rng.random((4, pairs, 60)) < 0.5
    seen: list[list[int]] = []

    def attack(own: Array) -> tuple[Array, Array]:
        seen.append(own.tolist())
        return caught[own], accused[own]

    link = cross_fitted_link(right_in, right_out, attack)
    assert sorted(seen[0] + seen[1]) == list(range(pairs))
    assert len(seen) == 2
    gain = right_in.astype(float) - right_out
    binned_by = np.empty((pairs, 60))
    for own, other in (seen, seen[::-1]):
        binned_by[own] = gain[other].mean(axis=0)
    assert link.bins == rates_by_bin(binned_by, caught, accused)
    there, back = (spearman(gain[a].mean(axis=0), caught[b].mean(axis=0).astype(float)) for a, b in (seen, seen[::-1]))
    assert link.rho == pytest.approx((there + back) / 2, abs=1e-12)


def test_too_few_pairs_are_refused() -> None:
    flags = np.zeros((5, 10), dtype=bool)
    with pytest.raises(ValueError, match="got 5"):
        cross_fitted_link(flags, flags, _pick(flags, flags))


# --- the interval -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rho", "between_models", "examples"), [(0.0, 0.0, 300), (0.6, 2.0, 800)])
def test_the_interval_of_rho_covers_when_both_sides_are_estimated(
    rho: float, between_models: float, examples: int
) -> None:
    """Latent normal scores with correlation ρ, seen through 16 pairs of models that flip coins, with effects per model.

    The estimand is the mean of the observed ρ over banks and examples. 120 repetitions: coverage at least .95 − 4 SE =
    .870. It is conservative, .98 to .99: the noise of single examples' flags enters both parts of the variance, and the
    interval is 1.25 to 1.45 times as wide as it need be. False alarm 3e-5.
    """
    rng = np.random.default_rng(168)
    pairs, repetitions = 16, 120
    halves_of = np.arange(0, pairs, 2), np.arange(1, pairs, 2)
    seen = np.empty((repetitions, 3))
    for repetition in range(repetitions):
        x, y = rng.normal(size=(2, examples))
        y = rho * x + np.sqrt(1 - rho**2) * y
        effect = between_models * rng.normal(size=(2, pairs, 1))
        noise = rng.normal(size=(2, pairs, examples))
        gain, caught = noise[0] < x - 1 + effect[0], noise[1] < y - 1 + effect[1]

        def correlation(of: Array, gain: Array = gain, caught: Array = caught) -> float:
            a, b = (np.intersect1d(half, of) for half in halves_of)
            there = spearman(gain[a].mean(axis=0), caught[b].mean(axis=0))
            return (there + spearman(gain[b].mean(axis=0), caught[a].mean(axis=0))) / 2

        everyone = np.arange(pairs)
        value = correlation(everyone)
        without = np.array([correlation(np.delete(everyone, t)) for t in everyone])
        seen[repetition] = value, *spearman_interval(value, examples, without)
    truth = seen[:, 0].mean()
    held = (seen[:, 1] <= truth) & (truth <= seen[:, 2])
    assert held.mean() > 0.95 - 4 * np.sqrt(0.95 * 0.05 / repetitions)
    assert (seen[:, 2] - seen[:, 1]).mean() < 2 * 3.92 * seen[:, 0].std()  # covers, but not by saying nothing
