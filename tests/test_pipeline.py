"""The sample's workflow, run step by step on a tiny model: what is kept, and that a forged report releases nothing."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from memaudit.auditing.folder import REPORT, SIGNATURE, seal
from memaudit.auditing.signing import PASSWORD, make_pair, private_key, sign
from memaudit.reports import load

ROOT = Path(__file__).parents[1]
ACTION = ROOT / "integrations" / "github" / "action.yml"
TEMPLATE = ROOT / "integrations" / "gitlab" / "memaudit.gitlab-ci.yml"
PIPELINE = ROOT / "examples" / "ci" / ".gitlab-ci.yml"
WORKFLOW = ROOT / "examples" / "ci" / ".github" / "workflows" / "privacy.yml"
KEY = "5a" * 32
TRAIN = """
import numpy as np
from recipe import recipe

import memaudit as ma

ids = recipe.examples().ids
members = np.random.default_rng(5).permutation(ids)[: len(ids) // 2]
ma.save_target(ma.train(recipe, members, seed={seed}, device="cpu"), "model.safetensors", members)
"""
SETTINGS = (
    '[audit]\nshadows = 16\nworkers = 1\nfpr = [0.02]\nevidence = "none"\ndevice = "cpu"\n'
    '[[gate]]\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.02\nmax = {}\n'
)


_STUBS = {
    "python3": 'mkdir -p .venv/bin; for name in pip python memaudit; do cp "$STUBS/$name" .venv/bin/; done',
    "pip": "exit 0",
    "python": f'exec {sys.executable} "$@"',
    "memaudit": f'exec {sys.executable} -m memaudit "$@"',
    "git": "exit 0",
    "gh": 'cp -r "$STORE/artifacts/$5" "$7"',  # gh run download RUN --name NAME --dir DIR
}


@dataclass
class Runner:
    """GitHub's runner in small: one repository with its caches, artifacts, secrets and variables, from run to run."""

    store: Path
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    run: int = 0
    told: str = ""

    def __post_init__(self) -> None:
        stubs = self.store / "stubs"
        stubs.mkdir(parents=True)
        for stub, body in _STUBS.items():
            (stubs / stub).write_text(f"#!/bin/bash\n{body}\n", "utf-8")
            (stubs / stub).chmod(0o755)

    def job(self, workflow: Path, name: str, workspace: Path) -> int:
        """Returns the exit code of the first step that failed, or 0; those with `always()` are run in any case."""
        self.run += 1
        self.told = ""
        code = 0
        for step in yaml.safe_load(workflow.read_text("utf-8"))["jobs"][name]["steps"]:
            if code == 0 or step.get("if") in ("${{ always() }}", "${{ !cancelled() }}"):
                code = self._step(step, workspace) or code
        return code

    def _step(self, step: dict[str, Any], workspace: Path) -> int:
        given = {key: self.value(str(value), workspace) for key, value in step.get("with", {}).items()}
        action = step.get("uses", "").partition("@")[0]
        if "run" in step:
            return self.shell(step["run"], step.get("env", {}), workspace)
        if action.endswith("integrations/github"):
            return self._gate(given, workspace)
        if action == "actions/cache/restore":
            self._restore(given, workspace)
        elif action == "actions/cache/save":
            _copy(workspace / given["path"], self.store / "caches" / given["key"] / given["path"])
        elif action == "actions/upload-artifact":
            place = workspace / given["path"]
            inside = place.name if place.is_file() else ""
            _copy(place, self.store / "artifacts" / given["name"] / inside)
        else:
            assert action == "actions/checkout"
        return 0

    def _restore(self, given: dict[str, str], workspace: Path) -> None:
        """The newest of those whose key begins as asked."""
        caches = self.store / "caches"
        found = [entry for entry in caches.glob("*") if entry.name.startswith(given["restore-keys"])]
        if found:
            newest = max(found, key=lambda entry: entry.stat().st_mtime_ns)
            _copy(newest / given["path"], workspace / given["path"])

    def _gate(self, given: dict[str, str], workspace: Path) -> int:
        action = yaml.safe_load(ACTION.read_text("utf-8"))
        inputs = {name: value["default"] for name, value in action["inputs"].items()} | given
        (step,) = action["runs"]["steps"]
        environment = {key: inputs[value[len("${{ inputs.") : -len(" }}")]] for key, value in step["env"].items()}
        return self.shell(step["run"], environment, workspace)

    def shell(self, script: str, environment: dict[str, str], workspace: Path) -> int:
        """Returns the exit code of a shell that ends at the first error."""
        values = {key: self.value(value, workspace) for key, value in environment.items()}
        base = {
            "PATH": f"{self.store / 'stubs'}:{os.environ['PATH']}",
            "STUBS": str(self.store / "stubs"),
            "STORE": str(self.store),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "GITHUB_RUN_ID": str(self.run),
            "GITHUB_ACTION_PATH": str(ACTION.parent),
            "GITHUB_OUTPUT": str(self.store / "output"),
            "GITHUB_STEP_SUMMARY": str(self.store / "summary"),
            "MEMAUDIT_PYTHON": sys.executable,
        }
        call = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MEMAUDIT")}
        done = subprocess.run(
            call, cwd=workspace, env=kept | base | values, capture_output=True, text=True, check=False
        )
        self.told += done.stdout + done.stderr
        return done.returncode

    def value(self, text: str, workspace: Path) -> str:
        """Returns a text with the expressions of the workflow filled in."""

        def known(match: re.Match[str]) -> str:
            expression = match[1]
            kind, _, name = expression.partition(".")
            if kind in ("secrets", "vars"):
                return (self.secrets if kind == "secrets" else self.variables).get(name, "")
            if files := re.fullmatch(r"hashFiles\((.*)\)", expression):
                paths = [workspace / name for name in re.findall(r"'([^']+)'", files[1])]
                return hashlib.sha256(b"".join(p.read_bytes() for p in paths if p.exists())).hexdigest()
            return {"github.run_id": str(self.run), "github.run_attempt": "1", "github.token": "token"}[expression]

        return re.sub(r"\$\{\{ (.+?) \}\}", known, text)


def _copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination, dirs_exist_ok=True)
    elif source.is_file():
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, destination)


