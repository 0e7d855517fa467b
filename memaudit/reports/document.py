"""From a report to the page that says it, for HTML and PDF alike."""

from __future__ import annotations

from collections.abc import Iterator

from memaudit.reports import annexes, sections, text, wording
from memaudit.reports.blocks import Block, Document, Paragraph, Point, Points, Section, listed, mapped
from memaudit.reports.uncovered import uncovered
from memaudit.types import Report, Result, Rung, Verdict

_LONGEST = 2000  # characters; nobody reads on, and a page of them would hide the rest
_IN_SHORT = 6

_CONTENT = {
    "found": sections.found,
    "link": sections.link,
    "controls": sections.controls,
    "scope": annexes.scope,
    "method": annexes.method,
    "evidence": sections.evidence,
    "exposed": sections.exposed,
    "unsaid": sections.unsaid,
    "mitigations": annexes.mitigations,
    "waivers": sections.waivers,
    "limitations": annexes.limitations,
    "claims": annexes.claims,
    "regulation": annexes.regulation,
    "reproduce": annexes.reproduce,
    "files": annexes.files,
    "signatures": annexes.signatures,
    "glossary": annexes.glossary,
}


def document(report: Report) -> Document:
    """Returns what a page says about the report; every string in it is visible text and not too long.

    Raises:
        EvidenceError: A figure's coordinates do not belong together.
    """
    verdict = wording.VERDICTS[report.verdict]
    page = Document(
        name=f"Privacy audit of {report.subject.model}: {verdict.label}",
        title=f"What {report.subject.model} gives away about its training data",
        date=f"Privacy audit, {text.moment(report.created)}",
        edition=f"{report.edition} edition",
        lead="This report says what an outsider can learn, from the model alone, about the "
        f"{report.subject.trained_on:,} examples that it was trained on.",
        badge=wording.badge(report.verdict),
        headline=wording.headline(report),
        meaning=verdict.meaning,
        warning=wording.control_warning(report),
        front=_front(report),
        sections=tuple(
            Section(id=name, title=wording.TITLES[name], content=tuple(build(report)))
            for name, build in _CONTENT.items()
        ),
        foot=f"Made by memaudit. {wording.EDITIONS[report.edition]}",
    )
    shown: Document = mapped(page, _shown)
    return shown


def _shown(words: str) -> str:
    if len(words) > _LONGEST:
        words = f"{words[:_LONGEST]}… (cut here; the JSON file has {len(words) - _LONGEST:,} characters more)"
    return text.typeset(text.visible(words))


def _front(report: Report) -> tuple[Section, ...]:
    """Returns what everybody reads: what was found, what to do, what was not tested, and on which model."""
    return (
        Section(title="In short", content=(Points(points=tuple(_in_short(report))),)),
        Section(title="What to do next", content=(listed(wording.steps(report), numbered=True),)),
        Section(title="What was not tested", content=_untested(report)),
        Section(title="What was audited", content=tuple(annexes.subject(report))),
    )


def _in_short(report: Report) -> Iterator[Point]:
    limited = [result for result in wording.by_severity(report) if result.limit is not None]
    first_of_metric: dict[str, Result] = {}
    for result in report.results:
        first_of_metric.setdefault(result.finding.metric, result)
    linked = [result for result in report.results if result.finding.code.startswith("LNK") and result.limit is None][:1]
    telling = [*limited[: _IN_SHORT - len(linked)], *linked] if limited else list(first_of_metric.values())
    if report.rung is not Rung.BANK:
        yield Point(lead="NO BANK", words=wording.rung(report))
    if told := wording.attempts(report.attempt):
        yield Point(words=told)
    for label, words in uncovered(report):
        yield Point(lead=label.upper(), words=words)
    for result in telling[:_IN_SHORT]:
        sentence, lead = result.finding.sentence, wording.result_label(result) if result.limit is not None else ""
        yield Point(lead=lead, words=f"{sentence} {wording.sentence(result.reason)}" if lead else sentence)
    open_limits = [skipped for skipped in report.skipped if skipped.verdict is not Verdict.NOTED]
    for skipped in open_limits[:_IN_SHORT]:
        yield Point(lead=wording.skipped_label(skipped), words=f"{skipped.title}: {skipped.reason}")
    more = len(report.results) - len(telling[:_IN_SHORT]) + len(open_limits[_IN_SHORT:])
    if more:
        yield Point(words=f"{more} more {'result stands' if more == 1 else 'results stand'} under “What was found”.")
    if not report.results:
        yield Point(words="No check produced a finding. “What could not be said” gives the reasons.")


def _untested(report: Report) -> tuple[Block, ...]:
    if report.untested:
        return (listed(report.untested),)
    return (
        Paragraph(
            words="The audit names nothing here. That does not mean that everything was tested: only the checks in "
            "this report were."
        ),
    )
