"""Limits that name one attack, and the other attacks of the same report that are above them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from memaudit.reports.text import interval, percent, quantity
from memaudit.types import Finding, Limit, Report


def uncovered(report: Report) -> tuple[str, ...]:
    """Returns a sentence for each limit that names an attack while the estimate of another attack exceeds it.

    Every rate that the limit is about counts. An attack that another limit covers, at least as strictly, needs no
    sentence: its own result says what became of it.
    """
    findings = list(dict.fromkeys(result.finding for result in report.results))
    limits = [result.limit for result in report.results] + [skipped.limit for skipped in report.skipped]
    named = dict.fromkeys(limit for limit in limits if limit is not None and limit.attack is not None)
    return tuple(
        _sentence(limit, above)
        for limit in named
        if (above := list(_above(limit, findings, tuple(filter(None, limits)))))
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
