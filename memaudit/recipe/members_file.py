"""The file of a model's members: how ids and digests are written so that they are read back exactly."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from memaudit.cells import neutral, restored
from memaudit.errors import EvidenceError
from memaudit.recipe.recipes import MOST_COPIES

ID, MASK, TIMES, DIGEST = "id", "member", "times", "sha256"
_DIGITS = 32  # of a digest; 128 bits
_LONGEST, _SHOWN = 20, 80  # digits of a count at most; characters of a cell that a message shows
_TELLING = {
    "member",
    "members",
    "train",
    "trained",
    "training",
    "split",
    "fold",
    "subset",
    "partition",
    "held",
    "times",
}


class Line(NamedTuple):
    """One value of a members file, its place, and the digest beside it, empty if there is none."""

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
    columns = {name: first.index(name) for name in (ID, MASK, TIMES) if name in first}
    if not columns:
        _require_single(rows)
        return Lines(ID, "", [Line(place, row[0]) for place, row in rows], False)
    ours, _, salt = (first[1] if len(first) > 1 else "").partition(" ")
    if first[0] == ID and ours == DIGEST:
        return Lines(ID, salt, [_line(place, row) for place, row in rows[1:]], False)
    _require_plain(path, first, columns)
    cells = [(place, {name: _cell(place, row, at) for name, at in columns.items()}) for place, row in rows[1:]]
    kind = ID if ID in columns else next(iter(columns))
    lines = [Line(place, found[kind]) for place, found in cells for _ in range(_times(place, found, kind))]
    return Lines(kind, "", lines, len(first) == 1)


def _require_plain(path: Path, heading: list[str], columns: dict[str, int]) -> None:
    """Raise EvidenceError if another column than those that are read may say whose a line is, or who is a member."""
    others = [name for name in heading if name not in columns]
    if ID not in columns and others:
        raise EvidenceError(
            f"{path}: beside {next(iter(columns))!r} there are the columns {', '.join(map(repr, others))}. If one "
            f"of them holds the ids, call it {ID!r}; else leave it out: the lines are then in the order of examples()"
        )
    telling = [name for name in others if _TELLING & set(re.split(r"[^a-z]+", name.lower()))]
    if ID in columns and len(columns) == 1 and telling:
        raise EvidenceError(
            f"{path}: the column {telling[0]!r} may say which of these examples were trained on, and is not read. "
            f"Call it {MASK!r} if it holds 0 and 1, or leave only the members' lines in the file and this column out"
        )


def _cell(place: str, row: list[str], at: int) -> str:
    if at >= len(row):
        raise EvidenceError(f"{place}: this line has {len(row)} columns, fewer than the heading")
    return row[at]


def _times(place: str, cells: dict[str, str], kind: str) -> int:
    """Return how often a line counts: once, or in a file with ids as its other column says."""
    return 1 if kind != ID else math.prod(whole(place, value, name) for name, value in cells.items() if name != ID)


def whole(place: str, value: str, kind: str) -> int:
    """Return the number in a cell of a mask or of counts.

    Raises:
        EvidenceError: It is none, or too large.
    """
    most, value = 1 if kind == MASK else MOST_COPIES, value.strip()
    short = value.isdecimal() and value.isascii() and len(value) <= _LONGEST
    if not (short and int(value) <= most):
        rule = "a mask holds 0 and 1" if most == 1 else f"a count must be between 0 and {most}"
        raise EvidenceError(f"{place}: {rule}, got {value[:_SHOWN]!r}{'…' if value[_SHOWN:] else ''}")
    return int(value)


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
