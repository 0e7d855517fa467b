"""`memaudit verify`: a folder as it was written passes, and every change to it is named."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from memaudit.auditing.folder import DIGEST, REPORT, SUMS, seal, unseal, verify
from memaudit.auditing.ledger import FILE
from memaudit.errors import MemauditError
from memaudit.files import write_whole
from memaudit.reports import load, save
from memaudit.reports.canonical import canonical
from memaudit.types import Attempt, Estimate, Finding, Report, Result, Subject, Verdict

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]

MADE = Report(
    created=datetime.now(UTC).isoformat(timespec="seconds"),
    subject=Subject(model="model.pt", sha256="ab" * 32, members=2, nonmembers=1, shadows=8),
    results=(),
    skipped=(),
    controls=(),
    provenance={"memaudit": "1"},
    attempt=Attempt(number=1, of_model=1, entry="cd" * 32),
)
EVIDENCE = b"id,member,flagged_at_0.1\na,1,1\nb,1,0\nc,0,0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An audit's folder: report.json, evidence.csv, digest and sums."""
    place = tmp_path / "audit"
    place.mkdir()
    save(MADE, place / REPORT)
    (place / "evidence.csv").write_bytes(EVIDENCE)
    seal(place, [REPORT, "evidence.csv"])
    return place


