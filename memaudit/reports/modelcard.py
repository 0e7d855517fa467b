"""A section for a model card on the Hugging Face Hub, to be appended to the model's README.md."""

from __future__ import annotations

from collections.abc import Iterator

from memaudit.reports.text import chosen, interval, markdown, moment, quantity
from memaudit.reports.uncovered import uncovered
from memaudit.reports.wording import (
    VERDICTS,
    attempts,
    by_severity,
    compared,
    control_warning,
    examples,
    headline,
    result_label,
    rung,
)
from memaudit.types import Report, Result, Rung


def render(report: Report) -> bytes:
    """Return a Markdown section "Privacy audit" for publication: results, their meaning, and what was not tested.

    It has no YAML of its own, so it fits anywhere in a card.
    """
    return "".join(f"{line}\n" for line in _lines(report)).encode()


def _lines(report: Report) -> Iterator[str]:
    subject, verdict, version = report.subject, VERDICTS[report.verdict], report.provenance.get("memaudit", "")
    yield "## Privacy audit\n"
    yield f"**{verdict.label}. {headline(report)}** {verdict.meaning}\n"
    if warning := control_warning(report):
        yield f"**Warning.** {markdown(warning)}\n"
    for label, words in (*(("note", words) for words in report.notices), *uncovered(report)):
        yield f"**{label.capitalize()}.** {markdown(words)}\n"
    yield (
        f"Model {markdown(subject.model)} (SHA-256 {markdown(subject.sha256)}), audited with "
        f"{markdown(' '.join(['memaudit', version]))} on {markdown(moment(report.created))}: "
        f"{markdown(examples(subject))} and {compared(report)}.\n"
    )
    if report.rung is not Rung.BANK:
        yield f"{rung(report)}\n"
    if told := attempts(report.attempt):
        yield f"{markdown(told)}\n"
    if report.results:
        yield "| Measurement | Result | 95% CI | Limit | Verdict |\n|---|--:|---|--:|---|"
        yield from map(_row, by_severity(report))
        yield ""
    for title, items in (("Not tested", report.untested), ("Limitations", report.limitations)):
        if items:
            yield f"### {title}\n"
            yield from (f"* {markdown(item)}" for item in items)
            yield ""
    yield "A failed attack is evidence of resistance to that attack only."


def _row(result: Result) -> str:
    estimate = result.finding.estimate
    cells = (
        result.finding.title,
        quantity(estimate.value, estimate.unit),
        interval(estimate),
        f"≤ {chosen(result.limit.max, estimate.unit)}" if result.limit else "–",
        result_label(result) if result.limit else "–",
    )
    return "| " + " | ".join(map(markdown, cells)) + " |"
