"""The sections of a page that say what the audit found."""

from __future__ import annotations

from collections.abc import Iterator

from memaudit.reports import figures, photos, standing, text, wording
from memaudit.reports.blocks import (
    Block,
    Card,
    Fact,
    Facts,
    Grid,
    Paragraph,
    Photo,
    Picture,
    Section,
    grid,
    listed,
    titled,
)
from memaudit.types import Control, Exposed, Figure, Limit, Report, Result, Skipped, Verdict


def found(report: Report) -> Iterator[Block]:
    """Yields what was measured and held against limits, the worst first."""
    results = wording.by_severity(report)
    limited = [result for result in results if result.limit is not None]
    yield from map(_card, limited)
    if not results:
        yield Paragraph(words="No check produced a finding. “What could not be said” gives the reasons.")
        return
    if not limited:
        yield Paragraph(words="No limit was set, so that nothing here is held against one.")
    columns = ("Measurement", "Measured", "Interval", "Without the model", "Limit", "Verdict")
    shown = len(columns) if limited else columns.index("Limit")
    yield Grid(
        title="Every measurement",
        columns=columns[:shown],
        rows=tuple(_row(result)[:shown] for result in results),
        right=(False,) * shown,
        note="Without the model: what somebody achieves who does not have the model, where that is known.",
    )


def _card(result: Result) -> Card:
    estimate, limit = result.finding.estimate, result.limit
    facts = (
        Fact(name="Measured", value=f"{_value(estimate.value, result)}, with an interval of {text.interval(estimate)}"),
        Fact(name="Limit", value=_limit(limit, result) if limit else "none was set"),
        Fact(name="Why this verdict", value=result.reason),
    )
    return Card(
        badge=wording.badge(result.verdict, wording.result_label(result)),
        title=titled(result.finding.title),
        content=(Paragraph(words=result.finding.sentence), Facts(facts=facts)),
    )


def _row(result: Result) -> tuple[str, ...]:
    finding = result.finding
    return (
        f"{finding.title} ({finding.code})",
        _value(finding.estimate.value, result),
        text.interval(finding.estimate),
        "–" if finding.blind is None else _value(finding.blind, result),
        "none" if result.limit is None else f"≤\N{NO-BREAK SPACE}{_value(result.limit.max, result)}",
        wording.result_label(result),
    )


def _limit(limit: Limit, result: Result) -> str:
    return f"at most {_value(limit.max, result)}, at a confidence of {text.percent(limit.confidence)} (“{limit.name}”)"


def _value(value: float, result: Result) -> str:
    return text.quantity(value, result.finding.estimate.unit)


def controls(report: Report) -> Iterator[Block]:
    """Yields the audit's tests of itself."""
    yield Paragraph(
        words="Before the model is judged, the audit is tested itself. A control that fails means that the figures "
        "may be wrong."
    )
    yield from map(_control, report.controls)
    if not report.controls:
        yield Paragraph(
            words="No controls were run. Without them nobody can tell whether the audit would have noticed a leak."
        )


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


def link(report: Report) -> Iterator[Block | Section]:
    """Yields how much of what the attacks find falls on memorized examples, with its figures and tables."""
    linked = _findings(report, linked=True)
    if linked:
        yield Paragraph(words=standing.LINK)
        yield from linked
    else:
        yield Paragraph(words="This audit did not measure it. “What could not be said” gives the reasons.")


def evidence(report: Report) -> Iterator[Block | Section]:
    """Yields the figures, tables and methods behind each other measurement."""
    found = _findings(report, linked=False)
    yield from found
    if not found:
        yield Paragraph(words="No other check produced a finding.")


def _findings(report: Report, *, linked: bool) -> list[Section]:
    held: dict[tuple[str, str, str], list[Result]] = {}
    for result in wording.by_severity(report):  # a finding that several limits are about has a result for each
        finding = result.finding
        if finding.code.startswith("LNK") is linked:
            held.setdefault((finding.code, finding.title, finding.sentence), []).append(result)
    return [Section(title=titled(same[0].finding.title), content=tuple(_finding(same))) for same in held.values()]


