"""What in a report contradicts itself: numbers that no audit can have found, or verdicts that do not follow from them.

It catches a report that was altered without care, and one that was damaged. Someone who alters a report so that
everything in it agrees is caught by a signature alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from memaudit.policy.complete import incomplete
from memaudit.policy.floors import unfounded
from memaudit.policy.judge import hold
from memaudit.policy.plausible import MOST_UNITS, of_estimate, of_finding
from memaudit.policy.words import otherwise_said
from memaudit.types import Attempt, Limit, Report, Result, Rung, Skipped, Subject, Verdict, WaiverState

_MOST_REFERENCES, _LEAST_OF_BANK = 6, 6  # five that were given, and the base
_FIRST = datetime(2025, 1, 1, tzinfo=UTC)  # there was no memaudit before
_AHEAD = timedelta(days=1)  # that another machine's clock may be
_SKEW = timedelta(hours=1)  # between the clocks of plan and audit; the ledger has their order
_QUICK = "memaudit.quick("  # without a ledger it records no attempt
_CONTROLS = re.compile(r"CTL\d{3}")
_SHA256 = re.compile("[0-9a-f]{64}")


def contradictions(report: Report, now: datetime | None = None) -> tuple[str, ...]:
    """Return what in a report contradicts itself, in words; empty if nothing does.

    Args:
        report: As it was loaded.
        now: When it is looked at.
    """
    found = [
        *_of_subject(report.subject),
        *_of_rung(report),
        *_of_times(report, now or datetime.now(UTC)),
        *_of_attempt(report.attempt, report.provenance.get("command", "")),
    ]
    for finding in dict.fromkeys(result.finding for result in report.results):
        name = f"{finding.code} {finding.title}"
        found += [f"{name}: {problem}" for problem in of_finding(finding, report)]
    found += [*_of_results(report), *incomplete(report), *otherwise_said(report), *unfounded(report)]
    for example in report.exposed:
        found += [f"exposed: {problem}" for problem in of_estimate(example.memorization)]
    if not found:
        found += _of_verdicts(report)
    return tuple(dict.fromkeys(found))


def rules(report: Report) -> tuple[Limit, ...]:
    """Return the limits that a report was judged by; all occur in it, also those without a result."""
    judged: list[Result | Skipped] = [*report.results, *report.skipped]
    return tuple(dict.fromkeys(item.limit for item in judged if item.limit is not None))


def _of_subject(subject: Subject) -> Iterator[str]:
    for name, count in (("members", subject.members), ("non-members", subject.nonmembers)):
        if not 1 <= count <= MOST_UNITS:
            yield f"subject: {count} {name}"
    for name, count in (("members in every shadow model", subject.always), ("non-members in none", subject.never)):
        if not 0 <= count <= MOST_UNITS:
            yield f"subject: {count} {name}"
    if not subject.unit.replace(" ", "").isalpha():
        yield "subject: what is counted is no word"
    if not _SHA256.fullmatch(subject.sha256):
        yield "subject: the model's digest is no SHA-256"


def _of_rung(report: Report) -> Iterator[str]:
    """Yield what the report claims to have compared the model with, and did not."""
    shadows, references, rung = report.subject.shadows, report.subject.references, report.rung
    paired = "bank.origin" not in report.provenance and report.provenance.get("bank.design.pairs") != "no"
    unpaired = shadows % 2 and rung is Rung.BANK and paired
    if unpaired or shadows < 0 or shadows > MOST_UNITS or (shadows < 2 and rung is Rung.BANK):
        yield f"subject: {shadows} shadow models; a bank has pairs"
    if not 0 <= references <= _MOST_REFERENCES:
        yield f"subject: {references} reference models"
    elif rung is not Rung.BANK and (shadows + references > 0) is not (rung is Rung.REFERENCES):
        yield f"rung {rung}: there are {shadows} shadow models and {references} reference models"
    elif rung is Rung.REFERENCES and shadows >= _LEAST_OF_BANK:
        yield f"rung {rung}: {shadows} shadow models are a bank"


def _of_times(report: Report, now: datetime) -> Iterator[str]:
    created = _moment(report.created)
    if created is None:
        yield "created: no time (ISO 8601)"
    elif not _FIRST <= created <= now + _AHEAD:
        when = "is in the future" if created > now else "is before there was a memaudit"
        yield f"created: {report.created} {when}"
    if report.plan is None:
        return
    planned = _moment(report.plan.created)
    if not (_SHA256.fullmatch(report.plan.sha256) and _SHA256.fullmatch(report.plan.entry)):
        yield "plan: a digest is no SHA-256"
    if report.plan.audits_before < 0:
        yield f"plan: {report.plan.audits_before} audits before it"
    if planned is None or (created is not None and planned > created + _SKEW):
        yield "plan: it was not made before the audit"


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _of_attempt(attempt: Attempt | None, command: str) -> Iterator[str]:
    if attempt is None:
        way = 'record it: memaudit.quick(..., ledger="memaudit.ledger.jsonl")' if command.startswith(_QUICK) else ""
        yield f"attempt: the number of the attempt is missing; {way or 'every audit has one'}"
        return
    if attempt.number != len(attempt.earlier) + 1 or attempt.of_model < 1 or attempt.torn < 0:
        yield f"attempt: number {attempt.number} after {len(attempt.earlier)} others, {attempt.of_model} of the model"
    if attempt.in_all and not (1 <= attempt.of_policy <= attempt.number <= attempt.in_all >= attempt.of_model):
        yield (
            f"attempt: {attempt.of_policy} under these limits and {attempt.of_model} of the model, of {attempt.number} "
            f"attempts and {attempt.in_all} audits"
        )
    if unknown := set(attempt.earlier) - set(Verdict):
        yield f"attempt: {sorted(unknown)[0]!r} is no verdict"
    if not _SHA256.fullmatch(attempt.entry):
        yield "attempt: the entry of the ledger is no SHA-256"


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
    """Yield the verdicts that do not follow from what the report holds, under the limits that it names."""
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
        yield "the limits that the report names are not all compared with what they cover"


def _about(result: Result) -> tuple[object, ...]:
    finding = result.finding
    return finding.code, finding.title, finding.metric, finding.attack, finding.at_fpr, finding.estimate, result.limit
