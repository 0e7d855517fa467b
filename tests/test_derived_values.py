"""Forgetting, holdout retraining, unlearning and comparisons: slow oracles, null tests, and coverage by simulation."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from memaudit.memorization import (
    Kind,
    forgetting_time,
    holdout_retraining,
    rate_of_forgetting,
    second_split,
    unlearning,
)
from memaudit.stats import paired_change, rate_by_pair

RNG = np.random.default_rng(7)


def pairs(rng: np.random.Generator, count: int, examples: int) -> Any:
    first = rng.integers(0, 2, (count, examples), dtype=np.uint8)
    return np.stack([first, 1 - first], axis=1).reshape(2 * count, examples)


def test_the_symmetric_divergence_is_that_of_scipy() -> None:
    from scipy.special import log_softmax, rel_entr

    from memaudit.signals.divergence import symmetric_kl

    p, q = (log_softmax(RNG.normal(size=(30, 5)) * 3, axis=1) for _ in range(2))
    slow = [
        rel_entr(np.exp(a), np.exp(b)).sum() + rel_entr(np.exp(b), np.exp(a)).sum() for a, b in zip(p, q, strict=True)
    ]
    assert np.allclose(symmetric_kl(p, q), slow)
    assert not symmetric_kl(p, p).any()
    masked = np.array([[0.0, -np.inf]])
    assert symmetric_kl(masked, masked) == 0
    assert np.isinf(symmetric_kl(masked, np.log([[0.5, 0.5]])))


def test_the_divergence_of_networks_is_that_of_their_softmax() -> None:
    import torch

    from memaudit import Examples
    from memaudit.signals.divergence import divergence

    x, y = RNG.normal(size=(90, 4)).astype(np.float32), RNG.integers(0, 3, 90)
    for outputs in (3, 1):
        one, other = (torch.nn.Linear(4, outputs) for _ in range(2))
        found = divergence(one, other, Examples(x, np.minimum(y, max(1, outputs - 1))))
        with torch.no_grad():
            logits = [net(torch.from_numpy(x)) for net in (one, other)]
        if outputs == 1:
            logits = [torch.cat([torch.zeros_like(z), z], dim=1) for z in logits]
        p, q = (z.double().softmax(dim=1).numpy() for z in logits)
        assert np.allclose(found, (p * np.log(p / q) + q * np.log(q / p)).sum(axis=1), atol=1e-5)


def test_holdout_retraining_is_the_mean_over_models_that_had_the_example_alone() -> None:
    members, seen = pairs(RNG, 4, 12), (RNG.random((8, 12)) < 0.3).astype(np.uint8)
    divergence = RNG.gamma(1, size=(8, 12))
    found = holdout_retraining(divergence, members, seen)
    for i in range(12):
        own = [divergence[m, i] for m in range(8) if members[m, i] and not seen[m, i]]
        assert np.isclose(found.value[i], np.mean(own) if own else np.nan, equal_nan=True)
        if len(own) > 1:
            assert np.isclose(found.error[i], np.std(own, ddof=1) / np.sqrt(len(own)))


def slow_time(correct: Any, epochs: Any) -> float:
    for at, epoch in enumerate(epochs):
        if not any(correct[at:]):
            return float(epoch)
    return float("inf")


def test_the_forgetting_time_is_that_of_the_definition() -> None:
    epochs = np.array([0.0, 1, 2, 5, 9])
    correct = RNG.random((5, 6, 40)) < 0.5
    found = forgetting_time(correct, epochs)
    slow = [[slow_time(correct[:, m, i], epochs) for i in range(40)] for m in range(6)]
    assert np.array_equal(found, slow)
    assert np.isinf(found).any() and np.isfinite(found).any()


def test_the_second_split_counts_only_what_was_learned_and_not_seen_again() -> None:
    epochs, members = np.array([1.0, 2, 4]), pairs(RNG, 4, 30)
    seen, learned = (RNG.random((8, 30)) < 0.2).astype(np.uint8), RNG.random((8, 30)) < 0.8
    correct = RNG.random((8, 3, 30)) < 0.6
    found = second_split(correct, epochs, members, seen, learned)
    for i in range(30):
        own = [m for m in range(8) if members[m, i] and not seen[m, i] and learned[m, i]]
        times = sorted(slow_time(correct[m, :, i], epochs) for m in own)
        assert found.learned[i] == len(own)
        if own:
            assert found.time[i] == times[(len(own) - 1) // 2]
            assert np.isclose(found.forgotten[i], np.mean(np.isfinite(times)))
    kinds = found.kinds(early=2.0)
    for i in range(30):
        expected = Kind.UNLEARNED if found.learned[i] < 2 else Kind.TYPICAL if np.isinf(found.time[i]) else None
        expected = (Kind.MISLABELED if found.time[i] <= 2 else Kind.RARE) if expected is None else expected
        assert kinds[i] == expected


def test_the_rate_of_forgetting_is_that_of_a_slow_twin() -> None:
    members, seen = pairs(RNG, 3, 20), np.zeros((6, 20), np.uint8)
    seen[:, :4] = 1
    signal = RNG.normal(size=(6, 2, 20))
    found = rate_of_forgetting(signal, np.array([0.0, 1]), members, seen)
    areas = np.zeros((6, 2))
    for m in range(6):
        for t in range(2):
            score = {}
            for i in range(4, 20):
                others = [signal[o, t, i] for o in range(6) if o != m and not members[o, i]]
                score[i] = signal[m, t, i] - np.mean(others)
            inside, outside = ([s for i, s in score.items() if bool(members[m, i]) is side] for side in (True, False))
            areas[m, t] = np.mean([(a > b) + (a == b) / 2 for a in inside for b in outside])
    by_pair = areas.reshape(3, 2, 2).mean(axis=1)
    assert np.allclose(found.success, by_pair.mean(axis=0))
    assert np.allclose(found.high - found.success, stats.t.ppf(0.975, 2) * by_pair.std(axis=0, ddof=1) / np.sqrt(3))


def test_a_training_forgets_from_where_all_upper_ends_are_below() -> None:
    found = rate_of_forgetting(
        RNG.normal(size=(6, 4, 50)), np.array([0.0, 1, 2, 3]), pairs(RNG, 3, 50), np.zeros((6, 50), np.uint8)
    )
    found = dataclasses.replace(found, high=np.array([0.8, 0.5, 0.7, 0.55]))
    assert found.forgets(0.6) == 3
    assert found.forgets(0.75) == 1
    assert found.forgets(0.9) == 0
    assert found.forgets(0.52) == float("inf")


@pytest.mark.slow
def test_the_rate_of_forgetting_covers_one_half_under_the_null() -> None:
    """Models whose signals do not depend on membership: 95 % intervals hold 0.5 in about 95 of 100 banks."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        signal = rng.normal(size=(12, 1, 60)) + 2 * rng.normal(size=60)
        found = rate_of_forgetting(signal, np.zeros(1), pairs(rng, 6, 60), np.zeros((12, 60), np.uint8))
        held += found.low[0] <= 0.5 <= found.high[0]
    assert 0.91 <= held / 300 <= 0.985


