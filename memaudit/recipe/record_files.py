"""Files of training records, JSON Lines or one JSON array: records are added, and nothing else changes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memaudit.errors import RecipeError

_BLANK = " \t\r\n"
_GAP = re.compile(r"[ \t\r\n]*")
_COMMA = re.compile(r"[ \t\r\n]*(?:,[ \t\r\n]*(?!\])|(?=\]))")
_FORMATS = (
    "Canaries are planted into JSON Lines, an object or a string a line, or into one JSON array of records: in plain "
    "text nothing says where a document ends. Of a data set in another format, datasets.Dataset.to_json writes one"
)


@dataclass(frozen=True, slots=True)
class RecordFile:
    """The text of a file as head, records, what follows each of them, and the place of each for messages.

    `after[-1]` is the end of the file. Put together again they are the file, byte for byte.
    """

    path: Path
    head: str
    records: tuple[str, ...]
    after: tuple[str, ...]
    places: tuple[str, ...]

    @property
    def between(self) -> str:
        """What separates two records: the shortest of what does so in the file."""
        alone = ", " if "[" in self.head else "\r\n" if "\r\n" in self.after[-1] else "\n"
        return min(self.after[:-1], key=len, default=alone)

    def dumped(self, record: Any) -> str:
        """Return a new record as JSON, in the manner of the first one: indented or not, ASCII alone or not."""
        first, ascii_only = self.records[0], all(map(str.isascii, self.records))
        indented = re.match(r"\{(\r?\n)([ \t]+)", first)
        if indented is None:
            return json.dumps(record, ensure_ascii=ascii_only)
        end, inner = indented.groups()
        outer = re.split(r"[\r\n]", self.head)[-1]
        step = inner.removeprefix(outer) or inner
        return json.dumps(record, ensure_ascii=ascii_only, indent=step).replace("\n", end + outer)

    def with_records(self, rows: Sequence[int | str]) -> str:
        """Return the file's text with other rows: numbers of its own records, in their order, and new ones as JSON."""
        own = [(self.records[row], self.after[row]) if isinstance(row, int) else (row, self.between) for row in rows]
        if not isinstance(rows[-1], int):  # the end of the file comes after the new record
            own[rows.index(len(self.records) - 1)] = (self.records[-1], self.between)
            own[-1] = (own[-1][0], self.after[-1])
        return self.head + "".join(record + after for record, after in own)


def read_records(path: Path) -> RecordFile:
    """Return the records of a file as they are written.

    Raises:
        RecipeError: It is not UTF-8, or an array that is not JSON; names file and place.
    """
    text = read(path)
    mark = "\ufeff" if path.read_bytes().startswith(b"\xef\xbb\xbf") else ""
    start = len(text) - len(text.lstrip(_BLANK))
    found = _of_array(text, start, path) if text[start : start + 1] == "[" else _of_lines(text, path)
    return replace(found, head=mark + found.head)


def read(path: Path) -> str:
    """Return a file's text, line ends as they are."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read as UTF-8 text: {error}") from error


def parsed(line: str, place: str) -> Any:
    """Return what a line of JSON holds.

    Raises:
        RecipeError: It is no JSON; names the place.
    """
    try:
        return json.loads(line)
    except ValueError as error:
        raise RecipeError(f"{place} is not JSON: {error}") from error


def value_of(record: str, place: str) -> Any:
    """Return what a record holds.

    Raises:
        RecipeError: It is not JSON, or not an object or a string; names the place.
    """
    try:
        value = parsed(record, place)
    except RecipeError as error:
        raise RecipeError(f"{error}. {_FORMATS}") from error
    if not isinstance(value, str | dict):
        raise RecipeError(f"{place} is a {type(value).__name__}; a record is a JSON object or a string")
    return value


def _of_lines(text: str, path: Path) -> RecordFile:
    records: list[str] = []
    after: list[str] = []
    places: list[str] = []
    head = ""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        record = line.rstrip("\r") if line.strip() else ""
        rest = line[len(record) :] + "\n" * (number < len(lines))
        if record:
            records.append(record)
            after.append(rest)
            places.append(f"{path}:{number}")
        elif records:
            after[-1] += rest
        else:
            head += rest
    return RecordFile(path, head, tuple(records), tuple(after), tuple(places))


def _of_array(text: str, start: int, path: Path) -> RecordFile:
    decoder = json.JSONDecoder()
    records: list[str] = []
    after: list[str] = []
    at = _GAP.match(text, start + 1).end()  # type: ignore[union-attr]  # it matches nothing, too
    head = text[:at]
    while text[at : at + 1] != "]":
        place = f"{path}: record {len(records) + 1}"
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise RecipeError(f"{place} is not JSON: {error}. {_FORMATS}") from error
        follows = _COMMA.match(text, end)
        if follows is None:
            raise RecipeError(f"{place} is not followed by a comma and another record, or by the end of the array")
        records.append(text[at:end])
        after.append(follows[0])
        at = follows.end()
    if text[at + 1 :].strip(_BLANK):
        raise RecipeError(f"{path} goes on after the end of its array of records")
    if records:
        after[-1] += text[at:]
    return RecordFile(
        path, head, tuple(records), tuple(after), tuple(f"{path}: record {n + 1}" for n in range(len(records)))
    )
