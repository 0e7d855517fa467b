"""A comparison as the page that says it, for HTML and PDF alike, in the look of the audit's report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from statistics import median

from memaudit.reports import wording
from memaudit.reports.blocks import (
    Document,
    Fact,
    Facts,
    Grid,
    Number,
    Picture,
    Point,
    Points,
    Section,
    Span,
    listed,
    mapped,
)
from memaudit.reports.glossary import GLOSSARY
from memaudit.reports.overview import picture
from memaudit.reports.text import interval, moment, percent, points, rate, typeset, visible
from memaudit.types import Estimate, Figure, FigureKind, Mark, Scatter, Verdict
from memaudit.whatif.result import Comparison, Row, Standing, Unmeasured

_GROUPS = (Standing.KEEPS, Standing.EXCEEDS, Standing.UNDECIDED)
_MEANINGS = {
    Verdict.PASS: "At least one of the models compared is shown to keep the limit.",
    Verdict.FAIL: "Every one is shown to exceed the limit, or to cost too much.",
    Verdict.INCONCLUSIVE: "A variant that keeps the limit was neither shown nor excluded. More models per variant, or "
    "other variants, may decide it.",
    Verdict.NOTED: "Set a limit to decide: --limit, or a [[gate]] on the TPR at this FPR.",
}
_WORDS = (
    Point(lead="Dominated.", words="Another variant is shown to be more useful and to leak less."),
    Point(lead="Front.", words="No other variant is both more useful and leaks less, by the values alone."),
    *(point for point in GLOSSARY if point.lead.startswith(("True-positive", "False-positive", "Memorization."))),
)
_UNTESTED = (
    "The model that you release. The figures are means over models trained on random halves of the data; audit the "
    "final model with “memaudit audit”.",
    "Other attacks and other false-positive rates.",
    "Other parameters of these remedies, and their combinations.",
    "What models reproduce: extraction of training data, and canaries.",
    "Guarantees. A low TPR of an attack is no proof that no other attack finds more.",
)


def document(found: Comparison, created: str | None = None) -> Document:
    """Return what a page says about a comparison.

    Args:
        found: The comparison.
        created: When the page is made, in ISO 8601; by default now.
    """
    models = max(row.models for row in found.rows)
    page = Document(
        name=f"What would help: {wording.VERDICTS[found.verdict].label}",
        title="What would help",
        date=moment(created or now()),
        edition=f"{len(found.rows) - 1} variants, up to {models} models each",
        lead="What remedies against leaks of training data buy and cost, measured with models of their own.",
        badge=wording.badge(found.verdict),
        headline=found.sentence,
        meaning=_MEANINGS[found.verdict],
        number=_number(found),
        warning="",
        alerts=tuple(Point(words=note) for note in found.notes),
        front=(
            (
                Section(title=f"Leak against {found.utility.name}", content=(_picture(found),)),
                Section(title="What each variant is", content=(_remedies(found),)),
            ),
        ),
        sections=(
            Section(id="changes", title="What each variant changes", content=(_table(found),)),
            Section(id="measured", title="How it was measured", content=_measured(found, models)),
            Section(id="untested", title="What was not tested", content=(listed(_UNTESTED),)),
            Section(id="glossary", title="Glossary", content=(Points(points=_WORDS),)),
        ),
        foot="Made by memaudit. Aggregate figures only; nothing on this page is about a single example.",
    )
    shown: Document = mapped(page, lambda words: typeset(visible(words)))
    return shown


def now() -> str:
    """Return the present moment in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _picture(found: Comparison) -> Picture:
    shown = picture(figure(found))
    others = [row for row in found.rows if row.units != found.baseline.units and row.leak_change]
    changes = [
        f"{row.name} changes the TPR by {points(row.leak_change.value)} points" for row in others if row.leak_change
    ]
    if not changes:
        return shown
    star = f" *: measured on fewer examples. On the same ones, {' and '.join(changes)}; the front is by such changes."
    return replace(shown, reading=shown.reading + star)


def figure(found: Comparison) -> Figure:
    """Return leak against the change of utility, with the front and the limit."""
    base, rows = found.baseline, found.rows[1:]
    groups = {str(group): [row for row in rows if row.standing is group] for group in _GROUPS}
    if found.limit is None:
        groups = {"variant": list(rows)}
    groups["as it is"] = [base]
    if found.at_most_cost is not None:
        groups[str(Standing.COSTLY)] = [row for row in rows if row.standing is Standing.COSTLY]
    front = sorted((row for row in found.rows if row.front), key=lambda row: _change(row).value)
    limit = () if found.limit is None else (Mark(y=found.limit, label=f"limit {percent(found.limit)}"),)
    return Figure(
        kind=FigureKind.FRONT,
        title=f"TPR at a {rate(found.fpr)} FPR against {found.utility.name}",
        x_label=f"Change in {found.utility.name} (percentage points)",
        y_label=f"TPR at a {rate(found.fpr)} FPR",
        curves=(
            *(_points(label, members, base.units) for label, members in groups.items()),
            _points("front", front, base.units),
        ),
        marks=(*limit, Mark(y=found.fpr, label="guessing")),
        alt=f"{found.sentence} "
        + "; ".join(
            f"{row.name}: TPR {percent(row.leak.value)}, {found.utility.name} {points(_change(row).value)} points"
            for row in found.rows
        ),
    )


