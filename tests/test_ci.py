"""The files for CI: pinned, safe, naming what exists; and their shell run as a runner would, on finished reports."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from memaudit import reports, stats
from memaudit.auditing.signing import make_pair, private_key, sign
from memaudit.cli import cli
from memaudit.types import Attempt, Control, Estimate, Finding, Report, Result, Subject, Verdict

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "ci"
ACTION = ROOT / "integrations" / "github" / "action.yml"
WORKFLOW = EXAMPLE / ".github" / "workflows" / "privacy.yml"
TEMPLATE = ROOT / "integrations" / "gitlab" / "memaudit.gitlab-ci.yml"
PIPELINE = EXAMPLE / ".gitlab-ci.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
GATE = '[[gate]]\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.01\nmax = 0.1\n'
PLACEHOLDER = "OWNER/memaudit/integrations/github@COMMIT"

Command = Callable[..., CompletedProcess[str]]


def steps(path: Path) -> Iterator[dict[str, Any]]:
    content = yaml.safe_load(path.read_text("utf-8"))
    for job in [content["runs"]] if "runs" in content else content["jobs"].values():
        yield from job["steps"]


def shell(path: Path) -> str:
    """All that a file has a shell run."""
    if path in (ACTION, WORKFLOW):
        return "\n".join(step.get("run", "") for step in steps(path))
    documents = list(yaml.safe_load_all(path.read_text("utf-8")))
    return "\n".join(line for d in documents for job in d.values() if "script" in job for line in job["script"])


def test_the_action_uses_no_other_action_and_the_workflow_pinned_ones() -> None:
    assert not any("uses" in step for step in steps(ACTION))
    used = [step["uses"] for step in steps(WORKFLOW) if "uses" in step]
    assert used.count(PLACEHOLDER) == 2
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name) for name in used if name != PLACEHOLDER)


@pytest.mark.parametrize("path", [ACTION, WORKFLOW, TEMPLATE, PIPELINE], ids=lambda path: path.name)
def test_no_expression_is_put_into_a_shell(path: Path) -> None:
    assert shell(path)
    assert "${{" not in shell(path)
    assert "$[[" not in shell(path)


@pytest.mark.parametrize(
    "text",
    [
        shell(WORKFLOW),
        shell(PIPELINE),
        (ROOT / "integrations" / "gate.sh").read_text("utf-8"),
        HOOKS.read_text("utf-8"),
    ],
    ids=["workflow", "pipeline", "gate.sh", "hooks"],
)
def test_commands_and_their_options_exist(text: str) -> None:
    calls = re.findall(
        r"(?<![\w{$-])memaudit (audit|gate|verify|policy|[a-z]+) ?([^\n]*)", re.sub(r"(?m)^\s*#.*", "", text)
    )
    known = [(name, rest) for name, rest in calls if name in cli.list_commands(None)]  # type: ignore[arg-type]
    assert known
    for name, rest in known:
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<=\s)--[a-z-]+", f" {rest}")) <= options


def test_hooks_only_read() -> None:
    hooks = yaml.safe_load(HOOKS.read_text("utf-8"))
    assert {hook["id"]: hook["entry"] for hook in hooks} == {
        "memaudit-check-policy": "memaudit policy",
        "memaudit-check-report": "memaudit verify",
    }
    assert re.search(hooks[0]["files"], "some/memaudit.toml")
    assert all(re.search(hooks[1]["files"], f"audit/{name}") for name in ("report.json", "report.digest", "SHA256SUMS"))


def test_the_sample_installs_the_version_that_this_is() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert version is not None
    assert (EXAMPLE / "requirements.txt").read_text("utf-8") == f"memaudit-toolkit=={version[1]}\n"


# ---- the shell, as a runner runs it


@pytest.fixture
def audited(tmp_path: Path) -> Callable[[int], None]:
    """Writes the report of an audit that found so many of 1,000 members."""

    def write(hits: int) -> None:
        low, high = map(float, stats.clopper_pearson(hits, 1000))
        estimate = Estimate(value=hits / 1000, low=low, high=high, unit="share", method="Clopper–Pearson")
        finding = Finding(
            code="MIA001", title="LiRA", metric="tpr", attack="lira-online", at_fpr=0.01, estimate=estimate, n=1000,
            sentence="s", counted="training examples", source="s",
        )  # fmt: skip
        controls = [
            Control(code=code, title=code, passed=True, sentence="s")
            for code in ("CTL001", "CTL002", "CTL004", "CTL005")
        ]
        report = Report(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            subject=Subject(model="m.pt", sha256="ab" * 32, members=1000, nonmembers=1000, shadows=16),
            results=(Result(finding=finding, verdict=Verdict.NOTED, reason="r"),),
            skipped=(),
            controls=tuple(controls),
            provenance={},
            attempt=Attempt(number=1, of_model=1, entry="cd" * 32),
        )
        (tmp_path / "audit").mkdir()
        reports.save(report, tmp_path / "audit" / "report.json")
        (tmp_path / "memaudit.toml").write_text(GATE, "utf-8")

    return write


def run_action(workspace: Path, **inputs: str) -> CompletedProcess[str]:
    """Runs the action's own shell, with its inputs or their defaults, as GitHub does."""
    action = yaml.safe_load(ACTION.read_text("utf-8"))
    (step,) = action["runs"]["steps"]
    values = {name: given["default"] for name, given in action["inputs"].items()} | inputs
    names = {key: re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value) for key, value in step["env"].items()}
    environment = {key: values[name[1]] for key, name in names.items() if name is not None}
    assert environment.keys() == step["env"].keys()
    faked = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION_PATH": str(ACTION.parent),
        "GITHUB_OUTPUT": str(workspace / "output"),
        "GITHUB_STEP_SUMMARY": str(workspace / "summary"),
        "MEMAUDIT_PYTHON": sys.executable,
    }
    call = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
    return subprocess.run(
        call, cwd=workspace, env=os.environ | environment | faked, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("hits", "code", "word", "annotated"),
    [(60, 0, "PASS", "::notice"), (200, 1, "FAIL", "::error"), (95, 3, "INCONCLUSIVE", "::warning")],
)
def test_the_action_gives_the_exit_code_the_summary_and_the_files(
    audited: Callable[[int], None], tmp_path: Path, hits: int, code: int, word: str, annotated: str
) -> None:
    audited(hits)
    done = run_action(tmp_path)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "output").read_text("utf-8") == f"exit-code={code}\n"
    assert (tmp_path / "summary").read_text("utf-8").startswith(f"# Privacy audit: {word}")
    assert done.stdout.startswith(annotated)
    assert json.loads((tmp_path / "memaudit-gate" / "gate.sarif").read_text("utf-8"))["version"] == "2.1.0"
    assert (tmp_path / "memaudit-gate" / "gate.xml").read_bytes().startswith(b"<?xml")
    assert isinstance(json.loads((tmp_path / "memaudit-gate" / "gate.codequality.json").read_text("utf-8")), list)


