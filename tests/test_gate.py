"""`memaudit gate` through the real command line: every exit code, one line for each gate, and no torch."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from scipy.stats import binomtest

from memaudit import reports, stats
from memaudit.attack_names import ATTACKS_BY_METRIC
from memaudit.cli.settings import read
from memaudit.errors import SettingsError
from memaudit.metrics import METRICS
from memaudit.policy import hold
from memaudit.policy.controls import needed_controls
from memaudit.types import (
    Attempt,
    Control,
    Estimate,
    Finding,
    Limit,
    Report,
    Result,
    Subject,
    Verdict,
)

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]

ROOT = Path(__file__).parents[1]
MODEL = "ab" * 32
GATE = '[[gate]]\nid = "low-fpr"\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.01\nmax = 0.1\n'
WAIVER = """
[[waiver]]
gate = "low-fpr"
subject = "sha256:{subject}"
cap = {cap}
reason = "the pilot"
owner = "ann"
approved_by = "bob"
expires = {expires}
"""


def day(ahead: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=ahead)).isoformat()


def granted(subject: str = MODEL, cap: float = 0.5, ahead: int = 30) -> str:
    return WAIVER.format(subject=subject, cap=cap, expires=day(ahead))


def _finding(hits: int, members: int, attack: str, at_fpr: float) -> Finding:
    low, high = stats.clopper_pearson(hits, members)
    return Finding(
        code={"lira-online": "MIA001", "lira-offline": "MIA002"}[attack],
        title=f"Membership inference, {attack}, at {at_fpr:g}",
        metric="tpr",
        attack=attack,
        at_fpr=at_fpr,
        estimate=Estimate(
            value=hits / members, low=float(low), high=float(high), unit="share", method="Clopper–Pearson"
        ),
        sentence="s",
        n=members,
        counted="training examples",
        source="s",
    )


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes the report of an audit that found some of the members, and settings, into the working directory.

    The audit had the limits of these settings, if they can be read, or those that are given.
    """
    monkeypatch.chdir(tmp_path)

    def write(
        hits: int, settings: str = GATE, members: int = 1000, passed: bool = True, had: str | None = None
    ) -> None:
        report = Report(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            subject=Subject(model="m.pt", sha256=MODEL, members=members, nonmembers=400, shadows=16),
            results=tuple(
                Result(finding=_finding(found, members, attack, 0.01), verdict=Verdict.NOTED, reason="r")
                for attack, found in (("lira-online", hits), ("lira-offline", 0))
            ),
            skipped=(),
            controls=tuple(
                Control(code=code, title=f"title of {code}", passed=passed or code != "CTL002", sentence="s")
                for code in ("CTL001", "CTL002", "CTL003", "CTL004", "CTL005")
            ),
            provenance={},
            attempt=Attempt(number=1, of_model=1, entry="cd" * 32),
        )
        (tmp_path / "memaudit.toml").write_text(settings if had is None else had, "utf-8")
        with suppress(SettingsError):
            report = hold(report, read(tmp_path / "memaudit.toml").limits())
        (tmp_path / "memaudit.toml").write_text(settings, "utf-8")
        reports.save(report, tmp_path / "report.json")

    return write


# ---- every exit code


@pytest.mark.parametrize(
    ("hits", "code", "verdict", "said"),
    [
        (60, 0, "pass", "upper bound {high} at 95% confidence, limit 10%"),
        (200, 1, "fail", "lower bound {low} at 95% confidence, limit 10%"),
        (95, 3, "inconclusive", "between {low} and {high} at 95% confidence, which includes the limit, 10%"),
    ],
)
def test_the_verdict_is_the_exit_code(
    audited: Callable[..., None], command: Command, hits: int, code: int, verdict: str, said: str
) -> None:
    """Both bounds are those of a two-sided interval at 90 %."""
    audited(hits)
    done = command("gate", "report.json", "--sentences")
    assert done.returncode == code, done.stderr
    ends = binomtest(hits, 1000).proportion_ci(0.9)
    reason = said.format(low=f"{100 * ends.low:.2g}%", high=f"{100 * ends.high:.2g}%")
    gate, *rest, end = done.stdout.splitlines()
    assert gate.startswith(f"{verdict:<14}low-fpr (tpr of lira-online at 0.01 FPR ≤ 0.1): {reason}")
    assert end == f"{verdict}: exit code {code}"
    assert [line[:14] for line in rest[:3]] == ["report        ", "limits        ", "controls      "]
    assert rest[3:] == [
        "attempt       attempt 1 of this model under this policy",
        "not checked   who made the report (--require-signature), which model is released (--model), how often it was "
        "audited (--ledger), whether results are missing (a report of memaudit 0.1.0 does not say)",
    ]
    zero = command("gate", "report.json", "--exit-zero", "-v")
    assert (zero.returncode, zero.stdout) == (0, f"{done.stdout.strip()} (not used: --exit-zero)\n")


