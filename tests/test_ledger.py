"""The run ledger: attempts are counted, changes show, and neither a crash nor a crowd of writers spoils it."""

import contextlib
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from safetensors.numpy import load_file, save_file
from samples import LEDGER_ENTRY as ENTRY

from memaudit.auditing.ledger import FILE, append, policy_digest, read
from memaudit.errors import MemauditError
from memaudit.reports import load
from memaudit.reports.canonical import canonical
from memaudit.reports.wording import attempts
from memaudit.types import Attempt, Limit, OnInconclusive, Verdict

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger of four audits."""
    path = tmp_path / FILE
    for number in range(4):
        append(path, replace(ENTRY, verdict=list(Verdict)[number], seed=number))
    return path


def test_what_was_appended_is_read(ledger: Path) -> None:
    found = read(ledger)
    assert [entry.seed for entry in found.audits()] == [0, 1, 2, 3]
    assert found.torn == 0
    assert [entry.previous for entry in found.entries] == ["0" * 64, *found.hashes[:-1]]
    assert len({*found.hashes}) == 4
    lines = ledger.read_bytes().split(b"\n")
    assert [canonical(json.loads(line)) for line in lines[:-1]] == lines[:-1]
    assert lines[-1] == b""


OTHER = replace(ENTRY, model="bb", policy="22", recipe="rr2", examples="ee2", data="dd2", verdict=Verdict.PASS)


@pytest.mark.parametrize(
    "same",
    [
        {"model": "aa"},  # the same file, whatever is said of its data
        {"examples": "ee"},  # trained again, by another recipe or with another seed
        {"recipe": "rr"},  # a new bank, whose key is another
        {"data": "dd"},  # a new bank and another recipe
    ],
)
def test_whatever_stays_the_same_makes_an_audit_another_attempt(tmp_path: Path, same: dict[str, str]) -> None:
    path = tmp_path / FILE
    append(path, ENTRY)
    attempt = append(path, replace(OTHER, **same)).attempt()  # type: ignore[arg-type]
    assert (attempt.number, attempt.earlier, attempt.in_all) == (2, ("fail",), 2)
    assert (attempt.of_policy, attempt.of_model) == (1, 2 if "model" in same else 1)


def test_another_model_of_other_examples_and_recipe_is_counted_in_all_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE
    made = [append(path, entry).attempt() for entry in (ENTRY, OTHER, replace(ENTRY, policy="22"), ENTRY, OTHER)]
    assert [(a.number, a.earlier, a.of_policy, a.of_model, a.in_all) for a in made] == [
        (1, (), 1, 1, 1),
        (1, (), 1, 1, 2),
        (2, ("fail",), 1, 2, 3),
        (3, ("fail", "fail"), 2, 3, 4),
        (2, ("pass",), 2, 2, 5),
    ]
    found = read(path)
    assert [found.attempt(n) for n in range(5)] == made
    assert [a.entry for a in made] == list(found.hashes)
    assert [a.previous for a in made] == ["0" * 64, *found.hashes[:-1]]


def old_line(previous: str, **change: object) -> bytes:
    """A line as memaudit 0.1.0 wrote it."""
    fields = {
        "schema": "memaudit.ledger/1", "time": "2026-11-22T10:00:00+00:00", "model": "aa", "policy": "11",
        "examples": "ee", "seed": 0, "shadows": 64, "verdict": "fail", "previous": previous,
    }  # fmt: skip
    return canonical(fields | change) + b"\n"


def test_a_ledger_of_the_earlier_version_is_read_and_gone_on_with(tmp_path: Path) -> None:
    """Its own reports count attempts by file and policy; entries after it count by examples, too."""
    path = tmp_path / FILE
    lines = [old_line("0" * 64)]
    for change in ({"policy": "22"}, {"verdict": "pass"}):
        lines.append(old_line(hashlib.sha256(lines[-1][:-1]).hexdigest(), **change))
    path.write_bytes(b"".join(lines))
    old = [read(path).attempt(n) for n in range(3)]
    assert [(a.number, a.earlier, a.of_model, a.in_all) for a in old] == [
        (1, (), 1, 0),
        (1, (), 2, 0),
        (2, ("fail",), 3, 0),
    ]
    new = append(path, replace(ENTRY, model="bb")).attempt()
    assert (new.number, new.earlier, new.of_model, new.in_all) == (4, ("fail", "fail", "pass"), 1, 4)
    assert path.read_bytes().startswith(b"".join(lines))


def test_an_attempt_in_words() -> None:
    first = Attempt(number=1, of_model=1, of_policy=1, in_all=1, entry="")
    assert str(first) == (
        "attempt 1 with this model, these examples or this recipe "
        "(1 under these limits, 1 of this model file, 1 audit in the ledger)"
    )
    assert attempts(first) == ""
    third = Attempt(number=3, earlier=("fail", "inconclusive"), of_model=1, of_policy=2, in_all=7, lost=True, entry="")
    assert "before it: fail, inconclusive (2 under these limits, 1 of this model file, 7 audits" in str(third)
    assert str(third).endswith("the ledger lacks earlier audits with this bank")
    assert attempts(third) == (
        "This is audit number 3 with this model, these examples or this recipe (earlier verdicts: FAIL, INCONCLUSIVE): "
        "2 with the same limits, 1 of the same model file, 7 in the ledger. The ledger lacks earlier audits with this "
        "bank: it was deleted, moved or reset. Their number is unknown."
    )


def test_an_attempt_of_the_earlier_version_in_words() -> None:
    third = Attempt(number=3, earlier=("fail", "inconclusive"), of_model=4, entry="")
    assert str(third) == "attempt 3 of this model under this policy, before it: fail, inconclusive"
    assert attempts(third).endswith(" (earlier verdicts: FAIL, INCONCLUSIVE). 4 audits of this model are known.")


# A policy


LIMIT = Limit(metric="tpr", attack="lira-online", at_fpr=0.01, max=0.05)


def test_a_policy_is_the_same_wherever_and_in_what_order_it_is_written() -> None:
    other = Limit(metric="memorization", max=0.1)
    moved = replace(LIMIT, source="ci/memaudit.toml", line=7, id="members")
    assert policy_digest([LIMIT, other]) == policy_digest([other, moved])


@pytest.mark.parametrize(
    "change",
    [
        {"max": 0.06},
        {"attack": None},
        {"at_fpr": 0.001},
        {"metric": "extraction"},
        {"confidence": 0.9},
        {"required": False},
        {"on_inconclusive": OnInconclusive.WARN},
    ],
)
def test_another_rule_is_another_policy(change: dict[str, object]) -> None:
    assert policy_digest([LIMIT]) != policy_digest([replace(LIMIT, **change)])  # type: ignore[arg-type]
    assert policy_digest([]) != policy_digest([LIMIT]) != policy_digest([LIMIT, LIMIT])


# Changes


def tampered(ledger: Path, change: Callable[[list[bytes]], list[bytes]]) -> str:
    """Returns what is said of a ledger with other lines, by reading and by appending."""
    lines = change(ledger.read_bytes().splitlines(keepends=True))
    ledger.write_bytes(b"".join(lines))
    with pytest.raises(MemauditError) as told:
        read(ledger)
    with pytest.raises(MemauditError, match="the chain is broken"):
        append(ledger, ENTRY)
    assert ledger.read_bytes() == b"".join(lines), "nothing is added to a broken chain"
    return str(told.value)


def _edited(line: bytes, **change: object) -> bytes:
    return canonical(json.loads(line) | change) + b"\n"


CHANGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int]] = {
    "first taken out": (lambda lines: lines[1:], 1),
    "one taken out": (lambda lines: lines[:1] + lines[2:], 2),
    "two exchanged": (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2),
    "one twice": (lambda lines: [*lines[:2], *lines[1:]], 3),
    "a verdict changed": (lambda lines: [_edited(lines[0], verdict="pass"), *lines[1:]], 2),
    "a verdict that is none": (lambda lines: [*lines[:3], _edited(lines[3], verdict="\x1b[32mfine")], 4),
    "laid out otherwise": (lambda lines: [*lines[:3], lines[3].replace(b",", b", ")], 4),
    "one put in": (lambda lines: [lines[0], _edited(lines[0], seed=9), *lines[1:]], 2),
    "a field more": (lambda lines: [*lines[:3], _edited(lines[3], note="x")], 4),
    "a field less": (lambda lines: [*lines[:3], lines[3].replace(b'"seed":3,', b"")], 4),
    "another version": (lambda lines: [*lines[:3], _edited(lines[3], schema="memaudit.ledger/3")], 4),
    "a line of nonsense": (lambda lines: [*lines, b"nonsense\n"], 5),
    "an empty line": (lambda lines: [*lines, b"\n"], 5),
    "a number for a verdict": (lambda lines: [*lines[:3], _edited(lines[3], verdict=1)], 4),
    "one passed off as cut short": (lambda lines: [lines[0], lines[1][:40] + b" torn\n", *lines[2:]], 3),
}


@pytest.mark.parametrize(("change", "line"), CHANGES.values(), ids=CHANGES)
def test_a_change_shows_where_it_is(ledger: Path, change: Callable[[list[bytes]], list[bytes]], line: int) -> None:
    assert f"{FILE}:{line}: the chain is broken at this line" in tampered(ledger, change)


def test_no_byte_can_be_changed_unseen(ledger: Path) -> None:
    """Of the entries that others follow, every one; the report of an audit holds the hash of the last."""
    whole, found = ledger.read_bytes(), read(ledger)
    for place in range(0, len(whole) - 1, 7):
        ledger.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with contextlib.suppress(MemauditError):
            assert read(ledger).hashes[-1] != found.hashes[-1]


# Crashes


def test_a_line_cut_short_anywhere_is_no_entry_and_the_next_audit_goes_on_behind_it(ledger: Path) -> None:
    whole = ledger.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in (*range(last, len(whole), 13), len(whole) - 1):
        ledger.write_bytes(whole[:end])
        found = read(ledger)
        assert len(found.entries) == 3
        assert found.torn == (end > last)
        attempt = append(ledger, ENTRY).attempt()
        assert (attempt.number, attempt.torn) == (4, int(end > last))
        assert ledger.read_bytes().startswith(whole[:end]), "what is there is never changed"
        again = read(ledger)
        assert (len(again.entries), again.torn) == (4, int(end > last))
        assert append(ledger, ENTRY).attempt().number == 5


def test_a_crash_while_a_cut_line_is_mended_does_no_harm(ledger: Path) -> None:
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:-20])
    append(ledger, ENTRY)
    mended = ledger.read_bytes()
    for end in (*range(len(whole) - 20, len(mended), 7), len(mended) - 1):
        ledger.write_bytes(mended[:end])
        assert len(read(ledger).entries) == 3
        append(ledger, ENTRY)
        assert len(read(ledger).entries) == 4


def test_a_full_disk_is_an_error_and_what_it_leaves_is_no_entry(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: write(handle, data[: len(data) // 2]))
        with pytest.raises(MemauditError, match="the disk is full; the audit could not be recorded"):
            append(ledger, ENTRY)
    found = read(ledger)
    assert (len(found.entries), found.torn) == (4, 1)
    assert append(ledger, ENTRY).attempt().number == 5


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_file_is_no_ledger(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / FILE)
    with pytest.raises(MemauditError, match=FILE):
        read(tmp_path / FILE)
    with pytest.raises(MemauditError, match=FILE):
        append(tmp_path / FILE, ENTRY)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MemauditError, match=r"the ledger of audits, .*, cannot be had"):
        append(tmp_path / "nowhere" / FILE, ENTRY)


def _write(path: Path) -> list[int]:
    return [append(path, ENTRY).attempt().number for _ in range(25)]


def test_processes_that_write_at_once_count_every_attempt_once(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with multiprocessing.get_context("fork").Pool(4) as pool:
        numbers = [number for numbers in pool.map(_write, [path] * 4, chunksize=1) for number in numbers]
    assert sorted(numbers) == list(range(1, 101))
    found = read(path)
    assert (len(found.entries), found.torn) == (100, 0)


# Audits


def test_every_audit_is_counted_whatever_folder_or_bank_it_uses(project: Path, command: Command) -> None:
    """A limit that is broken is tried again, then moved a little and a lot, with another folder for the report."""
    toml = project / "memaudit.toml"
    gate = '\n[[gate]]\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.02\nmax = {}\n'
    settings = toml.read_text("utf-8")
    told = []
    for limit, out in ((0.05, "audit"), (0.05, "audit"), (0.0500001, "audit"), (1.0, "audit"), (0.05, "elsewhere")):
        toml.write_text(settings + gate.format(limit), "utf-8")
        done = command("audit", "model.safetensors", "--out", out)
        attempt = load(project / out / "report.json").attempt
        assert attempt is not None
        told.append((done.returncode, attempt.number, attempt.of_policy, len(attempt.earlier)))
        shown = f"attempt {attempt.number} with this model" in " ".join(done.stderr.split())
        assert shown == (attempt.number > 1)
        assert not attempt.lost
    assert told == [(1, 1, 1, 0), (1, 2, 2, 1), (1, 3, 1, 2), (0, 4, 1, 3), (1, 5, 3, 4)]
    found = read(project / FILE)
    assert [entry.verdict for entry in found.audits()] == ["fail", "fail", "fail", "pass", "fail"]
    assert {(entry.seed, entry.shadows) for entry in found.audits()} == {(0, 16)}


def attempt_of(project: Path, command: Command, *arguments: object) -> Attempt:
    """Returns which attempt an audit is."""
    done = command("audit", *arguments, "-q")
    assert done.returncode == 0, done.stderr
    attempt = load(project / "audit" / "report.json").attempt
    assert attempt is not None
    return attempt


def test_a_byte_in_the_model_file_does_not_begin_anew(project: Path, command: Command) -> None:
    """As a model trained with another seed, or a comment in a zip file, would."""
    assert attempt_of(project, command, "model.safetensors").number == 1
    weights, members = load_file(project / "model.safetensors"), "model.safetensors.members.csv"
    save_file(weights, project / "other.safetensors", {"note": "another file"})
    attempt = attempt_of(project, command, "other.safetensors", "--members", members)
    assert (attempt.number, attempt.of_model, attempt.of_policy) == (2, 1, 2)


def test_a_new_bank_does_not_begin_anew(
    project: Path, command: Command, edit: Callable[[Path, str, str], None]
) -> None:
    """Neither with another seed nor with another recipe, although its key, and so its commitments, are others."""
    model = ("model.safetensors", "--shadows", 6)
    assert attempt_of(project, command, *model).number == 1
    edit(project / "recipe.py", "epochs=40", "epochs=39")
    other = attempt_of(project, command, *model, "--bank", "bank2", "--seed", 7)
    assert (other.number, other.of_model, other.in_all) == (2, 2, 2)
    entries = read(project / FILE).audits()
    assert len({entry.examples for entry in entries}) == 2
    assert len({entry.recipe for entry in entries}) == 2
    assert len({entry.data for entry in entries}) == 1
    assert entries[1].follows(replace(entries[0], model="", recipe=""))


def test_a_ledger_that_is_gone_or_taken_back_shows(project: Path, command: Command) -> None:
    ledger = project / FILE
    assert not attempt_of(project, command, "model.safetensors").lost
    one = ledger.read_bytes()
    assert not attempt_of(project, command, "model.safetensors").lost
    ledger.write_bytes(one)  # as if the second audit had never been made
    rewound = attempt_of(project, command, "model.safetensors")
    assert (rewound.number, rewound.lost) == (2, True)
    assert attempt_of(project, command, "model.safetensors").lost, "an audit later it still shows"
    ledger.unlink()
    done = command("audit", "model.safetensors")
    assert "the ledger lacks earlier audits with this bank" in " ".join(done.stderr.split())
    page = (project / "audit" / "report.md").read_text("utf-8")
    assert "The ledger lacks earlier audits with this bank" in page
    elsewhere = attempt_of(project, command, "model.safetensors", "--ledger", "new.jsonl")
    assert (elsewhere.number, elsewhere.lost) == (1, True)


def test_an_audit_that_failed_on_the_way_is_not_taken_for_one_that_is_missing(
    project: Path, command: Command, complaint: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("memaudit.auditing.examination.all_checks", lambda: 1 / 0)
        assert command("audit", "model.safetensors", "-q").returncode == 2
    complaint("audit", "model.safetensors", "-q", "--plan", "recipe.py")
    (project / "memaudit.plan.json").write_text('{"schema": "memaudit.plan/1", "decides": {}}', "utf-8")
    complaint("audit", "model.safetensors", "-q", "--plan", "memaudit.plan.json")
    assert not attempt_of(project, command, "model.safetensors").lost


def test_a_bank_of_the_earlier_version_without_its_ledger_says_so(project: Path, command: Command) -> None:
    """It holds a key, made by an audit, and no more."""
    attempt_of(project, command, "model.safetensors")
    (project / FILE).unlink()
    (project / "bank" / "last_audit").unlink()
    assert attempt_of(project, command, "model.safetensors").lost


def test_an_audit_that_cannot_be_recorded_gives_no_verdict(project: Path, complaint: Callable[..., str]) -> None:
    (project / FILE).write_text("nonsense\n", "utf-8")
    assert f"{FILE}:1: the chain is broken at this line" in complaint("audit", "model.safetensors", "-q")
    assert not (project / "audit").exists()