def _repository(workplace: Path, folder: Path, limit: float = 1.0, seed: int = 1) -> Path:
    """A checkout of the repository."""
    folder.mkdir()
    shutil.copy(workplace / "recipe.py", folder)
    (folder / "memaudit.toml").write_text(SETTINGS.format(limit), "utf-8")
    (folder / "train.py").write_text(TRAIN.format(seed=seed), "utf-8")
    (folder / "requirements.txt").touch()
    return folder


@pytest.fixture(scope="module")
def runner(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A runner that has run the audit once, and has kept what the workflow keeps; its bank came from an earlier run."""
    place = tmp_path_factory.mktemp("runner")
    patch = pytest.MonkeyPatch()
    patch.delenv(PASSWORD, raising=False)
    make_pair(place / "key.pem")
    patch.undo()
    found = Runner(
        place / "store",
        {"MEMAUDIT_SIGNING_KEY": (place / "key.pem").read_text("ascii"), "MEMAUDIT_EVIDENCE_KEY": KEY},
        {"MEMAUDIT_PUBLIC_KEY": (place / "key.pub").read_text("ascii")},
    )
    checkout = _repository(workplace, place / "first")
    key = found.value("memaudit-bank-${{ hashFiles('recipe.py', 'requirements.txt') }}-0-1", checkout)
    cached = place / "store" / "caches" / key / "shadows" / "bank"
    shutil.copytree(workplace / "bank", cached, ignore=shutil.ignore_patterns("evidence.key", "last_audit"))
    assert found.job(WORKFLOW, "audit", checkout) == 0, found.told
    return found


def _ledgers(runner: Runner) -> list[int]:
    """How many audits the ledgers in the caches hold."""
    files = (runner.store / "caches").glob("memaudit-ledger-*/shadows/*.jsonl")
    return sorted(len(file.read_bytes().splitlines()) for file in files)


def _artifact(runner: Runner) -> Path:
    return max((runner.store / "artifacts").glob("privacy-*"), key=lambda place: place.stat().st_mtime_ns)


def test_the_key_of_hashes_is_the_secret_and_in_no_cache_or_artifact(runner: Runner) -> None:
    from memaudit.auditing.evidence import Key

    assert not list(runner.store.rglob("*.key"))
    assert not [file for file in runner.store.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]
    place = runner.store / "key"
    place.mkdir(exist_ok=True)
    (place / "evidence.key").write_text(KEY, "ascii")
    (place / "evidence.key").chmod(0o600)
    assert load(_artifact(runner) / "audit" / REPORT).provenance["evidence.key"] == Key(place, make=False).name
    (place / "evidence.key").unlink()


def test_the_model_that_was_audited_is_released(runner: Runner, workplace: Path, tmp_path: Path) -> None:
    checkout = _repository(workplace, tmp_path / "checkout")
    assert runner.job(WORKFLOW, "release", checkout) == 0, runner.told
    for said in ("checked       signed with ", "the report is about release/model.safetensors", "audits is whole"):
        assert said in runner.told
    assert "not checked" not in runner.told


def _rewritten(old: str, new: str) -> Callable[[Path], object]:
    def change(privacy: Path) -> None:
        file = privacy / "audit" / REPORT
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new), "utf-8")
        seal(privacy / "audit", [REPORT])

    return change


def _signed_by_another(privacy: Path) -> None:
    patch = pytest.MonkeyPatch()
    patch.delenv(PASSWORD, raising=False)
    make_pair(privacy / "own.pem")
    sign(load(privacy / "audit" / REPORT), privacy / "audit", private_key(str(privacy / "own.pem")))
    patch.undo()


def _harmless(privacy: Path) -> None:
    file = privacy / "audit" / REPORT
    content: Any = json.loads(file.read_bytes())
    content["untested"] = []
    file.write_text(json.dumps(content), "utf-8")
    seal(privacy / "audit", [REPORT])


FORGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a report rewritten": (_harmless, "is about another report"),
    "a limit rewritten": (_rewritten('"max": 1.0', '"max": 0.9'), "is about another report"),
    "the signature taken away": (lambda p: (p / "audit" / SIGNATURE).unlink(), "is not signed"),
    "signed by somebody else": (_signed_by_another, "is not signed with"),
    "a ledger begun anew": (lambda p: (p / "memaudit.ledger.jsonl").write_bytes(b""), "does not contain this audit"),
    "no ledger": (lambda p: (p / "memaudit.ledger.jsonl").unlink(), "the ledger of audits"),
    "another model": (lambda p: (p.parent / "model" / "model.safetensors").write_bytes(b"x"), "is not about release"),
    "no report": (lambda p: shutil.rmtree(p / "audit"), "cannot be read"),
}


@pytest.mark.parametrize(("forge", "said"), FORGED.values(), ids=FORGED)
def test_a_forged_report_releases_nothing(
    runner: Runner, workplace: Path, tmp_path: Path, forge: Callable[[Path], object], said: str
) -> None:
    checkout = _repository(workplace, tmp_path / "checkout")
    forger = Runner(tmp_path / "store", runner.secrets, runner.variables)
    shutil.copytree(runner.store / "artifacts", forger.store / "artifacts")
    forge(_artifact(forger))
    assert forger.job(WORKFLOW, "release", checkout) == 2, forger.told
    assert said in forger.told


def test_a_limit_that_was_raised_since_releases_nothing(runner: Runner, workplace: Path, tmp_path: Path) -> None:
    checkout = _repository(workplace, tmp_path / "checkout", limit=0.9)
    assert runner.job(WORKFLOW, "release", checkout) == 2
    assert "the limits are not those of the audit" in runner.told


@pytest.mark.parametrize("name", ["MEMAUDIT_SIGNING_KEY", "MEMAUDIT_EVIDENCE_KEY"])
def test_a_secret_that_is_missing_ends_with_2(runner: Runner, workplace: Path, tmp_path: Path, name: str) -> None:
    checkout = _repository(workplace, tmp_path / "checkout")
    lacking = Runner(tmp_path / "store", {key: value for key, value in runner.secrets.items() if key != name})
    shutil.copytree(runner.store / "caches", lacking.store / "caches")
    assert lacking.job(WORKFLOW, "audit", checkout) == 2
    assert name in lacking.told


def test_a_variable_that_is_missing_ends_with_2(runner: Runner, workplace: Path, tmp_path: Path) -> None:
    checkout = _repository(workplace, tmp_path / "checkout")
    lacking = Runner(tmp_path / "store", runner.secrets)
    shutil.copytree(runner.store / "artifacts", lacking.store / "artifacts")
    assert lacking.job(WORKFLOW, "release", checkout) == 2
    assert "the value for --require-signature is empty" in lacking.told


@pytest.mark.slow
def test_a_failed_audit_and_one_of_another_seed_go_on_in_one_ledger(
    runner: Runner, workplace: Path, tmp_path: Path
) -> None:
    """A limit that is broken ends the audit with 1, and its ledger is kept; so is that of the next seed."""
    again = Runner(tmp_path / "store", runner.secrets, runner.variables, run=runner.run + 10)
    shutil.copytree(runner.store / "caches", again.store / "caches")
    assert _ledgers(again) == [1]
    assert again.job(WORKFLOW, "audit", _repository(workplace, tmp_path / "a", limit=0.3)) == 1, again.told
    assert _ledgers(again) == [1, 2]
    assert again.job(WORKFLOW, "audit", _repository(workplace, tmp_path / "b", limit=0.3, seed=2)) == 1, again.told
    assert _ledgers(again) == [1, 2, 3]
    assert (_artifact(again) / "memaudit.ledger.jsonl").read_bytes().count(b"\n") == 3
    assert not list(again.store.rglob("*.key"))


def test_gitlabs_jobs_sign_verify_and_keep_the_key_to_themselves(
    runner: Runner, workplace: Path, tmp_path: Path
) -> None:
    checkout = _repository(workplace, tmp_path / "checkout")
    shutil.copytree(workplace / "bank", checkout / "shadows" / "bank")
    lab = Runner(tmp_path / "store")
    pipeline = yaml.safe_load(PIPELINE.read_text("utf-8"))
    audit = pipeline["privacy-audit"]
    assert lab.shell("\n".join(audit["script"]), runner.secrets, checkout) == 0, lab.told
    assert (checkout / "shadows" / "bank" / "evidence.key").read_text("ascii") == KEY
    assert lab.shell("\n".join(audit["after_script"]), {}, checkout) == 0
    assert not list(checkout.rglob("*.key"))
    assert all(cache["when"] == "always" for cache in audit["cache"])
    assert [path for cache in audit["cache"] for path in cache["paths"]] == [
        "shadows/bank",
        "shadows/memaudit.ledger.jsonl",
    ]
    spec, jobs = yaml.safe_load_all(TEMPLATE.read_text("utf-8"))
    (include,) = pipeline["include"]
    inputs = {name: (given or {}).get("default", "") for name, given in spec["spec"]["inputs"].items()}
    inputs |= include["inputs"] | {"public_key": runner.variables["MEMAUDIT_PUBLIC_KEY"]}
    gate = jobs["memaudit-gate"]
    variables = {key: inputs[value[len("$[[ inputs.") : -len(" ]]")]] for key, value in gate["variables"].items()}
    (checkout / ".memaudit").symlink_to(ROOT)
    assert lab.shell("\n".join(gate["script"]), variables, checkout) == 0, lab.told
    assert "signed with" in lab.told
    assert "not checked" not in lab.told
    (checkout / "model.safetensors").write_bytes(b"x")
    assert lab.shell("\n".join(gate["script"]), variables, checkout) == 2
    assert lab.shell("\n".join(gate["script"]), variables | {"MEMAUDIT_PUBLIC_KEY": ""}, checkout) == 2
