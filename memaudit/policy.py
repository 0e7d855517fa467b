"""The only place where a number becomes a verdict."""

from __future__ import annotations

from collections.abc import Sequence

from memaudit.types import Finding, Limit, Result, Skipped, Verdict


def judge(finding: Finding, limits: Sequence[Limit]) -> Result:
    """Returns the finding held against the strictest limit that covers it.

    The interval decides, never the point: broken when even its low end lies above the limit, kept when even its high
    end does not, and inconclusive in between.
    """
    limit = min((limit for limit in limits if limit.covers(finding)), key=lambda limit: limit.max, default=None)
    if limit is None:
        return Result(finding=finding, verdict=Verdict.NOTED, reason="no limit was set")
    low, high = finding.estimate.low, finding.estimate.high
    if low > limit.max:
        verdict, reason = Verdict.FAIL, f"even the low end of the interval, {low:.4g}, lies above {limit.max:g}"
    elif high <= limit.max:
        verdict, reason = Verdict.PASS, f"even the high end of the interval, {high:.4g}, does not exceed {limit.max:g}"
    else:
        verdict = Verdict.INCONCLUSIVE
        reason = f"the interval {low:.4g} to {high:.4g} holds the limit {limit.max:g}; more examples would narrow it"
    return Result(finding=finding, limit=limit, verdict=verdict, reason=reason)


def undecided(limits: Sequence[Limit], findings: Sequence[Finding]) -> tuple[Skipped, ...]:
    """Returns the limits that no finding could be held against: each of them is inconclusive, never a pass."""
    return tuple(
        Skipped(
            code="LIMIT",
            title=f"Limit: {limit}",
            reason="a limit was set, but the check behind it could not say anything; see what could not be said",
            verdict=Verdict.INCONCLUSIVE,
        )
        for limit in limits
        if not any(limit.covers(finding) for finding in findings)
    )
