"""End to end: a leak is found, its absence is not invented, and every ending has its exit code."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import memaudit as ma
from memaudit.errors import BankError, EvidenceError, MemauditError, SettingsError
from memaudit.recipe import load_recipe
from memaudit.reports import load
from memaudit.training import population
from memaudit.types import Limit, Report, Verdict

Command = Callable[..., CompletedProcess[str]]
Edit = Callable[[Path, str, str], None]

GATE = '\n[[gate]]\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.02\nmax = {}\n'


def gated(project: Path, limit: float) -> None:
    with (project / "memaudit.toml").open("a", encoding="utf-8") as file:
        file.write(GATE.format(limit))


def reported(project: Path) -> Report:
    return load(project / "audit" / "report.json")


def evidence(project: Path) -> list[dict[str, str]]:
    with (project / "audit" / "evidence.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def online(report: Report) -> Any:
    return next(r for r in report.results if r.finding.attack == "lira-online" and r.finding.metric == "tpr")


def test_a_leak_is_found_and_noted_without_a_limit(project: Path, command: Command) -> None:
    """A network that learned noise by heart: most members are found at 2% false positives, and memorization is high."""
    done = command("audit", "model.safetensors")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"no-limit-set: {project / 'audit' / 'report.html'}\n"
    report = reported(project)
    assert report.verdict is Verdict.NOTED
    assert (report.subject.members, report.subject.nonmembers, report.subject.shadows) == (100, 100, 16)
    assert online(report).finding.estimate.low > 0.8
    memorized = next(r for r in report.results if r.finding.metric == "memorization")
    assert memorized.finding.estimate.low > 0.8
    assert [c.code for c in report.controls] == ["CTL001", "CTL002", "CTL005", "CTL003", "CTL004", "CTL007"]
    assert all(c.passed for c in report.controls), [c.sentence for c in report.controls if not c.passed]
    assert {path.name for path in (project / "audit").iterdir()} == {
        "SHA256SUMS",
        "evidence.csv",
        "report.digest",
        "report.html",
        "report.json",
        "report.md",
    }


@pytest.mark.parametrize(
    ("limit", "code", "verdict"), [(0.05, 1, "fail"), ("middle", 3, "inconclusive"), (1.0, 0, "pass")]
)
def test_a_gate_decides_the_exit_code(
    project: Path, command: Command, limit: float | str, code: int, verdict: str
) -> None:
    """Broken when the whole interval lies above the limit, kept when it lies below, else inconclusive."""
    if limit == "middle":
        assert command("audit", "model.safetensors").returncode == 0
        estimate = online(reported(project)).finding.estimate
        limit = (estimate.low + estimate.high) / 2
    gated(project, float(limit))
    done = command("audit", "model.safetensors")
    assert (done.returncode, done.stdout.split(":")[0]) == (code, verdict)
    assert reported(project).verdict == verdict
    assert json.loads((project / "audit" / "report.json").read_bytes())["verdict"] == verdict


def test_a_rate_that_a_gate_alone_names_is_measured(project: Path, command: Command, edit: Edit) -> None:
    gated(project, 1.0)
    edit(project / "memaudit.toml", "fpr = [0.02]", "fpr = [0.05]")
    assert command("audit", "model.safetensors").returncode == 0
    assert {r.finding.at_fpr for r in reported(project).results if r.finding.metric == "tpr"} == {0.02, 0.05}


def test_a_gate_that_nothing_could_be_held_against_is_inconclusive(project: Path, command: Command, edit: Edit) -> None:
    gated(project, 1.0)
    edit(project / "memaudit.toml", "at_fpr = 0.02", "at_fpr = 0.001")
    done = command("audit", "model.safetensors")
    assert done.returncode == 3
    assert "tpr of lira-online at 0.001 FPR ≤ 1" in " ".join(done.stderr.split())


def test_a_rate_that_the_nonmembers_cannot_resolve_is_refused_and_the_rest_is_said(
    project: Path, command: Command
) -> None:
    done = command("audit", "model.safetensors", "--fpr", 0.02, "--fpr", 0.001)
    assert done.returncode == 0, done.stderr
    assert "100 non-members cannot resolve a 0.1% FPR" in " ".join(done.stderr.split())
    assert {r.finding.at_fpr for r in reported(project).results if r.finding.metric == "tpr"} == {0.02}
    flags = [name for name in evidence(project)[0] if name.startswith("flagged")]
    assert all(name.startswith("flagged_at_0.02") for name in flags)


def test_an_audit_of_unresolvable_rates_alone_gives_what_needs_no_rate(project: Path, command: Command) -> None:
    done = command("audit", "model.safetensors", "--fpr", 0.001)
    assert done.returncode == 0, done.stderr
    assert "tpr" not in {r.finding.metric for r in reported(project).results}
    assert "memorization" in {r.finding.metric for r in reported(project).results}


SAFE = """
import numpy as np
from torch import nn
import memaudit as ma

