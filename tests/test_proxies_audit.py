"""MEM004 and MEM009 in whole audits: real training, observed by the recipe and by the target's trainer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import memaudit as ma
from memaudit.checks.learned import learning_check
from memaudit.checks.proxies import proxies_check
from memaudit.policy.words import otherwise_said
from memaudit.types import Finding, Report

Array = np.ndarray

EXAMPLES = 240


def examples() -> ma.Examples:
    """Two noisy classes and 30 features; a quarter of the labels are drawn at random, and can only be memorized."""
    rng = np.random.default_rng(0)
    y = np.arange(EXAMPLES) % 2
    x = rng.normal(size=(EXAMPLES, 30)).astype(np.float32)
    x[:, 0] += 4 * y
    return ma.Examples(x, np.where(np.arange(EXAMPLES) % 4 == 0, rng.integers(0, 2, EXAMPLES), y))


RECIPE = ma.ClassifierRecipe(
    examples,
    lambda: nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 2)),
    epochs=30,
    batch_size=20,
    optimizer=ma.SGD(lr=0.1, momentum=0.9),
    observe=ma.Observe(8, also=("gradient", "input_gradient", "curvature")),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of 16 shadow models, and a target with what was seen of it."""
    folder = tmp_path_factory.mktemp("observed")
    torch.manual_seed(0)
    ma.fill(folder / "bank", RECIPE, shadows=16, seed=3, device="cpu")
    members = ma.draw_members(RECIPE, seed=5)
    with ma.observing(RECIPE) as seen:
        model = ma.train(RECIPE, members, seed=4, device="cpu")
    ma.save_target(model, folder / "seen.pt", members, RECIPE, observed=seen)
    ma.save_target(model, folder / "unseen.pt", members, RECIPE)
    return folder


def audited(folder: Path, model: str) -> Report:
    return ma.audit(folder / model, RECIPE, folder / "bank", fprs=(0.05,), evidence="none", device="cpu").report


def finding(report: Report, code: str) -> Finding:
    return next(result.finding for result in report.results if result.finding.code == code)


def test_free_scores_of_the_target_agree_with_memorization(folder: Path) -> None:
    """The random labels are what is memorized, and every score of a run of a net that interpolates finds them."""
    found = finding(audited(folder, "seen.pt"), "MEM004")
    assert found.estimate.low > 0.2
    assert "from this model's training" in found.sentence
    assert "corrected for choosing the best of 18" in found.sentence
    assert found.blind is not None and found.blind < found.estimate.value
    assert [len(table.rows) for table in found.tables] == [18, 18, 5, 2, 25]
    assert "Memorization itself, from the other half of the models" in [row[0] for row in found.tables[2].rows]
    assert found.figures[0].curves[0].y[0] == found.estimate.value
    assert any(note.startswith("Fitted: 100%") for note in found.notes)
    assert not any("Not computed" in note for note in found.notes)


def test_the_numbers_of_the_sentences_are_stated_on_purpose(folder: Path) -> None:
    """Notes and titles have them: so many cells would support nearly every number by chance, but not quite all."""
    report = audited(folder, "seen.pt")
    results = tuple(replace(result, finding=bare(result.finding)) for result in report.results)
    told = [name for name in otherwise_said(replace(report, results=results)) if name.startswith(("MEM004", "MEM009"))]
    assert not told


def bare(finding: Finding) -> Finding:
    return replace(finding, figures=(), tables=tuple(replace(table, rows=()) for table in finding.tables))


def test_without_them_those_of_single_shadow_models_are_taken(folder: Path) -> None:
    found = finding(audited(folder, "unseen.pt"), "MEM004")
    assert "from a shadow model's training" in found.sentence
    assert found.estimate.low > 0.2


def test_what_is_learned_late_is_memorized(folder: Path) -> None:
    found = finding(audited(folder, "seen.pt"), "MEM009")
    assert 0 <= found.estimate.value < 0.5
    rows = [tuple(map(str, row)) for row in found.tables[0].rows]
    assert rows[0][0] == "< 0.02" and rows[-1][0] == "≥ 0.9"
    assert rows[0][2].startswith("100%") and rows[-1][2].startswith("100%"), "the net interpolates"
    assert float(rows[-1][3]) >= float(rows[0][3])
    assert rows[-1][6] == "not by the end", "what non-members do not know"


def test_a_bank_that_nobody_watched_has_no_proxies(folder: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, observe=ma.Observe(0))
    ma.fill(tmp_path / "bank", recipe, shadows=8, seed=3, device="cpu")
    report = ma.audit(folder / "unseen.pt", recipe, tmp_path / "bank", fprs=(0.05,), evidence="none").report
    refused = {skipped.code: skipped.reason for skipped in report.skipped}
    assert "memaudit.Observe" in refused[proxies_check.code]
    assert "memaudit.Observe" in refused[learning_check.code]
