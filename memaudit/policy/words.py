"""Whether the sentence of a finding has the finding's numbers, so that words and numbers cannot be altered apart.

Of the known checks. The value and the ends of its interval must occur in the sentence. Of some metrics, all other
numbers in it, such as p-values and measured false-positive rates, must occur in the estimates, tables, figures or notes
of the findings of that metric. The public edition has no tables: only the estimate is compared. Of reports of memaudit
before 0.3, only that of true-positive rates is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from memaudit.policy.plausible import MEASURES, PUBLIC_ROUNDING
from memaudit.types import ASKED_ATTACKS, UNBOUNDED_EPSILON, Edition, Figure, Finding, Report

_NUMBER = re.compile(r"([<>] ?)?(?<![\w.])[−-]?(\d[\d,]*(?:\.\d+)?(?:e[−-]?\d+)?)(?!\w)")
_SINCE = (0, 3)
_WHOLE = (
    *("tpr", "traceability", "memorization", "known-memorization", "useful-memorization", "membership-information"),
    *("link", "planted-exposure", "proxy", "forgetting", "contradicted-labels", "canary-tpr"),
    *("access", "access-loss", "snapshots", "poisoning", "risk", "subgroup", "attribute"),
    *("image-extraction", "samples", "image-exposure"),
)  # metrics whose sentences repeat numbers alone


def otherwise_said(report: Report) -> Iterator[str]:
    """Yield the findings whose sentence has other numbers than the finding."""
    if ASKED_ATTACKS not in report.provenance:  # of memaudit 0.1
        return
    findings = list(dict.fromkeys(result.finding for result in report.results if result.finding.code in MEASURES))
    public, new = report.edition is Edition.PUBLIC, version_of(report) >= _SINCE
    findings = [finding for finding in findings if new or finding.metric == "tpr"]
    whole = new and not public
    supported = {metric: _numbers(findings, metric) for metric in {f.metric for f in findings}} if whole else {}
    for finding in findings:
        name = f"{finding.code} {finding.title}"
        if not _has_estimate(finding, PUBLIC_ROUNDING if public else 0.0):
            yield f"{name}: its sentence has other numbers than its estimate"
        elif whole and finding.metric in _WHOLE and (strange := _strange(finding, supported[finding.metric])):
            yield f"{name}: its sentence has {strange}, which is no number of the finding"


def version_of(report: Report) -> tuple[int, ...]:
    """Return the first two numbers of the version of memaudit that made a report; nothing if it is not stated."""
    return tuple(int(part) for part in re.findall(r"\d+", report.provenance.get("memaudit", ""))[:2])


def _said(text: str) -> list[tuple[str, bool]]:
    """Return the numbers in a text as they are written, without sign, and whether each is a bound."""
    found = _NUMBER.finditer(text.replace("–", " "))
    return [(match[2].rstrip(",").replace(",", "").replace("−", "-"), bool(match[1])) for match in found]


def _has_estimate(finding: Finding, slack: float) -> bool:
    estimate, said = finding.estimate, _said(finding.sentence)
    scale = 100 if estimate.unit == "share" else 1
    ends = [estimate.value, estimate.low, estimate.high]
    if estimate.unit == "epsilon" and estimate.high == UNBOUNDED_EPSILON:
        ends.pop()  # no sentence names what is no bound
    return all(any(rounds(text, abs(scale * end), slack, bound) for text, bound in said) for end in ends)


def _strange(finding: Finding, supported: list[float]) -> str:
    """Return the first number of a sentence that no number supports; empty if there is none."""
    sentence = finding.sentence.replace(finding.attack or "\0", "")
    for text, bound in _said(sentence):
        if not bound and not any(rounds(text, scale * abs(n)) for n in supported for scale in (1, 100)):
            return text
    return ""


def _numbers(findings: list[Finding], metric: str) -> list[float]:
    """Return all numbers of the findings of a metric, except those in their sentences."""
    found: list[float] = []
    for finding in findings:
        if finding.metric != metric:
            continue
        estimate = finding.estimate
        own = (estimate.value, estimate.low, estimate.high, estimate.level, finding.n, finding.blind, finding.at_fpr)
        found += [float(number) for number in own if number is not None]
        texts = [finding.title, finding.counted, *finding.notes]
        for table in finding.tables:
            cells = [cell for row in table.rows for cell in row]
            found += [float(cell) for cell in cells if isinstance(cell, int | float)]
            texts += [table.title, table.note, *table.columns, *(cell for cell in cells if isinstance(cell, str))]
        for figure in finding.figures:
            found += _drawn(figure)
            texts += [figure.title, figure.x_label, figure.y_label, *figure.ticks]
        found += [float(text) for part in texts for text, _ in _said(part)]
    return list(dict.fromkeys(found))


def _drawn(figure: Figure) -> Iterator[float]:
    for curve in (*figure.curves, *figure.below):
        yield from (*curve.x, *curve.y, *curve.low, *curve.high)
    yield from (mark.y for mark in figure.marks)


def rounds(text: str, value: float, slack: float = 0.0, bound: bool = False) -> bool:
    """Return whether a number is written so when it is rounded; `slack` is by how much it was rounded before.

    Of a number that is written as a `bound`, the value is between it and 0 or 100.
    """
    mantissa, _, exponent = text.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(float(text) - value) <= (1.0 if bound else 0.5001) * unit + slack * abs(value)