def examples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3)).astype(np.float32)
    return ma.Examples(x, (x[:, 0] + rng.normal(size=600) > 0).astype(int))

def model():
    return nn.Linear(3, 1)

recipe = ma.ClassifierRecipe(examples, model, epochs=5, batch_size=50, optimizer=ma.SGD(lr=0.5, weight_decay=0.05))
"""


@pytest.fixture
def safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A linear model of three features on plenty of data: nothing to find."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "safe_recipe.py").write_text(SAFE, "utf-8")
    (tmp_path / "memaudit.toml").write_text(
        '[audit]\nrecipe = "safe_recipe.py:recipe"\nshadows = 16\nworkers = 1\nfpr = [0.02]\n', "utf-8"
    )
    recipe = load_recipe("safe_recipe.py", tmp_path)
    mask = np.random.default_rng(1).permutation(600) < 300
    ma.save_target(ma.train(recipe, mask, seed=1, device="cpu"), tmp_path / "model.safetensors", mask)
    del sys.modules["safe_recipe"]
    return tmp_path


def test_a_model_that_cannot_leak_keeps_a_generous_limit(safe: Path, command: Command) -> None:
    gated(safe, 0.2)
    done = command("audit", "model.safetensors")
    assert done.returncode == 0, done.stderr
    report = reported(safe)
    assert report.verdict is Verdict.PASS
    assert online(report).finding.estimate.high < 0.2
    link = [r.finding for r in report.results if r.finding.metric == "link"]
    assert all(finding.estimate.low <= 0.2 for finding in link)


def _strange(project: Path) -> None:
    """Puts a target in place that was trained for one epoch, where its shadows have forty."""
    from dataclasses import replace

    recipe = load_recipe(str(project / "recipe.py"))
    assert isinstance(recipe, ma.ClassifierRecipe)
    mask = np.random.default_rng(2).permutation(200) < 100
    ma.save_target(ma.train(replace(recipe, epochs=1), mask, seed=1, device="cpu"), project / "model.safetensors", mask)
    del sys.modules["recipe"]


def test_a_target_of_another_recipe_gets_no_figures(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, the control that failed, no membership figure, no most exposed, and no evidence, old or new."""
    assert command("audit", "model.safetensors").returncode == 0
    assert evidence(project)
    monkeypatch.setattr(sys, "path", [*sys.path])
    _strange(project)
    gated(project, 1.0)
    done = command("audit", "model.safetensors")
    assert done.returncode == 3, done.stderr
    report = reported(project)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert next(c for c in report.controls if c.code == "CTL001").passed is False
    assert report.results == ()
    assert report.exposed == ()
    assert not (project / "audit" / "evidence.csv").exists()


def test_members_that_are_not_those_of_the_model_are_noticed(project: Path, command: Command) -> None:
    """The complement of the truth: the model is far better on the stated non-members than any shadow is."""
    ids = load_ids(project)
    truth = set((project / "model.safetensors.members.csv").read_text("utf-8").split()[1:])
    (project / "others.csv").write_text("\n".join(i for i in ids if i not in truth), "utf-8")
    done = command("audit", "model.safetensors", "--members", "others.csv")
    assert done.returncode == 3
    assert "does not look like its shadow models" in " ".join(done.stderr.split())


def load_ids(project: Path) -> list[str]:
    path = list(sys.path)
    ids = list(population(load_recipe(str(project / "recipe.py"))).ids)
    sys.path[:] = path
    del sys.modules["recipe"]
    return ids


