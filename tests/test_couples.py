"""Models that are no complementary pairs, matched example by example: oracles, designs, and coverage.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import outputs
import pytest
from scipy import stats

from benchmarks.couples import coverage
from memaudit.attacks import Lira, attack
from memaudit.bank.matching import design_of, matched
from memaudit.checks import ClassifierEvidence
from memaudit.checks.controls import null_area
from memaudit.checks.tasks import MultilabelEvidence, RegressionEvidence
from memaudit.design import NullPairs, PairArrays, by_pair
from memaudit.design import coins as swaps
from memaudit.errors import EvidenceError
from memaudit.memorization import Counterfactual, memorization
from memaudit.stats import Couples, threshold, tpr_interval, transferred_thresholds

Array = np.ndarray

# --- designs that the matrix shows ------------------------------------------------------------------------------------


def test_pairs_in_any_order_are_put_next_to_each_other() -> None:
    members = outputs.pairs(12, 200, seed=3)
    design = design_of(members)
    assert design.pairs and design.couples == 6 and len(design.kept) == 200
    ordered = members[design.order]
    assert (ordered[0::2] != ordered[1::2]).all()
    assert sorted(design.order) == list(range(12))
    assert design.caveats == ()


def test_a_single_model_beside_pairs_is_left_out() -> None:
    members = np.vstack([outputs.pairs(10, 200, seed=3), outputs.coins(1, 200, seed=4)])
    design = design_of(members)
    assert design.pairs and 10 not in design.order and "Model 10" in design.words


@pytest.mark.parametrize(("models", "share"), [(16, 0.5), (17, 0.5), (24, 0.3)])
def test_coins_are_matched_for_at_least_95_percent_of_the_examples(models: int, share: float) -> None:
    """The number of couples is the largest with which they are; by the binomial law beside it."""
    members = outputs.coins(models, 4000, seed=1, share=share)
    design = design_of(members)
    sides = np.minimum(members.sum(axis=0), models - members.sum(axis=0))
    assert (sides >= design.couples).mean() >= 0.95 > (sides >= design.couples + 1).mean()
    assert (sides[design.kept] >= design.couples).all() and len(design.kept) == (sides >= design.couples).sum()
    law = stats.binom(models, share)
    expected = law.cdf(models - design.couples) - law.cdf(design.couples - 1)
    assert len(design.kept) / 4000 == pytest.approx(expected, abs=4 * np.sqrt(0.05 / 4000))
    assert not design.pairs and len(np.unique(design.clusters)) == models and design.caveats == ()


def test_where_every_example_is_in_half_of_the_models_all_of_them_are_used() -> None:
    """The matrix of LiRA's published code: each example in exactly half of the models."""
    order = np.random.default_rng(2).random((16, 1000)).argsort(axis=0).argsort(axis=0)
    design = design_of(order < 8)
    assert (design.couples, len(design.kept)) == (8, 1000)
    assert len(np.unique(design.clusters)) == 16, "the correlation of -1/15 is that of the design"
    assert "in 8 of the 16 models" in design.words


