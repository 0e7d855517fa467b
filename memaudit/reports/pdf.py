"""The report as PDF/A-3a and PDF/UA-1: tagged, with its fonts in it, and its JSON attached."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib import font_manager

from memaudit.errors import MemauditError
from memaudit.reports import figures
from memaudit.reports import json as report_json
from memaudit.reports.blocks import Card, Document, Facts, Grid, Photo, Picture, mapped
from memaudit.reports.document import document
from memaudit.reports.text import one_line, spelled, typeset
from memaudit.types import Report

_HERE = Path(__file__).parent
_FONTS = _HERE / "fonts"
_STANDARDS = ["a-3a", "ua-1"]  # archival and accessible; the "3" allows the attachment
_ROWS, _COLUMNS = 200, 10  # of a table on paper; more are in the attachment
_NAME, _CELL = 120, 300  # characters: a column's name is on every page of the table
_RUNNING = 70  # characters at the head of each page
_POINTS = 20  # of a figure that are printed as a table too
_WORD = 160  # characters without a space: more than an address has
_YEAR_9999 = 253_402_300_799  # its last second; a PDF has four digits for a year
_ENDLESS = re.compile(rf"\S{{{_WORD + 1},}}")
_SHORT, _SHORT_TABLE = 1500, 1800  # characters of what is kept on one page
_FEW = 12  # rows


def render(report: Report) -> bytes:
    """Return the report as PDF, the same bytes for the same report.

    What a page shows is data for the template and never its markup. A character that the fonts lack is spelled out, as
    in ‹U+4F60›.

    Raises:
        MemauditError: The package `typst` is not installed, or the report cannot be written as JSON.
        EvidenceError: A figure's coordinates do not belong together.
    """
    return page(document(report), "report.json", report_json.render(report), report.created)


def page(content: Document, name: str, attached: bytes, created: str) -> bytes:
    """Return a document as PDF, with a JSON file attached under a name.

    Raises:
        MemauditError: The package `typst` is not installed.
        EvidenceError: A figure's coordinates do not belong together.
    """
    content = mapped(content, _drawable)
    files = {name: attached}
    plain = _plain(content, files)
    plain |= {"digest": hashlib.sha256(attached).hexdigest(), "running": one_line(content.name, _RUNNING)}
    files |= {
        "main.typ": (_HERE / "templates" / "report.typ").read_bytes(),
        "page.json": json.dumps(plain | {"attached": name}).encode(),
    }
    return _compiled(files, created)


def _compiled(files: dict[str, bytes], created: str) -> bytes:
    try:
        import typst
    except ImportError:
        raise MemauditError("a PDF takes the package typst: pip install typst. Or print the .html to a PDF.") from None
    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[_FONTS])
    try:
        content: bytes = typst.compile(  # type: ignore[call-overload]  # its stub lacks the files
            files, font_paths=fonts, format="pdf", pdf_standards=_STANDARDS, timestamp=_timestamp(created)
        )
    except RuntimeError as error:  # typst.TypstError is one
        raise MemauditError(f"the report cannot be written as PDF: {error}") from error
    return content


def _timestamp(created: str) -> int:
    """Return when the report was made in seconds since 1970; 0, and never the time of now, if it does not say."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        return 0
    seconds = int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    return seconds if 0 <= seconds <= _YEAR_9999 else 0


@cache
def _glyphs() -> frozenset[int]:
    """Return the characters that the text's font has; the font for code falls back on it."""
    return frozenset(font_manager.get_font(_FONTS / "Inter-Regular.ttf").get_charmap())


def _drawable(words: str) -> str:
    """Return the text with what the fonts lack spelled out, in words of a length that can be broken into lines."""
    words = words.replace("\n", " ").replace("\t", " ")
    words = "".join(c if ord(c) in _glyphs() else spelled(c) for c in words)
    return _ENDLESS.sub(lambda word: f"{word[0][: _WORD - 1]}…", words)


def _plain(node: Any, files: dict[str, bytes]) -> Any:
    """Return the blocks as the template reads them; draws the figures into the files."""
    if isinstance(node, Photo):
        return {
            "kind": "Photo",
            "content": list(node.content),
            "alt": node.alt,
        }  # as numbers: typst's files must be text
    if isinstance(node, Picture):
        few = node.alone and all(len(data.rows) <= _POINTS for data in node.data)
        return {
            "kind": "Picture",
            "title": node.title,
            "alt": node.alt,
            "file": _drawn(node, files),
            "reading": node.reading,
            "data": [_plain(data, files) for data in node.data if few],
        }
    if isinstance(node, Grid):
        node = _fitting(node)
    if isinstance(node, list | tuple):
        return [_plain(item, files) for item in node]
    if dataclasses.is_dataclass(node):
        fields = {field.name: _plain(getattr(node, field.name), files) for field in dataclasses.fields(node)}
        size = len(json.dumps(fields))
        if isinstance(node, Grid):
            fields["short"] = len(node.rows) < _FEW and size <= _SHORT_TABLE
        elif isinstance(node, Card | Facts):
            fields["short"] = size <= _SHORT
        return {"kind": type(node).__name__, **fields}
    return node


def _drawn(picture: Picture, files: dict[str, bytes]) -> str:
    """Return the name of the file that the figure is drawn into."""
    name = f"figure-{len(files)}.svg"
    files[name] = figures.render(picture.figure, figures.Theme.LIGHT)
    return name


def _fitting(grid: Grid) -> Grid:
    """Return the part of a table that fits on paper, and says what is missing."""
    rows, columns = len(grid.rows) - _ROWS, len(grid.columns) - _COLUMNS
    gone = [f"{count:,} {what}" for count, what in ((rows, "rows"), (columns, "columns")) if count > 0]
    note = f"Not shown here, but in the attached JSON file: {' and '.join(gone)}." if gone else ""
    return dataclasses.replace(
        grid,
        columns=tuple(one_line(name, _NAME) for name in grid.columns[:_COLUMNS]),
        rows=tuple(
            tuple(typeset(one_line(cell, _CELL)) if isinstance(cell, str) else cell for cell in row[:_COLUMNS])
            for row in grid.rows[:_ROWS]
        ),
        right=grid.right[:_COLUMNS],
        note=f"{grid.note} {note}".strip(),
    )