def test_the_action_ends_with_2_where_nothing_can_be_said(audited: Callable[[int], None], tmp_path: Path) -> None:
    audited(60)
    for inputs in ({"report": "nowhere.json"}, {"policy": "nowhere.toml"}, {"folder": "memaudit.toml"}):
        assert run_action(tmp_path, **inputs).returncode == 2
    assert not (tmp_path / "summary").exists()


def test_inputs_are_never_run_and_the_repository_cannot_replace_memaudit(
    audited: Callable[[int], None], tmp_path: Path
) -> None:
    audited(200)
    trap = 'audit/$(touch sprung)`touch sprung`"; touch sprung; ".json'
    assert run_action(tmp_path, report=trap).returncode == 2
    (tmp_path / "memaudit").mkdir()
    (tmp_path / "memaudit" / "__init__.py").touch()
    (tmp_path / "memaudit" / "__main__.py").write_text("raise SystemExit(0)", "utf-8")
    assert run_action(tmp_path).returncode == 1
    assert not (tmp_path / "sprung").exists()


def test_the_gate_needs_no_more_than_is_installed_for_it(audited: Callable[[int], None], tmp_path: Path) -> None:
    audited(60)
    make_pair(tmp_path / "key.pem")
    (tmp_path / "memaudit.toml").write_text(GATE, "utf-8")
    sign(reports.load(tmp_path / "audit" / "report.json"), tmp_path / "audit", private_key(str(tmp_path / "key.pem")))
    code = """
import sys
from importlib.metadata import packages_distributions
from memaudit.cli import main
try:
    out = "junit=a.xml,sarif=a.sarif,gitlab=a.json,md=a.md,github=-"
    main(["gate", "audit/report.json", "--require-signature", "key.pub", "--allow-other-limits", "--out", out])
except SystemExit:
    owners = packages_distributions()
    print("of:", *{owner for name in sys.modules for owner in owners.get(name.partition(".")[0], [])}, sep="\\n")
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    listed = (ROOT / "integrations" / "gate-requirements.txt").read_text("utf-8").splitlines()[1:]
    of_pydantic = {"annotated-types", "pydantic_core", "typing-inspection", "typing_extensions"}
    of_cryptography = {"cffi"}
    of_tests = {"setuptools", "charset-normalizer"}  # loaded by a .pth file, and by NumPy where it is installed
    assert set(done.stdout.partition("of:\n")[2].split()) - {"memaudit-toolkit"} - of_tests <= {
        *listed,
        *of_pydantic,
        *of_cryptography,
    }
    assert "signed with key.pub" in done.stderr
    pinned = (ROOT / "constraints.txt").read_text("utf-8").lower()
    assert all(f"\n{name}==" in pinned for name in listed)


# ---- pre-commit


def _waiver(ahead: int) -> str:
    day = (datetime.now(UTC).date() + timedelta(days=ahead)).isoformat()
    return (
        f'[[waiver]]\ngate = "tpr-lira-online-0.01"\nsubject = "{"ab" * 32}"\ncap = 0.2\nreason = "r"\nowner = "o"\n'
        f'approved_by = "a"\nexpires = {day}\n'
    )


def test_the_policy_hook_refuses_an_expired_waiver_and_a_wrong_key(
    tmp_path: Path, command: Command, complaint: Callable[..., str]
) -> None:
    file = tmp_path / "memaudit.toml"
    file.write_text(GATE + _waiver(0), "utf-8")
    assert command("policy", file).stdout == f"{file}: gates: 1, waivers: 1, none expired\n"
    file.write_text(GATE + _waiver(-1), "utf-8")
    assert "memaudit.toml:13: waiver.0.expires: expired on" in complaint("policy", file)
    file.write_text(f"{GATE}maxi = 3\n", "utf-8")
    assert "memaudit.toml:6: gate.0.maxi: there is no such key" in complaint("policy", file)
    file.write_text(GATE.replace("online", "onlin"), "utf-8")
    assert "memaudit.toml:3: gate.0.attack: there is no attack 'lira-onlin' on tpr; did you" in complaint(
        "policy", file
    )


# ---- the sample repository


@pytest.mark.slow
def test_the_gate_of_the_sample_passes_before_and_fails_after_the_change_that_leaks(tmp_path: Path) -> None:
    """Follows the README, whose seeds are fixed. With another seed a verdict may be inconclusive."""
    folder = tmp_path / "sample"
    shutil.copytree(EXAMPLE, folder)
    blocks = re.findall(r"```console\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def follow(block: str) -> list[int]:
        lines = [line.removeprefix("$ ") for line in block.splitlines()]
        runs = [
            re.sub(r"^memaudit", f"{sys.executable} -m memaudit", re.sub(r"^python", sys.executable, line))
            for line in lines
        ]
        return [
            subprocess.run(["bash", "-c", run], cwd=folder, env=environment, check=False).returncode for run in runs
        ]

    before, after = blocks
    assert follow(before) == [0, 0, 0]
    assert follow(after) == [0, 0, 1, 1]
