"""The first page: how many can be found, who, and can this be trusted? Pictures before words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from memaudit.attack_names import Access
from memaudit.reports import figures, text, wording
from memaudit.reports.blocks import Badges, Block, Number, Paragraph, Picture, Point, Points, Section, grid, titled
from memaudit.reports.uncovered import uncovered
from memaudit.types import Curve, Figure, FigureKind, Finding, Limit, Report, Result, Rung, Verdict

_SHARES = ("tpr", "canaries", "secrets", "extraction")  # metrics that one axis can show
_LEVEL = 0.95  # of an interval on the first page
_MOST = 6  # limits on the first page
_NO_BANK = "Not measured. It needs a bank of shadow models: run “memaudit bank fill” and repeat the audit."


def main(report: Report) -> Result | None:
    """Return the result that the first page names: the worst under a limit, or the default attack's first."""
    limited = [result for result in wording.by_severity(report) if result.limit is not None]
    if limited:
        worst = [result for result in limited if result.verdict is limited[0].verdict]
        return max(worst, key=_of_limit)
    tpr = (result for result in report.results if result.finding.metric == "tpr")
    return next(tpr, next(iter(report.results), None))


def _of_limit(result: Result) -> float:
    assert result.limit is not None
    return result.finding.estimate.value / max(result.limit.max, 1e-9)


def number(report: Report) -> Number | None:
    """Return the main result as one number with its interval."""
    result = main(report)
    if result is None:
        return None
    finding, estimate = result.finding, result.finding.estimate
    attack = wording.known(finding)
    if finding.metric == "tpr" and finding.at_fpr is not None:
        title = finding.attack if attack is None else attack.title
        chance = text.rate(finding.at_fpr)
        words = f"of members identified by {title} at a {chance} false-positive rate. Guessing: {chance}."
    else:
        beside = "" if finding.blind is None else f" Control: {text.quantity(finding.blind, estimate.unit)}."
        words = f"{wording.sentence(finding.title)}{beside}"
    if result.limit is not None:
        words += f" Limit: {text.chosen(result.limit.max, estimate.unit)}."
    return Number(
        value=text.quantity(estimate.value, estimate.unit),
        interval=f"95% CI {text.interval(estimate)}" if estimate.level == 0.95 else text.interval(estimate),
        words=words,
    )


def alerts(report: Report) -> Iterator[Point]:
    """Yield what a reader must know before the numbers."""
    if report.rung is not Rung.BANK:
        yield Point(lead="NO BANK", words=wording.rung(report))
    for words in report.notices:
        yield Point(lead="NOTE", words=words)
    for label, words in uncovered(report):
        yield Point(lead=label.upper(), words=words)
    if words := wording.attempts(report.attempt):
        yield Point(lead="LEDGER", words=words)


def many(report: Report) -> Section:
    """Return how many can be found: every attack in one picture, and the main result in words."""
    return Section(title="How many can be found?", content=tuple(_many(report)))


def who(report: Report) -> Section:
    """Return who is found: the memorized examples, or others?"""
    return Section(title="Who is found?", content=tuple(_who(report)))


def _many(report: Report) -> Iterator[Block]:
    figure, first = forest(report), main(report)
    if figure is not None and first is not None:
        yield picture(figure)
        yield Paragraph(words=first.finding.sentence)
        if plain := " ".join(_compared(report, first.finding)):
            yield Paragraph(words=plain)
    elif not report.results:
        yield Paragraph(words="No check produced a result. “Checks that could not run” gives the reasons.")
    else:
        yield Paragraph(words="No attack success rate was measured. “All results” lists what was.")


def _compared(report: Report, finding: Finding) -> Iterator[str]:
    """Yield how many members the rate of an attack on membership is, and whether it beats guessing."""
    estimate, chance, tested = finding.estimate, finding.at_fpr, finding.n
    if finding.metric != "tpr" or chance is None or estimate.level != _LEVEL:
        return
    if finding.counted.startswith("training "):
        low, value, high, guessed = (
            f"{round(tested * x):,}" for x in (estimate.low, estimate.value, estimate.high, chance)
        )
        yield f"In numbers: about {value} ({low}–{high}) of the {tested:,} members tested; guessing finds {guessed}."
    if estimate.low > chance:
        sound = report.controls and not any(control.passed is False for control in report.controls)
        yield f"The whole interval is above guessing{', which shows a leak' if sound else ''}."
    elif estimate.high > chance:
        yield "The interval includes guessing: this result neither shows nor excludes a leak."


def link(report: Report) -> Finding | None:
    """Return the finding that says who is found, the one with a figure first."""
    linked = [result.finding for result in report.results if result.finding.code.startswith("LNK")]
    return max(linked, key=lambda finding: (bool(finding.figures), finding.code == "LNK001"), default=None)


def _who(report: Report) -> Iterator[Block]:
    finding = link(report)
    if finding is None:
        reasons = [skipped.reason for skipped in report.skipped if skipped.code.startswith("LNK")]
        yield Paragraph(words=f"Not measured: {reasons[0].rstrip('.')}." if reasons else _NO_BANK)
        return
    yield from (picture(figure) for figure in finding.figures[:1])
    yield Paragraph(words=finding.sentence)


def trust(report: Report) -> Section:
    """Return the controls as a row of marks."""
    badges = tuple(wording.control_badge(c, titled(c.title.partition(":")[0])) for c in report.controls)
    counts = [sum(c.passed is state for c in report.controls) for state in (True, False, None)]
    if not badges:
        words = "No controls were run. Without them, a low result does not show that there is no leak."
    elif counts[0] == len(badges):
        words = f"All {len(badges)} controls passed: tests of the audit itself, such as finding a planted leak."
    else:
        states = zip(counts, ("passed", "failed", "not run"), strict=True)
        words = f"Controls: {', '.join(f'{count} {state}' for count, state in states if count)}."
    row = (Badges(badges=badges),) if badges else ()
    return Section(title="Can this be trusted?", content=(*row, Paragraph(words=words)))


