"""The link and the power curve where models are no complementary pairs: against pairs, brute force, and simulations."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.unpaired import ATTACK, FPR, evidence, gained, link
from memaudit.attacks import attack
from memaudit.bank.matched import Matched, read_matched, with_couples
from memaudit.bank.matching import most_couples, sides
from memaudit.checks import ClassifierEvidence
from memaudit.checks.enough import PowerCurve, power_curve
from memaudit.checks.learned import learning_check
from memaudit.checks.link import _attacked_half, link_check
from memaudit.checks.membership import online_check
from memaudit.checks.proxies import proxies_check
from memaudit.design import by_pair
from memaudit.memorization import Half, cross_fitted_link, link_of_halves
from memaudit.stats import Couples, cluster_mean_interval

Array = np.ndarray


def _half(members: Array, correct: Array, caught: Array, wrong: Array) -> Half:
    return Half(correct, members, Couples.of_pairs(members[0::2]), caught, wrong)


def test_of_complementary_pairs_it_is_the_link_of_pairs() -> None:
    """The pairs given as models whose clusters are the pairs: all numbers alike."""
    rng = np.random.default_rng(1)
    first = rng.random((8, 300)) < 0.5
    members = np.stack([first, ~first], axis=1).reshape(16, 300)
    correct = rng.random((16, 300)) < np.linspace(0.1, 0.9, 300) + 0.1 * members
    caught, wrong = rng.random((2, 8, 300)) < np.linspace(0.1, 0.6, 300)
    expected = cross_fitted_link(*by_pair(correct, members.astype(np.uint8)), lambda some: (caught[some], wrong[some]))
    pairs = np.arange(8)
    halves = []
    for own in (pairs[0::2], pairs[1::2]):
        rows = np.stack([2 * own, 2 * own + 1], axis=1).ravel()
        halves.append(_half(members[rows], correct[rows], caught[own], wrong[own]))
    found = link_of_halves(*halves)
    assert found.rho == pytest.approx(expected.rho)
    order = np.concatenate([pairs[0::2], pairs[1::2]])
    assert found.without_each == pytest.approx(expected.without_each[order])
    assert found.partial == pytest.approx(expected.partial)
    assert found.memorized == pytest.approx(expected.memorized)
    assert len(found.bins) == len(expected.bins)
    for one, other in zip(found.bins, expected.bins, strict=True):
        assert (one.low, one.high) == (other.low, other.high)
        assert one.examples == pytest.approx(other.examples)
        for name in ("tpr", "fpr", "share"):
            assert getattr(one, name) == pytest.approx(getattr(other, name))


def test_without_one_model_it_is_what_the_others_say() -> None:
    """Memorization and the share caught without a model, by loops over examples and models."""
    found = evidence(16, 0.5, 0.3, seed=3)
    assert isinstance(found.bank, Matched)
    halves = found.bank.halves(0)
    assert halves is not None
    half = halves[0]
    rng = np.random.default_rng(2)
    caught = rng.random(half.couples.inside.shape) < 0.5
    made = Half(half.correct, half.members > 0, half.couples, caught, ~caught)
    for without in (None, 2):
        gain, outside, share = made.measured(without)
        for example in (0, 5, 11):
            models = [m for m in range(len(half.members)) if m != without]
            right = {s: [half.correct[m, example] for m in models if half.members[m, example] == s] for s in (0, 1)}
            rows = [t for t in range(len(caught)) if half.couples.inside[t, example] != without]
            assert outside[example] == pytest.approx(np.mean(right[0]))
            assert gain[example] == pytest.approx(np.mean(right[1]) - np.mean(right[0]))
            assert share[example] == pytest.approx(caught[rows, example].mean())


def test_halves_share_no_model_and_every_example_is_matched_in_both() -> None:
    found = evidence(24, 0.7, 0.0, seed=4)
    assert isinstance(found.bank, Matched)
    halves = found.bank.halves(0)
    assert halves is not None
    first, second = halves
    assert np.array_equal(first.kept, second.kept) and first.shape == second.shape
    rows = [set(map(bytes, half.correct)) for half in halves]
    assert not rows[0] & rows[1]
    for half in halves:
        columns = np.arange(half.shape[1])
        assert half.members[half.couples.inside, columns].all()
        assert not half.members[half.couples.outside, columns].any()
        assert (half.phi[half.couples.inside, columns] == half.inside).all()


def test_the_number_of_couples_gives_the_most_of_them() -> None:
    assert most_couples(np.array([3, 3, 5, 8]))[0] == 3
    assert most_couples(np.array([3, 8, 8, 8]))[0] == 8
    count, enough = most_couples(np.array([2, 1]))
    assert (count, enough.tolist()) == (0, [False, False])
    assert sides(np.array([[True, False], [True, True], [False, True]])).tolist() == [1, 1]


def test_a_cluster_that_holds_all_models_of_an_example_leaves_it_out_of_the_correlation() -> None:
    rng = np.random.default_rng(5)
    members = rng.random((10, 40)) < 0.5
    members[:5, :2], members[5:, :2] = True, False
    members[:5, 2:] = rng.permuted(np.repeat([[True], [True], [True], [False], [False]], 38, axis=1), axis=0)
    members[5:, 2:] = ~members[:5, 2:]
    clusters = np.array([0, 0, 0, 0, 0, 1, 2, 3, 4, 5], np.int32)
    inside = np.argsort(~members, axis=0, kind="stable")[:5].astype(np.int32)
    outside = np.argsort(members, axis=0, kind="stable")[:5].astype(np.int32)
    half = Half(members, members, Couples(inside, outside, clusters), rng.random((5, 40)) < 0.5, members[:5])
    assert not half.robust[:2].any() and half.robust[2:].all()


# --- the checks -------------------------------------------------------------------------------------------------------


def test_the_check_reports_the_link_over_models() -> None:
    found = evidence(24, 0.5, 0.0, seed=6)
    (finding,), skipped = link_check.run(found)
    assert not skipped
    assert "jackknife over models" in finding.estimate.method and "24 shadow models" in finding.counted
    assert "over models, with the bins" in finding.tables[0].note
    assert finding.estimate.low < finding.estimate.value < finding.estimate.high


def test_too_few_models_are_refused_with_what_is_needed() -> None:
    """Every example is in 9 of 12 models, which is 3 couples, and no half has 3 models without it."""
    (skipped,) = link_check.run(_thin(12))[1]
    assert "with and without the same examples in each" in skipped.reason
    assert "train more than these 12 shadow models" in skipped.reason


def _thin(models: int) -> ClassifierEvidence:
    found = evidence(16, 0.5, 0.0, seed=0)
    members = np.random.default_rng(0).permuted(np.arange(models)[:, None] < 9 + np.zeros((1, 200), int), axis=0)
    inside = np.argsort(~members, axis=0, kind="stable")[:3].astype(np.int32)
    outside = np.argsort(members, axis=0, kind="stable")[:3].astype(np.int32)
    couples = Couples(inside, outside, np.arange(models, dtype=np.int32))
    phi = np.random.default_rng(1).normal(size=(models, 200, 1))
    bank = with_couples(phi, members.astype(np.uint8), phi[..., 0] > 0, couples, np.arange(200))
    return replace(found, bank=bank, matched=couples, phi=phi[0], members=members[0], correct=phi[0, :, 0] > 0)


def test_the_first_couples_are_those_of_a_part_of_the_models() -> None:
    found = evidence(32, 0.5, 0.3, seed=7)
    assert isinstance(found.bank, Matched)
    nested = found.bank.nested(3, 0)
    assert nested is not None
    assert nested.models == (8, 16, 32)
    for couples, models in zip(nested.couples, nested.models, strict=True):
        assert nested.bank.couples.inside[:couples].max() < models
        assert nested.bank.couples.outside[:couples].max() < models
    curve = power_curve(found, found.attacked(ATTACK), FPR)
    assert isinstance(curve, PowerCurve)
    assert curve.sizes[-1].models == 32


def test_a_part_of_the_bank_scores_its_models_as_if_the_others_were_not_there() -> None:
    """The curve's first point is that of a bank of the first models alone."""
    found = evidence(16, 0.5, 0.3, seed=8)
    assert isinstance(found.bank, Matched)
    nested = found.bank.nested(2, 0)
    assert nested is not None
    changed = replace(nested.bank, inside=nested.bank.inside.copy(), outside=nested.bank.outside.copy())
    changed.inside[nested.couples[0] :] += 100.0
    rows = np.arange(nested.couples[0])
    one, other = (attack(ATTACK).leave_pair_out(bank.take(rows)) for bank in (nested.bank, changed))
    assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def test_the_main_attack_has_a_power_curve_over_models() -> None:
    (finding, *_), _ = online_check.run(evidence(24, 0.5, 0.0, seed=9))
    note = next(note for note in finding.notes if note.startswith("Doubling the shadow models from 12 to 24"))
    assert "percentage points" in note
    assert any("bootstrap over models and examples" in table.note for table in finding.tables)