def test_the_evidence_has_a_row_for_every_example_and_hides_who_it_is(project: Path, command: Command) -> None:
    assert command("audit", "model.safetensors").returncode == 0
    hashed, ids = evidence(project), load_ids(project)
    assert command("audit", "model.safetensors", "--evidence", "full").returncode == 0
    full = evidence(project)
    assert [row.pop("id") for row in full] == ids
    names = [row.pop("id") for row in hashed]
    assert full == hashed
    assert len(set(names)) == 200
    assert not set(names) & set(ids)
    members = set((project / "model.safetensors.members.csv").read_text("utf-8").split()[1:])
    assert [row["member"] for row in full] == [str(int(i in members)) for i in ids]
    score = {flag: [float(row["attack_score"]) for row in full if row["flagged_at_0.02"] == flag] for flag in "01"}
    assert min(score["1"]) > max(score["0"])
    found = sum(row["member"] == "1" and row["flagged_at_0.02"] == "1" for row in full)
    assert found / 100 == pytest.approx(online(reported(project)).finding.estimate.value)
    assert all(-1 <= float(row["memorization_low"]) <= float(row["memorization"]) for row in full)
    assert all(float(row["memorization"]) <= float(row["memorization_high"]) <= 1 for row in full)
    memorization = np.mean([float(row["memorization"]) for row in full])
    stated = next(r.finding.estimate.value for r in reported(project).results if r.finding.metric == "memorization")
    assert memorization == pytest.approx(stated, abs=1e-6)


def test_no_id_is_in_a_hashed_report_and_the_hashes_stay_the_same(project: Path, command: Command) -> None:
    assert command("audit", "model.safetensors").returncode == 0
    first, ids = evidence(project), load_ids(project)
    for file in (project / "audit").iterdir():
        text = file.read_text("utf-8")
        assert not any(i in text for i in ids), file
    assert command("audit", "model.safetensors").returncode == 0
    assert evidence(project) == first
    assert (project / "bank" / "evidence.key").stat().st_mode & 0o777 == 0o600


def test_another_bank_hashes_with_another_key(project: Path, command: Command) -> None:
    assert command("audit", "model.safetensors").returncode == 0
    first = {row["id"] for row in evidence(project)}
    (project / "bank" / "evidence.key").unlink()
    assert command("audit", "model.safetensors").returncode == 0
    assert not first & {row["id"] for row in evidence(project)}


@pytest.mark.parametrize("content", [b"", b"00", b"xyz", b"\xff" * 64])
def test_a_damaged_key_is_an_error_and_never_an_unkeyed_hash(
    project: Path, complaint: Callable[..., str], content: bytes
) -> None:
    (project / "bank" / "evidence.key").write_bytes(content)
    assert "evidence.key" in complaint("audit", "model.safetensors")


def test_no_evidence_means_none_not_even_an_older_audits(project: Path, command: Command) -> None:
    assert command("audit", "model.safetensors").returncode == 0
    assert command("audit", "model.safetensors", "--evidence", "none").returncode == 0
    assert not (project / "audit" / "evidence.csv").exists()
    assert reported(project).exposed == ()


def test_the_report_comes_back_from_its_file(project: Path, command: Command) -> None:
    assert command("audit", "model.safetensors").returncode == 0
    report = reported(project)
    ma_report = ma.Audit(report, None)
    ma_report.save(project / "again.json")
    assert (project / "again.json").read_bytes() == (project / "audit" / "report.json").read_bytes()
    assert load(project / "again.json") == report