@pytest.mark.parametrize(
    ("hits", "words"),
    [(60, "6% 4.6–7.7% ≤ 10% PASS"), (200, "20% 18–23% ≤ 10% FAIL"), (95, "9.5% 7.8–11% ≤ 10% INCONCLUSIVE")],
)
def test_every_limit_has_a_row_and_a_reason_unless_it_passes(
    audited: Callable[..., None], command: Command, hits: int, words: str
) -> None:
    audited(hits, GATE + '[[gate]]\nmetric = "exposure"\nmax = 4\nrequired = false\n')
    lines = command("gate", "report.json").stdout.splitlines()
    table, reasons = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert table[0].split() == ["Finding", "Value", "95%", "CI", "Limit", "Verdict"]
    assert " ".join(table[1].split()).endswith(f"FPR {words}")
    assert " ".join(table[2].split()) == "exposure, not measured - - ≤ 4 NOT RUN"
    assert [line.split(":")[0] for line in reasons if "low-fpr" in line] == (
        [] if "PASS" in words else [f"{words.split()[-1].lower():<14}low-fpr (tpr of lira-online at 0.01 FPR ≤ 0.1)"]
    )


def test_too_few_members_are_inconclusive_with_the_number_that_would_do(
    audited: Callable[..., None], command: Command
) -> None:
    """None of 29 excludes a tenth, as 0.9²⁹ < 0.05 < 0.9²⁸."""
    audited(0, members=20)
    done = command("gate", "report.json")
    assert done.returncode == 3
    assert "needed: at least 9 more training examples" in done.stdout


def test_too_few_nonmembers_are_inconclusive_with_the_number_that_would_do(
    audited: Callable[..., None], command: Command
) -> None:
    audited(60, GATE.replace("0.01", "0.001"))
    done = command("gate", "report.json")
    assert done.returncode == 3
    assert "needed: 600 more non-members" in done.stdout


def test_a_failed_control_is_no_pass(audited: Callable[..., None], command: Command) -> None:
    audited(60, passed=False)
    done = command("gate", "report.json")
    assert done.returncode == 3
    assert "not a pass: the control “title of CTL002” failed" in done.stdout


@pytest.mark.parametrize(
    ("choice", "code", "said"), [("inconclusive", 3, ""), ("fail", 1, "counts as a failure"), ("warn", 0, "a warning")]
)
def test_what_comes_of_an_undecided_gate_is_the_gates_choice_and_printed(
    audited: Callable[..., None], command: Command, choice: str, code: int, said: str
) -> None:
    audited(95, f'{GATE}on_inconclusive = "{choice}"\n')
    done = command("gate", "report.json")
    assert done.returncode == code
    assert "\ninconclusive  low-fpr" in done.stdout
    assert said in done.stdout
    assert f"inconclusive: exit code {code}" in done.stdout


def test_a_gate_that_is_not_required_may_have_nothing_to_say(audited: Callable[..., None], command: Command) -> None:
    exposure = '[[gate]]\nmetric = "exposure"\nmax = 4\n'
    audited(60, GATE + exposure)
    assert command("gate", "report.json").returncode == 3
    audited(60, f"{GATE}{exposure}required = false\n")
    done = command("gate", "report.json")
    assert done.returncode == 0
    assert "not run       exposure (exposure ≤ 4): a limit is set" in done.stdout


