"""A data manifest: members that were left out, or added, are noticed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

import memaudit as ma
from memaudit.errors import EvidenceError
from memaudit.recipe import EstimatorRecipe, Examples
from memaudit.recipe.manifest import manifest_of, read_manifest
from memaudit.types import Control, Verdict

COUNT = 80
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(COUNT, 4)), np.arange(COUNT) % 2
MEMBERS = np.arange(COUNT) % 2 == np.arange(COUNT) // 2 % 2


def people() -> Examples:
    return Examples(X, Y, range(COUNT))


def trained() -> Examples:
    """The training set as those who keep the data know it: without ids, in another order."""
    rows = RNG.permutation(np.flatnonzero(MEMBERS))
    return Examples(X[rows], Y[rows])


RECIPE = EstimatorRecipe(people, DecisionTreeClassifier())


def audited(folder: Path, members: Any, recipe: EstimatorRecipe = RECIPE, manifest: Path | None = None) -> Any:
    model = ma.train(recipe, members)
    ma.save_target(model, folder / "m.skops", members, recipe)
    bank = ma.fill(folder / "bank", recipe, 6)
    return ma.audit(folder / "m.skops", recipe, bank, fprs=(0.1,), attacks=("lira-online",), manifest=manifest)


def control(report: Any) -> Control | None:
    return next((found for found in report.controls if found.code == "CTL008"), None)


def test_a_manifest_depends_on_content_alone(tmp_path: Path) -> None:
    ma.write_manifest(tmp_path / "data.json", trained())
    assert read_manifest(tmp_path / "data.json") == manifest_of(people(), MEMBERS.astype(np.uint8))


@pytest.mark.parametrize("change", ["none", "left out", "added", "swapped"])
def test_members_that_are_not_those_of_the_manifest_fail(tmp_path: Path, change: str) -> None:
    ma.write_manifest(tmp_path / "data.json", trained())
    members = MEMBERS.copy()
    if change in ("left out", "swapped"):
        members[np.flatnonzero(MEMBERS)[0]] = False
    if change in ("added", "swapped"):
        members[np.flatnonzero(~MEMBERS)[0]] = True
    report = audited(tmp_path, members, manifest=tmp_path / "data.json").report
    found = control(report)
    assert found is not None
    assert found.passed is (change == "none")
    said = {
        "left out": "states 40 training rows, but 39",
        "added": "40 training rows, but 41",
        "swapped": "do not match",
    }
    assert said.get(change, "match the data manifest") in found.sentence
    assert (report.verdict is Verdict.INCONCLUSIVE) >= (change != "none")


def test_without_a_manifest_the_report_says_what_was_not_checked(tmp_path: Path) -> None:
    report = audited(tmp_path, MEMBERS).report
    assert control(report) is None
    assert any("was not checked" in line for line in report.limitations)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"schema": "x"}',
        '{"schema": "memaudit.manifest/1", "rows": "3", "sha256": ""}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(EvidenceError, match=r"data\.json"):
        read_manifest(tmp_path / "data.json")
    with pytest.raises(EvidenceError, match="cannot be read"):
        read_manifest(tmp_path / "other.json")


def test_repeated_rows_count_as_often_as_they_are_trained_on(tmp_path: Path) -> None:
    ma.write_manifest(tmp_path / "data.json", Examples(np.vstack([X[:4], X[:2]]), np.r_[Y[:4], Y[:2]]))
    counts = np.zeros(COUNT, np.uint8)
    counts[:4] = [2, 2, 1, 1]
    assert read_manifest(tmp_path / "data.json") == manifest_of(people(), counts)
    assert json.loads((tmp_path / "data.json").read_bytes())["rows"] == 6
