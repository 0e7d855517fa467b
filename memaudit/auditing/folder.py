"""The folder of an audit: whole, and such that a later change to it shows.

    report.json, report.html, …   the report
    evidence.csv                  single examples, where evidence was asked for
    report.digest                 SHA-256 of the canonical form of report.json, see `memaudit.reports.canonical`
    SHA256SUMS                    SHA-256 of every file above, as `sha256sum --check` reads it
    report.intoto.jsonl           the signature, where one was asked for; written last, see `memaudit.auditing.signing`

The digest is beside the report and not in it, so that it can be computed from the report as it is.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from memaudit import files, reports
from memaudit.auditing.flags import otherwise_flagged
from memaudit.cells import restored
from memaudit.errors import MemauditError
from memaudit.files import write_whole
from memaudit.reports.canonical import digest
from memaudit.reports.text import one_line
from memaudit.types import Report

SUMS, DIGEST, REPORT, EVIDENCE = "SHA256SUMS", "report.digest", "report.json", "evidence.csv"
SIGNATURE = "report.intoto.jsonl"
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^\\/\0]+)")
_LONGEST = 100_000  # bytes of sums; a folder has about a dozen files
_DIGEST_NOTE = "report.json in the canonical form of RFC 8785"


def unseal(folder: Path, names: Sequence[str]) -> None:
    """Take signature and sums away before files of these names are written: no half-written folder has any.

    Raises:
        MemauditError: The folder is a bank, or holds sums of something else.
    """
    sums = folder / SUMS
    if (folder / "bank.json").exists():
        raise MemauditError(
            f"{folder} is a bank. Its key must not be stored with a report; give the report another folder"
        )
    if sums.exists() and not (_plain(sums) and REPORT in _listed(sums)[0]):
        raise MemauditError(f"{sums} is not a file of an audit. Give the report its own folder")
    (folder / SIGNATURE).unlink(missing_ok=True)
    sums.unlink(missing_ok=True)
    for name in (*names, DIGEST, SUMS, SIGNATURE):
        for draft in folder.glob(f".{name}-????????"):  # of an audit that was killed while it wrote
            draft.unlink(missing_ok=True)


def seal(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the files with the report's digest, and with the sums of the named files, after writing them."""
    write_whole(folder / DIGEST, f"{digest((folder / REPORT).read_bytes())}  {_DIGEST_NOTE}\n".encode())
    lines = [f"{sha256(folder / name)}  {name}\n" for name in sorted({*names, DIGEST})]
    write_whole(folder / SUMS, "".join(lines).encode())
    return [folder / DIGEST, folder / SUMS]


def verify(folder: Path) -> tuple[Report | None, list[str]]:
    """Return the report of a folder, if it can be read, and all that is not as it was written; empty if nothing.

    Raises:
        MemauditError: The folder has no sums, so that there is nothing to compare it with.
    """
    if not _plain(folder / SUMS):
        raise MemauditError(
            f"{folder} holds no {SUMS}: it is no audit's folder, was made by an earlier version, or the audit was "
            "interrupted while it wrote; audit again"
        )
    listed, problems = _listed(folder / SUMS)
    problems += _differences(folder, listed)
    if not {REPORT, DIGEST} <= listed.keys():
        problems.append(f"{SUMS} does not list {REPORT} and {DIGEST}")
    if not _plain(folder / REPORT):
        return None, problems
    try:
        report = reports.load(folder / REPORT)
    except MemauditError as error:
        return None, [*problems, str(error)]
    problems += _of_another_digest(folder)
    if EVIDENCE in listed and _plain(folder / EVIDENCE):
        problems += _of_another_report(folder / EVIDENCE, report)
    return report, problems


def beside(path: Path) -> list[str]:
    """Return how a report differs from what the digest and the sums beside it say, where there are any."""
    try:
        return _beside(path)
    except OSError as error:
        return [f"{error.filename} cannot be read: {error.strerror}"]


