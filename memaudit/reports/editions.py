"""Which part of an audit a reader may see.

`restricted` is everything, as in the JSON file. It names single examples: for those who may see the training data.
`internal` identifies the most exposed examples by keyed hashes, and shows neither pictures nor texts. If the audit's
evidence has ids or more, it numbers them; the JSON file has them in the same order. `public` has no single examples, no
tables, no figures but the curves of attacks, no provenance but the version of memaudit and the requested attacks, and
no names of the auditor, the model's owner, or those who granted waivers. Its numbers have three digits. Verdicts,
notices, waivers and their reasons remain, and so do the digest and the date of the audit's plan, and its rung.

What an edition leaves out is in none of its formats, and not in the JSON that is attached to its PDF.
"""

from __future__ import annotations

import math
from dataclasses import replace

from memaudit.errors import MemauditError
from memaudit.types import (
    ASKED_ATTACKS,
    ASKED_ATTRIBUTES,
    ASKED_RATES,
    ASKED_SUBGROUPS,
    DP_CLAIM,
    Control,
    Curve,
    Edition,
    Estimate,
    Exposed,
    Figure,
    FigureKind,
    Finding,
    Limit,
    Report,
    Result,
    Waived,
    Waiver,
)

_PUBLIC_PROVENANCE = ("memaudit", ASKED_ATTACKS, ASKED_RATES, ASKED_SUBGROUPS, ASKED_ATTRIBUTES, DP_CLAIM)


def edition(report: Report, name: Edition | str) -> Report:
    """Return the report as an edition shows it: public, internal or restricted.

    Raises:
        MemauditError: There is no such edition, or the report is one already that shows less.
    """
    try:
        wanted = Edition(name)
    except ValueError:
        raise MemauditError(f"there is no edition {str(name)!r}; there are: {', '.join(Edition)}") from None
    order = list(Edition)
    if order.index(wanted) > order.index(report.edition):
        raise MemauditError(
            f"this report is the {report.edition} edition: what it leaves out cannot be put back into {wanted}; "
            "start from the report.json that the audit wrote"
        )
    if wanted is Edition.RESTRICTED:
        return report
    return _public(report) if wanted is Edition.PUBLIC else _internal(report)


def by_default(report: Report) -> Report:
    """Return the report as a page shows it unless an edition is asked for: internal, or public if it is that."""
    return report if report.edition is Edition.PUBLIC else edition(report, Edition.INTERNAL)


def _internal(report: Report) -> Report:
    hashed = report.provenance.get("evidence") == "hashed"
    exposed = tuple(
        replace(example, thumbnail="") if hashed else _nameless(example, place)
        for place, example in enumerate(report.exposed, 1)
    )
    return replace(report, edition=Edition.INTERNAL, exposed=exposed)


def _nameless(example: Exposed, place: int) -> Exposed:
    return replace(example, identifier=str(place), label="", thumbnail="")


def _public(report: Report) -> Report:
    return replace(
        report,
        edition=Edition.PUBLIC,
        results=tuple(_result(result, report.waivers) for result in report.results),
        skipped=tuple(replace(skipped, limit=_limit(skipped.limit)) for skipped in report.skipped),
        controls=tuple(map(_control, report.controls)),
        exposed=(),
        waivers=tuple(replace(waived, waiver=_waiver(waived.waiver)) for waived in report.waivers),
        context=replace(report.context, auditor="", owner=""),
        provenance={name: report.provenance[name] for name in _PUBLIC_PROVENANCE if name in report.provenance},
    )


def _result(result: Result, waivers: tuple[Waived, ...]) -> Result:
    reason = result.reason
    for waived in waivers:
        reason = reason.replace(f" by {waived.waiver.approved_by}", "") if waived.waiver.approved_by else reason
    return replace(
        result,
        finding=_finding(result.finding),
        limit=_limit(result.limit),
        reason=reason,
        waiver=None if result.waiver is None else _waiver(result.waiver),
    )


def _limit(limit: Limit | None) -> Limit | None:
    return None if limit is None else replace(limit, source=None, line=None)


def _waiver(waiver: Waiver) -> Waiver:
    return replace(waiver, owner="", approved_by="")


def _finding(finding: Finding) -> Finding:
    return replace(
        finding,
        estimate=_estimate(finding.estimate),
        blind=None if finding.blind is None else _rounded(finding.blind),
        figures=tuple(_figure(figure) for figure in finding.figures if figure.kind is FigureKind.ROC),
        tables=(),
    )


def _control(control: Control) -> Control:
    return replace(control, tables=())


def _estimate(estimate: Estimate) -> Estimate:
    return replace(estimate, value=_rounded(estimate.value), low=_rounded(estimate.low), high=_rounded(estimate.high))


def _figure(figure: Figure) -> Figure:
    return replace(figure, curves=tuple(map(_curve, figure.curves)))


def _curve(curve: Curve) -> Curve:
    x, y, low, high = (tuple(map(_rounded, ends)) for ends in (curve.x, curve.y, curve.low, curve.high))
    return replace(curve, x=x, y=y, low=low, high=high)


def _rounded(value: float) -> float:
    """Return the number with three digits, counted from 1 where it is near: 0.99963 must not become 1."""
    rest = min(abs(value), abs(1 - value))
    return round(value, 2 - math.floor(math.log10(rest))) if 0 < rest < 100 else float(round(value))
