"""Copies and groups: in or out together, one example in the results, and a control where that cannot be had."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import memaudit as ma
from memaudit.auditing.target import open_target
from memaudit.checks import ClassifierEvidence
from memaudit.checks.controls import CONTROLS
from memaudit.design import Chosen, PairArrays, half, half_in_units, halves, target_half, target_in_units
from memaudit.errors import BankError, EvidenceError, RecipeError
from memaudit.recipe import EstimatorRecipe, Examples, fingerprint
from memaudit.recipe.near import near_copies
from memaudit.training.model import Workshop
from memaudit.types import Control, Verdict

Array = np.ndarray

ROWS = 300
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(ROWS, 6)), RNG.integers(0, 2, ROWS)


# Units


def test_rows_with_one_input_are_one_unit_whatever_their_labels() -> None:
    x = np.array([[0.0], [1.0], [0.0], [2.0], [1.0], [0.0], [3.0]])
    examples = Examples(x, [0, 1, 1, 0, 1, 0, 1])
    assert examples.unit_of.tolist() == [0, 1, 0, 2, 1, 0, 3]
    assert (examples.units, examples.duplicates) == (4, 2)
    assert examples.representatives.tolist() == [0, 1, 3, 6]


def test_groups_and_copies_join() -> None:
    """Rows 0 and 3 are copies, 1 and 3 are one person's: all three are one unit."""
    x = np.array([[0.0], [1.0], [2.0], [0.0], [4.0], [5.0]])
    examples = Examples(x, [0, 1, 0, 1, 0, 1], groups=["a", "b", "c", "b", "d", "e"])
    assert examples.unit_of.tolist() == [0, 0, 1, 0, 2, 3]


def test_groups_of_another_number_are_refused() -> None:
    with pytest.raises(RecipeError, match="300 examples but 2 groups"):
        Examples(X, Y, groups=["a", "b"])


