"""Audits by access: the table, and what stands in it with and without views."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import memaudit as ma
from memaudit.errors import SettingsError
from memaudit.policy.consistency import contradictions
from memaudit.signals.views import VIEWS, Confidences, LossDirection, NoiseVotes
from memaudit.signals.views.changed import moved, noisy
from memaudit.training.asking import view_bank
from memaudit.training.stored import stored_model
from memaudit.types import Finding

X = np.random.default_rng(0).normal(size=(240, 8)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 240)


def examples() -> ma.Examples:
    return ma.Examples(X, Y)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))


RECIPE = ma.ClassifierRecipe(examples, model, epochs=15, batch_size=20, optimizer=ma.SGD(lr=0.3, momentum=0.9))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("access")
    ma.fill(folder / "bank", RECIPE, shadows=12)
    members = ma.draw_members(RECIPE, seed=7)
    ma.save_target(ma.train(RECIPE, members, seed=7), folder / "model.pt", members, RECIPE)
    return folder / "model.pt", folder / "bank"


@cache
def _by_confidences(model: Path, bank: Path) -> ma.Report:
    """One audit for all who ask; within a test, where conftest.py looks for contradictions in it."""
    return ma.audit(model, RECIPE, bank, fprs=(0.05,), access="confidences", device="cpu").report


def _findings(report: ma.Report, code: str) -> list[Finding]:
    return [result.finding for result in report.results if result.finding.code == code]


def test_without_access_the_gap_attack_is_compared_with_exact_outputs(audited: tuple[Path, Path]) -> None:
    report = ma.audit(audited[0], RECIPE, audited[1], fprs=(0.05,)).report
    (found,) = _findings(report, "MIA020")
    costs, table = found.tables
    assert [row[:2] for row in costs.rows] == [row[:2] for row in table.rows]
    assert [row[0] for row in table.rows] == ["labels"] * 2 + ["log-odds"] * 5
    shadows = [(row[0], float(str(row[table.columns.index("TPR, shadow models")]).split("%")[0])) for row in table.rows]
    most = {level: max(tpr for name, tpr in shadows if name == level) for level in ("labels", "log-odds")}
    assert 100 * found.estimate.value == pytest.approx(most["log-odds"] - most["labels"], abs=1.1)  # two digits each
    (gap,) = _findings(report, "MIA021")
    assert gap.attack in ("gap", "label-lira")
    assert [skipped.code for skipped in report.skipped if skipped.code == "MIA022"]


def test_views_of_the_bank_are_kept(audited: tuple[Path, Path]) -> None:
    report = _by_confidences(*audited)
    (found,) = _findings(report, "MIA020")
    assert {row[0] for row in found.tables[0].rows} >= {"labels", "confidences", "log-odds"}
    assert len(list((audited[1] / "views").rglob("*.safetensors"))) == 12 * 3
    assert report.provenance["access"] == "confidences"


def test_answers_are_read_again_and_asked_again_if_damaged(
    audited: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, view, device = ma.Bank.open(audited[1]), VIEWS["confidences"], "cpu"
    first, _ = view_bank(bank, [0, 1, 2, 3], RECIPE, examples(), view, device=device)
    file = sorted((audited[1] / "views").glob("confidences-*/0002.safetensors"))[0]
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    asked = []
    see = Confidences.see

    def counting(self: Confidences, *args: Any) -> np.ndarray:
        asked.append(1)
        return see(self, *args)

    monkeypatch.setattr(Confidences, "see", counting)
    again, _ = view_bank(bank, [0, 1, 2, 3], RECIPE, examples(), view, device=device)
    np.testing.assert_array_equal(first, again)
    assert len(asked) == 1
    other, _ = view_bank(bank, [0], RECIPE, examples(), Confidences(most=2), device=device)
    assert other.shape == (1, 240, 2) and len(asked) == 2  # other parameters are another view


def test_confidences_are_those_of_the_recorded_signal(audited: tuple[Path, Path]) -> None:
    """An oracle: log p − log(1 − p) of column 0 is what the bank recorded, and each row sums to 1."""
    bank = ma.Bank.open(audited[1])
    seen, _ = view_bank(bank, [0, 5], RECIPE, examples(), VIEWS["confidences"], device="cpu")
    for model, columns in zip((0, 5), seen.astype(np.float64), strict=True):
        others = np.exp(columns[:, 1:]).sum(axis=1)
        np.testing.assert_allclose(np.exp(columns[:, 0]) + others, 1, rtol=1e-5)
        np.testing.assert_allclose(columns[:, 0] - np.log(others), bank.tensors(model)["phi"][:, 0], atol=1e-3)


def test_noise_votes_count_right_labels_of_noisy_copies(audited: tuple[Path, Path]) -> None:
    """Against asking the network in a loop, with the same generator."""
    bank, view = ma.Bank.open(audited[1]), NoiseVotes(times=3, strengths=(0.5,))
    seen, _ = view_bank(bank, [1], RECIPE, examples(), view, device="cpu")
    network = stored_model(bank, 1, RECIPE)
    rng = np.random.default_rng((0, 500_000))
    spread = np.float32(0.5 * np.std(X, dtype=np.float64))
    copies = [X + rng.standard_normal(X.shape, np.float32) * spread for _ in range(3)]
    with torch.no_grad():
        right = [(network(torch.from_numpy(x)).argmax(1).numpy() == Y) for x in (X, *copies)]
    np.testing.assert_array_equal(seen[0, :, 0], right[0])
    np.testing.assert_allclose(seen[0, :, 1], np.mean(right[1:], axis=0), atol=1e-6)


def test_bits_are_flipped_and_images_are_moved() -> None:
    bits = ma.Examples(np.random.default_rng(0).integers(0, 2, (400, 50)).astype(np.float32), np.arange(400) % 2)
    (copies,) = noisy(bits, 0.1, 1, 0)
    assert set(np.unique(copies.x)) == {0, 1} and (copies.x != bits.x).mean() == pytest.approx(0.1, abs=0.01)
    images = ma.Examples(np.arange(20 * 25, dtype=np.float32).reshape(20, 1, 5, 5), np.arange(20) % 2)
    plain, down, up, right, left, mirror = (image.x[0, 0] for image in moved(images))
    np.testing.assert_array_equal(plain, images.x[0, 0])
    np.testing.assert_array_equal(down, plain[[0, 0, 1, 2, 3]])
    np.testing.assert_array_equal(up, plain[[1, 2, 3, 4, 4]])
    np.testing.assert_array_equal(right, plain[:, [0, 0, 1, 2, 3]])
    np.testing.assert_array_equal(left, plain[:, [1, 2, 3, 4, 4]])
    np.testing.assert_array_equal(mirror, plain[:, ::-1])


def test_merlin_sees_a_rising_loss_around_a_minimum() -> None:
    """A network that is surest of class 0 at the origin: every noisy copy has a higher loss there."""

    class Bowl(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = -(x**2).sum(dim=1, keepdim=True)
            return torch.cat([z, torch.zeros_like(z)], dim=1)

    x = np.zeros((40, 3), np.float32)
    x[20:] = np.random.default_rng(0).normal(size=(20, 3))
    few = ma.Examples(x, np.repeat([0, 1], [39, 1]), ids=[str(i) for i in range(40)])
    seen = LossDirection(times=40).see(Bowl(), RECIPE, few, "cpu")
    assert (seen[:20, 1] == 1).all()
    assert 0.2 < seen[20:39, 1].mean() < 0.8


def test_what_cannot_be_asked_is_said(audited: tuple[Path, Path], tmp_path: Path) -> None:
    ma.fill(tmp_path / "bare", RECIPE, shadows=6, weights=False)
    report = ma.audit(audited[0], RECIPE, tmp_path / "bare", fprs=(0.05,), access="labels", device="cpu").report
    (found,) = _findings(report, "MIA020")
    assert any("keeps no weights" in note for note in found.notes)
    assert {row[0] for row in found.tables[0].rows} == {"labels", "log-odds"}  # on recorded labels
    with pytest.raises(SettingsError, match="choose one of"):
        ma.audit(audited[0], RECIPE, audited[1], access="everything")


def test_estimators_leave_no_model_to_ask(tmp_path: Path) -> None:
    recipe = ma.EstimatorRecipe(examples, LogisticRegression())
    ma.fill(tmp_path / "bank", recipe, shadows=6)
    members = ma.draw_members(recipe, seed=3)
    ma.save_target(ma.train(recipe, members, seed=3), tmp_path / "model.skops", members, recipe)
    report = ma.audit(tmp_path / "model.skops", recipe, tmp_path / "bank", fprs=(0.1,), access="all").report
    (found,) = _findings(report, "MIA020")
    assert any("leaves no model in the bank" in note for note in found.notes)


def _forged(report: ma.Report, code: str, **changes: Any) -> ma.Report:
    results = tuple(
        replace(result, finding=replace(result.finding, **changes)) if result.finding.code == code else result
        for result in report.results
    )
    return replace(report, results=results, provenance=report.provenance | {"memaudit": "0.3.0"})


def test_a_report_that_was_altered_contradicts_itself(audited: tuple[Path, Path]) -> None:
    report = _by_confidences(*audited)
    (loss,) = _findings(report, "MIA020")
    honest = _forged(report, "MIA020", title=loss.title)
    assert not [found for found in contradictions(honest) if "MIA02" in found]
    altered = _forged(report, "MIA020", sentence=loss.sentence.replace("percentage", "(7.7777%) percentage", 1))
    assert any("MIA020" in found for found in contradictions(altered))
    (labels,) = _findings(report, "MIA021")
    lower = replace(labels.estimate, value=0.0, low=0.0)
    assert any("MIA021" in found for found in contradictions(_forged(report, "MIA021", estimate=lower)))
    assert any("makes no attack" in found for found in contradictions(_forged(report, "MIA021", attack="gmia")))
    left = replace(honest, results=tuple(r for r in honest.results if r.finding.code != "MIA022"))
    assert any("MIA022 is missing" in found for found in contradictions(left))


def test_the_risk_score_is_compared_with_who_is_a_member(audited: tuple[Path, Path]) -> None:
    report = _by_confidences(*audited)
    (found,) = _findings(report, "MIA022")
    (table,) = found.tables
    assert sum(int(str(row[1])) for row in table.rows) == 240


def test_few_candidates_can_be_viewed(tmp_path: Path) -> None:
    """Fewer than the examples by which loaded weights are compared with what was recorded."""
    design = ma.Subsets(candidates=list(examples().ids[:40]))
    ma.fill(tmp_path / "bank", RECIPE, 6, design=design, device="cpu")
    members = ma.draw_members(RECIPE, seed=7, design=design)
    ma.save_target(ma.train(RECIPE, members, seed=7, device="cpu"), tmp_path / "model.pt", members, RECIPE)
    report = ma.audit(
        tmp_path / "model.pt", RECIPE, tmp_path / "bank", fprs=(0.1,), access="labels", device="cpu"
    ).report
    (found,) = _findings(report, "MIA021")
    assert found.n == len(members[:40].nonzero()[0])


class Warm(nn.Module):
    """A network whose last linear layer is scaled afterwards, by a number that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.net = model()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = self.net(x) * self.scale
        return scaled


