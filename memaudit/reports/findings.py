"""The sections of a page with the figures, tables and methods behind the results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from memaudit.reports import overview, standing, wording
from memaudit.reports.blocks import Block, Fact, Facts, Panels, Paragraph, Section, grid, titled
from memaudit.types import Finding, Report, Result

_LINK, _MEMORIZATION = "LNK", "MEM"
_Group = list[list[Result]]  # what one section is about: findings, each with its results


def found(report: Report) -> Iterator[Block | Section]:
    """Yield the figures, tables and methods behind the attacks."""
    details = [_section(group) for group in _groups(report, (_LINK, _MEMORIZATION), inside=False)]
    if details:
        yield Paragraph(words="Each entry below has the curves, tables, method and source of one measurement.")
    yield from (replace(section, folded=True) for section in details)


def link(report: Report) -> Iterator[Block | Section]:
    """Yield how much of the attacks' success comes from memorized examples."""
    groups = _groups(report, (_LINK,), inside=True)
    if not groups:
        yield Paragraph(words="Who is found was not measured. “Checks that could not run” gives the reasons.")
        return
    yield Paragraph(words=standing.LINK)
    shown = overview.link(report)
    yield from (_section(group, front=shown) for group in groups)


def memorization(report: Report) -> Iterator[Block | Section]:
    """Yield what was memorized: the pictures side by side, and the tables and methods behind them."""
    groups = _groups(report, (_MEMORIZATION,), inside=True)
    if not groups:
        yield Paragraph(words="Memorization was not measured. “Checks that could not run” gives the reasons.")
        return
    yield Paragraph(words=standing.MEMORIZATION)
    pictured = [group for group in groups if _whole(group)[0].figures]
    if pictured:
        yield Panels(sections=tuple(map(_panel, pictured)))
    yield from (replace(_section(group, again=group in pictured), folded=True) for group in groups)


def by_finding(results: Iterable[Result]) -> list[list[Result]]:
    """Return the results by finding: one that several limits apply to has a result for each."""
    held: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        finding = result.finding
        held.setdefault((finding.code, finding.title, finding.sentence), []).append(result)
    return list(held.values())


def _groups(report: Report, codes: tuple[str, ...], *, inside: bool) -> list[_Group]:
    """Return the findings that a section is about: one attack at several rates is described once."""
    groups: dict[tuple[str, str], _Group] = {}
    for same in by_finding(report.results):
        finding = same[0].finding
        if finding.code.startswith(codes) is inside:
            own = (finding.code, finding.attack or "") if finding.metric == "tpr" else (finding.code, finding.title)
            groups.setdefault(own, []).append(same)
    return list(groups.values())


def _whole(group: _Group) -> list[Finding]:
    """Return the findings of a group; one of a finding's results has the pictures and tables."""
    return [max((r.finding for r in same), key=lambda f: len(f.figures) + len(f.tables)) for same in group]


def _panel(group: _Group) -> Section:
    finding = _whole(group)[0]
    picture = overview.picture(finding.figures[0])
    return Section(title=titled(finding.title), content=(picture, Paragraph(words=finding.sentence)))


def _section(group: _Group, *, front: Finding | None = None, again: bool = False) -> Section:
    """Return what is behind a group; what is on the first page, or in a panel above, is not shown again."""
    finding = group[0][0].finding
    attack = wording.known(finding) if finding.metric == "tpr" else None
    title = finding.title if attack is None else f"{attack.title} ({finding.code})"
    title += ": tables and method" * again
    return Section(title=titled(title), content=tuple(_behind(_whole(group), front, again)))


def _behind(findings: list[Finding], front: Finding | None, again: bool) -> Iterator[Block]:
    yield from (Paragraph(words=finding.sentence) for finding in findings if not again)
    for finding in findings:
        shown = again or (front is not None and finding.sentence == front.sentence)
        yield from (overview.picture(figure, alone=not finding.tables) for figure in finding.figures[shown:])
        yield from map(grid, finding.tables)
        yield from (Paragraph(words=note) for note in finding.notes)
    yield _method(findings[0])


def _method(finding: Finding) -> Facts:
    facts = [
        Fact(name="95% CI", value=finding.estimate.method),
        Fact(name="Sample", value=f"{finding.n:,} {finding.counted}"),
        Fact(name="Source", value=finding.source),
        Fact(name="Code", value=finding.code),
    ]
    if (attack := wording.known(finding)) is not None:
        facts.insert(0, Fact(name="Needs", value=wording.ACCESS[attack.access]))
    return Facts(facts=tuple(facts))
