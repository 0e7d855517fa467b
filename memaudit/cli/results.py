"""Rows of the table of results that `audit` and `gate` print, and text that is wrapped beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from typing import TextIO

import click

from memaudit.reports.text import chosen, interval, one_line, quantity
from memaudit.reports.wording import called, result_label, skipped_label
from memaudit.types import Finding, Result, Skipped

COLUMNS = ("Finding", "Value", "95% CI", "Limit", "Verdict")
_INDENT = 14


def name(finding: Finding) -> str:
    """Return what a table calls a finding: its code with its title, of an attack also the false-positive rate."""
    return one_line(f"{finding.code} {called(finding)}", 120)


def row(item: Result | Skipped, which: str = "") -> tuple[str, ...]:
    """Return the cells of a result, or of a limit without one.

    Args:
        item: The result, or a skipped check with a limit.
        which: What is added to the name of the finding, such as "(worst of 2)".
    """
    limit = item.limit
    if isinstance(item, Skipped):
        assert limit is not None
        return f"{one_line(limit.name, 120)}, not measured", "-", "-", f"≤ {limit.max:g}", skipped_label(item)
    estimate = item.finding.estimate
    return (
        f"{name(item.finding)} {which}".rstrip(),
        quantity(estimate.value, estimate.unit),
        interval(estimate),
        "-" if limit is None else f"≤ {chosen(limit.max, estimate.unit)}",
        "-" if limit is None else result_label(item),
    )


def wrapped(entries: Iterable[Sequence[str]], indent: int = _INDENT, stream: TextIO | None = None) -> list[str]:
    """Return a line for each label and text, wrapped at the width of the terminal; not for a `stream` that is none."""
    if stream is not None and not stream.isatty():
        return [f"{label:<{indent}}{text}" for label, text in entries]
    width = shutil.get_terminal_size((120, 24)).columns
    return [
        click.wrap_text(f"{label:<{indent}}{text}", width, subsequent_indent=" " * indent) for label, text in entries
    ]
