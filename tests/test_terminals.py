"""What a terminal cannot show, or a pipe does not take, never changes an exit code."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import samples

from memaudit import reports

Called = Callable[[str, list[str]], tuple[int, str, str]]

ROOT = Path(__file__).parents[1]
PAGES = ("cp1252", "gbk", "ascii", "utf-16")
COMMANDS: dict[str, list[str]] = {
    "help": ["--help"],
    "help of a command": ["audit", "--help"],
    "gate": ["gate", "report.json"],
    "gate, markdown": ["gate", "report.json", "--out", "md=-"],
    "gate without limits": ["gate", "report.json", "--config", "none.toml"],
    "policy": ["policy"],
    "schema": ["schema"],
    "all checks": ["explain"],
    "one check": ["explain", "MIA001"],
    "unknown check": ["explain", "MIA≤1"],
    "diff": ["diff", "report.json", "report.json"],
    "report": ["report", "report.json", "-o", "github=-"],
    "no such file": ["report", "\udcff≤.json", "-o", "md=-"],
    "no such option": ["gate", "--≤"],
}


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report and a limit, in the working directory."""
    reports.save(
        samples.audited([], samples.found("lira-online", 10), samples.found("lira-offline", 20)),
        tmp_path / "report.json",
    )
    settings = '[[gate]]\nid = "members"\nmetric = "tpr"\nmax = 0.5\n'
    (tmp_path / "memaudit.toml").write_text(settings, "utf-8")
    (tmp_path / "none.toml").write_text("", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "report.json"


@pytest.fixture
def called(command: Callable[..., CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch) -> Called:
    """Runs a command: exit code, and what standard output and error, both of an encoding, hold in the end."""

    def run(encoding: str, arguments: list[str]) -> tuple[int, str, str]:
        buffers = [io.BytesIO(), io.BytesIO()]
        streams = [io.TextIOWrapper(buffer, encoding, "strict") for buffer in buffers]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            code = command(*arguments).returncode
        out, err = (buffer.getvalue() for buffer in buffers)
        bytewise = arguments[-1].endswith("=-")  # files are UTF-8 wherever they go
        return code, out.decode("utf-8" if bytewise else encoding), err.decode(encoding)

    return run


@pytest.mark.parametrize("encoding", PAGES)
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_code_page_changes_no_exit_code(report: Path, arguments: list[str], encoding: str, called: Called) -> None:
    right = called("utf-8", arguments)
    code, out, err = called(encoding, arguments)
    assert code == right[0]
    assert "internal error" not in err
    assert [bool(out), bool(err)] == [bool(right[1]), bool(right[2])]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])
def test_what_cannot_be_shown_is_spelled_out(report: Path, encoding: str, called: Called) -> None:
    _, out, err = called(encoding, ["gate", "report.json", "-v"])
    assert "members (tpr <= 0.5)" in out + err
    assert "members (tpr ≤ 0.5)" in "".join(called("utf-8", ["gate", "report.json", "-v"])[1:])


def test_a_file_name_that_is_no_text_is_named(report: Path, called: Called) -> None:
    code, _, err = called("utf-8", ["report", "\udcff.json", "-o", "md=-"])
    assert code == 2
    assert r"\udcff.json" in err


def test_an_audit_under_a_code_page(project: Path, called: Called) -> None:
    with (project / "memaudit.toml").open("a", encoding="utf-8") as file:
        file.write('[[gate]]\nid = "all"\nmetric = "memorization"\nmax = 1\n')
    for encoding in ("cp1252", "ascii"):
        code, out, err = called(encoding, ["audit", "model.safetensors"])
        assert (code, out.partition(":")[0]) == (0, "pass"), err


def test_settings_of_a_windows_editor_are_read(report: Path, command: Callable[..., CompletedProcess[str]]) -> None:
    text = Path("memaudit.toml").read_text("utf-8").replace("\n", "\r\n")
    Path("memaudit.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert command("gate", report).returncode == 0


@pytest.mark.parametrize(
    ("redirection", "arguments", "code"),
    [
        ("", "gate report.json", 0),
        (">/dev/full", "gate report.json", 0),
        (">/dev/full 2>/dev/full", "gate report.json", 0),
        ("<&- >&- 2>&-", "gate report.json", 0),
        (">/dev/full", "--help", 0),
        (">/dev/full", "report report.json -o md=-", 2),  # what was asked for by name is not there
        (">&-", "report report.json -o md=-", 2),
        (">/dev/full", "schema", 2),
        ("| true; exit ${PIPESTATUS[0]}", "gate report.json --out md=other.md", 0),
    ],
)
def test_output_that_nobody_takes_changes_no_verdict(report: Path, redirection: str, arguments: str, code: int) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"}
    shell = ["bash", "-c", f"{sys.executable} -m memaudit {arguments} {redirection}"]
    done = subprocess.run(shell, env=environment, capture_output=True, encoding="cp1252", check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


def test_streams_and_environment_are_as_before(report: Path, command: Callable[..., CompletedProcess[str]]) -> None:
    before = sys.stdout, sys.stderr, os.environ.get("PYTHONIOENCODING")
    command("gate", report)
    assert (sys.stdout, sys.stderr, os.environ.get("PYTHONIOENCODING")) == before
    print("still open")


def test_no_number_of_a_table_is_cut_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut interval would be another number."""
    from memaudit.cli.terminal import table

    monkeypatch.setenv("COLUMNS", "40")
    row = ("MIA005 SLiRA, TPR at 1% FPR", "7.4%", "−3.1 to +12.2 points (99% CI)", "≤ 10.25%", "INCONCLUSIVE")
    lines = table(("Finding", "Value", "95% CI", "Limit", "Verdict"), [row], io.StringIO())
    first = next(re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines if "7.4" in line)
    assert [cell.strip() for cell in re.split(" {2,}", first)][1:] == list(row[1:])
