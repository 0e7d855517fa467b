"""What the limits do not cover: other attacks or rates of the same report above a limit, and attacks not run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from memaudit.attack_names import USUAL_ATTACKS
from memaudit.reports.text import interval, quantity, rate
from memaudit.types import ASKED_ATTACKS, Finding, Limit, Report, Rung


def uncovered(report: Report) -> tuple[tuple[str, str], ...]:
    """Return what the limits of a report do not cover: a label, and a sentence.

    One for each limit that another finding of the same metric exceeds: by another attack, or at a lower false-positive
    rate. A finding that another limit covers, at least as strictly, needs no sentence: its own result has a verdict.
    And one if there is a limit on true-positive rates, and usual attacks were not requested.
    """
    findings = list(dict.fromkeys(result.finding for result in report.results))
    everything = [result.limit for result in report.results] + [skipped.limit for skipped in report.skipped]
    limits = tuple(dict.fromkeys(limit for limit in everything if limit is not None))
    told = [
        ("above a limit", _sentence(limit, above))
        for limit in limits
        if (limit.attack is not None or limit.at_fpr is not None) and (above := list(_above(limit, findings, limits)))
    ]
    return (*told, *_unattacked(report, limits))


def _unattacked(report: Report, limits: tuple[Limit, ...]) -> Iterator[tuple[str, str]]:
    asked = report.provenance.get(ASKED_ATTACKS, "").split(", ")
    left_out = [name for name in USUAL_ATTACKS if name not in asked]
    if left_out and any(asked) and any(limit.metric == "tpr" for limit in limits):
        bank = "run them with a bank of shadow models: memaudit bank fill"
        way = "remove “attacks” from [audit]" if report.rung is Rung.BANK else bank
        yield (
            "not attacked",
            f"The audit ran only {', '.join(asked)}, and the limit on true-positive rates covers no other attack. "
            f"{', '.join(left_out)} may find more: {way}.",
        )


def _above(limit: Limit, findings: list[Finding], limits: tuple[Limit, ...]) -> Iterator[Finding]:
    for finding in findings:
        strict = any(other.max <= limit.max and other.covers(finding) for other in limits)
        if _of_kind(limit, finding) and finding.estimate.value > limit.max and not strict:
            yield finding


def _of_kind(limit: Limit, finding: Finding) -> bool:
    """Return whether a finding has the metric of a limit, at its false-positive rate or a lower one."""
    if limit.at_fpr is None or finding.at_fpr is None:
        return replace(limit, attack=None).covers(finding)
    return limit.metric == finding.metric and finding.at_fpr <= limit.at_fpr


def _sentence(limit: Limit, above: list[Finding]) -> str:
    """Return which attacks exceed the limit, the strongest first; of one attack at several rates, the highest."""
    strongest: dict[str | None, Finding] = {}
    for finding in sorted(above, key=lambda finding: -finding.estimate.value):
        strongest.setdefault(finding.attack, finding)
    told = ", ".join(_reached(limit, finding) for finding in strongest.values())
    if limit.attack is None:
        covered, advice = f"a {rate(limit.at_fpr or 0)} FPR", "A limit without “at_fpr” covers every rate."
    else:
        covered, advice = limit.attack, "A limit without “attack” covers every attack."
    return f"The limit “{limit}” covers {covered} alone. In this report {told}, which is above that limit. {advice}"


def _reached(limit: Limit, finding: Finding) -> str:
    at = "" if finding.at_fpr in (None, limit.at_fpr) else f" at a {rate(finding.at_fpr or 0)} FPR"
    value = quantity(finding.estimate.value, finding.estimate.unit)
    return f"{finding.attack or finding.title} reaches {value} (95% CI {interval(finding.estimate)}){at}"