def sums(place: Path) -> None:
    """Writes the sums anew, as somebody would who changes the folder and knows how."""
    names = sorted(entry.name for entry in place.iterdir() if entry.name != SUMS)
    lines = [f"{hashlib.sha256((place / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (place / SUMS).write_text("".join(lines), "utf-8")


def test_a_folder_as_it_was_written_has_no_problem(folder: Path) -> None:
    assert verify(folder) == (MADE, [])
    content = json.loads((folder / REPORT).read_bytes())
    stated = (folder / DIGEST).read_text("ascii").split()[0]
    assert stated == hashlib.sha256(canonical(content)).hexdigest()


def test_a_report_that_an_older_version_wrote_with_fewer_fields_is_as_it_was_written(folder: Path) -> None:
    content = json.loads((folder / REPORT).read_bytes())
    del content["plan"]
    (folder / REPORT).write_text(json.dumps(content), "utf-8")
    seal(folder, [REPORT, "evidence.csv"])
    assert verify(folder) == (MADE, [])


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_sums_are_those_of_sha256sum(folder: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    names = sorted(entry.name for entry in folder.iterdir() if entry.name != SUMS)
    theirs = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, check=True).stdout
    assert theirs == (folder / SUMS).read_bytes()


def _replaced(name: str, old: bytes, new: bytes) -> Callable[[Path], object]:
    def change(place: Path) -> None:
        content = (place / name).read_bytes()
        assert old in content
        (place / name).write_bytes(content.replace(old, new, 1))

    return change


def _instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(place: Path) -> None:
        (place / name).unlink(missing_ok=True)
        make(place / name)

    return change


def _then_sums(change: Callable[[Path], object]) -> Callable[[Path], object]:
    def both(place: Path) -> None:
        change(place)
        sums(place)

    return both


def _linked(path: Path) -> None:
    """A link to a file with the very same content."""
    path.with_name("..").joinpath("copy").write_bytes(EVIDENCE)
    path.symlink_to("../copy")


def _several(place: Path) -> None:
    (place / "x").touch()
    (place / "evidence.csv").unlink()
    (place / DIGEST).write_text("x", "utf-8")


PROBLEMS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a byte of evidence": (_replaced("evidence.csv", b"a,1,1", b"a,1,0"), ["'evidence.csv' was changed"]),
    "a byte more": (_replaced("evidence.csv", b"c,0,0\n", b"c,0,0\n\n"), ["'evidence.csv' was changed"]),
    "a file missing": (lambda p: (p / "evidence.csv").unlink(), ["'evidence.csv' is missing"]),
    "a file added": (lambda p: (p / "x.txt").touch(), ["'x.txt' was added"]),
    "a hidden file added": (lambda p: (p / ".x").touch(), ["'.x' was added"]),
    "a folder added": (lambda p: (p / "sub").mkdir(), ["'sub' was added"]),
    "a name that writes on the terminal": (lambda p: (p / "\x1b[31mred\n").touch(), [r"'\x1b[31mred\n' was added"]),
    "a link for a file": (_instead("evidence.csv", _linked), ["'evidence.csv' is no plain file"]),
    "a link to nowhere": (
        _instead("evidence.csv", lambda f: f.symlink_to("nowhere")),
        ["'evidence.csv' is no plain file"],
    ),
    "a pipe for a file": (_instead("evidence.csv", os.mkfifo), ["'evidence.csv' is no plain file"]),
    "a folder for a file": (_instead("evidence.csv", Path.mkdir), ["'evidence.csv' is no plain file"]),
    "a pipe for the report": (_instead(REPORT, os.mkfifo), ["'report.json' is no plain file"]),
    "the report missing": (lambda p: (p / REPORT).unlink(), ["'report.json' is missing"]),
    "several things": (
        _several,
        ["'evidence.csv' is missing", "'report.digest' was changed", "'x' was added", "is not the digest"],
    ),
    "a digest of another report": (
        _then_sums(lambda p: (p / DIGEST).write_text("0" * 64, "utf-8")),
        ["report.digest is not the digest of report.json"],
    ),
    "another report": (
        _then_sums(_replaced(REPORT, b'"members": 2', b'"members": 3')),
        ["report.digest is not the digest", "evidence.csv is not about the 3 members and 1 non-members"],
    ),
    "another verdict": (
        _then_sums(_replaced(REPORT, b'"verdict": "noted"', b'"verdict": "pass"')),
        ["the file says 'pass', but its results say 'noted'"],
    ),
    "a report with a key more": (_then_sums(_replaced(REPORT, b"{", b'{"x": 1,')), ["report.json: x: not as in"]),
    "a report that is none": (_then_sums(lambda p: (p / REPORT).write_text("{}", "utf-8")), ["report.json: schema"]),
    "evidence of others": (
        _then_sums(_replaced("evidence.csv", b"b,1,0", b"b,0,0")),
        ["evidence.csv is not about the 2 members"],
    ),
    "evidence that is no table": (
        _then_sums(lambda p: (p / "evidence.csv").write_bytes(b"\xff\xfe")),
        ["evidence.csv cannot be read as a table"],
    ),
    "evidence with a row too long": (
        _then_sums(_replaced("evidence.csv", b"a,1,1", b"a,1,1,1")),
        ["rows differ in length"],
    ),
    "evidence without members": (
        _then_sums(_replaced("evidence.csv", b"id,member", b"id,x")),
        ["is not the evidence of an audit"],
    ),
    "no digest": (
        _then_sums(lambda p: (p / DIGEST).unlink()),
        ["SHA256SUMS does not list report.json and report.digest"],
    ),
    "sums cut short": (_replaced(SUMS, b"report.json\n", b"report.js"), ["was cut short", "'report.js' is missing"]),
    "a sum of a file elsewhere": (
        lambda p: (p / SUMS).write_text(f"{'0' * 64}  ../../etc/passwd\n{(p / SUMS).read_text()}", "utf-8"),
        ["SHA256SUMS:1: not a sum of one file of this folder"],
    ),
    "a file twice": (
        lambda p: (p / SUMS).write_text(2 * (p / SUMS).read_text("utf-8"), "utf-8"),
        ["SHA256SUMS:4: not a sum of one file"],
    ),
    "nonsense": (lambda p: (p / SUMS).write_text("nonsense\n", "utf-8"), ["SHA256SUMS:1: not a sum", "was added"]),
}


