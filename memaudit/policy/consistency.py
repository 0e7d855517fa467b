"""What in a report contradicts itself: numbers that no audit can have found, or verdicts that do not follow from them.

It catches a report that was altered without care, and one that was damaged. Whoever alters a report so that everything
in it agrees is caught by a signature alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from memaudit.policy.judge import hold
from memaudit.types import (
    ATTACKS_BY_METRIC,
    Attempt,
    Bounds,
    Edition,
    Estimate,
    Finding,
    Limit,
    Report,
    Result,
    Skipped,
    Subject,
    Verdict,
    WaiverState,
)

_FIRST = datetime(2025, 1, 1, tzinfo=UTC)  # there was no memaudit before
_AHEAD = timedelta(days=1)  # that another machine's clock may be
_MOST_UNITS = 10**9
_ROUNDING, _PUBLIC_ROUNDING = 1e-6, 0.006  # relative; the public edition keeps three digits
_TINY = 1e-9
_RANGES = {"share": (-1.0, 1.0), "correlation": (-1.0, 1.0), "bits": (0.0, math.inf)}
_BINOMIAL = ("tpr", "canaries", "secrets", "extraction")  # shares of units that were counted
_CONTROLS = re.compile(r"CTL\d{3}")
_SHA256 = re.compile("[0-9a-f]{64}")
_OWN = re.compile(r"(MIA|MEM|LNK|CAN|EXT|CTL|DP)\d+")


@dataclass(frozen=True, slots=True)
class Measure:
    """What a check measures: its metric, the unit, and how the names of its attacks begin.

    `counted` says how `n` relates to the subject: it is the number of its members, at most that, at most the number of
    its examples, or not known from it.
    """

    metric: str
    unit: str
    attacks: tuple[str, ...] = ()
    counted: str = ""


MEASURES = {
    "MIA001": Measure("tpr", "share", ("lira-online",), "members"),
    "MIA002": Measure("tpr", "share", ("lira-offline",), "members"),
    "MIA003": Measure("tpr", "share", ("global-threshold",), "members"),
    "MIA004": Measure("tpr", "share", ("zlib", "min-k", "reference", "base"), "members"),
    "MIA005": Measure("tpr", "share", ("slira",), "members"),
    "MIA006": Measure("tpr", "share", ("rmia",), "members"),
    "MIA007": Measure("tpr", "share", ("bavaria", "sablayrolles", "attack-", "reference"), "members"),
    "MEM001": Measure("memorization", "share", counted="up to all"),
    "MEM002": Measure("memorization", "share", counted="up to all"),
    "MEM003": Measure("exact-memorization", "share", counted="up to all"),
    "LNK001": Measure("link", "correlation", ("lira-online",), "up to all"),
    "LNK002": Measure("extraction-link", "correlation", counted="up to all"),
    "CAN001": Measure("exposure", "bits"),
    "CAN002": Measure("canaries", "share"),
    "CAN003": Measure("secrets", "share"),
    "EXT001": Measure("extraction", "share", ("greedy",), "up to members"),
    "EXT002": Measure("extraction", "share", ("sampling",), "up to members"),
    "EXT003": Measure("extraction", "share", ("search",)),
    "EXT004": Measure("extraction", "share", ("untargeted",)),
}
"""What each check measures. Checks of other packages have codes of their own."""


def contradictions(report: Report, now: datetime | None = None) -> tuple[str, ...]:
    """Returns what in a report contradicts itself, in words; empty if nothing does.

    Args:
        report: As it was loaded.
        now: When it is looked at.
    """
    found = [*_of_subject(report.subject), *_of_times(report, now or datetime.now(UTC)), *_of_attempt(report.attempt)]
    for finding in dict.fromkeys(result.finding for result in report.results):
        name = f"{finding.code} {finding.title}"
        found += [f"{name}: {problem}" for problem in _of_finding(finding, report)]
    found += _of_results(report)
    for example in report.exposed:
        found += [f"exposed: {problem}" for problem in _of_estimate(example.memorization, _ROUNDING)]
    if not found:
        found += _of_verdicts(report)
    return tuple(dict.fromkeys(found))


def rules(report: Report) -> tuple[Limit, ...]:
    """Returns the limits that a report was judged by; all occur in it, as one that nothing is about is said, too."""
    judged: list[Result | Skipped] = [*report.results, *report.skipped]
    return tuple(dict.fromkeys(item.limit for item in judged if item.limit is not None))


def _of_subject(subject: Subject) -> Iterator[str]:
    for name, count in (("members", subject.members), ("non-members", subject.nonmembers)):
        if not 1 <= count <= _MOST_UNITS:
            yield f"subject: {count} {name}"
    if subject.shadows < 2 or subject.shadows % 2 or subject.shadows > _MOST_UNITS:
        yield f"subject: {subject.shadows} shadow models; a bank has pairs"
    if not _SHA256.fullmatch(subject.sha256):
        yield "subject: the model's digest is no SHA-256"


def _of_times(report: Report, now: datetime) -> Iterator[str]:
    created = _moment(report.created)
    if created is None:
        yield "created: no time (ISO 8601)"
    elif not _FIRST <= created <= now + _AHEAD:
        when = "lies in the future" if created > now else "is before there was a memaudit"
        yield f"created: {report.created} {when}"
    if report.plan is None:
        return
    planned = _moment(report.plan.created)
    if not (_SHA256.fullmatch(report.plan.sha256) and _SHA256.fullmatch(report.plan.entry)):
        yield "plan: a digest is no SHA-256"
    if report.plan.audits_before < 0:
        yield f"plan: {report.plan.audits_before} audits before it"
    if planned is None or (created is not None and planned > created + timedelta(seconds=1)):
        yield "plan: it was not made before the audit"


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _of_attempt(attempt: Attempt | None) -> Iterator[str]:
    if attempt is None:
        yield "attempt: it is not said which attempt this was; every audit says so"
        return
    if attempt.number != len(attempt.earlier) + 1 or attempt.of_model < 1 or attempt.torn < 0:
        yield f"attempt: number {attempt.number} after {len(attempt.earlier)} others, {attempt.of_model} of the model"
    if unknown := set(attempt.earlier) - set(Verdict):
        yield f"attempt: {sorted(unknown)[0]!r} is no verdict"
    if not _SHA256.fullmatch(attempt.entry):
        yield "attempt: the entry of the ledger is no SHA-256"


def _of_finding(finding: Finding, report: Report) -> Iterator[str]:
    estimate = finding.estimate
    slack = _PUBLIC_ROUNDING if report.edition is Edition.PUBLIC else _ROUNDING
    yield from _of_kind(finding)
    yield from _of_estimate(estimate, slack)
    if not 1 <= finding.n <= _MOST_UNITS:
        yield f"the number of {finding.counted} is {finding.n}"
        return
    yield from _of_counted(finding, report.subject)
    if finding.metric in _BINOMIAL:
        numbers = [estimate.value, estimate.low, estimate.high, *([] if finding.blind is None else [finding.blind])]
        if any(not 0 <= number <= 1 for number in numbers):
            yield "a share is not between 0 and 1"
        elif 0 < estimate.level < 1:
            yield from _of_count(finding, slack)


def _of_kind(finding: Finding) -> Iterator[str]:
    measure = _measure(finding)
    if _OWN.fullmatch(finding.code) and finding.code not in MEASURES:
        yield f"there is no check {finding.code!r}"
    if measure is None:
        return
    if (measure.metric, measure.unit) != (finding.metric, finding.estimate.unit):
        yield f"{finding.code} measures {measure.metric} as a {measure.unit}, not {finding.metric!r}"
    known = ATTACKS_BY_METRIC.get(measure.metric)
    own = measure.attacks if finding.code in MEASURES else ("",)
    named = finding.attack is not None and finding.attack.startswith(own)
    if (known is not None and not (named and finding.attack in known)) or (finding.attack and not named):
        yield f"{finding.code} makes no attack {finding.attack!r}"
    if (finding.at_fpr is None and measure.metric == "tpr") or not 0 < (finding.at_fpr or 0.5) < 1:
        yield f"its false-positive rate is {finding.at_fpr}"


def _measure(finding: Finding) -> Measure | None:
    """Returns what the check measures, of one of another package what its metric asks for; None if that is unknown."""
    of_metric = (measure for measure in MEASURES.values() if measure.metric == finding.metric)
    return MEASURES.get(finding.code) or next(of_metric, None)


def _of_counted(finding: Finding, subject: Subject) -> Iterator[str]:
    measure = _measure(finding)
    everybody = subject.members + subject.nonmembers
    if measure is None:
        return
    if measure.counted == "members" and finding.n != subject.members:
        yield f"it is about {finding.n:,} members, the report about {subject.members:,}"
    most = {"up to members": subject.members, "up to all": everybody}.get(measure.counted)
    if most is not None and finding.n > most:
        yield f"it is about {finding.n:,} {finding.counted}, and there are {most:,}"


def _of_estimate(estimate: Estimate, slack: float) -> Iterator[str]:
    """Yields what is wrong with an interval: it must hold the value, and surer bounds must hold less sure ones."""
    least, most = _RANGES.get(estimate.unit, (-math.inf, math.inf))
    bounds = estimate.bounds
    numbers = [estimate.value, estimate.low, estimate.high, *(end for b in bounds for end in (b.low, b.high))]
    if any(not least - _TINY <= number <= most + _TINY for number in numbers):
        yield f"{min(numbers):.4g} to {max(numbers):.4g} is no {estimate.unit}"
    if not 0 < estimate.level < 1 or any(not 0.5 < b.confidence < 1 for b in bounds):
        yield "a confidence is not between 0 and 1"
        return
    if not _within(estimate.value, estimate.low, estimate.high, slack):
        yield f"the interval, {estimate.low:.4g} to {estimate.high:.4g}, does not hold the value, {estimate.value:.4g}"
    surer = sorted(bounds, key=lambda b: b.confidence)
    if any(not _within(estimate.value, b.low, b.high, slack) for b in surer):
        yield f"one-sided bounds do not hold the value, {estimate.value:.4g}"
    if any(not _wider(b, a) for a, b in zip(surer, surer[1:], strict=False)):
        yield "surer one-sided bounds are closer together than less sure ones"
    both = (1 + estimate.level) / 2
    for b in surer:
        inner, outer = (b.high, estimate.high) if b.confidence < both - _TINY else (estimate.high, b.high)
        below = (estimate.low, b.low) if b.confidence < both - _TINY else (b.low, estimate.low)
        same = abs(b.confidence - both) <= _TINY
        ends = (_near(b.low, estimate.low, slack), _near(b.high, estimate.high, slack))
        if (same and not all(ends)) or not (_at_most(inner, outer, slack) and _at_most(*below, slack)):
            yield f"the bounds at {b.confidence:.4g} confidence do not agree with the interval"


def _wider(surer: Bounds, less: Bounds) -> bool:
    return surer.low <= less.low + _TINY and surer.high >= less.high - _TINY


def _near(a: float, b: float, slack: float) -> bool:
    return math.isclose(a, b, rel_tol=slack, abs_tol=_TINY)


def _at_most(a: float, b: float, slack: float) -> bool:
    return a <= b or _near(a, b, slack)


def _within(value: float, low: float, high: float, slack: float) -> bool:
    return _at_most(low, value, slack) and _at_most(value, high, slack)


def _of_count(finding: Finding, slack: float) -> Iterator[str]:
    """Yields what is wrong with a share of n units: it is a whole number of them, and no interval can be narrower.

    Those of true-positive rates are Clopper–Pearson's for fewer, effective units, and so wider; all others are
    Clopper–Pearson's themselves.
    """
    from memaudit.stats import clopper_pearson

    estimate, n = finding.estimate, finding.n
    hits = round(estimate.value * n)
    if not _near(hits / n, estimate.value, slack):
        yield f"{estimate.value:.6g} is no share of {n:,} {finding.counted}"
        return
    exact = finding.metric != "tpr" or estimate.method.startswith("Clopper")
    ends = [(estimate.level, estimate.low, estimate.high)]
    ends += [(2 * b.confidence - 1, b.low, b.high) for b in estimate.bounds]
    for level, low, high in ends:
        least, most = map(float, clopper_pearson(hits, n, level))
        wide = _at_most(low, least, slack) and _at_most(most, high, slack)
        if not wide or (exact and not (_near(low, least, slack) and _near(high, most, slack))):
            yield f"{low:.4g} to {high:.4g} is no {level:.4g} interval of {hits:,} among {n:,} ({finding.counted})"


def _of_results(report: Report) -> Iterator[str]:
    for result in report.results:
        name = f"{result.finding.code} {result.finding.title}"
        if (result.limit is None) is not (result.verdict is Verdict.NOTED):
            yield f"{name}: {result.verdict} {'without' if result.limit is None else 'under'} a limit"
        applied = [w.waiver for w in report.waivers if w.state is WaiverState.APPLIED]
        if result.waiver is not None and (result.verdict is not Verdict.FAIL or result.waiver not in applied):
            yield f"{name}: it is excused by a waiver that was not applied"
    for skipped in report.skipped:
        if skipped.verdict not in (Verdict.NOTED, Verdict.INCONCLUSIVE):
            yield f"{skipped.code} {skipped.title}: {skipped.verdict}, but nothing was measured"
    counts = Counter(control.code for control in report.controls)
    for code, count in counts.items():
        if not _CONTROLS.fullmatch(code) or count > 1:
            yield f"{code!r} is no control, or occurs twice"


def _of_verdicts(report: Report) -> Iterator[str]:
    """Yields the verdicts that do not follow from what the report holds, under the limits that it names."""
    try:
        judged = hold(report, rules(report))
    except ValueError as error:
        yield f"limits: {error}"
        return
    follows = {_about(result): result.verdict for result in judged.results}
    for result in report.results:
        due = follows.get(_about(result))
        if due is not result.verdict:
            follow = "another" if due is None else due
            yield f"{result.finding.code} {result.finding.title}: its verdict is {result.verdict}, but {follow} follows"
    if len(judged.results) != len(report.results):
        yield "the limits that the report names are not all held against what they are about"


def _about(result: Result) -> tuple[object, ...]:
    finding = result.finding
    return finding.code, finding.title, finding.metric, finding.attack, finding.at_fpr, finding.estimate, result.limit
