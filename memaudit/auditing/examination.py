"""All controls and checks on the evidence of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from memaudit.checks import (
    BLIND,
    CONTROLS,
    Check,
    TargetEvidence,
    TextEvidence,
    TextTargetEvidence,
    all_checks,
    fidelity_check,
    out_of_reach,
)
from memaudit.metrics import METRICS
from memaudit.types import Control, Report, Result, Rung, Skipped, Subject, Verdict


def examine(
    facts: TargetEvidence,
    subject: Subject,
    untested: tuple[str, ...],
    limitations: tuple[str, ...],
    provenance: dict[str, str],
) -> Report:
    """Return the report, not yet judged: controls first, as figures about a model unlike its shadows are withheld."""
    controls = tuple(
        control.run(facts) for control in CONTROLS if isinstance(facts, control.needs) and control.wanted(facts)
    )
    results: list[Result] = []
    skipped: list[Skipped] = []
    for check in all_checks():
        if not check.wanted(facts):
            continue
        if not isinstance(facts, check.needs):
            skipped += out_of_reach(check, facts)
            continue
        if (reason := _withheld(check, facts, controls)) is not None:
            skipped.append(Skipped(code=check.code, title=check.title, reason=reason))
            continue
        findings, refused = check.run(facts)
        results += [Result(finding=finding, verdict=Verdict.NOTED, reason="not judged") for finding in findings]
        skipped += refused
    return Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        subject=subject,
        results=tuple(results),
        skipped=tuple(skipped),
        controls=controls,
        untested=untested,
        limitations=limitations,
        provenance=provenance,
        rung=facts.rung,
    )


def _withheld(check: Check, facts: TargetEvidence, controls: Sequence[Control]) -> str | None:
    """Return why the figures of a check are not given; None if they are."""
    if not trusted_by(controls) and not check.metric.startswith("epsilon"):  # which hold for any model
        return "the model does not look like its shadow models, so no result about it is reported"
    blind = any(control.code == BLIND and control.passed is False for control in controls)
    doubtful = facts.rung < Rung.BANK or isinstance(facts, TextEvidence)
    metric = METRICS.get(check.metric)
    if blind and doubtful and metric is not None and metric.members:
        what = "documents" if isinstance(facts, TextTargetEvidence) else "examples"
        return (
            "members can be distinguished from non-members without the model, so the result would measure how the "
            f"{what} were collected, not what the model leaks; draw the training set at random "
            "(memaudit.draw_members)"
        )
    return None


def trusted_by(controls: Sequence[Control]) -> bool:
    """Return whether figures about the model are given: it must look like its shadow models."""
    return not any(control.code == fidelity_check.code and control.passed is False for control in controls)
