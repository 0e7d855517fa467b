"""Strings and numbers as a reader sees them. What others wrote is shown as text and does nothing else."""

from __future__ import annotations

import math
import re
import unicodedata
from calendar import month_name
from datetime import date, datetime
from decimal import Decimal

from memaudit.types import UNBOUNDED_EPSILON, Cell, Estimate

_KEPT = "\n\t\u200c\u200d"  # line breaks, and the joiners that Persian and emoji are written with
_SPACE = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"
_ACCENTS = "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u064b-\u065f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_PILE = re.compile(f"(?<={_ACCENTS}{{3}}){_ACCENTS}+")  # no language needs four, and a pile paints over other lines
_NEGATIVE = re.compile(r"(?<![^\s(±])-(?=[\d.])")  # a hyphen before a number, and not in a date, name or range
_INTERVAL = re.compile(r"(?<=[(\s])(−?[\d.,]+%?) to (−?[\d.,]*\d%?)(?=[);,])")
_BARE = ("correlation", "epsilon")  # units that are not written
_USUAL = 0.95  # the level of an interval that is not named
_SMALL_PERCENT, _LEAST_PERCENT = 0.1, 0.001  # below the second a number is only said to be less
_MARKDOWN = re.compile(r"([\\`*_\[\]#~|!$>])")
_OPENER = re.compile(r"^(\d{0,9})([-+.)](?=\s|$)|[-=]+(?=\s*$))")  # of a list or, as an underline, of a heading


def visible(text: str) -> str:
    """Return the text with control, direction and other unprintable characters spelled out, as in ‹U+202E›.

    So are accents from the fourth on a letter.
    """
    text = _PILE.sub(lambda pile: "".join(map(spelled, pile[0])), text)
    if text.isprintable():
        return text
    return "".join(c if _shown(c) else spelled(c) for c in text)


def spelled(character: str) -> str:
    """Return the character's number in the way that is used for one that cannot be shown, ‹U+202E›."""
    return f"‹U+{ord(character):04X}›"


def _shown(character: str) -> bool:
    return character.isprintable() or character in _KEPT or unicodedata.category(character) == "Zs"


def typeset(text: str) -> str:
    """Return the text with minus signs before negative numbers, and with intervals that no line breaks."""
    text = _NEGATIVE.sub(_MINUS, text)
    return _INTERVAL.sub(rf"\1{_SPACE}to{_SPACE}\2", text)


def one_line(text: str, limit: int) -> str:
    """Return the visible text in one line of at most `limit` characters, cut with an ellipsis."""
    head = text[: 64 * limit]  # the rest of a text of 10 MB would take seconds and be cut off
    line = " ".join(visible(head).split())
    return line if len(line) <= limit and len(head) == len(text) else line[: limit - 1] + "…"


def markdown(text: str, limit: int = 1000) -> str:
    """Return the text as one line of Markdown in which nothing is markup, fit for a table cell."""
    line = one_line(text, limit).replace("&", "&amp;").replace("<", "&lt;")
    return _OPENER.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\1", line))


def percent(share: float) -> str:
    """Return a share as a percentage: two significant digits, one below 0.1%, counted from 0% or 100%."""
    value = 100 * share
    rest = min(abs(value), abs(100 - value))  # 99.96 % must not become 100 %
    if 0 < rest < _LEAST_PERCENT:
        return f"< {_LEAST_PERCENT:g}%" if abs(value) < 1 else f"> {100 - _LEAST_PERCENT:g}%"
    decimals = max(0, (1 if rest >= _SMALL_PERCENT else 0) - math.floor(math.log10(rest))) if rest else 0
    return _trimmed(f"{value:.{decimals}f}") + "%"


def rate(share: float) -> str:
    """Return a rate that somebody chose, exactly and without an exponent: 0.00125 is "0.125%"."""
    return f"{Decimal(f'{100 * share:.10g}'):f}%"


def ends(low: str, high: str) -> str:
    """Return the ends of an interval in words: "6.1–9.9%", or "−3 to 4" where a minus sign would be misread."""
    if _MINUS in low + high or " " in high:
        return f"{low} to {high}"
    unit = next((unit for unit in ("%", f"{_SPACE}bits", f"{_SPACE}points") if high.endswith(unit)), "")
    return f"{low.removesuffix(unit)}–{high}" if unit and low.endswith(unit) else f"{low}–{high}"


def points(share: float) -> str:
    """Return a difference of shares in percentage points, without the unit: 0.0321 is "3.2"."""
    return number(100 * share, 2)


def number(value: float, digits: int = 3) -> str:
    """Return a number with three significant digits, or so many, and all digits before the point."""
    if value == 0 or 1e-4 <= abs(value) < 1e15:
        before = math.floor(math.log10(abs(value))) if value else 0
        return _trimmed(f"{value:,.{max(0, digits - 1 - before)}f}")
    return f"{value:.{digits - 1}e}".replace("-", _MINUS)


def _trimmed(digits: str) -> str:
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return digits.replace("-", _MINUS) if digits != "-0" else "0"


def quantity(value: float, unit: str) -> str:
    """Return a number in its unit: a share as a percentage, a correlation bare, the rest with the unit's name."""
    if unit == "share":
        return percent(value)
    return number(value, 2) if unit in _BARE else f"{number(value, 2)}{_SPACE}{unit}"


def chosen(value: float, unit: str) -> str:
    """Return a number that somebody chose, such as a limit, exactly and in its unit."""
    if unit == "share":
        return rate(value)
    return f"{value:.10g}" if unit in _BARE else f"{value:.10g}{_SPACE}{unit}"


def interval(estimate: Estimate) -> str:
    """Return the interval of an estimate in words, such as "39–45%"; its level if that is not 95%."""
    level = "" if estimate.level == _USUAL else f" ({percent(estimate.level)} CI)"
    if estimate.unit == "epsilon" and estimate.high == UNBOUNDED_EPSILON:
        return f"at least {number(estimate.low, 2)}{level}"
    return ends(quantity(estimate.low, estimate.unit), quantity(estimate.high, estimate.unit)) + level


def cell(value: Cell) -> str:
    """Return what a table shows for a value; an absent one is a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else number(value)


def day(when: date) -> str:
    """Return a day for people, "22 November 2026"."""
    return f"{when.day} {month_name[when.month]} {when.year}"


def moment(iso: str) -> str:
    """Return a point in time for people, "22 November 2026, 10:05 UTC"; a text that is none stays as it is."""
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{day(when)}, {when:%H:%M} {when.tzname() or ''}".rstrip()