def test_repeated_folds_are_as_many_independent_draws_as_repetitions() -> None:
    """Each of 6 repetitions of 3 folds is one draw; with 5 the bank is refused."""
    rng = np.random.default_rng(3)
    folds = np.stack([rng.integers(0, 3, 3000) for _ in range(6)])
    members = np.concatenate([folds != fold for fold in range(3)])
    design = design_of(members)
    assert len(np.unique(design.clusters)) == 6 and design.couples == 6
    assert all(len({int(design.clusters[rep + 6 * fold]) for fold in range(3)}) == 1 for rep in range(6))
    with pytest.raises(EvidenceError, match="5 independent draws"):
        design_of(np.concatenate([folds[:5] != fold for fold in range(3)]))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (outputs.coins(4, 100), "there are 4 models"),
        (np.vstack([outputs.coins(8, 100)] * 2), "models 0 and 8 have the same training set"),
        (np.arange(100)[None] // 10 != np.arange(10)[:, None], "only 1 models"),
        (outputs.coins(16, 500, share=0.9), "models with and without each example"),
    ],
)
def test_what_supports_no_audit_is_refused(members: Array, message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        design_of(members)


def test_blocks_and_uneven_shares_are_said() -> None:
    rng = np.random.default_rng(4)
    blocks = np.repeat(rng.random((8, 100)) < 0.5, 20, axis=1)
    blocks = np.concatenate([blocks, ~blocks])
    assert any("Neighbouring examples" in words for words in design_of(blocks).caveats)
    uneven = rng.random((24, 2000)) < rng.choice([0.3, 0.7], 2000)
    assert any("more of the shadow models than chance" in words for words in design_of(uneven).caveats)
    sizes = rng.random((24, 2000)) < np.linspace(0.3, 0.7, 24)[:, None]
    assert any(
        "30% to 70%" in words or "were not all drawn in the same way" in words for words in design_of(sizes).caveats
    )


# --- couples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("models", "share"), [(16, 0.5), (17, 0.4)])
def test_couples_are_models_with_and_without_the_example_each_once(models: int, share: float) -> None:
    members = outputs.coins(models, 500, seed=5, share=share)
    design = design_of(members)
    couples = matched(members, design, seed=7)
    columns = design.kept[None]
    assert members[couples.inside, columns].all() and not members[couples.outside, columns].any()
    together = np.sort(np.concatenate([couples.inside, couples.outside]), axis=0)
    assert (np.diff(together, axis=0) > 0).all(), "no model twice"
    again, other = matched(members, design, seed=7), matched(members, design, seed=8)
    assert np.array_equal(again.inside, couples.inside) and not np.array_equal(other.inside, couples.inside)


def test_matching_is_at_random() -> None:
    """Every model with an example is equally likely in every place; chi-squared, false alarm 1e-3."""
    members = outputs.coins(16, 4000, seed=6)
    couples = matched(members, design_of(members), seed=1)
    used = np.bincount(couples.inside[0], minlength=16)
    assert stats.chisquare(used).pvalue > 1e-3


def _pairs(models: int = 16, examples: int = 300) -> tuple[Array, Array, Couples]:
    members = outputs.pairs(models, examples)
    members = members[design_of(members).order]
    phi = np.random.default_rng(8).normal(size=(models, examples, 1)) + members[..., None]
    return members, phi, Couples.of_pairs(members[0::2])


def test_couples_of_complementary_pairs_are_the_pairs() -> None:
    members, phi, couples = _pairs()
    columns = np.arange(phi.shape[1])
    inside, outside = by_pair(phi, members.astype(np.uint8))
    assert np.array_equal(phi[couples.inside, columns], inside)
    assert np.array_equal(phi[couples.outside, columns], outside)
    assert (couples.models, couples.groups, couples.share) == (16, 8, 0.5)


@pytest.mark.parametrize("name", ["slira", "lira-online", "lira-offline", "rmia"])
def test_scores_of_couples_where_matching_is_pairing_are_those_of_pairs(name: str) -> None:
    members, phi, couples = _pairs(12, 400)
    columns = np.arange(400)
    gathered = PairArrays(phi[couples.inside, columns], phi[couples.outside, columns])
    paired = PairArrays(*by_pair(phi, members.astype(np.uint8)))
    target = np.random.default_rng(9).normal(size=(400, 1))
    assert np.array_equal(attack(name).scores(target, gathered), attack(name).scores(target, paired))
    for one, other in zip(attack(name).leave_pair_out(gathered), attack(name).leave_pair_out(paired), strict=True):
        assert np.array_equal(one, other)


def test_lira_on_coins_against_plain_numpy() -> None:
    """Normal densities with the variance of each example, from the couples but the last: LiRA per example."""
    members = outputs.coins(20, 200, seed=10)
    design = design_of(members)
    couples = matched(members, design, seed=0)
    phi, target = np.random.default_rng(11).normal(size=(20, 200)) + members, np.random.default_rng(12).normal(size=200)
    kept, columns = phi[:, design.kept], np.arange(len(design.kept))
    bank = PairArrays(kept[couples.inside, columns][..., None], kept[couples.outside, columns][..., None])
    found = attack("lira-offline-per-example").scores(target[design.kept, None], bank)
    for place, example in enumerate(design.kept):
        without = phi[couples.outside[:-1, place], example]
        assert not members[couples.outside[:-1, place], example].any()
        z = (target[example] - without.mean()) / without.std(ddof=1)
        assert found[place] == pytest.approx(z, rel=1e-4, abs=1e-4)


# --- rates by real model ----------------------------------------------------------------------------------------------


def _matched(seed: int = 0, models: int = 16, examples: int = 400) -> tuple[Array, Couples]:
    members = outputs.coins(models, examples, seed=seed)
    design = design_of(members)
    return members[:, design.kept], matched(members, design, seed)


def test_thresholds_come_from_other_models_alone() -> None:
    """A model whose scores are all very high has no part in its own threshold, in whatever row its scores are."""
    _, couples = _matched()
    outside = np.random.default_rng(1).normal(size=couples.outside.shape)
    shifted = outside + 100 * (couples.outside == 5)
    cuts = transferred_thresholds(shifted, 0.05, cluster=couples.outside)
    others = outside[couples.outside % 8 != 5 % 8]
    assert cuts[5] == threshold(others, 0.05)
    assert (shifted > cuts[couples.outside])[couples.outside == 5].all()
    by_row = transferred_thresholds(shifted, 0.05)
    assert by_row.max() > 50, "negative control: thresholds by row see the model itself"


def test_with_rows_as_clusters_the_thresholds_are_those_of_pairs() -> None:
    outside = np.random.default_rng(2).normal(size=(9, 100))
    rows = np.repeat(np.arange(9)[:, None], 100, axis=1)
    assert np.array_equal(transferred_thresholds(outside, 0.05), transferred_thresholds(outside, 0.05, cluster=rows))


def test_sums_by_model_against_loops() -> None:
    _, couples = _matched(3, 14, 50)
    values = np.random.default_rng(4).random(couples.inside.shape)
    for model in range(14):
        here = couples.inside == model
        assert couples.totals(couples.inside, values)[model] == pytest.approx(values[here].sum())
        assert couples.numbers(couples.inside)[model] == here.sum()
    laid = couples.by_cluster(couples.outside, values)
    for row, example in np.ndindex(values.shape):
        assert laid[couples.outside[row, example], example] == values[row, example]
    assert (~np.isnan(laid)).sum() == values.size


def test_the_bootstrap_of_scores_that_are_missing_in_places() -> None:
    """Scores that are all there give what they gave; rows of nothing but gaps change no mean rate."""
    rng = np.random.default_rng(5)
    inside, outside = rng.normal(1, 1, (8, 300)), rng.normal(size=(8, 300))
    whole = tpr_interval(inside, outside, 0.05)
    _, couples = _matched(6, 16, 300)
    cells = couples.inside.shape
    gap = tpr_interval(
        couples.by_cluster(couples.inside, rng.normal(1, 1, cells)),
        couples.by_cluster(couples.outside, rng.normal(size=cells)),
        0.05,
    )
    exact = stats.norm.sf(stats.norm.isf(0.05) - 1)
    assert gap[0] < exact < gap[1] and whole[0] < exact < whole[1]


def _evidence(seed: int, leak: float = 2.0, models: int = 16, examples: int = 1000) -> tuple[ClassifierEvidence, Array]:
    """Return the evidence of a bank of coins and its signals: [models + 1, examples], of the kept examples."""
    made = outputs.made(outputs.coins(models, examples, seed), leak=leak, seed=seed)
    phi = made.logits[:, np.arange(examples), made.labels]
    members = made.members[:-1]
    design = design_of(members > 0)
    couples, kept = matched(members > 0, design, seed), design.kept
    signals, columns = phi[:, kept].astype(np.float32), np.arange(len(kept))

    class Bank(PairArrays):
        pass

    bank = Bank(signals[couples.inside, columns][..., None], signals[couples.outside, columns][..., None])
    for name, value in (("members", members[:, kept]), ("correct", signals[:-1] > 1)):
        object.__setattr__(bank, name, value)
    evidence = ClassifierEvidence(
        bank=bank,  # type: ignore[arg-type]
        phi=signals[-1][:, None],
        correct=signals[-1] > 1,
        members=made.members[-1, kept] > 0,
        x=np.empty((len(kept), 0), np.float32),
        y=made.labels[kept],
        matched=couples,
        fprs=(0.05,),
        attacks=("lira-online",),
    )
    return evidence, signals


def test_memorization_is_that_of_all_models_with_and_without() -> None:
    evidence, signals = _evidence(1)
    expected = memorization(signals[:-1] > 1, evidence.bank.members)
    assert np.array_equal(evidence.memorization.value, expected.value)
    assert evidence.gains.mean() == pytest.approx(expected.value.mean())
    assert len(evidence.gains) == 16


@pytest.mark.parametrize("kind", [MultilabelEvidence, RegressionEvidence])
def test_shares_of_all_models_are_compared_where_an_example_has_several_labels_or_a_number(
    kind: type[ClassifierEvidence],
) -> None:
    """The mean and its interval are of one number: couples alone would leave out models."""
    evidence, signals = _evidence(1)
    correct = 1 / (1 + np.exp(-signals[:-1].astype(np.float64)))
    bank = evidence.bank
    object.__setattr__(bank, "correct", correct)
    found = kind(**{name: getattr(evidence, name) for name in ("phi", "correct", "members", "x", "y", "matched")},
        bank=bank, fprs=(0.05,), attacks=("lira-online",),
    )  # fmt: skip
    inside = bank.members > 0
    for example in (0, 7, 400):
        law = stats.ttest_ind(*(correct[side[:, example], example] for side in (inside, ~inside)), equal_var=False)
        low, high = law.confidence_interval(0.95)
        scores = found.memorization
        assert isinstance(scores, Counterfactual) and "models" in scores.method
        np.testing.assert_allclose(
            (scores.value[example], scores.low[example], scores.high[example]), ((low + high) / 2, low, high)
        )
    assert found.gains.mean() == pytest.approx(found.memorization.value.mean())


def test_correctness_of_couples_is_that_of_their_models() -> None:
    evidence, signals = _evidence(2)
    inside, outside = evidence.correct_by_pair
    for row, example in [(0, 0), (2, 17), (3, 400)]:
        assert inside[row, example] == (signals[evidence.couples.inside[row, example], example] > 1)
        assert outside[row, example] == (signals[evidence.couples.outside[row, example], example] > 1)


def test_false_positives_by_model_are_counted_for_real_models() -> None:
    evidence, _ = _evidence(3)
    flags = evidence.couples.outside == 4
    accused, of = evidence.by_model(flags)
    assert accused[4] == of[4] == flags.sum() and accused.sum() == accused[4] and of.sum() == flags.size


def test_where_there_is_nothing_to_find_swapped_couples_are_at_chance() -> None:
    """A leak, with couples swapped by coins: the area within 4 standard errors. False alarm: 6e-5."""
    evidence, _ = _evidence(4, leak=4.0)
    heads = swaps(1, *evidence.bank.shape[:2])
    area, error = null_area(*Lira().leave_pair_out(NullPairs(evidence.bank, heads)))
    assert abs(area - 0.5) < 4 * error
    area, _ = null_area(*Lira().leave_pair_out(evidence.bank))
    assert area > 0.55, "negative control"


# --- coverage ---------------------------------------------------------------------------------------------------------


_coverage = cache(coverage)


def _most(audits: int) -> float:
    """Return the share of errors that a probability of 5 % exceeds once in 2,000 times."""
    return float(0.05 + 3.3 * np.sqrt(0.05 * 0.95 / audits))


def test_intervals_by_real_model_hold_where_those_by_row_do_not() -> None:
    """Every example in 8 of 16 models, which have a common shift. False alarm: 2e-3."""
    found = _coverage("balanced", 16, 0.6, 80)
    assert 1 - found.covered <= _most(80) and max(found.high, found.low) <= _most(80)
    assert found.rows < 0.85, "negative control: the shift between models is not seen by rows"


@pytest.mark.slow
@pytest.mark.parametrize("between", [0.0, 0.3])
@pytest.mark.parametrize(("design", "models"), [("pairs", 16), ("coins", 16), ("balanced", 16), ("balanced", 8)])
def test_coverage_and_error_rates_of_gates_by_design(design: str, models: int, between: float) -> None:
    """1,000 audits: coverage is shown to be no less than 94 %, and gates err in no more than 5 %, as far as so many
    audits can show. False alarm over the 8 cells: 1e-2."""
    found = _coverage(design, models, between, 1000)
    assert found.covered >= 0.95 - 3.3 * np.sqrt(0.05 * 0.95 / 1000)
    assert max(found.high, found.low) <= _most(1000)


def test_taking_half_of_a_couples_evidence_keeps_its_models() -> None:
    evidence, _ = _evidence(5)
    assert evidence.couples.take(2, 3).inside.shape == (2, -(-evidence.bank.shape[1] // 3))
    assert replace(evidence, seed=1).couples is evidence.matched