def test_a_report_is_rendered_again_without_torch(project: Path, command: Command) -> None:
    """The report file alone, in an empty folder, in a process that never imports torch or scikit-learn."""
    assert command("audit", "model.safetensors").returncode == 0
    elsewhere = project.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(project / "audit" / "report.json", elsewhere / "report.json")
    code = (
        "import sys; from memaudit.cli import main\n"
        "try: main(['report', 'report.json', *'-o x.md -o x.html -o x.json --edition restricted'.split()])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "print(sorted({'torch', 'sklearn', 'memaudit.bank', 'memaudit.recipe'} & sys.modules.keys()))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(ma.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=elsewhere, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["x.md", "x.html", "x.json", "[]"]
    for suffix in ("md", "json"):
        assert (elsewhere / f"x.{suffix}").read_bytes() == (project / "audit" / f"report.{suffix}").read_bytes()


def test_an_audit_is_the_same_twice(project: Path, command: Command) -> None:
    reports = []
    for _ in range(2):
        assert command("audit", "model.safetensors").returncode == 0
        content = json.loads((project / "audit" / "report.json").read_bytes())
        content.pop("created")
        content.pop("attempt")
        reports.append(content)
    assert reports[0] == reports[1]


def test_the_audit_does_not_change_bank_or_model(project: Path, command: Command) -> None:
    def state() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in project.glob("bank/**/*.*") if path.name != "evidence.key"} | {
            path: path.read_bytes() for path in project.glob("model*")
        }

    before = state()
    assert command("audit", "model.safetensors").returncode == 0
    assert state() == before


def test_the_model_may_be_in_either_format(project: Path, command: Command) -> None:
    assert command("audit", "model.safetensors").returncode == 0
    first = online(reported(project)).finding.estimate
    torch.save(load_file(project / "model.safetensors"), project / "model.pt")
    assert command("audit", "model.pt", "--members", "model.safetensors.members.csv").returncode == 0
    assert online(reported(project)).finding.estimate == first


# The Python interface


@pytest.fixture
def recipe(project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield load_recipe(str(project / "recipe.py"))
    del sys.modules["recipe"]


def test_members_may_be_a_file_a_mask_or_ids(project: Path, recipe: Any) -> None:
    ids = recipe.examples().ids
    file = project / "model.safetensors.members.csv"
    members = file.read_text("utf-8").split()[1:]
    ways: list[Any] = [None, file, str(file), members, np.isin(ids, members)]
    results = [
        ma.audit(project / "model.safetensors", recipe, project / "bank", members=way, fprs=[0.02]).report.results
        for way in ways
    ]
    assert all(result == results[0] for result in results)
    assert results[0]


def test_a_smaller_part_of_a_bank_may_be_used(project: Path, recipe: Any) -> None:
    done = ma.audit(project / "model.safetensors", recipe, project / "bank", shadows=8, fprs=[0.02])
    assert done.report.subject.shadows == 8


def test_limits_are_judged(project: Path, recipe: Any) -> None:
    limits = [Limit(metric="tpr", attack="lira-online", at_fpr=0.02, max=0.01)]
    done = ma.audit(project / "model.safetensors", recipe, project / "bank", limits=limits, fprs=[0.02])
    assert done.verdict is Verdict.FAIL


@pytest.mark.parametrize("suffix", ["html", "json", "md"])
def test_a_report_is_saved_in_the_format_of_its_suffix(project: Path, recipe: Any, suffix: str) -> None:
    done = ma.audit(project / "model.safetensors", recipe, project / "bank", fprs=[0.02])
    done.save(project / f"x.{suffix}")
    assert (project / f"x.{suffix}").stat().st_size > 1000
    with pytest.raises(MemauditError, match="docx"):
        done.save(project / "x.docx")


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"fprs": [1.5]}, SettingsError, "got 1.5"),
        ({"attacks": ["lira"]}, SettingsError, "there is no attack 'lira'"),
        ({"bank": "nowhere"}, BankError, "there is no bank in nowhere"),
        ({"members": []}, EvidenceError, "there are 0 members"),
        ({"members": np.ones(7, dtype=bool)}, EvidenceError, "the mask has 7 entries"),
    ],
)
def test_what_cannot_be_said_is_refused(
    project: Path, recipe: Any, change: dict[str, Any], kind: type[MemauditError], said: str
) -> None:
    call: dict[str, Any] = {"bank": project / "bank", "fprs": [0.02]} | change
    with pytest.raises(kind, match=said):
        ma.audit(project / "model.safetensors", recipe, call.pop("bank"), **call)


def test_a_damaged_bank_is_refused_by_an_audit_that_trains_nothing(project: Path, recipe: Any) -> None:
    signals = project / "bank" / "models" / "0005" / "signals.safetensors"
    signals.write_bytes(signals.read_bytes()[:-1])
    with pytest.raises(BankError, match=r"model 5 of .* is damaged"):
        ma.audit(project / "model.safetensors", recipe, project / "bank", fprs=[0.02])


ESTIMATOR = """
import numpy as np
from sklearn.tree import DecisionTreeClassifier
import memaudit as ma

def examples():
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(120, 4)), rng.integers(0, 2, 120))

recipe = ma.EstimatorRecipe(examples, DecisionTreeClassifier())
"""


def test_a_scikit_learn_tree_that_learned_by_heart_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command, complaint: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "tree_recipe.py").write_text(ESTIMATOR, "utf-8")
    recipe = load_recipe("tree_recipe.py", tmp_path)
    mask = np.random.default_rng(1).permutation(120) < 60
    ma.save_target(ma.train(recipe, mask, seed=1), tmp_path / "model.skops", mask)
    del sys.modules["tree_recipe"]
    flags = ("--recipe", "tree_recipe.py:recipe", "--shadows", 16, "--workers", 1, "--fpr", 0.05)
    done = command("audit", "model.skops", *flags)
    assert done.returncode in (0, 3), done.stderr
    memorized = next(r for r in reported(tmp_path).results if r.finding.metric == "memorization")
    assert memorized.finding.estimate.low > 0.3
    (tmp_path / "model.joblib").write_bytes(b"x")
    assert ".skops" in complaint("audit", "model.joblib", "--members", "model.skops.members.csv", *flags)