def test_taking_rows_keeps_their_units() -> None:
    examples = Examples(X, Y, groups=np.arange(ROWS) // 2)
    assert examples.take(np.array([5, 2, 4, 9])).unit_of.tolist() == [1, 0, 1, 2]


def test_a_bank_without_copies_has_the_coins_that_it_always_had() -> None:
    examples = Examples(X, Y)
    assert examples.units == ROWS
    for model in range(8):
        assert np.array_equal(half_in_units(3, model, examples.unit_of, examples.y), half(3, model, ROWS))
    assert np.array_equal(target_in_units(3, examples.unit_of, examples.y), target_half(3, ROWS))
    recipe = EstimatorRecipe(lambda: examples, LogisticRegression())
    assert not any("units" in name for name in fingerprint(recipe, examples, 0))


def test_units_are_in_or_out_together_in_every_pair() -> None:
    unit_of = np.arange(ROWS) // 3
    rows = np.stack([half_in_units(1, model, unit_of, Y) for model in range(200)])
    assert np.array_equal(rows[0::2] + rows[1::2], np.ones((100, ROWS)))
    assert all(np.array_equal(rows[:, 3 * unit], rows[:, 3 * unit + 2]) for unit in range(100))
    share = rows[0::2, ::3].mean()  # 100 pairs of 100 units: a deviation of 5 standard errors is 0.025
    assert abs(share - 0.5) < 0.025


def copied() -> Examples:
    return Examples(np.vstack([X, X[:60]]), np.r_[Y, Y[:60]], range(ROWS + 60))


TREES = EstimatorRecipe(copied, DecisionTreeClassifier())


def test_a_bank_that_did_not_know_of_copies_is_refused_by_name(tmp_path: Path) -> None:
    bank = ma.Bank.create(tmp_path, ROWS + 60, {"fingerprint": "2", "examples.count": "360"})
    (tmp_path / "models" / "0000").mkdir()
    with pytest.raises(BankError, match=r"examples\.units: \(none\) → 300 "):
        bank.require(fingerprint(TREES, copied(), 0))


# The audit


def audited(tmp_path: Path, members: Any, recipe: EstimatorRecipe = TREES, **settings: Any) -> Any:
    ma.save_target(ma.train(recipe, members, seed=1), tmp_path / "m.skops", members)
    bank = ma.fill(tmp_path / "bank", recipe, 16)
    settings = {"fprs": (0.05,), "attacks": ("lira-online",)} | settings
    return ma.audit(tmp_path / "m.skops", recipe, bank, **settings)


def control(report: Any) -> Control:
    return next(found for found in report.controls if found.code == "CTL007")


def test_copies_are_one_example_in_the_results(tmp_path: Path) -> None:
    """A tree knows its training set by heart: with 60 copies beside 300 rows, the rate stays what it is without."""
    done = audited(tmp_path, ma.draw_members(TREES, seed=5))
    subject = done.report.subject
    assert subject.members + subject.nonmembers == ROWS
    assert control(done.report).passed is True
    assert done.evidence is not None
    assert len(done.evidence.decode().splitlines()) == 1 + ROWS
    assert any("60 of the 360 examples are exact copies" in line for line in done.report.notices)
    target = open_target(tmp_path / "m.skops", TREES)
    assert target.membership is not None
    assert target.membership.split == 0
    assert target.ids.tolist() == [str(n) for n in range(ROWS)]


@pytest.mark.parametrize("suffix", [".json", ".md", ".html"])
def test_a_gate_on_copies_across_the_split_is_inconclusive_and_says_so(tmp_path: Path, suffix: str) -> None:
    members = np.random.default_rng(2).random(ROWS + 60) < 0.5
    done = audited(tmp_path, members, limits=(ma.Limit(metric="tpr", max=1.0),))
    found = control(done.report)
    assert found.passed is False
    assert "members" in found.sentence and "held out" in found.sentence
    assert done.verdict is Verdict.INCONCLUSIVE
    done.save(tmp_path / f"report{suffix}")
    assert "held out. The shadow models are trained on all of them" in (tmp_path / f"report{suffix}").read_text("utf-8")


def test_held_out_lines_that_are_copies_of_members_are_no_non_members(tmp_path: Path) -> None:
    def twice() -> Examples:
        return Examples(np.vstack([X, X]), np.r_[Y, Y], range(2 * ROWS))

    recipe = EstimatorRecipe(twice, LogisticRegression())
    ma.save_target(LogisticRegression().fit(X, Y), tmp_path / "m.skops", range(ROWS))
    with pytest.raises(
        EvidenceError, match=r"0 non-members among the 300 .*300 examples are held out, but 300 of them are"
    ):
        open_target(tmp_path / "m.skops", recipe)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (np.ones(ROWS, bool), "0 non-members .*every example is a member"),
        (np.zeros(ROWS, bool), "0 members .*must return the training set"),
    ],
)
def test_all_or_none_are_members(tmp_path: Path, members: Array, said: str) -> None:
    recipe = EstimatorRecipe(lambda: Examples(X, Y), LogisticRegression())
    ma.save_target(LogisticRegression().fit(X, Y), tmp_path / "m.skops", members)
    with pytest.raises(EvidenceError, match=said):
        open_target(tmp_path / "m.skops", recipe)


# Near copies


@dataclass(frozen=True)
class Simulated(PairArrays):
    members: Array
    correct: Array

    def take(self, pairs: Array) -> "Simulated":
        models = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        return Simulated(self.inside[pairs], self.outside[pairs], self.members[models], self.correct[models])


def simulated(x: Array, gain: float, acts_on: Array, seed: int = 0, models: int = 16) -> ClassifierEvidence:
    """Return a bank in which training on row i raises the signal of row i, and of row acts_on[i], by as much."""
    rng = np.random.default_rng(seed)
    count = len(x)
    keep = halves(seed, models + 2, count)[: models + 1].astype(float)
    effect = keep + np.where(acts_on >= 0, keep[:, acts_on], 0)
    phi = (gain * effect + rng.normal(0, 1, (models + 1, count)) + rng.normal(0, 2, count)).astype(np.float32)
    first = keep[0:models:2, :, None] > 0
    bank = phi[:models, :, None]
    return ClassifierEvidence(
        bank=Simulated(
            np.where(first, bank[0::2], bank[1::2]),
            np.where(first, bank[1::2], bank[0::2]),
            keep[:models].astype(np.uint8),
            phi[:models] > 0,
        ),
        phi=phi[models, :, None],
        correct=phi[models] > 0,
        members=keep[models] > 0,
        x=x,
        y=np.arange(count) % 2,
        fprs=(0.01,),
        attacks=("lira-online",),
    )


