"""`memaudit diff OLD NEW`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memaudit.cli.results import name, wrapped
from memaudit.cli.terminal import table
from memaudit.policy import EXIT_CODES
from memaudit.reports.text import markdown, number, one_line, quantity
from memaudit.types import Estimate, Verdict

if TYPE_CHECKING:
    from memaudit.auditing.diff import Change, Comparison

_INDENT = 16
_COLUMNS = ("Finding", "Old", "New", "Change", "95% CI", "FPR change", "Verdict")
_USUAL = 0.95  # the level of an interval that is not named
_WORDS = {
    Verdict.FAIL: "regression",
    Verdict.INCONCLUSIVE: "undecided",
    Verdict.PASS: "no regression",
    Verdict.NOTED: "noted",
}
_MEANING = {
    Verdict.FAIL: "The new release leaks more than the old one{}; the difference is significant.",
    Verdict.INCONCLUSIVE: "The audits cannot decide whether the new release leaks more than the old one{}.",
    Verdict.PASS: "With these attacks, the new release does not leak more than the old one{}, with 95% confidence.",
    Verdict.NOTED: "Nothing was decided.",
}


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--margin", type=float, default=0.0, show_default=True, help="Accepted increase; 0.02 = 2 points.")
@click.option("-v", "--sentences", is_flag=True, help="Print the changes as sentences, not as a table.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Write Markdown.")
def command(old: Path, new: Path, margin: float, sentences: bool, as_markdown: bool) -> int:
    """Compare the audits of two releases: folders, or their report.json with the evidence beside it.

    Exit codes: 1 if the lower end of an increase exceeds the margin, 0 if its upper end does not, 3 if the interval
    includes the margin, 2 if the audits cannot be compared: other examples, bank, attacks or rates.
    """
    from memaudit.auditing.comparable import open_side
    from memaudit.auditing.diff import compare

    found = compare(open_side(old), open_side(new), margin)
    click.echo("\n".join(_markdown(found) if as_markdown else _text(found, sentences)))
    return EXIT_CODES[found.verdict]


def _text(found: Comparison, sentences: bool) -> Iterator[str]:
    for side, subject in (("old", found.old), ("new", found.new)):
        yield f"{side:<{_INDENT}}{one_line(subject.model, 60)}, SHA-256 {one_line(subject.sha256, 64)}"
    yield f"{_WORDS[found.verdict]:<{_INDENT}}{_meaning(found)}"
    yield ""
    if not sentences:
        yield from table(_COLUMNS, [_row(change) for change in found.changes], sys.stdout)
        yield ""
    entries = [(_WORDS[change.verdict], _sentence(change)) for change in found.changes if sentences]
    entries += [("control failed", one_line(control, 300)) for control in found.failed_controls]
    entries += [("note", note) for note in found.notes]
    yield from wrapped(entries, _INDENT)


def _row(change: Change) -> tuple[str, ...]:
    unit, of = change.finding.estimate.unit, change.change
    level = "" if of.level == _USUAL else f" ({quantity(of.level, 'share')} CI)"
    return (
        name(change.finding),
        quantity(change.old, unit),
        quantity(change.new, unit),
        _signed(of.value, unit),
        _interval(of) + level,
        _interval(change.flagged) if change.flagged else "-",
        _WORDS[change.verdict],
    )


def _markdown(found: Comparison) -> Iterator[str]:
    yield f"# Privacy of two releases: {_WORDS[found.verdict]}\n"
    yield f"**{_meaning(found)}**\n"
    for side, subject in (("Old", found.old), ("New", found.new)):
        yield f"- {side}: {markdown(subject.model)}, SHA-256 {markdown(subject.sha256)}"
    yield "\n| Finding | Old | New | Change | 95% CI | Change in FPR | Verdict |"
    yield "|---|--:|--:|--:|---|---|---|"
    for change in found.changes:
        unit, of = change.finding.estimate.unit, change.change
        cells = (
            f"{change.finding.code} {change.finding.title}",
            quantity(change.old, unit),
            quantity(change.new, unit),
            _signed(of.value, unit),
            f"{_interval(of)} ({quantity(of.level, 'share')}, {of.method})",
            _interval(change.flagged) if change.flagged else "–",
            _WORDS[change.verdict],
        )
        yield "| " + " | ".join(map(markdown, cells)) + " |"
    yield ""
    yield from (f"- Control failed: {markdown(control)}" for control in found.failed_controls)
    yield from (f"- {markdown(note)}" for note in found.notes)


def _meaning(found: Comparison) -> str:
    unit = next((c.finding.estimate.unit for c in found.changes if c.verdict is not Verdict.NOTED), "share")
    margin = f" by more than {_signed(found.margin, unit).removeprefix('+')}" if found.margin else ""
    return _MEANING[found.verdict].format(margin)


def _sentence(change: Change) -> str:
    unit, of = change.finding.estimate.unit, change.change
    pairs = f"{change.pairs:,} pairs" if change.pairs is not None else "not paired"
    flagged = f"; change in FPR: {_interval(change.flagged)}" if change.flagged else ""
    return (
        f"{one_line(change.finding.title, 200)}: {quantity(change.old, unit)} → {quantity(change.new, unit)}, change "
        f"{_signed(of.value, unit)} ({_interval(of)}; {quantity(of.level, 'share')} interval, {pairs}){flagged}"
    )


def _interval(change: Estimate) -> str:
    low, high = _signed(change.low, change.unit), _signed(change.high, change.unit)
    return f"{low.removesuffix(' points')} to {high}"


def _signed(value: float, unit: str) -> str:
    """Return a change with its sign, of a share in percentage points."""
    sign = "+" if value > 0 else ""
    return sign + (f"{number(100 * value)} points" if unit == "share" else quantity(value, unit))
