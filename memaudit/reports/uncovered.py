"""What limits on attacks leave open: other attacks of the same report that are above them, and attacks not made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from memaudit.reports.text import interval, percent, quantity
from memaudit.types import ASKED_ATTACKS, USUAL_ATTACKS, Finding, Limit, Report


def uncovered(report: Report) -> tuple[tuple[str, str], ...]:
    """Returns what the limits of a report leave open: a label, and a sentence.

    One for each limit that names an attack while the estimate of another attack exceeds it. Every rate that the limit
    is about counts. An attack that another limit covers, at least as strictly, needs no sentence: its own result says
    what became of it. And one if there is a limit on true-positive rates, and usual attacks were not asked for.
    """
    findings = list(dict.fromkeys(result.finding for result in report.results))
    everything = [result.limit for result in report.results] + [skipped.limit for skipped in report.skipped]
    limits = tuple(dict.fromkeys(limit for limit in everything if limit is not None))
    told = [
        ("above a limit", _sentence(limit, above))
        for limit in limits
        if limit.attack is not None and (above := list(_above(limit, findings, limits)))
    ]
    return (*told, *_unattacked(report, limits))


def _unattacked(report: Report, limits: tuple[Limit, ...]) -> Iterator[tuple[str, str]]:
    asked = report.provenance.get(ASKED_ATTACKS, "").split(", ")
    left_out = [name for name in USUAL_ATTACKS if name not in asked]
    if left_out and any(asked) and any(limit.metric == "tpr" for limit in limits):
        yield (
            "not attacked",
            f"The audit was asked for {', '.join(asked)} alone, and the limit on true-positive rates covers no other "
            f"attack. {', '.join(left_out)} may find more: leave out attacks in [audit].",
        )


def _above(limit: Limit, findings: list[Finding], limits: tuple[Limit, ...]) -> Iterator[Finding]:
    everybody = replace(limit, attack=None)
    for finding in findings:
        strict = any(other.max <= limit.max and other.covers(finding) for other in limits)
        if everybody.covers(finding) and finding.estimate.value > limit.max and not strict:
            yield finding


def _sentence(limit: Limit, above: list[Finding]) -> str:
    """Returns which attacks exceed the limit, the strongest first; of one attack at several rates, the highest."""
    strongest: dict[str | None, Finding] = {}
    for finding in sorted(above, key=lambda finding: -finding.estimate.value):
        strongest.setdefault(finding.attack, finding)
    told = ", ".join(
        f"{finding.attack} reaches {quantity(finding.estimate.value, finding.estimate.unit)} "
        f"({percent(finding.estimate.level)} CI {interval(finding.estimate)})"
        for finding in strongest.values()
    )
    return (
        f"The limit “{limit}” covers {limit.attack} alone. In this report {told}, which is above that limit. "
        "A limit without “attack” covers every attack."
    )
