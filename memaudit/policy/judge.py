"""Compare a report with its limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from memaudit.policy.comparison import Comparison, compare
from memaudit.policy.controls import overstated, remedy, trouble
from memaudit.policy.holm import Step, holm
from memaudit.policy.needs import NEEDS_BANK, needed, rung_of, unmeasured
from memaudit.policy.waivers import excused
from memaudit.policy.wording import confidence, exact, shown, too_unsure
from memaudit.types import (
    UNBOUNDED_EPSILON,
    Finding,
    Limit,
    OnInconclusive,
    Report,
    Result,
    Skipped,
    Verdict,
    Waiver,
    Why,
    worst,
)

EXIT_CODES = {Verdict.PASS: 0, Verdict.NOTED: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}

_EXITS_AS = {OnInconclusive.FAIL: Verdict.FAIL, OnInconclusive.WARN: Verdict.PASS}
_COUNTS_AS = {
    OnInconclusive.INCONCLUSIVE: "",
    OnInconclusive.FAIL: "; counts as a failure (on_inconclusive)",
    OnInconclusive.WARN: "; counts as a warning (on_inconclusive)",
}
_UNDECIDED = "LIMIT"  # the code of a limit without a finding


@dataclass(frozen=True, slots=True)
class _Family:
    """A comparison among all that are made: how many there are, and what became of it on either side."""

    size: int
    kept: Step
    broken: Step


def hold(report: Report, limits: Sequence[Limit], waivers: Sequence[Waiver] = (), today: date | None = None) -> Report:
    """Return the report with its findings compared with limits, instead of those that it was compared with before.

    Every finding is compared with every limit that covers it. A limit is broken when the one-sided lower bound is
    above it, unless a failed control shows the number to be too high; kept when the upper bound does not, no control
    failed, and those that the metric needs were run; else undecided. Confidence is shared among the comparisons by
    Holm's procedure, for keeping and for breaking apart.

    Raises:
        ValueError: A limit's confidence is not between 0.5 and 1, two limits have one name, or a waiver names none.
    """
    names = [limit.name for limit in limits]
    if len(set(names)) < len(names) or not {waiver.gate for waiver in waivers} <= set(names):
        raise ValueError(f"limits need names of their own, and waivers one of them; limits: {', '.join(names)}")
    findings = _findings(report)
    comparisons = [compare(limit, finding) for finding in findings for limit in limits if limit.covers(finding)]
    results, waived = excused(_judged(comparisons, report), waivers, report, today or datetime.now(UTC).date())
    noted = [
        Result(finding=finding, verdict=Verdict.NOTED, reason="no limit was set")
        for finding in findings
        if not any(limit.covers(finding) for limit in limits)
    ]
    order = {_bare(finding): place for place, finding in enumerate(findings)}
    skipped = [skipped for skipped in report.skipped if skipped.code != _UNDECIDED]
    return replace(
        report,
        results=_pictured_once(sorted([*results, *noted], key=lambda result: order[_bare(result.finding)])),
        skipped=(*skipped, *_undecided(limits, findings, report)),
        waivers=waived,
    )


def exit_code(report: Report) -> int:
    """Return what the command line exits with: 1 if a limit is broken, 3 if one is undecided, else 0.

    A waiver excuses a broken limit, and a limit may say that it counts as broken, or not at all, when undecided.
    """
    effects = [_effect(result.verdict, result.limit, result.waiver is not None) for result in report.results]
    effects += [_effect(skipped.verdict, skipped.limit) for skipped in report.skipped]
    effect = worst(effects)
    return EXIT_CODES[report.verdict if effect is Verdict.NOTED else effect]


def _effect(verdict: Verdict, limit: Limit | None, waived: bool = False) -> Verdict:
    if verdict is Verdict.FAIL and waived:
        return Verdict.PASS
    if verdict is Verdict.INCONCLUSIVE and limit is not None:
        return _EXITS_AS.get(limit.on_inconclusive, verdict)
    return verdict


def _bare(finding: Finding) -> Finding:
    return replace(finding, figures=(), tables=(), notes=())


def _findings(report: Report) -> list[Finding]:
    """Return each finding once, as in its first result, which has the pictures."""
    return list({_bare(result.finding): result.finding for result in reversed(report.results)}.values())[::-1]


def _pictured_once(results: Iterable[Result]) -> tuple[Result, ...]:
    """Return the results with the pictures of a finding in the first of its results alone."""
    seen: set[Finding] = set()
    kept = []
    for result in results:
        bare = _bare(result.finding)
        kept.append(replace(result, finding=bare) if bare in seen else result)
        seen.add(bare)
    return tuple(kept)


def _judged(comparisons: Sequence[Comparison], report: Report) -> list[tuple[Result, float]]:
    """Return for each comparison its result and the lower bound."""
    alphas = [comparison.alpha for comparison in comparisons]
    kept = holm([comparison.p_kept for comparison in comparisons], alphas)
    broken = holm([comparison.p_broken for comparison in comparisons], alphas)
    families = [_Family(len(comparisons), *steps) for steps in zip(kept, broken, strict=True)]
    return [_result(comparison, family, report) for comparison, family in zip(comparisons, families, strict=True)]


def _result(comparison: Comparison, family: _Family, report: Report) -> tuple[Result, float]:
    finding, limit = comparison.finding, comparison.limit
    for_breaking, for_keeping = (comparison.alpha / step.divisor for step in (family.broken, family.kept))
    low, high = comparison.bounds(for_breaking).low, comparison.bounds(for_keeping).high
    unit = finding.estimate.unit
    least, most, top = shown(low, unit, limit.max), shown(high, unit, limit.max), exact(limit.max, unit)
    sure = f"at {confidence(comparison, family.size)}"
    verdict, why, need = Verdict.INCONCLUSIVE, None, ""
    if family.broken.rejected:
        reason = f"lower bound {least} {sure}, limit {top}"
        if doubt := overstated(report, finding):
            why, need, reason = Why.CONTROL, remedy(report), f"{reason}; not a failure: {doubt}"
        else:
            verdict = Verdict.FAIL
    elif family.kept.rejected:
        reason = f"upper bound {most} {sure}, limit {top}"
        if finding.metric == "epsilon":  # nothing measures an upper end
            reason = f"claimed ε {most}, not refuted by this audit, limit {top}"
        if doubt := trouble(report, finding):
            why, need, reason = Why.CONTROL, remedy(report), f"{reason}; not a pass: {doubt}"
        elif rung_of(limit) > report.rung:
            why, need = Why.RUNG, NEEDS_BANK
            reason = f"{reason}, but stronger attacks were not run; needed: {need}"
        else:
            verdict = Verdict.PASS
    elif comparison.too_unsure(min(for_breaking, for_keeping)):
        divisor = (family.kept if comparison.p_kept < 1 else family.broken).divisor
        reason = f"the interval, {least} to {most}, excludes the limit, {top}, {too_unsure(comparison, divisor)}"
        why, need = Why.CONFIDENCE, "fewer gates, or a lower confidence"
    else:
        need = needed(comparison, min(for_breaking, for_keeping), report)
        reason = f"between {least} and {most} {sure}, which includes the limit, {top}; needed: {need}"
        if unit == "epsilon" and high == UNBOUNDED_EPSILON:
            reason = f"at least {least} {sure}, and no upper bound; limit {top}; needed: {need}"
        why = Why.UNDERPOWERED
    if verdict is Verdict.INCONCLUSIVE:
        reason += _COUNTS_AS[limit.on_inconclusive]
    return Result(finding=finding, limit=limit, verdict=verdict, reason=reason, why=why, needed=need), low


def _undecided(limits: Sequence[Limit], findings: Sequence[Finding], report: Report) -> list[Skipped]:
    """Return the limits that no finding could be compared with."""
    found = []
    for limit in limits:
        if any(limit.covers(finding) for finding in findings):
            continue
        need = unmeasured(limit, report)
        reason = "a limit is set, but the check behind it could not run"
        reason += f"; needed: {need}" if need else ""
        found.append(
            Skipped(
                code=_UNDECIDED,
                title=f"Limit: {limit}",
                reason=reason + _COUNTS_AS[limit.on_inconclusive] if limit.required else f"{reason}; not required",
                verdict=Verdict.INCONCLUSIVE if limit.required else Verdict.NOTED,
                limit=limit,
                needed=need,
            )
        )
    return found