@pytest.mark.slow
def test_unlearning_finds_nothing_left_where_children_never_had_the_examples() -> None:
    """Children whose signals of forgotten members are drawn as non-members'; parents recognise them."""
    rng, held, found = np.random.default_rng(2), 0, None
    for _ in range(300):
        members = pairs(rng, 6, 80)
        hard = 2 * rng.normal(size=80)
        forgotten = (members > 0) & (rng.random((12, 80)) < 0.3)
        before = hard + rng.normal(size=(12, 80)) + 1.5 * members
        after = hard + 1 + rng.normal(size=(12, 80)) + 1.5 * (members * ~forgotten)  # more confident of everything
        found = unlearning(before, after, members, forgotten)
        held += found.after[1] <= 0.5 <= found.after[2]
    assert 0.91 <= held / 300 <= 0.985
    assert found is not None
    assert found.before[1] > 0.7
    assert found.change[2] < 0
    with pytest.raises(ValueError, match="forgets none"):
        unlearning(before, after, members, np.zeros_like(forgotten))


def test_the_paired_interval_is_that_of_the_paired_t_test() -> None:
    before, after = RNG.normal(size=(2, 9))
    value, low, high = paired_change(before, after)
    expected = stats.ttest_rel(after, before).confidence_interval()
    assert np.allclose((value, low, high), (np.mean(after - before), expected.low, expected.high))


