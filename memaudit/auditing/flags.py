"""Whether a report and the flags beside it in evidence.csv say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memaudit.policy.plausible import PUBLIC_ROUNDING
from memaudit.types import Edition, Finding, Report

OF_MEMBERS = ("tpr", "traceability")  # shares of members that an attack finds, as the evidence shows one by one

_UNNAMED = "lira-online"  # the attack whose columns have no name: the default of earlier versions


def flag_column(fpr: float, attack: str | None) -> str:
    """Return the name of the column that says which examples an attack flags at a rate."""
    return f"flagged_at_{fpr!r}" + ("" if attack in (None, _UNNAMED) else f"_by_{attack}")


def share_flagged(rows: Sequence[dict[str, str]], finding: Finding) -> float | None:
    """Return the share of members that are found, by the evidence; None if it does not say."""
    column = flag_column(finding.at_fpr or 0.0, finding.attack)
    if not rows or column not in rows[0]:
        return None
    flags = [row[column] == "1" for row in rows if row["member"] == "1"]
    return sum(flags) / max(1, len(flags))


def otherwise_flagged(rows: Sequence[dict[str, str]], report: Report) -> Iterator[str]:
    """Yield the findings of a report that find other shares of the members than the evidence beside it.

    Whoever alters a rate must alter the evidence as well. A finding that was taken out altogether leaves flags behind
    that nobody misses: a check may have been refused for its ties. Only a signature or the ledger shows that.
    """
    slack = PUBLIC_ROUNDING if report.edition is Edition.PUBLIC else 0.0
    for finding in dict.fromkeys(result.finding for result in report.results):
        if finding.metric not in OF_MEMBERS or (share := share_flagged(rows, finding)) is None:
            continue
        if abs(share - finding.estimate.value) > slack * share:
            yield f"{finding.code} {finding.title}: the members are found at another rate in the evidence"