CHECK = next(check for check in CONTROLS if check.code == "CTL007")
NOBODY = np.full(ROWS, -1)


def with_near(share: float, noise: float) -> tuple[Array, Array]:
    """Return inputs of which the last share are the first ones with noise, and who acts on whom."""
    count = int(share * ROWS)
    x, partner = X.copy(), NOBODY.copy()
    x[-count:] = x[:count] + np.random.default_rng(1).normal(0, noise, (count, 6))
    partner[-count:], partner[:count] = np.arange(count), np.arange(ROWS - count, ROWS)
    return x, partner


@pytest.mark.parametrize("noise", [1e-9, 1e-3, 0.02])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_near_copies_that_act_as_copies_fail_the_control(share: float, noise: float) -> None:
    x, partner = with_near(share, noise)
    found = CHECK.run(simulated(x, 2.0, partner))
    assert found.passed is False
    assert f"{round(200 * share)}% of the examples have a near copy" in found.sentence


def test_neighbours_that_do_not_act_as_copies_pass() -> None:
    x, _ = with_near(0.3, 0.02)
    assert CHECK.run(simulated(x, 2.0, NOBODY)).passed is True


def test_values_that_differ_by_rounding_are_copies_even_if_the_model_learns_nothing() -> None:
    x, partner = with_near(0.3, 1e-9)
    assert CHECK.run(simulated(x, 0.0, partner)).passed is False


def test_data_without_copies_pass() -> None:
    """At three distances the test has a false-alarm rate of 1 % and needs 1 % of near neighbours: in 40 runs none."""
    runs = [
        CHECK.run(simulated(RNG.normal(size=(ROWS, 6)), gain, NOBODY, seed)) for seed in range(20) for gain in (0, 2)
    ]
    assert all(run.passed for run in runs)


@pytest.mark.parametrize(("split", "passed"), [(0, True), (1, False)])
def test_one_member_in_a_thousand_may_have_a_copy_held_out(split: int, passed: bool) -> None:
    assert CHECK.run(replace(simulated(X, 2.0, NOBODY), split=split)).passed is passed


@pytest.mark.parametrize("features", [6, 100])
def test_near_copies_are_grouped(features: int) -> None:
    x = np.random.default_rng(3).normal(size=(200, features)) * np.geomspace(1, 1e4, features)
    x[150:] = x[:50] * (1 + 1e-4)
    groups = near_copies(x)
    assert np.array_equal(groups[150:], groups[:50])
    assert len(np.unique(groups)) == 150
    assert groups[:150].tolist() == list(range(150))


# A class too rare for a half


def rare(count: int, classes: int = 2) -> Examples:
    y = np.zeros(200, int)
    y[:count] = 1
    if classes == 3:
        y[100:] = 2
    return Examples(X[:200], y)


@pytest.mark.parametrize("count", [2, 4])
def test_a_pair_with_a_half_of_one_class_is_drawn_again(tmp_path: Path, count: int) -> None:
    examples = rare(count)
    workshop = Workshop(EstimatorRecipe(lambda: examples, LogisticRegression()), examples, 0, "cpu")
    rows = np.stack([workshop.counts(model) for model in range(64)])
    assert np.array_equal(rows[0::2] + rows[1::2], np.ones((32, 200)))
    assert all(0 < row[:count].sum() < count for row in rows)
    plain = halves(0, 64, 200)
    kept = [0 < row[:count].sum() < count for row in plain]
    assert 0 < sum(kept) < 64
    assert np.array_equal(rows[kept], plain[kept])  # and only such a pair
    bank = ma.fill(tmp_path, EstimatorRecipe(lambda: examples, LogisticRegression()), 8)
    assert len(bank.models()) == 8


