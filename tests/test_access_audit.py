"""Audits by access: the table, and what stands in it with and without views."""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

import memaudit as ma
from memaudit.types import Finding

X = np.random.default_rng(0).normal(size=(240, 8)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 240)


def examples() -> ma.Examples:
    return ma.Examples(X, Y)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))


RECIPE = ma.ClassifierRecipe(examples, model, epochs=30, batch_size=20, optimizer=ma.SGD(lr=0.3, momentum=0.9))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("access")
    ma.fill(folder / "bank", RECIPE, shadows=16)
    members = ma.draw_members(RECIPE, seed=7)
    ma.save_target(ma.train(RECIPE, members, seed=7), folder / "model.pt", members, RECIPE)
    return folder / "model.pt", folder / "bank"


def _findings(report: ma.Report, code: str) -> list[Finding]:
    return [result.finding for result in report.results if result.finding.code == code]


def test_without_access_the_gap_attack_is_compared_with_exact_outputs(audited: tuple[Path, Path]) -> None:
    report = ma.audit(audited[0], RECIPE, audited[1], fprs=(0.05,)).report
    (found,) = _findings(report, "MIA020")
    assert found.estimate.low > 0  # the network fits random labels: exact outputs tell more
    (rows,) = (table.rows for table in found.tables)
    assert [row[0] for row in rows][0] == "labels" and {row[0] for row in rows[1:]} == {"log-odds"}
    (gap,) = _findings(report, "MIA021")
    assert gap.attack == "gap"
    assert [skipped.code for skipped in report.skipped if skipped.code == "MIA022"]


def test_views_of_the_bank_are_kept(audited: tuple[Path, Path]) -> None:
    report = ma.audit(audited[0], RECIPE, audited[1], fprs=(0.05,), access="confidences", device="cpu").report
    (found,) = _findings(report, "MIA020")
    assert {row[0] for row in found.tables[0].rows} >= {"labels", "confidences", "log-odds"}
    assert len(list((audited[1] / "views").rglob("*.safetensors"))) >= 16
    assert report.provenance["access"] == "confidences"
