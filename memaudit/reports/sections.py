"""The sections of a page with the results of the audit."""

from __future__ import annotations

from collections.abc import Iterator

from memaudit.reports import photos, text, wording
from memaudit.reports.blocks import (
    Block,
    Card,
    Fact,
    Facts,
    Grid,
    Paragraph,
    Photo,
    grid,
    listed,
    titled,
)
from memaudit.reports.findings import by_finding
from memaudit.types import Control, Exposed, Finding, Report, Result, Skipped, Verdict


def results(report: Report) -> Iterator[Block]:
    """Yield every result once, then the limits with their reasons, the worst first."""
    held = by_finding(wording.by_severity(report))
    if not held:
        yield Paragraph(words="No check produced a result. “Checks that could not run” gives the reasons.")
        return
    limited = any(result.limit is not None for result in report.results)
    columns = ("Measurement", "Result", "95% CI", "Chance or control", "Limit", "Verdict")
    shown = len(columns) if limited else columns.index("Limit")
    yield Grid(
        title="All results",
        columns=columns[:shown],
        rows=tuple(_row(same)[:shown] for same in held),
        right=(False,) * shown,
        note="Chance or control: the false-positive rate of an attack, or the same measurement without training on the "
        "data.",
    )
    yield from map(_card, (result for result in wording.by_severity(report) if result.limit is not None))


def _card(result: Result) -> Card:
    return Card(
        badge=wording.badge(result.verdict, wording.result_label(result)),
        title=titled(wording.called(result.finding)),
        content=(
            Paragraph(words=result.finding.sentence),
            Paragraph(words=f"{wording.sentence(result.reason)} {_limit(result)}"),
        ),
    )


def _row(same: list[Result]) -> tuple[str, ...]:
    result = same[0]
    finding = result.finding
    limits = [r.limit.max for r in same if r.limit is not None]
    return (
        f"{wording.called(finding)} ({finding.code})",
        _value(finding.estimate.value, result),
        text.interval(finding.estimate),
        _chance(finding),
        "none" if not limits else f"≤\N{NO-BREAK SPACE}{text.chosen(min(limits), finding.estimate.unit)}",
        wording.result_label(result) if limits else "–",
    )


def _chance(finding: Finding) -> str:
    if finding.metric == "tpr" and finding.at_fpr is not None:
        return text.rate(finding.at_fpr)
    return "–" if finding.blind is None else text.quantity(finding.blind, finding.estimate.unit)


def _limit(result: Result) -> str:
    limit = result.limit
    if limit is None:
        return ""
    most = text.chosen(limit.max, result.finding.estimate.unit)
    return f"Limit “{limit.name}”: at most {most} with {text.percent(limit.confidence)} confidence."


def _value(value: float, result: Result) -> str:
    return text.quantity(value, result.finding.estimate.unit)


def controls(report: Report) -> Iterator[Block]:
    """Yield the audit's tests of itself."""
    yield Paragraph(words="Controls test the audit itself. If one fails, the results may be wrong.")
    yield from map(_control, report.controls)
    if not report.controls:
        yield Paragraph(words="No controls were run. Without them, a low result does not show that there is no leak.")


def _control(control: Control) -> Card:
    method = f"{control.code}. Method: {control.source}" if control.source else control.code
    return Card(
        badge=wording.control_badge(control),
        title=titled(control.title),
        content=(
            Paragraph(words=control.sentence),
            *map(grid, control.tables),
            Paragraph(words=method, soft=True),
        ),
        loud=control.passed is False,
    )


def exposed(report: Report) -> Iterator[Block]:
    """Yield the most exposed examples, as far as the edition shows them."""
    if not report.exposed:
        yield Paragraph(
            words="No single examples are shown: a list of them is personal data. This edition or this audit leaves "
            "them out, or no check ranks single examples."
        )
        return
    named = any(example.label for example in report.exposed)
    pictured = any(example.thumbnail for example in report.exposed)
    columns = ("Example", *(["Content"] if named else []), *(["Picture"] if pictured else []), "Member")
    numbers = ("Attack score", "Memorization", "Margin")
    yield Paragraph(words=wording.EXPOSED[report.edition])
    yield Grid(
        title=f"The {len(report.exposed)} most exposed examples",
        columns=(*columns, *numbers),
        rows=tuple(tuple(_example(example, named, pictured)) for example in report.exposed),
        right=(False,) * len(columns) + (True,) * len(numbers),
        note=wording.EXPOSED_NOTE,
    )


def _example(example: Exposed, named: bool, pictured: bool) -> Iterator[str | Photo]:
    yield example.identifier
    if named:
        yield example.label
    if pictured:
        picture = photos.png(example.thumbnail)
        absent = "not a PNG image" if example.thumbnail else "–"
        yield Photo(content=picture, alt=f"Example {example.identifier}") if picture else absent
    yield text.cell(example.member)
    yield text.number(example.score)
    memorization = example.memorization
    yield f"{memorization.value:.2f} ({memorization.low:.2f} to {memorization.high:.2f})".replace("-", "\N{MINUS SIGN}")
    yield text.number(example.margin)


def unsaid(report: Report) -> Iterator[Block]:
    """Yield the checks that could not run, and why."""
    for reason, group in _by_reason(report).items():
        names = [f"{skipped.title} ({skipped.code})" for skipped in group]
        alone = len(names) == 1
        yield Card(
            badge=wording.badge(group[0].verdict, wording.skipped_label(group[0])),
            title=names[0] if alone else f"{len(names)} measurements, same reason",
            content=(Paragraph(words=wording.sentence(reason[1])), *([] if alone else [listed(tuple(names))])),
        )
    if not report.skipped:
        yield Paragraph(words="All requested checks ran.")


def _by_reason(report: Report) -> dict[tuple[str, str], list[Skipped]]:
    groups: dict[tuple[str, str], list[Skipped]] = {}
    for skipped in report.skipped:
        groups.setdefault((skipped.verdict, skipped.reason), []).append(skipped)
    return groups


def waivers(report: Report) -> Iterator[Block]:
    """Yield the waivers, and what became of each."""
    for waived in report.waivers:
        waiver = waived.waiver
        people = [waiver.owner and f"owner {waiver.owner}", waiver.approved_by and f"approved by {waiver.approved_by}"]
        yield Card(
            badge=wording.badge(Verdict.NOTED, waived.state.upper()),
            title=f"Limit “{waiver.gate}”",
            content=(
                Paragraph(words=waiver.reason),
                Facts(
                    facts=(
                        Fact(name="Maximum", value=text.number(waiver.cap)),
                        Fact(name="Valid through", value=waiver.expires),
                        Fact(name="Granted", value=", ".join(filter(None, people[::-1])) or "names not shown here"),
                        Fact(name="Model", value=waiver.subject, code=True),
                    )
                ),
            ),
        )
    if not report.waivers:
        yield Paragraph(words="No waiver was granted.")