def test_one_view_that_cannot_be_had_leaves_the_others(tmp_path: Path) -> None:
    recipe = replace(RECIPE, model=Warm)
    ma.fill(tmp_path / "bank", recipe, 6, device="cpu")
    members = ma.draw_members(recipe, seed=7)
    ma.save_target(ma.train(recipe, members, seed=7, device="cpu"), tmp_path / "model.pt", members, recipe)
    report = ma.audit(
        tmp_path / "model.pt", recipe, tmp_path / "bank", fprs=(0.1,), access="weights", device="cpu"
    ).report
    (found,) = _findings(report, "MIA020")
    assert any("“last-layer” were not made: the network's outputs are not those" in note for note in found.notes)
    (weights,) = _findings(report, "MIA023")
    assert weights.attack in ("gradient-norm", "gradients")


def test_what_was_not_asked_for_is_said_by_level(audited: tuple[Path, Path]) -> None:
    report = ma.audit(audited[0], RECIPE, audited[1], fprs=(0.05,), access="labels", device="cpu").report
    reasons = {skipped.code: skipped.reason for skipped in report.skipped}
    assert "--access confidences or all" in reasons["MIA022"] and "--access weights or all" in reasons["MIA023"]


def test_views_that_cannot_be_kept_are_refused(audited: tuple[Path, Path], tmp_path: Path) -> None:
    import shutil

    from memaudit.errors import BankError

    shutil.copytree(audited[1], tmp_path / "bank", ignore=shutil.ignore_patterns("views"))
    (tmp_path / "bank" / "views").write_text("")
    with pytest.raises(BankError, match="cannot be kept in"):
        ma.audit(audited[0], RECIPE, tmp_path / "bank", fprs=(0.05,), access="labels", device="cpu")


