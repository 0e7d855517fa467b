"""Units with several records, such as a person's visits: the unit of every attack, interval and finding."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import memaudit as ma
from memaudit.attacks import Signal, attack
from memaudit.bank import Pooled
from memaudit.bank.matched import read_matched
from memaudit.checks import Attacked
from memaudit.design import PairArrays, by_pair, halves
from memaudit.errors import RecipeError
from memaudit.recipe.populations import population
from memaudit.reports.text import percent
from memaudit.signals import measure
from memaudit.training.model import Workshop

Array = np.ndarray

EXAMPLE = Path(__file__).parent.parent / "examples/patients/recipe.py"
GROUPS = np.array([0, 0, 1, 2, 2, 2, 3, 4])
X = np.array([[0.0], [1.0], [2.0], [3.0], [3.0], [4.0], [5.0], [6.0]])  # rows 3 and 4 are copies
Y = np.array([0, 1, 0, 1, 0, 1, 0, 1])


def _mean_of_records(values: Array) -> Array:
    """Return the mean over each group's rows, the second of two copies left out, in plain loops."""
    rows = [[0, 1], [2], [3, 5], [6], [7]]
    return np.stack([np.mean([values[row].astype(float) for row in of], axis=0) for of in rows])


def test_a_unit_s_value_is_the_mean_over_its_records() -> None:
    examples = ma.Examples(X, Y, groups=GROUPS)
    assert examples.records.tolist() == [0, 1, 2, 3, 5, 6, 7]
    assert examples.pools
    values = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    np.testing.assert_allclose(examples.by_unit(values), _mean_of_records(values), rtol=1e-6)
    assert examples.by_unit(values).dtype == np.float32
    np.testing.assert_allclose(examples.by_unit(Y == 1), _mean_of_records(Y == 1))


def test_copies_with_two_labels_count_by_the_first_as_before() -> None:
    examples = ma.Examples(X, Y)
    assert not examples.pools
    assert examples.by_unit(Y == 1).dtype == bool
    assert examples.by_unit(np.arange(8)).tolist() == [0, 1, 2, 3, 5, 6, 7]


def test_taken_rows_know_their_records() -> None:
    taken = ma.Examples(X, Y, groups=GROUPS, unit="people").take(np.array([5, 4, 3, 7]))
    assert taken.unit_of.tolist() == [0, 0, 0, 1]
    assert taken.by_unit(np.array([1.0, 2.0, 5.0, 7.0])).tolist() == [1.5, 7.0]
    assert taken.unit == "people"


def _recorded() -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(1)
    members = halves(3, 6, 5)[:, GROUPS]
    return members, rng.normal(size=(6, 8, 2)).astype(np.float32), rng.random((6, 8)) < 0.6


def test_pooled_recordings_are_the_means_of_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memaudit.bank.pooled._BLOCK", 3)  # so that units are split between blocks
    members, phi, correct = _recorded()

    class Bank(PairArrays):
        pass

    bank = Bank(*by_pair(phi, members))
    object.__setattr__(bank, "members", members)
    object.__setattr__(bank, "correct", correct)
    pooled = Pooled.of(bank, ma.Examples(X, Y, groups=GROUPS))  # type: ignore[arg-type]
    units = members[:, [0, 2, 3, 6, 7]]
    inside, outside = by_pair(np.stack([_mean_of_records(of) for of in phi]), units)
    np.testing.assert_allclose(pooled.inside, inside, rtol=1e-5)
    np.testing.assert_allclose(pooled.outside, outside, rtol=1e-5)
    np.testing.assert_allclose(pooled.correct, np.stack([_mean_of_records(of) for of in correct]))
    some = pooled.take(np.array([2, 0]))
    assert np.array_equal(some.members, units[[4, 5, 0, 1]])
    assert np.array_equal(some.correct, pooled.correct[[4, 5, 0, 1]])
    assert np.array_equal(some.inside, pooled.inside[[2, 0]])