def simulated(rng: np.random.Generator, count: int, examples: int, hard: Any, gain: Any) -> Any:
    """A bank and one derived from it, in which memorization is 0.6 of what it was: (inside, outside) of each."""
    base = hard + rng.normal(size=(2, count, examples)) + 0.3 * rng.normal(size=(2, count, 1))
    noise = 0.5 * rng.normal(size=(2, count, examples))
    return [(base[0] + g * gain + e * noise[0], base[1] + e * noise[1]) for g, e in ((1, 0), (0.6, 1))]


@pytest.mark.slow
def test_the_interval_of_a_change_in_tpr_covers_the_change_between_banks() -> None:
    """The truth is the mean change over all simulated banks; an interval that ignores the threshold covers 83 %."""
    from memaudit.attacks import attack
    from memaudit.checks.attacked import Attacked
    from memaudit.design import PairArrays

    rng = np.random.default_rng(3)
    hard, gain = 1.5 * rng.normal(size=250), rng.gamma(0.7, 2, size=250)
    changes = []
    for _ in range(250):
        rates = []
        for inside, outside in simulated(rng, 8, 250, hard, gain):
            bank = PairArrays(inside[..., None].astype(np.float32), outside[..., None].astype(np.float32))
            scored = Attacked.of(attack("lira-online"), bank.outside[0], bank)
            rates.append(rate_by_pair(scored.inside, scored.outside, 0.05))
        changes.append(paired_change(rates[0][1], rates[1][1]))
    value, low, high = np.array(changes).T
    truth = value.mean()
    assert truth < -0.05
    assert 0.91 <= ((low <= truth) & (truth <= high)).mean() <= 0.995


def test_the_influence_of_a_pair_has_the_mean_of_the_rates() -> None:
    inside, outside = RNG.normal(1, 1, (6, 100)), RNG.normal(size=(6, 100))
    true, moved = rate_by_pair(inside, outside, 0.1)
    assert np.isclose(true.mean(), moved.mean())
    assert np.allclose(true, (inside > np.sort(outside.ravel())[-61]).mean(axis=1))


DIGITS = """
import numpy as np
from sklearn.datasets import load_digits
from torch import nn

import memaudit as ma

x, true = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
WRONG = rng.random(len(true)) < 0.1
LABELS = np.where(WRONG, (true + rng.integers(1, 10, len(true))) % 10, true)


def examples():
    return ma.Examples((x / 16).astype(np.float32), LABELS)


def model():
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


recipe = ma.ClassifierRecipe(examples, model, 60, 32, ma.SGD(lr=0.1, momentum=0.9))
"""


@pytest.mark.slow
def test_wrong_labels_are_forgotten_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maini et al. 2022 on digits with 10 % wrong labels; and the same by holdout retraining."""
    import importlib
    import sys

    from sklearn.metrics import roc_auc_score

    import memaudit as ma

    (tmp_path / "digits_with_noise.py").write_text(DIGITS, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("digits_with_noise")
    recipe, wrong = module.recipe, module.WRONG
    bank = ma.fill(tmp_path / "bank", recipe, 6, device="cpu")
    gentle = dataclasses.replace(recipe, optimizer=ma.SGD(lr=0.05, momentum=0.9), observe=ma.Observe("every epoch"))
    derivation = ma.Derivation(ma.derivations.ContinueTraining(gentle, 10), "nonmembers")
    children = ma.derive(tmp_path / "children", bank, recipe, derivation, device="cpu")
    found, retrained = ma.second_split(bank, children), ma.holdout_retraining(children)
    learned = found.learned >= 1
    assert roc_auc_score(wrong[learned], -np.minimum(found.time[learned], 99)) > 0.9
    assert roc_auc_score(wrong[learned], retrained.value[learned]) > 0.9
    assert np.nanmean(found.forgotten[wrong]) > 5 * np.nanmean(found.forgotten[~wrong])
    del sys.modules["digits_with_noise"]