def test_a_gate_on_all_attacks_is_told_by_the_worst(audited: Callable[..., None], command: Command) -> None:
    audited(200, '[[gate]]\nmetric = "tpr"\nmax = 0.1\n')
    done = command("gate", "report.json")
    assert done.returncode == 1
    assert "(worst of 2)" in " ".join(done.stdout.splitlines()[1].split())
    gate = next(line for line in done.stdout.splitlines() if line.startswith("fail "))
    assert gate.startswith("fail          tpr (tpr ≤ 0.1): worst of 2, Membership inference, lira-online, at 0.01: ")
    assert "at 95% confidence (jointly over 2 comparisons)" in gate


BROKEN: dict[str, tuple[str, str]] = {
    "no gate": ("[audit]\nshadows = 8\n", "memaudit.toml sets no limit"),
    "a wrong key": (GATE + "maximum = 1\n", "memaudit.toml:7: gate.0.maximum: there is no such key"),
    "a waiver of no gate": (
        GATE + granted().replace("low-fpr", "low-fp"),
        "memaudit.toml:9: waiver.0.gate: there is no",
    ),
}


@pytest.mark.parametrize(("settings", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_configuration_is_2(
    audited: Callable[..., None], complaint: Complaint, settings: str, said: str
) -> None:
    audited(60, settings)
    assert said in complaint("gate", "report.json")
    assert said in complaint("gate", "report.json", "--exit-zero")


def test_nothing_to_judge_and_nothing_to_judge_by_are_2(
    audited: Callable[..., None], complaint: Complaint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited(60)
    assert "nowhere.json" in complaint("gate", "nowhere.json")
    assert "cannot be read" in complaint("gate", "report.json", "--config", "nowhere.toml")
    (tmp_path / "cut.json").write_bytes((tmp_path / "report.json").read_bytes()[:-20])
    assert "cut.json" in complaint("gate", "cut.json")
    monkeypatch.setattr("memaudit.cli.settings.find", lambda start: None)
    assert "no limits: there is no memaudit.toml" in complaint("gate", "report.json")


# ---- waivers


@pytest.mark.parametrize(
    ("text", "code", "state"),
    [
        (granted(), 0, "applied"),
        (granted(ahead=0), 0, "applied"),
        (granted(ahead=-1), 1, "expired"),
        (granted(subject="cd" * 32), 1, "for another model"),
        (granted(cap=0.15), 1, "exceeded"),
    ],
)
def test_a_waiver_is_printed_whatever_it_does(
    audited: Callable[..., None], command: Command, text: str, code: int, state: str
) -> None:
    audited(200, GATE + text)
    done = command("gate", "report.json")
    assert done.returncode == code
    _, row, _, gate, waiver, *_, end = done.stdout.splitlines()
    assert row.endswith("FAIL, WAIVED" if code == 0 else "FAIL")
    assert gate.startswith("fail (waived)" if code == 0 else "fail   ")
    assert waiver.startswith("waiver        low-fpr, for model ")
    assert waiver.endswith(f"owner ann, approved by bob: {state}")
    assert end == f"fail: exit code {code}"
    audited(60, GATE + text)
    done = command("gate", "report.json")
    assert done.returncode == 0
    assert done.stdout.splitlines()[3].startswith("waiver        low-fpr")


# ---- outputs


def test_the_report_with_the_new_verdict_can_be_written(
    audited: Callable[..., None], command: Command, tmp_path: Path
) -> None:
    audited(200, GATE + granted())
    done = command("gate", "report.json", "--out", "json=new.json,md=-")
    assert done.returncode == 0
    assert done.stdout.startswith("# Privacy audit: FAIL")
    assert "fail (waived) low-fpr" in done.stderr
    new = reports.load(tmp_path / "new.json")
    assert new.verdict is Verdict.FAIL
    assert [w.state for w in new.waivers] == ["applied"]
    limit = new.results[0].limit
    assert limit is not None
    assert (limit.source, limit.line) == ("memaudit.toml", 1)
    assert reports.load(tmp_path / "report.json").waivers == ()


def test_control_characters_of_a_report_do_not_reach_the_terminal(
    audited: Callable[..., None], command: Command, tmp_path: Path
) -> None:
    audited(200, '[[gate]]\nmetric = "tpr"\nmax = 0.1\n')
    text = (tmp_path / "report.json").read_text("utf-8")
    (tmp_path / "report.json").write_text(text.replace("Membership inference", r"\u001b[2J\u202eX\nY"), "utf-8")
    done = command("gate", "report.json")
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert len(command("gate", "report.json", "--sentences").stdout.splitlines()) == 7


def test_a_gate_needs_no_torch(audited: Callable[..., None], tmp_path: Path) -> None:
    audited(60)
    code = """
import sys
from memaudit.cli import main
try:
    main(["gate", "report.json"])
finally:
    print({"torch", "matplotlib", "sklearn"} & set(sys.modules))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("pass: exit code 0\nset()\n")


# ---- the audit and the gate


@pytest.mark.parametrize(("limit", "code"), [(0.05, 1), (1.0, 0)])
def test_the_gate_says_what_the_audit_said(
    project: Path, command: Command, limit: float, code: int, tmp_path: Path
) -> None:
    with (project / "memaudit.toml").open("a", encoding="utf-8") as file:
        file.write(GATE.replace("0.01", "0.02").replace("0.1\n", f"{limit}\n"))
        file.write('[[gate]]\nmetric = "memorization"\nmax = 1.0\n')
    audit = command("audit", "model.safetensors")
    assert audit.returncode == code, audit.stderr
    saved: Any = reports.load(project / "audit" / "report.json")
    gate = command("gate", "audit/report.json", "--out", f"json={tmp_path / 'again.json'}")
    assert (gate.returncode, gate.stdout.splitlines()[-1].split(":")[0]) == (code, audit.stdout.split(":")[0])
    assert reports.load(tmp_path / "again.json") == saved
    assert float(saved.provenance["seconds per shadow model"]) > 0


def test_the_tables_in_the_documentation_are_what_the_command_prints() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.operating_characteristics"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    page = (ROOT / "docs" / "gate.md").read_text("utf-8")
    begin, end = (
        "<!-- benchmarks.operating_characteristics -->\n",
        "<!-- end of benchmarks.operating_characteristics -->",
    )
    assert page.partition(begin)[2].partition(end)[0] == done.stdout


def metrics_table() -> str:
    """Return the table of the metrics as the documentation has it."""
    lines = ["| metric | unit | a larger number means | `max` | `attack` |", "| --- | --- | --- | --- | --- |"]
    for name, metric in METRICS.items():
        least, most = metric.range
        allowed = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}".replace("-", "−")
        attacks = ", ".join(f"`{attack}`" for attack in ATTACKS_BY_METRIC.get(name, ())) or "–"
        attacks = "any that `memaudit.toml` can ask for" if name == "tpr" else attacks
        no_leak = "" if metric.leak else " (no leak by itself)"
        lines.append(f"| `{name}` | {metric.unit} | {metric.larger}{no_leak} | {allowed} | {attacks} |")
    return "\n".join(lines) + "\n"


def test_the_documentation_names_every_metric_and_the_controls_of_each() -> None:
    page = (ROOT / "docs" / "gate.md").read_text("utf-8")
    begin, end = "<!-- memaudit.metrics -->\n", "<!-- end of memaudit.metrics -->"
    assert page.partition(begin)[2].partition(end)[0] == metrics_table()
    metrics = tuple(METRICS)
    rows = [line for line in page.splitlines() if line.startswith("| CTL006")]
    assert {metric for metric in metrics if f"`{metric}`" in rows[0]} == {
        metric for metric in metrics if "CTL006" in needed_controls(metric)
    }


def test_the_gate_and_the_waiver_in_the_documentation_can_be_read(tmp_path: Path) -> None:
    """The waiver's day is put near, as it may be at most 180 days ahead."""
    page = (ROOT / "docs" / "gate.md").read_text("utf-8")
    tables = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert [table.splitlines()[0] for table in tables] == ["[[gate]]", "[[waiver]]"]
    text = re.sub(r"expires = \S+", f"expires = {day(30)}", "\n".join(tables))
    (tmp_path / "memaudit.toml").write_text(text, "utf-8")
    settings = read(tmp_path / "memaudit.toml")
    (limit,), (waiver,) = settings.limits(), settings.waivers()
    plain = Limit(metric="tpr", attack="slira", at_fpr=0.01, max=0.1, id="low-fpr")
    assert limit == replace(plain, source="memaudit.toml", line=1), "the defaults are what the page says"
    assert waiver.gate == limit.name
