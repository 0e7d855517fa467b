"""What a notebook shows for a result: a little HTML without script, in the notebook's own colours, light or dark.

Everything in it is escaped: titles, reasons and names of files may come from others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

_LONGEST = 1000  # characters of a cell
_LINE = "border-top: 1px solid currentColor; padding: .3em .8em .3em 0; text-align: left; vertical-align: top"
_FRAME = "border-left: 3px solid currentColor; padding-left: .8em; max-width: 60em; overflow-x: auto"


def block(title: str, *parts: str) -> str:
    """Return a block of parts, which are HTML, under a title, which is text."""
    return f'<div class="memaudit" style="{_FRAME}"><p><b>{shown(title)}</b></p>{"".join(parts)}</div>'


def paragraph(text: str) -> str:
    """Return a paragraph of text."""
    return f"<p>{shown(text)}</p>" if text else ""


def facts(values: Mapping[str, object]) -> str:
    """Return a list of names and values."""
    return table((), [(name, value) for name, value in values.items()])


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of values; an empty one is left out."""
    body = "".join(f"<tr>{''.join(_cell('td', value) for value in row)}</tr>" for row in rows)
    head = f"<thead><tr>{''.join(_cell('th', name) for name in columns)}</tr></thead>" if columns else ""
    return f'<table style="border-collapse: collapse">{head}<tbody>{body}</tbody></table>' if body else ""


def _cell(tag: str, value: object) -> str:
    return f'<{tag} style="{_LINE}">{shown(value)}</{tag}>'


def shown(value: object) -> str:
    """Return a value as text that does nothing else; what cannot be printed is a replacement character."""
    text = "–" if value is None else str(value)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return escape("".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text))
