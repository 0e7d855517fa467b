"""From a report to the page that says it, for HTML and PDF alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from memaudit.reports import annexes, findings, overview, sections, text, wording
from memaudit.reports.blocks import Block, Document, Paragraph, Section, listed, mapped
from memaudit.reports.text import visible
from memaudit.types import Report

_LONGEST = 2000  # characters; nobody reads on, and a page of them would hide the rest

_Content = Callable[[Report], Iterable[Block | Section]]
_PARTS: dict[str, dict[str, _Content]] = {
    "found": {"results": sections.results, "": findings.found},
    "link": {"": findings.link, "exposed": sections.exposed},
    "memorization": {"": findings.memorization},
    "trust": {"controls": sections.controls, "unsaid": sections.unsaid, "limitations": annexes.limitations},
    "next": {"mitigations": annexes.mitigations, "waivers": sections.waivers},
    "about": {
        "scope": annexes.scope,
        "method": annexes.method,
        "claims": annexes.claims,
        "regulation": annexes.regulation,
        "reproduce": annexes.reproduce,
        "files": annexes.files,
        "signatures": annexes.signatures,
        "glossary": annexes.glossary,
    },
}


def document(report: Report) -> Document:
    """Return what a page says about the report; every string in it is visible text and not too long.

    Raises:
        EvidenceError: A figure's coordinates do not belong together.
    """
    verdict = wording.VERDICTS[report.verdict]
    trained_on = f"{report.subject.trained_on:,} {wording.units(report)}"
    page = Document(
        name=f"Privacy audit of {report.subject.model}: {verdict.label}",
        title=f"Privacy audit of {wording.name(report)}",
        date=text.moment(report.created),
        edition=f"{report.edition} edition",
        lead=f"What this model leaks about the {trained_on} it was trained on.",
        badge=wording.badge(report.verdict),
        headline=wording.headline(report),
        meaning=verdict.meaning,
        number=overview.number(report),
        warning=wording.control_warning(report),
        alerts=tuple(overview.alerts(report)),
        front=_front(report),
        sections=tuple(_part(report, name, parts) for name, parts in _PARTS.items()),
        foot=f"Made by memaudit. {wording.EDITIONS[report.edition]}",
    )
    shown: Document = mapped(page, _shown)
    return shown


def _part(report: Report, name: str, parts: dict[str, _Content]) -> Section:
    """Return a part of the report; what has no name of its own is not a section of its own."""
    content: list[Block | Section] = []
    for own, build in parts.items():
        blocks = tuple(build(report))
        folded = name == "about" or (own == "controls" and _all_passed(report))
        content += [Section(id=own, title=wording.TITLES[own], content=blocks, folded=folded)] if own else blocks
    return Section(id=name, title=wording.TITLES[name], content=tuple(content))


def _all_passed(report: Report) -> bool:
    """Return whether controls were run and passed: then the first page says enough for most readers."""
    return bool(report.controls) and all(control.passed for control in report.controls)


def _shown(words: str) -> str:
    if len(words) > _LONGEST:
        words = f"{words[:_LONGEST]}… (cut here; the JSON file has {len(words) - _LONGEST:,} characters more)"
    return text.typeset(visible(words))


def _front(report: Report) -> tuple[tuple[Section, ...], ...]:
    """Return the rows of the first page."""
    return (
        (overview.many(report), overview.who(report)),
        (overview.trust(report),),
        (
            Section(title="What to do next", content=(listed(wording.steps(report), numbered=True),)),
            Section(title="What was not tested", content=_untested(report)),
        ),
        *((section,) for section in overview.limits(report)),
        (Section(title="What was audited", content=tuple(annexes.subject(report))),),
    )


def _untested(report: Report) -> tuple[Block, ...]:
    if report.untested:
        return (listed(report.untested),)
    return (Paragraph(words="The audit lists nothing here. Only the checks in this report were tested, nothing else."),)