def test_a_class_of_one_example_is_refused_before_there_is_a_bank(tmp_path: Path) -> None:
    recipe = EstimatorRecipe(lambda: rare(1), LogisticRegression())
    with pytest.raises(RecipeError, match=r"class 0 has 199, class 1 has 1; .*Leave out the class"):
        ma.fill(tmp_path / "bank", recipe, 8)
    assert not (tmp_path / "bank").exists()


def test_a_class_of_one_unit_counts_its_copies_once() -> None:
    y = np.zeros(200, int)
    y[:5] = 1
    examples = Examples(X[:200], y, groups=np.maximum(np.arange(200), 4))
    with pytest.raises(RecipeError, match="class 0 has 195, class 1 has 1"):
        Workshop(EstimatorRecipe(lambda: examples, LogisticRegression()), examples, 0, "cpu").require_classes()


def test_a_class_of_one_example_is_no_trouble_to_a_tree(tmp_path: Path) -> None:
    bank = ma.fill(tmp_path, EstimatorRecipe(lambda: rare(1), DecisionTreeClassifier()), 4)
    assert [list(bank.tensors(m)["members"]) for m in range(4)] == halves(0, 4, 200).tolist()


def test_two_other_classes_are_enough_for_a_half() -> None:
    examples = rare(1, classes=3)
    rows = half_in_units(0, 0, examples.unit_of, examples.y)
    assert np.array_equal(rows, half(0, 0, 200))


def test_redrawn_memberships_are_fair_for_every_example() -> None:
    """Of 2,000 pairs, each of the rare examples is in the first model of half; 5 standard errors are 0.056."""
    examples = rare(2)
    first = np.stack([half_in_units(1, 2 * pair, examples.unit_of, examples.y) for pair in range(2000)])
    assert np.abs(first[:, :20].mean(axis=0) - 0.5).max() < 0.056


def test_chosen_examples_are_those_of_the_bank() -> None:
    inside, outside = RNG.normal(size=(2, 4, 10, 2))
    bank = Simulated(inside, outside, halves(0, 8, 10), RNG.random((8, 10)) < 0.5)
    rows = np.array([0, 3, 4, 9])
    chosen = Chosen(bank, rows)
    assert chosen.shape == (4, 4, 2)
    assert np.array_equal(chosen.members, bank.members[:, rows])
    for part in (slice(0, 4), slice(1, 3), slice(2, 2)):
        assert np.array_equal(chosen.block(part)[0], bank.inside[:, rows[part]])
    assert np.array_equal(chosen.take(np.array([2, 0])).block(slice(0, 4))[1], bank.outside[[2, 0]][:, rows])


def test_documents_of_one_person_are_one_unit() -> None:
    texts = [f"text number {n} of person {n % 4}, which is like no other {n * 7919}" for n in range(12)]
    documents = ma.Documents(texts, similarity=None, groups=[n % 4 for n in range(12)])
    assert documents.unit_of.tolist() == [n % 4 for n in range(12)]
    with pytest.raises(RecipeError, match="12 examples but 1 groups"):
        ma.Documents(texts, groups=["a"])
    assert [own.tolist() for own in documents.records] == [[n, n + 4, n + 8] for n in range(4)]
    assert [own.tolist() for own in documents.take(np.array([9, 2, 1])).records] == [[0, 2], [1]]
    assert documents.digest() != ma.Documents(texts, similarity=None).digest()


def test_near_duplicates_of_one_person_count_once() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve {}"
    texts = [text.format(1), text.format(2), *(f"quite another text number {n * 7919} here" for n in range(6))]
    documents = ma.Documents(texts, groups=["a", "a", "a", "b", "c", "d", "d", "e"])
    assert [own.tolist() for own in documents.records] == [[0, 2], [3], [4], [5, 6], [7]]
    assert [own.tolist() for own in ma.Documents(texts).records] == [[0], [2], [3], [4], [5], [6], [7]]
