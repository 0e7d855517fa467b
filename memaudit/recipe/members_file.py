"""The file of a model's members: how ids and digests are written so that they are read back exactly."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from memaudit.cells import neutral, restored
from memaudit.errors import EvidenceError

ID, MASK, TIMES, DIGEST = "id", "member", "times", "sha256"
_DIGITS = 32  # of a digest; 128 bits


class Line(NamedTuple):
    """One value of a members file, where it stands, and the digest beside it, empty if there is none."""

    place: str
    value: str
    digest: str = ""


class Lines(NamedTuple):
    """What a members file holds: its kind (`id`, `member` or `times`), its salt, and its lines.

    `doubtful` says that the first line was taken for a heading and may be an id just as well.
    """

    kind: str
    salt: str
    lines: list[Line]
    doubtful: bool


def digest(salt: str, content: bytes) -> str:
    """Return the digest of an example's content that a members file with this salt shows."""
    return hashlib.sha256(salt.encode() + b"\0" + content).hexdigest()[:_DIGITS]


def with_ids(rows: Sequence[tuple[str, str]], salt: str) -> bytes:
    """Return a members file of (id, digest) rows.

    Digests stand in a second column, whose heading holds the salt. In a file with this column, a leading apostrophe
    keeps spreadsheets from reading ids as formulas. It is left out where there are no digests and all ids are plain.
    """
    if all(not check and _is_plain(name) for name, check in rows):
        return _csv([(ID,), *((name,) for name, _ in rows)])
    cells = [(neutral(name), check) for name, check in rows]
    return _csv([(ID, f"{DIGEST} {salt}"), *cells])


def _is_plain(name: str) -> bool:
    return name not in ("", ID, MASK, TIMES) and name.isprintable() and name == name.strip() == neutral(name)


def with_column(heading: str, values: Iterable[int]) -> bytes:
    """Return a members file of a mask or of counts, a line for each example."""
    return _csv([(heading,), *((str(value),) for value in values)])


def _csv(rows: list[tuple[str, ...]]) -> bytes:
    file = io.StringIO()
    odd = any(cell and not cell.isprintable() for row in rows for cell in row)  # a bare carriage return is not quoted
    csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL).writerows(rows)
    try:
        return file.getvalue().encode()
    except UnicodeEncodeError as error:
        raise EvidenceError(
            f"an id of the members holds half a character (a lone surrogate): {error.reason}"
        ) from error


def parsed(path: Path, data: bytes) -> Lines:
    """Return the lines of a members file, cell by cell as they were written: no blank is lost.

    Raises:
        EvidenceError: It is no text file of this kind.
    """
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        rows = [(f"{path}:{reader.line_num}", row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise EvidenceError(f"{path} is not a text file of ids: {error}") from error
    first = rows[0][1] if rows else []
    if not first or first[0] not in (ID, MASK, TIMES):
        _require_single(rows)
        return Lines(ID, "", [Line(place, row[0]) for place, row in rows], False)
    ours, _, salt = (first[1] if len(first) > 1 else "").partition(" ")
    if first[0] == ID and ours == DIGEST:
        return Lines(ID, salt, [_line(place, row) for place, row in rows[1:]], False)
    return Lines(first[0], "", [Line(place, row[0]) for place, row in rows[1:]], len(first) == 1)


def _line(place: str, row: list[str]) -> Line:
    """Return a line of a file that `with_ids` wrote."""
    if len(row) != 2:
        raise EvidenceError(f"{place}: this line has {len(row)} columns; a line of this file has an id and a digest")
    return Line(place, restored(row[0]), row[1])


def _require_single(rows: list[tuple[str, list[str]]]) -> None:
    """Raise EvidenceError if a line without a heading has several columns: it may be one id with a comma in it."""
    for place, row in rows:
        if len(row) > 1:
            raise EvidenceError(
                f"{place}: this line has {len(row)} columns and the file has no heading. Write `id` and the names of "
                'the other columns above them; put an id that holds a comma between quotation marks: "a,b"'
            )