# --- simulation -------------------------------------------------------------------------------------------------------


def test_nothing_is_linked_or_gained_where_nothing_leaks() -> None:
    """20 banks of 16 models with a common shift and no leak: an interval above 0 has probability 0.025 at most.

    4 or more of 20 with probability 2e-3 for either, if intervals were exact; they are wider.
    """
    for estimate in (link, gained):
        found = [estimate(evidence(16, 0.5, 0.3, seed=100 + seed, leak=0)) for seed in range(20)]
        assert None not in found
        assert sum(low > 0 for _, low, _ in filter(None, found)) < 4


def test_double_dipping_over_models_would_catch_the_memorized() -> None:
    """NEGATIVE CONTROL, no leak: the 20 examples most memorized by the half that is attacked are flagged more often.

    Of those most memorized by the other half 5 % are flagged: 8 banks × 20 examples with about 5 flags each have a
    standard error below .01. Over other seeds the first share is .08 to .24.
    """
    dipped, honest = [], []
    for seed in range(8):
        found = evidence(32, 0.5, 0.0, seed=200 + seed, leak=0)
        assert isinstance(found.bank, Matched)
        halves = found.bank.halves(seed)
        assert halves is not None
        own, other = (_attacked_half(half, FPR)[0].measured() for half in halves)
        top = np.argsort(-own[0], kind="stable")[:20]
        dipped.append(own[2][top].mean())
        honest.append(other[2][top].mean())
    assert np.mean(dipped) > 0.09
    assert np.mean(honest) == pytest.approx(0.05, abs=0.04)