def _beside(path: Path) -> list[str]:
    sums, stated = path.with_name(SUMS), path.with_name(DIGEST)
    ours = path.name == REPORT
    problems = list(_of_another_digest(path.parent)) if ours else []
    if ours and not _plain(stated) and (stated.exists() or stated.is_symlink()):
        problems.append(f"{DIGEST} is no plain file")
    if _plain(sums):
        listed = _listed(sums)[0]
        if ours and DIGEST in listed and not stated.exists():
            problems.append(f"{DIGEST} is missing, but {SUMS} lists it")
        if ours and stated.exists() and path.name not in listed:
            problems.append(f"{SUMS} does not list {REPORT}")
        elif path.name in listed and listed[path.name] != sha256(path):
            problems.append(f"{path.name} was changed after {SUMS} was written")
    elif sums.exists() or sums.is_symlink():
        problems.append(f"{SUMS} is no plain file")
    return problems


def require_intact(folder: Path) -> Report:
    """Return the report of a folder; raises MemauditError, listing every difference, if it was changed."""
    report, problems = verify(folder)
    if report is None or problems:
        lines = (one_line(problem, 1000) for problem in problems)  # names and values that others wrote
        raise MemauditError("\n  ".join([f"{folder} is not as it was written:", *lines]))
    return report


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or over the names and digests of a folder's files.

    Raises:
        MemauditError: The folder holds what such a digest cannot be about.
    """
    try:
        return files.sha256(path)
    except ValueError as error:
        raise MemauditError(str(error)) from error


def read_evidence(path: Path) -> list[dict[str, str]]:
    """Return the rows of an evidence file, by column, with the ids as they are.

    Raises:
        MemauditError: It cannot be read, or is no such table.
    """
    longest = csv.field_size_limit(2**31 - 1)  # a text may be long
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, strict=True)
            found = list(rows)
    except (OSError, ValueError, csv.Error) as error:
        raise MemauditError(f"{path} cannot be read as a table: {error}") from error
    finally:
        csv.field_size_limit(longest)
    if not {"id", "member"} <= {*(rows.fieldnames or ())} or any(None in [*row, *row.values()] for row in found):
        raise MemauditError(f"{path} is not the evidence of an audit: columns are missing, or rows differ in length")
    return [row | {"id": restored(row["id"])} for row in found]


def _listed(sums: Path) -> tuple[dict[str, str], list[str]]:
    """Return the sum of each name, and what is wrong with the lines."""
    with sums.open("rb") as file:
        text = file.read(_LONGEST).decode("utf-8", "replace")
    listed: dict[str, str] = {}
    problems = [] if text.endswith("\n") else [f"{SUMS} was cut short"]
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in listed or match[2] in (".", "..", SUMS):
            problems.append(f"{SUMS}:{number}: not a sum of one file of this folder")
        else:
            listed[match[2]] = match[1]
    return listed, problems


def _differences(folder: Path, listed: Mapping[str, str]) -> Iterator[str]:
    for name, expected in listed.items():
        path = folder / name
        if not path.exists() and not path.is_symlink():
            yield f"{name!r} is missing"
        elif not _plain(path):
            yield f"{name!r} is no plain file"
        elif sha256(path) != expected:
            yield f"{name!r} was changed"
    for entry in sorted(folder.iterdir()):
        if entry.name not in (*listed, SUMS, SIGNATURE):
            yield f"{entry.name!r} was added, or is left of something else"


def _of_another_digest(folder: Path) -> Iterator[str]:
    if not _plain(folder / DIGEST):
        return
    with (folder / DIGEST).open("rb") as file:
        stated = file.read(_LONGEST).split()[:1]
    if stated != [digest((folder / REPORT).read_bytes()).encode()]:
        yield f"{DIGEST} is not the digest of {REPORT}: one of them was changed"


def _of_another_report(path: Path, report: Report) -> Iterator[str]:
    try:
        rows = read_evidence(path)
    except MemauditError as error:
        yield str(error)
        return
    members = [row["member"] for row in rows]
    stated = report.subject.members, report.subject.nonmembers
    if sorted(members) != ["0"] * stated[1] + ["1"] * stated[0]:
        yield f"{path.name} is not about the {stated[0]} members and {stated[1]} non-members of {REPORT}"
    yield from otherwise_flagged(rows, report)


def _plain(path: Path) -> bool:
    """Return whether it is a file that can be read to its end: no link, folder, pipe or device."""
    return path.is_file() and not path.is_symlink()
