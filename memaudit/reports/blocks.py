"""What a page is made of. HTML and PDF show the same blocks, so that neither says more than the other."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from memaudit.reports import text
from memaudit.types import Figure, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A verdict, or what became of a control: its colour, its shape and its name."""

    tone: str
    mark: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """A paragraph; a soft one is fine print."""

    words: str
    soft: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """An item of a list; `lead` comes before the words, in bold."""

    words: str
    lead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """A list."""

    points: tuple[Point, ...]
    numbered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A name and its value; a value in code is a digest or a command."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and their values, one below the other."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A small PNG image."""

    content: bytes
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A number, and its change with an interval in words and as a small bar; places are from 0, at the left, to 1."""

    words: str
    change: str
    low: float
    value: float
    high: float
    zero: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table as it is shown; the columns in `right` hold numbers, and stand where their digits can be compared.

    The rows of one `to_fill` need room for handwriting.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | Photo | Span, ...], ...]
    right: tuple[bool, ...]
    note: str = ""
    to_fill: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure, how to read it, and what it shows as tables; `alone` if no table beside it says the same."""

    title: str
    alt: str
    figure: Figure
    reading: str
    data: tuple[Grid, ...]
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Badges:
    """A row of marks, one per control."""

    badges: tuple[Badge, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """The one number of a page, with its interval and what it is."""

    value: str
    interval: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What belongs to one verdict or control."""

    badge: Badge
    title: str
    content: tuple[Block, ...]
    loud: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and its content; on a screen, a folded one shows its heading until it is opened."""

    title: str
    content: tuple[Block | Section, ...]
    id: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panels:
    """Sections side by side, two in a row where there is room."""

    sections: tuple[Section, ...]


Block = Paragraph | Points | Facts | Grid | Picture | Card | Badges | Panels


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """All that a page says.

    The first page is for everybody: the verdict with its `number`, what must be known before the results (`warning`,
    `alerts`), and the `front`, whose rows are one or two sections side by side. `sections` are the details.
    """

    name: str
    title: str
    date: str
    edition: str
    lead: str
    badge: Badge
    headline: str
    meaning: str
    number: Number | None
    warning: str
    alerts: tuple[Point, ...]
    front: tuple[tuple[Section, ...], ...]
    sections: tuple[Section, ...]
    foot: str


def grid(table: Table) -> Grid:
    """Return a table of the report as it is shown; a row that is too short ends in dashes."""
    columns = tuple(itertools.zip_longest(table.columns or ("–",), *table.rows))
    right = (any(isinstance(value, int | float) and not isinstance(value, bool) for value in c[1:]) for c in columns)
    return Grid(
        title=titled(table.title),
        columns=tuple(text.cell(column[0] or "") for column in columns),
        rows=tuple(tuple(text.cell(value) for value in row) for row in zip(*(c[1:] for c in columns), strict=True)),
        right=tuple(right),
        note=table.note,
    )


def titled(words: str) -> str:
    """Return a title that is not empty: a screen reader would otherwise announce an empty heading."""
    return words if words.strip() else "–"


def listed(items: tuple[str, ...], *, numbered: bool = False) -> Points:
    """Return a list of plain items."""
    return Points(points=tuple(Point(words=item) for item in items), numbered=numbered)


def mapped(node: Any, change: Callable[[str], str]) -> Any:
    """Return the same blocks with every string changed; figures stay, they spell out what they cannot draw."""
    if isinstance(node, str):
        return change(node)
    if isinstance(node, tuple):
        return tuple(mapped(item, change) for item in node)
    if dataclasses.is_dataclass(node) and not isinstance(node, type | Figure):
        return type(node)(**{f.name: mapped(getattr(node, f.name), change) for f in dataclasses.fields(node)})
    return node