@pytest.mark.parametrize(("change", "said"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_differs_is_named(
    folder: Path, complaint: Complaint, change: Callable[[Path], object], said: list[str]
) -> None:
    change(folder)
    _, problems = verify(folder)
    for part in said:
        assert any(part in problem for problem in problems), problems
    message = complaint("verify", folder)
    assert "is not as it was written" in message
    assert all(part in message for part in said)
    assert "\x1b" not in message


@pytest.mark.parametrize("make", [lambda path: None, os.mkfifo, Path.mkdir])
def test_a_folder_without_sums_is_not_verified(
    folder: Path, complaint: Complaint, make: Callable[[Path], object]
) -> None:
    _instead(SUMS, make)(folder)
    assert "holds no SHA256SUMS" in complaint("verify", folder)
    assert "holds no SHA256SUMS" in complaint("verify", folder / "nowhere")
    assert "holds no SHA256SUMS" in complaint("verify", folder / REPORT)


# Writing


def test_a_half_written_folder_has_no_sums(folder: Path) -> None:
    """The sums go before anything else is written, and drafts of a killed audit go with them."""
    (folder / ".report.json-0123abcd").touch()
    (folder / ".SHA256SUMS-0123abcd").touch()
    (folder / ".other.json-0123abcd").touch()
    unseal(folder, [REPORT])
    assert {entry.name for entry in folder.iterdir()} == {DIGEST, REPORT, "evidence.csv", ".other.json-0123abcd"}


@pytest.mark.parametrize("content", ["", f"{'0' * 64}  data.csv\n"])
def test_sums_of_something_else_are_not_written_over(tmp_path: Path, content: str) -> None:
    (tmp_path / SUMS).write_text(content, "utf-8")
    with pytest.raises(MemauditError, match="is not a file of an audit"):
        unseal(tmp_path, [REPORT])
    assert (tmp_path / SUMS).read_text("utf-8") == content


def test_long_texts_in_the_evidence_are_no_problem(folder: Path) -> None:
    rows = EVIDENCE.decode().splitlines()
    longer = "\n".join([f"{rows[0]},content", *(f'{row},"{"x" * 200_000}"' for row in rows[1:])])
    write_whole(folder / "evidence.csv", longer.encode())
    seal(folder, [REPORT, "evidence.csv"])
    assert verify(folder)[1] == []


# Audits, from their making to their end


@pytest.fixture
def audited(project: Path, command: Command) -> Path:
    done = command("audit", "model.safetensors", "-q")
    assert done.returncode == 0, done.stderr
    return project


def test_an_audit_is_verified_and_what_that_shows_is_said(audited: Path, command: Command) -> None:
    done = command("verify", "audit")
    assert done.returncode == 0, done.stderr
    report = load(audited / "audit" / REPORT)
    said = " ".join(done.stdout.split())
    assert (audited / "audit" / DIGEST).read_text("ascii").split()[0] in said
    assert "attempt 1 with this model, these examples or this recipe (1 under these limits, 1 of" in said
    assert "the chain of 1 audits is whole" in said
    assert (
        "no signature was verified (--signature), and anyone who can write to the folder can replace the checksums"
        in said
    )
    assert report.attempt is not None
    assert command("audit", "model.safetensors", "-q", "--out", "again").returncode == 0
    assert "1 audit in the ledger), after it: no-limit-set" in command("verify", "audit").stdout
    assert "attempt 2 with this model, these examples or this recipe, before it: no-limit-set" in (
        command("verify", "again").stdout
    )


def test_an_audit_written_over_another_is_whole(audited: Path, command: Command) -> None:
    assert command("audit", "model.safetensors", "-q", "--evidence", "none").returncode == 0
    assert command("verify", "audit").returncode == 0
    assert command("audit", "model.safetensors", "-q", "--out", "junit=audit/junit.xml").returncode == 0
    assert "junit.xml" in (audited / "audit" / SUMS).read_text("utf-8")
    assert command("verify", "audit").returncode == 0


def test_the_folder_may_be_moved_and_its_ledger_named(audited: Path, command: Command, complaint: Complaint) -> None:
    (audited / "elsewhere").mkdir()
    shutil.move(audited / "audit", audited / "elsewhere" / "audit")
    assert "not checked: which attempt it was" in command("verify", "elsewhere/audit").stdout
    done = command("verify", "elsewhere/audit", "--ledger", FILE)
    assert "the chain of 1 audits is whole" in done.stdout
    assert "cannot be had" in complaint("verify", "elsewhere/audit", "--ledger", "nowhere")


def _line(audited: Path) -> bytes:
    return (audited / FILE).read_bytes()


LEDGERS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "emptied": (lambda line: b"", "does not contain this audit"),
    "another verdict": (lambda line: line.replace(b'"noted"', b'"pass"'), "does not contain this audit"),
    "nonsense": (lambda line: line + b"x\n", "the chain is broken at this line"),
}


@pytest.mark.parametrize(("change", "said"), LEDGERS.values(), ids=LEDGERS)
def test_a_ledger_that_was_changed_is_named(
    audited: Path, complaint: Complaint, change: Callable[[bytes], bytes], said: str
) -> None:
    (audited / FILE).write_bytes(change((audited / FILE).read_bytes()))
    assert said in complaint("verify", "audit")


def test_a_line_cut_short_is_told_and_no_entry(audited: Path, command: Command) -> None:
    (audited / FILE).write_bytes(_line(audited) + b'{"examples":"')
    assert (
        "the chain of 1 audits is whole; 1 lines were cut short and are no entries" in command("verify", "audit").stdout
    )


def test_an_attempt_that_was_changed_in_the_report_is_named(audited: Path, complaint: Complaint) -> None:
    content = json.loads((audited / "audit" / REPORT).read_bytes())
    content["attempt"]["number"] = 7
    (audited / "audit" / REPORT).write_text(json.dumps(content), "utf-8")
    (audited / "audit" / DIGEST).write_text(hashlib.sha256(canonical(content)).hexdigest(), "utf-8")
    sums(audited / "audit")
    assert "its entry for this audit differs from report.json" in complaint("verify", "audit")


def test_model_examples_and_members_can_be_shown_to_be_those_of_the_audit(
    audited: Path, command: Command, complaint: Complaint, edit: Callable[[Path, str, str], None]
) -> None:
    data: list[Any] = ["--recipe", "recipe.py:recipe", "--bank", "bank", "--members", "model.safetensors.members.csv"]
    done = command("verify", "audit", "--model", "model.safetensors", *data)
    assert done.returncode == 0, done.stderr
    for what in ("the report is about model.safetensors", "the examples are those", "the members are those"):
        assert what in done.stdout
    lines = (audited / "model.safetensors.members.csv").read_text("utf-8").splitlines(keepends=True)
    (audited / "model.safetensors.members.csv").write_text("".join(lines[:-1]), "utf-8")
    assert "the members are not those of the audit" in complaint("verify", "audit", *data)
    (audited / "other.safetensors").write_bytes(b"x")
    assert "is not about other.safetensors" in complaint("verify", "audit", "--model", "other.safetensors")
    edit(audited / "recipe.py", "rng.normal(size=(200, 12))", "1e-9 + rng.normal(size=(200, 12))")
    assert "the examples are not those of the audit" in complaint("verify", "audit", *data[:4])


def test_another_key_can_tell_nothing_and_none_is_made(audited: Path, complaint: Complaint) -> None:
    key = audited / "bank" / "evidence.key"
    key.write_text("11" * 32, "ascii")
    flags = ["--recipe", "recipe.py:recipe", "--bank", "bank"]
    assert "sealed with another key" in complaint("verify", "audit", *flags)
    key.unlink()  # the ledger's key, which stands in for one, is another
    assert "sealed with another key" in complaint("verify", "audit", *flags)
    assert not key.exists()
    assert "there is no bank in nowhere" in complaint("verify", "audit", *flags[:3], "nowhere")
    assert "go together" in complaint("verify", "audit", "--bank", "bank")
    assert "go together" in complaint("verify", "audit", "--members", "model.safetensors.members.csv")


def test_a_rate_that_is_altered_apart_from_the_evidence_is_found_without_a_signature(folder: Path) -> None:
    """One of two members is flagged: a report that says so holds; one that says none does not, whatever its sums."""
    for rate, says in ((0.5, []), (0.0, ["MIA001 LiRA: the members are found at another rate in the evidence"])):
        estimate = Estimate(value=rate, low=0.0, high=1.0, unit="share", method="")
        finding = Finding(
            code="MIA001", title="LiRA", metric="tpr", attack="lira-online", at_fpr=0.1, estimate=estimate, sentence="",
            n=2, source="",
        )  # fmt: skip
        told = Result(finding=finding, verdict=Verdict.NOTED, reason="")
        unknown = replace(told, finding=replace(finding, attack="of-another-package"))
        save(replace(MADE, results=(told, unknown)), folder / REPORT)
        seal(folder, [REPORT, "evidence.csv"])
        assert verify(folder)[1] == says