def test_thresholds_of_attacks_by_access_are_calibrated(audited: tuple[Path, Path]) -> None:
    """No limit passes on an attack whose threshold does not keep its rate, or was not checked."""
    from memaudit.policy import hold
    from memaudit.types import Limit, Verdict

    report = ma.audit(audited[0], RECIPE, audited[1], fprs=(0.05,), access="confidences", device="cpu").report
    (control,) = (control for control in report.controls if control.code == "CTL004")
    named = {row[0] for row in control.tables[0].rows}
    findings = {code: _findings(report, code)[0] for code in ("MIA021", "MIA022")}
    assert {finding.attack for finding in findings.values()} <= named
    found = findings["MIA022"]
    assert found.attack is not None
    limit = Limit(metric="access", max=1.0)

    def verdicts(**changes: Any) -> dict[str, Verdict]:
        changed = replace(control, **changes)
        held = hold(replace(report, controls=(*(c for c in report.controls if c != control), changed)), [limit])
        return {r.finding.code: r.verdict for r in held.results if r.limit is not None}

    assert verdicts(passed=True, attacks=())["MIA022"] is Verdict.PASS
    failed = verdicts(passed=False, attacks=(found.attack,))
    assert failed["MIA022"] is Verdict.INCONCLUSIVE and failed["MIA021"] is Verdict.PASS
    assert verdicts(passed=None, attacks=())["MIA022"] is Verdict.INCONCLUSIVE
    one = hold(report, [Limit(metric="access", attack="salem", max=0.5)])
    assert any("without “attack”" in skipped.reason for skipped in one.skipped)
