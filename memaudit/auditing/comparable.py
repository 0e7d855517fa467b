"""What two audits must have in common to be compared, and which examples they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from memaudit import reports
from memaudit.auditing.evidence import EvidenceLevel
from memaudit.auditing.flags import otherwise_flagged
from memaudit.auditing.folder import EVIDENCE, REPORT, SUMS, read_evidence, require_intact
from memaudit.errors import EvidenceError
from memaudit.metrics import METRICS
from memaudit.types import Finding, Report

Array = np.ndarray
Key = tuple[str, str, str | None, float | None, int]

OF_THE_BANK = frozenset(name for name, metric in METRICS.items() if metric.of_bank)  # that look at no target
_WITH_IDS = (EvidenceLevel.IDS, EvidenceLevel.FULL)
_ONE_RUN = "The intervals are about these two models; training either of them again would give another change."
_UNPAIRED = (
    "The intervals take the two audits for independent. They are wider than they need be, and small changes stay "
    f"undecided. {_ONE_RUN}"
)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two audits, and its evidence by the examples' names, if it left any."""

    place: Path
    report: Report
    evidence: dict[str, dict[str, str]] | None


@dataclass(frozen=True, slots=True)
class Pairing:
    """The evidence of both audits, example by example in the same order."""

    old: list[dict[str, str]]
    new: list[dict[str, str]]

    def both(self, column: str) -> tuple[Bool[Array, " examples"], Bool[Array, " examples"]]:
        """Return (old, new) of a column of 0 and 1."""
        old, new = ([row.get(column) for row in rows] for rows in (self.old, self.new))
        if not {*old, *new} <= {"0", "1"}:
            raise EvidenceError(f"{EVIDENCE} has no column {column} of 0 and 1 in both audits; audit again")
        return np.array([cell == "1" for cell in old]), np.array([cell == "1" for cell in new])


def open_side(path: Path) -> Side:
    """Return the audit of a folder, or of a report with the evidence beside it.

    Raises:
        MemauditError: It cannot be read, is not as it was written, or its evidence is not that of its report.
    """
    file = path / REPORT if path.is_dir() else path
    whole = file.name == REPORT
    if path.is_dir() or (whole and (file.parent / SUMS).exists()):
        report = require_intact(file.parent)
    else:
        report = reports.load(file)
    place = file.with_name(EVIDENCE)
    if not (whole and place.is_file()):
        return Side(file, report, None)
    rows = read_evidence(place)
    evidence = {row["id"]: row for row in rows}
    side = Side(file, report, evidence)
    if len(evidence) < len(rows) or any(otherwise_flagged(rows, report)):
        raise EvidenceError(f"{place} is not the evidence of {file}: its members are found at other rates")
    return side


def findings(report: Report) -> dict[Key, tuple[Finding, bool]]:
    """Return each finding under what it is about, and whether a limit was set for it.

    Findings that are about the same are counted in their order.
    """
    counts: Counter[tuple[str, str, str | None, float | None]] = Counter()
    keys: dict[tuple[object, ...], Key] = {}
    found: dict[Key, tuple[Finding, bool]] = {}
    for result in report.results:
        finding = result.finding
        about = (finding.code, finding.metric, finding.attack, finding.at_fpr)
        same = (finding.title, finding.estimate)  # with several limits, a finding occurs in as many results
        if (*about, *same) not in keys:
            counts[about] += 1
            keys[*about, *same] = (*about, counts[about])
        key = keys[*about, *same]
        found[key] = finding, result.limit is not None or (key in found and found[key][1])
    return found


def differences(old: Side, new: Side) -> list[str]:
    """Return what must be the same in both audits and is not."""
    return [*_of_origin(old.report, new.report), *_of_findings(findings(old.report), findings(new.report))]


def same_model(old: Report, new: Report) -> bool:
    """Return whether both audits are about one model file, trained on the same examples."""
    members = {report.provenance.get("commitment.members") for report in (old, new)}
    return old.subject.sha256 == new.subject.sha256 and len(members) == 1


def pairing(old: Side, new: Side) -> tuple[Pairing | None, tuple[str, ...]]:
    """Return the evidence in pairs, or why there are none, and what a reader must know about them."""
    if same_model(old.report, new.report):
        return None, ("Both audits are of the same model.",)
    if old.evidence is None or new.evidence is None:
        lacking = " and ".join(str(side.place) for side in (old, new) if side.evidence is None)
        return None, (f"Not paired: there is no {EVIDENCE} beside {lacking}. {_UNPAIRED}",)
    if len({side.report.provenance.get("evidence") in _WITH_IDS for side in (old, new)}) > 1:
        return None, (f"Not paired: one audit names examples by ids, the other by hashes (--evidence). {_UNPAIRED}",)
    if old.evidence.keys() != new.evidence.keys():
        raise EvidenceError(f"{old.place} and {new.place} have evidence on different examples")
    pairs = Pairing(list(old.evidence.values()), [new.evidence[name] for name in old.evidence])
    members = pairs.both("member")
    shared = int((members[0] & members[1]).sum())
    if not shared:
        return None, (f"Not paired: no example is a member of both training sets. {_UNPAIRED}",)
    notes = [f"Paired: found or not, member by member. {_ONE_RUN}"]
    if (members[0] != members[1]).any():
        notes.append(f"The training sets differ; pairs are of the {shared:,} examples that are in both.")
    return pairs, tuple(notes)


def _of_origin(old: Report, new: Report) -> Iterator[str]:
    ours = {"commitment.examples": "the examples", "evidence.key": "the bank's key"}
    for name, what in ours.items():
        if name not in old.provenance or name not in new.provenance:
            yield f"{what}: missing from a report that is old or of the public edition"
        elif old.provenance[name] != new.provenance[name]:
            yield f"{what}: not the same"
    for name in sorted(old.provenance.keys() | new.provenance.keys()):
        one, other = (report.provenance.get(name, "(none)") for report in (old, new))
        if name.startswith("bank.") and one != other:
            yield f"{name}: {one[:60]} → {other[:60]}"
    if old.rung is not new.rung:
        yield f"rung: {old.rung} → {new.rung}"
    if old.subject.shadows != new.subject.shadows:
        yield f"shadow models: {old.subject.shadows} → {new.subject.shadows}"


def _of_findings(before: dict[Key, tuple[Finding, bool]], after: dict[Key, tuple[Finding, bool]]) -> Iterator[str]:
    for key, (finding, _) in (after | before).items():
        what = f"{finding.code} {finding.title}"
        if key not in before or key not in after:
            yield f"{what}: only in the {'old' if key in before else 'new'} audit"
            continue
        old, new = before[key][0].estimate, after[key][0].estimate
        if (old.unit, old.level, old.method) != (new.unit, new.level, new.method):
            yield f"{what}: another unit, level or method"
        elif finding.metric in OF_THE_BANK and old != new:
            yield f"{what}: {old.value:.4g} → {new.value:.4g}, by other shadow models"