def _points(label: str, rows: Sequence[Row], units: int) -> Scatter:
    """Return the points of some variants; one that is measured on other units than the baseline has a mark."""
    changes = [_change(row) for row in rows]
    return Scatter(
        label=label,
        names=tuple(row.name if row.units == units else f"{row.name}*" for row in rows),
        x=tuple(change.value for change in changes),
        left=tuple(change.low for change in changes),
        right=tuple(change.high for change in changes),
        y=tuple(row.leak.value for row in rows),
        low=tuple(row.leak.low for row in rows),
        high=tuple(row.leak.high for row in rows),
    )


def _change(row: Row) -> Estimate:
    """Return the change of utility; that of the baseline is 0."""
    return row.utility_change or Estimate(value=0.0, low=0.0, high=0.0, unit="share", method="the baseline itself")


def _number(found: Comparison) -> Number:
    row, base = found.best or found.baseline, found.baseline
    of = "the model as it is" if row is base else f"{row.name}; the model as it is has {percent(base.leak.value)}"
    return Number(
        value=percent(row.leak.value),
        interval=f"95% CI {interval(row.leak)}",
        words=f"TPR of {found.attack} at a {rate(found.fpr)} FPR: {of}.",
    )


def _remedies(found: Comparison) -> Points:
    every: tuple[Row | Unmeasured, ...] = (*found.rows, *found.unmeasured)
    return Points(points=tuple(Point(lead=row.name, words=row.remedy) for row in every))


def _table(found: Comparison) -> Grid:
    rows = found.rows
    columns = ("Variant", found.utility.heading, "TPR", "Memorization", "Training", "Result")
    figures = [_spans(rows, name) for name in ("utility", "leak", "memorization")]
    fewer = [f"{row.name} on {row.units:,}" for row in rows[1:] if row.units != rows[0].units]
    note = "Below each figure: its change from the model as it is, in percentage points, with its 95% CI. "
    if fewer:
        note += f"Measured on {rows[0].units:,} units; and, with its change, {', '.join(fewer)} of them."
    most = max(row.models for row in rows)
    stopped = [f"{row.models} of {row.name}" for row in rows if row.models < most]
    note += f" Models: {', '.join([f'{most} of each variant' if not stopped else f'{most}', *stopped])}."
    return Grid(
        title="Utility, leak and cost",
        columns=columns,
        rows=tuple(
            (
                row.name,
                *cells,
                f"{row.seconds_ratio:.2g} ×",
                row.result or "–",
            )
            for row, *cells in zip(rows, *figures, strict=True)
        ),
        right=(False, True, True, True, True, False),
        note=note.strip(),
    )


def _spans(rows: Sequence[Row], name: str) -> list[str | Span]:
    """Return the cells of a figure's column; the bars of its changes share one scale."""
    values: list[Estimate] = [getattr(row, name) for row in rows]
    changes: list[Estimate | None] = [getattr(row, f"{name}_change") for row in rows]
    there = [change for change in changes if change is not None]
    least = min([0.0, *(change.low for change in there)])
    width = max([0.0, *(change.high for change in there)]) - least or 1.0
    usual = median([change.high - change.low for change in there] or [0.0])
    shown = partial(_in_points, decimals=max(1, -math.floor(math.log10(100 * usual))) if usual else 1)
    return [
        Span(
            words=percent(value.value),
            change=f"{shown(change.value)} ({shown(change.low)} to {shown(change.high)})",
            low=(change.low - least) / width,
            value=(change.value - least) / width,
            high=(change.high - least) / width,
            zero=-least / width,
        )
        if change
        else percent(value.value)
        for value, change in zip(values, changes, strict=True)
    ]


def _in_points(share: float, decimals: int) -> str:
    """Return a change in percentage points; all numbers of a column have as many decimals."""
    return f"{100 * share + 0.0:.{decimals}f}"


def _measured(found: Comparison, models: int) -> tuple[Points | Facts, ...]:
    limit = "none" if found.limit is None else percent(found.limit)
    name = found.utility.name
    cost = () if found.at_most_cost is None else (f"{points(found.at_most_cost)} percentage points of {name}",)
    facts = (
        Fact(name="Attack", value=f"{found.attack}, at a {rate(found.fpr)} FPR"),
        Fact(name="Limit", value=limit),
        *(Fact(name="Accepted cost", value=words) for words in cost),
        Fact(name="Intervals that decide", value=f"{percent(found.level)} each; all together 95%"),
    )
    return (
        Facts(facts=facts),
        listed(
            (
                f"Each variant has its own bank of up to {models} shadow models. All banks have the same training "
                "sets, in complementary pairs, so that variants are compared pair by pair and example by example.",
                "The adversary knows the remedy: each model is attacked with the other models of its variant as "
                "references.",
                f"{found.utility.heading}: {found.utility.meaning}. Memorization is how much better "
                "models predict an example if it is in their training set.",
                "Small banks come first. A variant that is shown to be dominated, to exceed the limit, or to cost too "
                "much gets no more models. The intervals that decide are wide enough for all these looks together.",
                "Training is the time of one model, as a multiple of that of the model as it is.",
            )
        ),
    )