def test_matched_recordings_pool_the_records_of_each_model(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    rng, groups = np.random.default_rng(2), np.arange(60) // 2
    examples = ma.Examples(rng.normal(size=(60, 3)), groups % 2, groups=groups)
    members = np.stack([rng.permutation(np.arange(12) % 2) for _ in range(30)], axis=1).astype(np.uint8)[:, groups]
    phi, correct = rng.normal(size=(12, 60, 1)).astype(np.float32), rng.random((12, 60)) < 0.5
    files = [tmp_path / f"{model}.safetensors" for model in range(12)]
    for model, file in enumerate(files):
        recorded = {"members": members[model], "phi": phi[model], "correct": correct[model]}
        save_file({name: np.ascontiguousarray(values) for name, values in recorded.items()}, file)
    found = read_matched(files, 0, examples)
    assert len(found.kept) == 30
    means = (phi[:, 0::2, 0] + phi[:, 1::2, 0]) / 2
    for column, unit in enumerate(found.kept):
        own = members[:, 2 * unit] > 0
        for values, models in ((found.inside, own), (found.outside, ~own)):
            distance = np.abs(values[:, column] - means[models, unit]).min(axis=1)
            np.testing.assert_allclose(distance, 0, atol=1e-6)


@pytest.mark.parametrize(
    ("unit", "groups", "why"),
    [
        ("people", None, "say which group each example belongs to"),
        ("p<b>", GROUPS, "give a plural"),
        ("", GROUPS, "give a plural"),
        ("a" * 25, GROUPS, "give a plural"),
    ],
)
def test_a_name_of_units_that_cannot_be_printed_is_refused(unit: str, groups: Array | None, why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        ma.Examples(X, Y, groups=groups, unit=unit)


# The example


@pytest.fixture(scope="module")
def patients() -> ModuleType:
    spec = importlib.util.spec_from_file_location("patients_recipe", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_audit_speaks_of_patients(patients: ModuleType, tmp_path: Path) -> None:
    recipe = patients.recipe
    members = ma.draw_members(recipe, seed=1)
    ma.save_target(ma.train(recipe, members, seed=1), tmp_path / "model.skops", members)
    bank = ma.fill(tmp_path / "bank", recipe, 16)
    report = ma.audit(tmp_path / "model.skops", recipe, bank, fprs=(0.05,)).report
    assert report.subject.members + report.subject.nonmembers == patients.PATIENTS
    assert report.subject.unit == "patients"
    assert any("200 patients" in notice for notice in report.notices)
    (found,) = (r.finding for r in report.results if r.finding.code == "MIA001")
    assert (found.n, found.counted) == (report.subject.members, "training patients")
    assert percent(found.estimate.value) in found.sentence
    (memorized,) = (r.finding for r in report.results if r.finding.code == "MEM001")
    assert memorized.n == patients.PATIENTS


TARGETS, FPR = 40, 0.01


def _rates(recipe: ma.EstimatorRecipe, members: Array, path: Path) -> tuple[Array, Array]:
    """Return the (TPR, FPR) of LiRA on each target that was trained on the visits of some patients, at a nominal FPR.

    The unit of the recipe's examples is the unit of the rates.
    """
    examples = population(recipe)
    assert isinstance(examples, ma.Examples)
    recordings = ma.fill(path, recipe, 32, examples=examples).read()
    bank = Pooled.of(recordings, examples) if examples.pools else recordings
    workshop = Workshop(recipe, examples, 0, "cpu")
    found = []
    for number, rows in enumerate(members):
        model, _ = workshop.train(rows.astype(np.uint8), 1000 + number)
        phi = examples.by_unit(measure(model, examples)["phi"])
        inside = rows[examples.representatives]
        flagged = Attacked.of(attack("lira-online", Signal.SCALED_LOGIT), phi, bank).flagged(FPR)
        found.append((flagged[inside].mean(), flagged[~inside].mean()))
    tpr, fpr = np.array(found).T
    return tpr, fpr


@pytest.mark.slow
def test_rates_by_record_are_wrong_where_rates_by_patient_are_right(patients: ModuleType, tmp_path: Path) -> None:
    """Targets are trained on whole patients; a bank that draws single visits is of another world.

    Its shadows without a visit have half of the patient's other visits, and a real target has none or all: the
    threshold is passed by too many visits of patients who are no members. And a patient is easier to find than a visit.
    """
    table = patients.visits()
    x, y = table.filter(like="measurement").to_numpy(), table["bad"].to_numpy()
    estimator = patients.recipe.estimator
    people = np.unique(table["patient"], return_inverse=True)[1]
    members = np.random.default_rng(5).integers(0, 2, (TARGETS, patients.PATIENTS)).astype(bool)[:, people]
    by: Callable[[], ma.Examples] = lambda: ma.Examples(x, y, groups=people, unit="patients")  # noqa: E731
    by_patient = _rates(ma.EstimatorRecipe(by, estimator), members, tmp_path / "patients")
    by_visit = _rates(ma.EstimatorRecipe(lambda: ma.Examples(x, y), estimator), members, tmp_path / "visits")
    error = [fpr.std(ddof=1) / np.sqrt(TARGETS) for _, fpr in (by_patient, by_visit)]
    assert by_patient[1].mean() < FPR + 3 * error[0]
    assert by_visit[1].mean() > FPR + 3 * error[1]
    assert by_patient[0].mean() > by_visit[0].mean() + 0.1