def _finding(results: list[Result]) -> Iterator[Block]:
    """Yields what is behind a finding; one of its results has the pictures."""
    result = max(results, key=lambda result: len(result.finding.figures) + len(result.finding.tables))
    finding, estimate = result.finding, result.finding.estimate
    yield Paragraph(words=finding.sentence)
    yield from (_picture(figure, alone=not finding.tables) for figure in finding.figures)
    yield from map(grid, finding.tables)
    yield from (Paragraph(words=note) for note in finding.notes)
    limits = ", ".join(f"“{result.limit}”" for result in results if result.limit)
    facts = [
        Fact(
            name="Estimate",
            value=f"{_value(estimate.value, result)}, interval {text.interval(estimate)} at a confidence of "
            f"{text.percent(estimate.level)}",
        ),
        Fact(name="Interval made by", value=estimate.method),
        Fact(name="Based on", value=f"{finding.n:,} {finding.counted}"),
        Fact(name="Method", value=finding.source),
        Fact(name="Code", value=f"{finding.code}, held against {limits}" if limits else finding.code),
    ]
    if finding.blind is not None:
        facts.insert(2, Fact(name="Without the model", value=_value(finding.blind, result)))
    yield Facts(facts=tuple(facts))


def _picture(figure: Figure, *, alone: bool) -> Picture:
    return Picture(
        title=titled(figure.title),
        alt=figure.alt or titled(figure.title),
        figure=figure,
        reading=wording.READINGS[figure.kind],
        data=tuple(map(grid, figures.data(figure))),
        alone=alone,
    )


def exposed(report: Report) -> Iterator[Block]:
    """Yields the most exposed examples, as far as the edition shows them."""
    if not report.exposed:
        yield Paragraph(
            words="No single examples are shown. Either this edition or this audit leaves them out, because a list of "
            "them is personal data, or none of the checks ranks single examples."
        )
        return
    named = any(example.label for example in report.exposed)
    pictured = any(example.thumbnail for example in report.exposed)
    columns = ("Example", *(["What it is"] if named else []), *(["Picture"] if pictured else []), "Trained on")
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
    """Yields the checks that could say nothing, and why."""
    for reason, group in _by_reason(report).items():
        names = [f"{skipped.title} ({skipped.code})" for skipped in group]
        alone = len(names) == 1
        yield Card(
            badge=wording.badge(group[0].verdict, wording.skipped_label(group[0])),
            title=names[0] if alone else f"{len(names)} measurements, for one reason",
            content=(Paragraph(words=reason[1]), *([] if alone else [listed(tuple(names))])),
        )
    if not report.skipped:
        yield Paragraph(words="Every check that was asked for gave an answer.")


def _by_reason(report: Report) -> dict[tuple[str, str], list[Skipped]]:
    groups: dict[tuple[str, str], list[Skipped]] = {}
    for skipped in report.skipped:
        groups.setdefault((skipped.verdict, skipped.reason), []).append(skipped)
    return groups


def waivers(report: Report) -> Iterator[Block]:
    """Yields who decided to live with what, and whether that held."""
    for waived in report.waivers:
        waiver = waived.waiver
        people = [waiver.owner and f"asked for by {waiver.owner}", waiver.approved_by and f"by {waiver.approved_by}"]
        yield Card(
            badge=wording.badge(Verdict.NOTED, waived.state.upper()),
            title=f"The limit “{waiver.gate}”",
            content=(
                Paragraph(words=waiver.reason),
                Facts(
                    facts=(
                        Fact(name="Up to", value=text.number(waiver.cap)),
                        Fact(name="Through", value=waiver.expires),
                        Fact(name="Granted", value=", ".join(filter(None, people[::-1])) or "by whom is not said here"),
                        Fact(name="For the model", value=waiver.subject, code=True),
                    )
                ),
            ),
        )
    if not report.waivers:
        yield Paragraph(words="None was granted: no limit may be broken.")
