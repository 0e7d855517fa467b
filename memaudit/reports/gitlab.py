"""GitLab's code-quality report: what prevents a pass, at the line of the policy that requires it."""

from __future__ import annotations

from memaudit.reports.outcomes import Effect, dump, fingerprint, outcomes, place
from memaudit.types import Report

_SEVERITY = {Effect.BROKEN: "critical", Effect.UNDECIDED: "major", Effect.TOLERATED: "info"}


def render(report: Report) -> bytes:
    """Return a JSON list with one entry per gate that is broken, undecided or waived, and per control that failed.

    Fingerprints depend on the gate and the model's name alone, so that GitLab shows an entry as new or as resolved
    when a gate breaks or is kept again, not when a figure changes.

    Source: GitLab's documentation, "Code Quality", custom tools: description, check_name, fingerprint, severity,
    location.path, location.lines.begin.
    """
    entries = []
    for outcome in outcomes(report):
        if (severity := _SEVERITY.get(outcome.effect)) is None:
            continue
        path, line = place(report, outcome)
        entries.append(
            {
                "description": f"{outcome.label}. {outcome.message}",
                "check_name": outcome.key,
                "fingerprint": fingerprint(report, outcome),
                "severity": severity,
                "location": {"path": path, "lines": {"begin": line}},
            }
        )
    return dump(entries)