def limits(report: Report) -> tuple[Section, ...]:
    """Return what became of each limit, by its worst result; nothing if none is set."""
    by_limit: dict[Limit, list[Result]] = {}
    for result in wording.by_severity(report):
        if result.limit is not None:
            by_limit.setdefault(result.limit, []).append(result)
    held = list(by_limit.values())
    still = [skipped for skipped in report.skipped if skipped.verdict is not Verdict.NOTED]
    points = [_of_worst(same) for same in held[:_MOST]]
    points += [Point(lead=wording.skipped_label(s), words=f"{s.title}: {s.reason}") for s in still[:_MOST]]
    more = len(held[_MOST:]) + len(still[_MOST:])
    if more:
        points.append(Point(words=f"{more} more: see “{wording.TITLES['results']}”."))
    return (Section(title="Limits", content=(Points(points=tuple(points)),)),) if points else ()


def _of_worst(same: list[Result]) -> Point:
    """Return what became of a limit that several results may be about, the worst first."""
    worst = max((result for result in same if result.verdict is same[0].verdict), key=_of_limit)
    which = f" (worst of {len(same)} results)" if same[1:] else ""
    found = wording.sentence(titled(wording.called(worst.finding)) + which)
    words = f"“{worst.limit}”: {found} {wording.sentence(worst.reason)}"
    return Point(lead=wording.result_label(worst), words=words)


def picture(figure: Figure, *, alone: bool = False) -> Picture:
    """Return a figure with how to read it, and its data as tables."""
    return Picture(
        title=titled(figure.title),
        alt=figure.alt or titled(figure.title),
        figure=figure,
        reading=wording.READINGS[figure.kind] + (wording.BELOW if figure.below else ""),
        data=tuple(map(grid, figures.data(figure))),
        alone=alone,
    )


def forest(report: Report) -> Figure | None:
    """Return every attack with its interval, beside chance and the limit, by what it needs; None if there is none."""
    fpr = _rate(report)
    found: dict[Finding, list[Result]] = {}
    for result in report.results:
        if _shown(result.finding, fpr):
            bare = replace(result.finding, figures=(), tables=(), notes=())
            found.setdefault(bare, []).append(result)
    groups: dict[str, list[Finding]] = {
        name: [] for name in (*(wording.ACCESS[access] for access in Access), wording.OTHER_ACCESS)
    }
    for finding in found:
        attack = wording.known(finding)
        groups[wording.OTHER_ACCESS if attack is None else wording.ACCESS[attack.access]].append(finding)
    ticks: list[str] = []
    rows: dict[Finding, float] = {}
    for name, members in groups.items():
        ticks += [name] if members else []
        for finding in members:
            rows[finding] = float(len(ticks))
            ticks.append(_label(finding, fpr))
    return _forest(found, rows, tuple(ticks), fpr) if rows else None


def _rate(report: Report) -> float | None:
    """Return the false-positive rate of the picture: that of the main result, or the first that was measured."""
    first = main(report)
    findings = [*([first.finding] if first else []), *(result.finding for result in report.results)]
    return next((f.at_fpr for f in findings if f.metric == "tpr" and f.at_fpr is not None), None)


def _shown(finding: Finding, fpr: float | None) -> bool:
    return finding.metric in _SHARES and (finding.metric != "tpr" or finding.at_fpr == fpr)


def _label(finding: Finding, fpr: float | None) -> str:
    """Return the name of a row; with its false-positive rate, if that is not the picture's."""
    attack = wording.known(finding)
    title = attack.title if attack else finding.attack or finding.title
    return title if finding.at_fpr in (None, fpr) else f"{title}, {text.rate(finding.at_fpr)} FPR"


def _forest(
    found: dict[Finding, list[Result]], rows: dict[Finding, float], ticks: tuple[str, ...], fpr: float | None
) -> Figure:
    x, findings = tuple(rows.values()), list(rows)
    estimates = [finding.estimate for finding in findings]
    chance = {f: f.at_fpr if f.metric == "tpr" else f.blind for f in findings}
    least = {f: min((r.limit.max for r in found[f] if r.limit is not None), default=None) for f in findings}
    said = "; ".join(
        f"{_label(f, fpr)} {text.quantity(f.estimate.value, f.estimate.unit)} ({text.interval(f.estimate)})"
        for f in findings
    )
    at = "" if fpr is None else f" at a {text.rate(fpr)} FPR"
    return Figure(
        kind=FigureKind.FOREST,
        title=_title(findings, at),
        x_label="Share found",
        y_label="",
        curves=(
            Curve(
                x=x,
                y=tuple(e.value for e in estimates),
                low=tuple(e.low for e in estimates),
                high=tuple(e.high for e in estimates),
                label="measured",
            ),
            *_marks(rows, chance, "guessing or control"),
            *_marks(rows, least, "limit"),
        ),
        ticks=ticks,
        alt=f"Share found by each attack{at}. {said}.",
    )


def _title(findings: list[Finding], at: str) -> str:
    """Return the title of the picture: members alone, or also texts and canaries."""
    if not at:
        return "What the attacks find"
    found = f"Members identified{at}"
    return found if all(finding.metric == "tpr" for finding in findings) else f"{found}; canaries and texts found"


def _marks(rows: dict[Finding, float], values: dict[Finding, float | None], label: str) -> tuple[Curve, ...]:
    known = [(rows[finding], value) for finding, value in values.items() if value is not None]
    return (Curve(x=tuple(x for x, _ in known), y=tuple(y for _, y in known), label=label),) if known else ()