@pytest.mark.slow
@pytest.mark.parametrize(("models", "share", "between"), [(16, 0.5, 0.3), (32, 0.7, 0.3)])
def test_intervals_cover_what_the_estimates_are_on_average(models: int, share: float, between: float) -> None:
    """200 banks: coverage at least .95 − 4 SE = .888 for both; false alarm 3e-5 each."""
    for estimate in (link, gained):
        made = [estimate(evidence(models, share, between, seed)) for seed in range(200)]
        value, low, high = np.array([each for each in made if each is not None]).T
        assert len(value) > 190
        truth = value.mean()
        assert np.mean((low <= truth) & (truth <= high)) > 0.888


def test_learning_and_forgetting_of_single_models_is_counted_over_them(tmp_path: Path) -> None:
    """By loops over models and examples, of a bank on disk; members are forgotten no more often than others here."""
    rng = np.random.default_rng(6)
    models, examples, looks = 20, 300, 4
    members = rng.random((models, examples)) < 0.6
    right = rng.random((models, looks, examples)) < 0.7
    phi = rng.normal(2, 1, (models, examples, 1)).astype(np.float32)
    files = [tmp_path / f"{model}.safetensors" for model in range(models)]
    for model, file in enumerate(files):
        save_file(
            {
                "members": members[model].astype(np.uint8),
                "phi": phi[model],
                "correct": right[model, -1],
                "observed.epochs": np.array([1, 3, 9, 20], np.float32),
                "observed.correct": right[model],
            },
            file,
        )
    bank = read_matched(files, 0)
    kept = bank.kept
    assert len(kept) < examples
    seen = bank.observed(np.array([5, 2]))
    assert np.array_equal(seen["correct"], right[:, :, kept[[5, 2]]])
    target = members[0][kept]
    found = ClassifierEvidence(
        bank=bank, matched=bank.couples, phi=phi[0, kept], correct=right[0, -1, kept], members=target,
        x=phi[0, kept], y=np.zeros(len(kept), int), share=0.6,
    )  # fmt: skip
    (finding,), _ = learning_check.run(found)
    shares, others = [], []
    for model in range(models):
        lost = [any(a and not b for a, b in pairwise(right[model, :, i])) for i in kept]
        shares.append(np.mean([one for one, i in zip(lost, kept, strict=True) if members[model, i]]))
        others.append(np.mean([one for one, i in zip(lost, kept, strict=True) if not members[model, i]]))
    assert finding.estimate.value == pytest.approx(np.mean(shares))
    assert finding.blind == pytest.approx(np.mean(others))
    assert finding.estimate.low < np.mean(others) < finding.estimate.high, "3 SE of the seed: .003"
    low, high = map(float, cluster_mean_interval(np.array(shares)))
    assert (finding.estimate.low, finding.estimate.high) == pytest.approx((low, high))
    assert finding.figures[0].curves[0].y[0] == pytest.approx(
        np.mean(np.concatenate([right[m, 0, kept][members[m, kept]] for m in range(models)]))
    )
    assert bank.only(np.arange(len(kept)) < 9).observed(np.array([8]))["correct"].shape == (models, looks, 1)
    halves = bank.halves(0)
    assert halves is not None and halves[0].observed(np.array([0])) == {}


def test_what_single_models_do_not_say_is_told_in_a_sentence() -> None:
    found = evidence(24, 0.7, 0.0, seed=4)
    _, (skipped,) = proxies_check.run(found)
    assert skipped.reason == "it needs shadow models that are complementary pairs"
    _, (skipped,) = learning_check.run(found)
    assert "were not observed" in skipped.reason
