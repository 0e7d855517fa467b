"""The report as a short Markdown text for the summary page of a CI run. It says nothing about single examples."""

from __future__ import annotations

from collections.abc import Iterator

from memaudit.reports.text import chosen, interval, markdown, moment, quantity
from memaudit.reports.uncovered import uncovered
from memaudit.reports.wording import (
    CONTROL_LABELS,
    TITLES,
    VERDICTS,
    attempts,
    by_severity,
    compared,
    control_warning,
    examples,
    headline,
    name,
    result_label,
    rung,
    skipped_label,
)
from memaudit.types import Report, Result, Rung

MAX_BYTES = 30_000  # a step summary may be longer, but nobody reads it


def render(report: Report) -> bytes:
    """Return a summary of less than 30 kB: the verdict, the results, the controls, and what could not run."""
    text = ""
    for line in _lines(report):
        if len((text + line).encode(errors="replace")) > MAX_BYTES - 200:
            text += "\n\nThis summary was cut here; the HTML report has the rest.\n"
            break
        text += line + "\n"
    return text.encode()


def _lines(report: Report) -> Iterator[str]:
    verdict = VERDICTS[report.verdict]
    subject = report.subject
    yield f"# Privacy audit: {verdict.label}\n"
    yield f"**{headline(report)}** {verdict.meaning}\n"
    if warning := control_warning(report):
        yield f"> **Warning.** {markdown(warning)}\n"
    for label, words in (*(("note", words) for words in report.notices), *uncovered(report)):
        yield f"> **{label.capitalize()}.** {markdown(words)}\n"
    yield (
        f"Model {markdown(name(report))} (SHA-256 {markdown(subject.sha256)}), audited "
        f"{markdown(moment(report.created))} on {markdown(examples(subject))} and {compared(report)}.\n"
    )
    if report.rung is not Rung.BANK:
        yield f"{rung(report)}\n"
    if told := attempts(report.attempt):
        yield f"{markdown(told)}\n"
    yield "## Results\n"
    yield from _found(by_severity(report))
    if report.waivers:
        yield "## Waivers\n"
        for waiver, state in ((waived.waiver, waived.state) for waived in report.waivers):
            words = f"{waiver.gate}, through {waiver.expires}, up to {waiver.cap:g}: {waiver.reason}"
            yield f"- **{state.upper()}** {markdown(words)}"
        yield ""
    yield "## Controls\n"
    for control in report.controls:
        yield f"- **{CONTROL_LABELS[control.passed]}** *{markdown(control.title)}* {markdown(control.sentence)}"
    yield "" if report.controls else "No controls were run.\n"
    if report.skipped:
        yield f"## {TITLES['unsaid']}\n"
        for skipped in report.skipped:
            title = markdown(f"{skipped.code} {skipped.title}")
            yield f"- **{skipped_label(skipped)}** {title}: {markdown(skipped.reason)}"
        yield ""
    if report.untested:
        yield "## What was not tested\n"
        yield from (f"- {markdown(text)}" for text in report.untested)


def _found(results: list[Result]) -> Iterator[str]:
    if not results:
        yield "No check produced a result.\n"
        return
    for result in results:
        lead = f"**{result_label(result)}** " if result.limit is not None else ""
        yield f"- {lead}{markdown(result.finding.sentence)}"
    yield "\n| Finding | Result | 95% CI | Limit | Verdict | Reason |\n|---|--:|---|--:|---|---|"
    yield from map(_row, results)
    yield ""


def _row(result: Result) -> str:
    finding, estimate = result.finding, result.finding.estimate
    cells = (
        f"{finding.code} {finding.title}",
        quantity(estimate.value, estimate.unit),
        interval(estimate),
        f"≤ {chosen(result.limit.max, estimate.unit)}" if result.limit else "–",
        result_label(result) if result.limit else "–",
        result.reason if result.limit else "–",
    )
    return "| " + " | ".join(map(markdown, cells)) + " |"
