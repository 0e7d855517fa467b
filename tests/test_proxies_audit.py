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


def test_of_a_bank_that_nobody_watched_what_trained_models_say_is_compared(folder: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, observe=ma.Observe(0))
    ma.fill(tmp_path / "bank", recipe, shadows=8, seed=3, device="cpu")
    report = ma.audit(folder / "unseen.pt", recipe, tmp_path / "bank", fprs=(0.05,), evidence="none").report
    found = finding(report, proxies_check.code)
    assert "from this model's outputs" in found.sentence
    assert sorted(str(row[0]) for row in found.tables[0].rows) == ["Final confidence", "Final loss"]
    assert found.notes[0].startswith("The shadow models were not observed")
    assert found.notes[1].startswith("Fitted: 100% of the members are classified correctly at the end")
    assert not list(otherwise_said(report))
    refused = {skipped.code: skipped.reason for skipped in report.skipped}
    assert "memaudit.Observe" in refused[learning_check.code]


def test_a_short_training_is_looked_at_where_it_ends(tmp_path: Path) -> None:
    """The same scores from a look at the end, as from what a bank records of every model anyway."""
    looked, blind = (replace(RECIPE, epochs=12, observe=observe) for observe in (ma.Observe(), ma.Observe(0)))
    members = ma.draw_members(looked, seed=5)
    ma.save_target(ma.train(looked, members, seed=4, device="cpu"), tmp_path / "unseen.pt", members, looked)
    notes = []
    for name, recipe in (("looked", looked), ("blind", blind)):
        ma.fill(tmp_path / name, recipe, shadows=8, seed=3, device="cpu")
        report = ma.audit(tmp_path / "unseen.pt", recipe, tmp_path / name, fprs=(0.05,), evidence="none").report
        notes.append(finding(report, "MEM004"))
    assert [len(found.tables[1].rows) for found in notes] == [3, 2], "the entropy is recorded by looks"
    assert notes[0].notes[0] == "The shadow models were observed at the end of training alone, after 12 epochs."
    rows = {row[0]: row for row in notes[1].tables[1].rows}
    for row in notes[0].tables[1].rows:  # means over runs, stored in half precision or not
        if row[0] in rows:
            assert [str(cell)[:4] for cell in row[1:3]] == [str(cell)[:4] for cell in rows[row[0]][1:3]]
