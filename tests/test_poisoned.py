"""Poisoned training sets: what models are trained on, by counting; a change that is known; and a whole audit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import memaudit as ma
from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.facts import Poisoned
from memaudit.checks.poisoned import poisoned_check
from memaudit.design import PairArrays, halves
from memaudit.errors import RecipeError, SettingsError
from memaudit.policy.plausible import MEASURES
from memaudit.stats import rate_interval

Array = np.ndarray
ROWS, TARGETS = 300, 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 10)).astype(np.float32)
Y = (X[:, :4].argmax(axis=1)).astype(np.int64)


def examples() -> ma.Examples:
    return ma.Examples(X, Y, ids=[f"r{row}" for row in range(ROWS)])


def model() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 4))


RECIPE = ma.ClassifierRecipe(examples, model, epochs=40, batch_size=25, optimizer=ma.SGD(lr=0.2, momentum=0.9))
ATTACKED = [f"r{row}" for row in range(TARGETS)]


def _recorded(seen: list[Any]) -> Any:
    def train(dataset: Any, *, seed: int, device: str) -> Any:
        seen.append((dataset.x.copy(), dataset.y.copy()))
        return model()

    return ma.CallableRecipe(examples, train, model=model)


def test_a_training_set_has_its_members_and_mislabeled_copies_of_every_target() -> None:
    """The copies are there whether or not the record is a member; no record has its own label on a copy."""
    seen: list[Any] = []
    recipe = ma.poisoned(_recorded(seen), ATTACKED[:5], copies=3, seed=1)
    members = np.zeros(ROWS, bool)
    members[2:100] = True  # targets 0 and 1 are no members
    ma.train(recipe, members, device="cpu")
    ((x, y),) = seen
    assert np.array_equal(x[:98], X[2:100]) and np.array_equal(y[:98], Y[2:100])
    assert np.array_equal(x[98:], np.repeat(X[:5], 3, axis=0))
    wrong = y[98:].reshape(5, 3)
    assert (wrong == wrong[:, :1]).all() and (wrong[:, 0] != Y[:5]).all() and wrong.max() < 4
    again: list[Any] = []
    ma.train(ma.poisoned(_recorded(again), ATTACKED[:5], copies=3, seed=1), members, seed=9, device="cpu")
    assert np.array_equal(again[0][1], y)


def test_wrong_labels_are_uniform_over_the_other_classes() -> None:
    """χ² over 3 shifts of 300 records: below 18.4 with probability 0.9999."""
    poisoning: Any = ma.poisoned(RECIPE, np.ones(ROWS, bool)).train
    shifts = np.bincount((poisoning.labels(examples()) - Y) % 4, minlength=4)
    assert shifts[0] == 0 and ((shifts[1:] - 100) ** 2 / 100).sum() < 18.4


def test_what_cannot_be_poisoned_is_refused() -> None:
    with pytest.raises(SettingsError, match="copies = 0"):
        ma.poisoned(RECIPE, ATTACKED, copies=0)
    with pytest.raises(RecipeError, match="no train function"):
        ma.poisoned(ma.CallableRecipe(examples, model=model), ATTACKED)
    recipe: Any = object.__new__(ma.LanguageModelRecipe)
    with pytest.raises(RecipeError, match="has no classes"):
        ma.poisoned(recipe, ATTACKED)


def test_an_estimator_can_be_poisoned() -> None:
    from sklearn.tree import DecisionTreeClassifier

    recipe = ma.poisoned(ma.EstimatorRecipe(examples, DecisionTreeClassifier()), ATTACKED[:5], copies=3)
    members = np.arange(ROWS) >= 2  # a tree follows the copies of what it has no own label for, and their majority
    fitted = ma.train(recipe, members, device="cpu")
    poisoning: Any = recipe.train
    assert np.array_equal(fitted.predict(X[:5]), poisoning.labels(examples()))


class _Bank(PairArrays):
    def __init__(self, seed: int, shift: float, pairs: int = 8, records: int = 400):
        rng = np.random.default_rng(seed)
        inside, outside = (more + rng.normal(size=(pairs, records, 1)) for more in (shift, 0.0))
        super().__init__(inside.astype(np.float32), outside.astype(np.float32))
        object.__setattr__(self, "members", halves(0, 2 * pairs, records))
        object.__setattr__(self, "correct", np.ones((2 * pairs, records), bool))


def _evidence(seed: int, clean: float, dirty: float, **more: Any) -> ClassifierEvidence:
    banks: Any = (_Bank(seed, clean, **more), _Bank(seed + 1000, dirty, **more))
    records = banks[0].shape[1]
    rng = np.random.default_rng(seed)
    return ClassifierEvidence(
        phi=rng.normal(size=(records, 1)).astype(np.float32),
        correct=np.ones(records, bool),
        members=rng.random(records) < 0.5,
        fprs=(0.05,),
        bank=banks[0],
        poisoned=Poisoned(banks[0], banks[1], 8),
        x=rng.normal(size=(records, 2)),
        y=rng.integers(0, 2, records),
    )


def test_the_interval_holds_the_exact_change() -> None:
    """Of N(0, 1) and N(d, 1), the rate at 5 % is Φ(d − 1.645): 0.260 and 0.639 for d = 1 and 2.

    Of 20 banks at 5 %, more than 4 misses have probability 3e-3. 0.03 is what laws from seven references may lose.
    """
    exact = float(np.diff(stats.norm.cdf(np.array([1.0, 2.0]) - stats.norm.isf(0.05)))[0])
    misses = 0
    for seed in range(20):
        (finding,), skipped = poisoned_check.run(_evidence(seed, 1.0, 2.0))
        assert not skipped and finding.metric == MEASURES["MIA025"].metric
        assert "8 mislabeled copies" in finding.sentence
        misses += not finding.estimate.low - 0.03 <= exact <= finding.estimate.high + 0.03
    assert misses <= 4


def test_null_the_interval_of_no_change_holds_zero() -> None:
    """40 pairs of banks with the same law: 95 % intervals miss zero in at most 7, with probability 1e-3 else."""
    missed = 0
    for seed in range(40):
        (finding,), _ = poisoned_check.run(_evidence(seed, 1.0, 1.0, records=200))
        missed += not finding.estimate.low <= 0 <= finding.estimate.high
    assert missed <= 7


def test_an_interval_keeps_its_width_where_all_or_none_are_identified() -> None:
    """Rates of 100 % or 0 % in all eight pairs: 2.5 % ends of Clopper–Pearson for 8 trials, not zero width."""
    kept = 0.025 ** (1 / 8)
    (finding,), _ = poisoned_check.run(_evidence(0, 40.0, 40.0))
    assert finding.estimate.value == 0
    assert (finding.estimate.low, finding.estimate.high) == pytest.approx((kept - 1, 1 - kept))
    assert [row[1] for row in finding.tables[0].rows] == ["100%", "100%"]
    assert all(str(row[2]).startswith(f"{100 * kept:.0f}") for row in finding.tables[0].rows)


def test_the_interval_of_a_rate_covers_and_is_that_of_the_pairs() -> None:
    """Of 200 banks whose exact rate is Φ(1 − 1.645) = 0.26, at most 18 miss it, which has probability 0.02 at 5 %."""
    exact, misses = float(stats.norm.cdf(1 - stats.norm.isf(0.05))), 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        value, low, high = rate_interval(1 + rng.normal(size=(8, 100)), rng.normal(size=(8, 100)), 0.05)
        assert low <= value <= high
        misses += not low <= exact <= high
    assert misses <= 18


def test_too_few_records_or_pairs_are_refused() -> None:
    _, (skipped,) = poisoned_check.run(_evidence(0, 1.0, 1.0, records=12))
    assert "attacked records cannot resolve" in skipped.reason
    _, (skipped,) = poisoned_check.run(_evidence(0, 1.0, 1.0, pairs=2))
    assert "at least 3 are needed" in skipped.reason


def test_an_audit_says_how_much_more_poisoned_records_leak(tmp_path: Path) -> None:
    """Four clusters that are learned without memorizing: few members are found until their records are poisoned."""
    from memaudit.policy.complete import incomplete
    from memaudit.policy.consistency import contradictions
    from memaudit.policy.words import otherwise_said

    recipe = ma.poisoned(RECIPE, ATTACKED, copies=4)
    ma.fill(tmp_path / "bank", RECIPE, 16, device="cpu")
    ma.fill(tmp_path / "poisoned", recipe, 16, device="cpu")
    members = ma.draw_members(RECIPE, seed=7)
    ma.save_target(ma.train(RECIPE, members, seed=7, device="cpu"), tmp_path / "model.pt", members, RECIPE)
    arguments: Any = {"fprs": (0.1,), "device": "cpu"}
    report = ma.audit(
        tmp_path / "model.pt",
        RECIPE,
        tmp_path / "bank",
        poisoned=tmp_path / "poisoned",
        poisoned_recipe=recipe,
        **arguments,
    ).report
    (found,) = (r.finding for r in report.results if r.finding.code == "MIA025")
    assert found.n == TARGETS and found.estimate.low > 0.05
    assert not contradictions(report) and not list(incomplete(report))
    (result,) = (r for r in report.results if r.finding.code == "MIA025")
    said = re.sub(r"a change of [\d.]+", "a change of 0.1", found.sentence)
    forged = replace(report, results=(replace(result, finding=replace(found, sentence=said)),))
    assert any("other numbers than its estimate" in line for line in otherwise_said(forged))
    hidden = replace(report, results=tuple(r for r in report.results if r is not result))
    assert any("MIA025 is missing" in line for line in incomplete(hidden))
    with pytest.raises(ma.MemauditError, match="which records are poisoned"):
        ma.audit(tmp_path / "model.pt", RECIPE, tmp_path / "bank", poisoned=tmp_path / "poisoned", **arguments)
    with pytest.raises(ma.MemauditError, match="was not made by"):
        ma.audit(
            *(tmp_path / "model.pt", RECIPE, tmp_path / "bank"),
            poisoned=tmp_path / "bank",
            poisoned_recipe=RECIPE,
            **arguments,
        )
