"""Whether a verdict on a claim of differential privacy follows from the lower bounds on ε that the report has."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator

from memaudit.policy.words import rounds, version_of
from memaudit.types import DP_CLAIM, UNBOUNDED_EPSILON, Edition, Finding, Report

_FLOORS = ("DP002", "DP003")
_SINCE = (0, 3)
_CLAIMED = re.compile(r"ε = ([^,\s]+),")
_REACHED = re.compile(r"could have shown (?:up to )?([\d.,e+-]*\d)")
_ROUNDING = 1e-9


def unfounded(report: Report) -> Iterator[str]:
    """Yield what DP001 to DP003 say that does not follow from their tables, from each other, or from the claim.

    DP001 has the larger of the lower bounds, which share the probability of error: of two, each at 97.5 % for 95 %.
    """
    if version_of(report) < _SINCE or report.edition is Edition.PUBLIC:  # which has rounded numbers and no tables
        return
    findings = {result.finding.code: result.finding for result in report.results}
    floors = [findings[code] for code in _FLOORS if code in findings]
    for floor in floors:
        bounds = list(_column(floor, "Lower bound on ε"))
        if not bounds or not rounds(max(bounds, key=float), floor.estimate.value):
            yield f"{floor.code} {floor.title}: its lower bound is not the largest of its table"
    if (claim := findings.get("DP001")) is None:
        return
    if not floors:
        yield f"DP001 {claim.title}: there is no lower bound that it could come from"
        return
    yield from (f"DP001 {claim.title}: {problem}" for problem in _of_claim(claim, floors, report))


def _of_claim(claim: Finding, floors: list[Finding], report: Report) -> Iterator[str]:
    own = claim.estimate
    ends = [(0.95, own.value), (0.975, own.low), *((bound.confidence, bound.low) for bound in own.bounds)]
    for confidence, low in ends:
        least, most = _largest(floors, 1 - (1 - confidence) / len(floors))
        if not least - _ROUNDING <= low <= most + _ROUNDING:
            yield f"its lower bound at {100 * confidence:.4g}% is not the larger of those that it is made of"
            break
    stated = _CLAIMED.search(report.provenance.get(DP_CLAIM, ""))
    if stated is None:
        yield "the claim is not stated"
        return
    if any(
        high != UNBOUNDED_EPSILON and not _is(stated[1], high) for high in (own.high, *(b.high for b in own.bounds))
    ):
        yield "its upper end is neither the claimed ε nor unbounded"
    yield from _of_words(claim, floors, stated[1])


def _of_words(claim: Finding, floors: list[Finding], stated: str) -> Iterator[str]:
    """Yield what the sentence says of the claim, and does not follow from the numbers."""
    found = _REACHED.search(claim.sentence)
    reach = float(_plain(found[1])) if found else 0.0
    if reach > max(float(cell) for floor in floors for cell in _column(floor, "If all were right")):
        yield "it could not have shown as much as it says"
    if _is(stated, claim.estimate.value) or _is(stated, reach):
        return  # too close to tell from rounded numbers
    epsilon = math.inf if stated == "∞" else float(stated)
    refuted = claim.estimate.value > epsilon
    tested = reach > epsilon
    said = "is refuted" if refuted else "is not refuted" if tested else "cannot be tested"
    if f" {said}: " not in claim.sentence:
        yield f"by its numbers the claim {said}"
    if (refuted or not tested) and claim.estimate.high != UNBOUNDED_EPSILON:
        yield "its upper end is a claim that is refuted, or was not tested"


def _is(text: str, value: float) -> bool:
    """Return whether a number is written so, to as many digits as a claim has."""
    return text != "∞" and f"{value:.4g}" == f"{float(text):.4g}"


def _largest(floors: list[Finding], confidence: float) -> tuple[float, float]:
    """Return the least and the most that the larger bound can be, from the bounds at the confidences beside."""
    least = most = 0.0
    for floor in floors:
        bounds = sorted(floor.estimate.bounds, key=lambda bound: bound.confidence)
        after = bisect_left([bound.confidence for bound in bounds], confidence - _ROUNDING)
        if after < len(bounds):
            least = max(least, bounds[after].low)
        exact = after < len(bounds) and abs(bounds[after].confidence - confidence) < _ROUNDING
        above = bounds[after].low if exact else bounds[after - 1].low if after else float("inf")
        most = max(most, above)
    return least, most


def _column(finding: Finding, name: str) -> Iterator[str]:
    for table in finding.tables:
        if name in table.columns:
            place = table.columns.index(name)
            yield from (_plain(str(row[place])) for row in table.rows)


def _plain(number: str) -> str:
    return number.replace(",", "").replace("−", "-")
