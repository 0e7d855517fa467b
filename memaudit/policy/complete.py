"""What every audit says, so that a report that does not say it had something taken out, renamed or put in.

Reports of memaudit 0.1.0 do not name the attacks that were asked for; of these nothing is known to be missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memaudit.attack_names import ATTACKS_BY_METRIC, OF_REFERENCES
from memaudit.policy.plausible import MEASURES
from memaudit.policy.words import rounds, version_of
from memaudit.types import (
    ASKED_ATTACKS,
    ASKED_ATTRIBUTES,
    ASKED_RATES,
    ASKED_SUBGROUPS,
    CLASSIFIER_CANARIES,
    DP_CLAIM,
    EARLIER,
    POISONED,
    Control,
    Finding,
    Report,
    Rung,
)


@dataclass(frozen=True, slots=True)
class Told:
    """Which audits report the outcome of a check or a control; by default all.

    `of` is the kind of model, and `since` the first version. With `asked`, only audits with this line of the provenance
    report it.
    """

    of: str = ""
    rungs: tuple[Rung, ...] = tuple(Rung)
    since: tuple[int, ...] = ()
    asked: str = ""


_BANK, _NEW = (Rung.BANK,), (0, 3)
TOLD = {
    "CTL001": Told(rungs=_BANK),
    "CTL002": Told(),
    "CTL003": Told(),
    "CTL004": Told(rungs=_BANK),
    "CTL005": Told(),
    "CTL006": Told("text"),
    "CTL007": Told(),
    "CTL009": Told("text", _BANK),
    "CTL014": Told(rungs=(Rung.REFERENCES,)),
    "MIA011": Told(since=_NEW),
    "MIA012": Told(since=_NEW),
    "MIA020": Told("classifier", since=_NEW),
    "MIA021": Told("classifier", since=_NEW),
    "MIA022": Told("classifier", since=_NEW),
    "MIA023": Told("classifier", since=_NEW),
    "MIA024": Told(asked=EARLIER),
    "MIA025": Told(asked=POISONED),
    "MIA026": Told(since=_NEW),
    "MIA027": Told(asked=ASKED_SUBGROUPS),
    "ATT001": Told(asked=ASKED_ATTRIBUTES),
    "MEM001": Told("classifier"),
    "MEM002": Told("text"),
    "MEM003": Told("text"),
    "MEM004": Told(since=_NEW),
    "MEM005": Told("classifier", since=_NEW),
    "MEM006": Told("classifier", since=_NEW),
    "MEM009": Told(since=_NEW),
    "LNK001": Told(),
    "LNK002": Told("text"),
    "CAN001": Told("text"),
    "CAN002": Told("text"),
    "CAN003": Told("text"),
    "CAN004": Told(asked=CLASSIFIER_CANARIES),
    "CAN010": Told("text", since=_NEW),
    "DP001": Told(asked=DP_CLAIM),
    "DP002": Told(asked=DP_CLAIM),
    "DP003": Told(asked=DP_CLAIM),
    "EXT001": Told("text"),
    "EXT002": Told("text"),
    "EXT003": Told("text"),
    "EXT004": Told("text"),
    "GEN001": Told("generator"),
    "GEN002": Told("generator"),
    "GEN003": Told("generator"),
}
_BY_RATE = ("MIA021", "MIA022", "MIA023", "MIA024", "MIA025")
_OVERSTATED = {
    "CTL004": ("tpr", "access", "snapshots"),
    "CTL014": ("tpr",),
    "CTL006": ("exposure", "canaries", "planted-exposure"),
}
_CONCERNED = {"CTL009": ("calibrated", "raw", "search"), "CTL014": OF_REFERENCES}


def incomplete(report: Report) -> Iterator[str]:
    """Yield what an audit says and a report does not, and what it says twice or of something else."""
    yield from _of_findings(report)
    asked = report.provenance.get(ASKED_ATTACKS)
    attacked = list(ATTACKS_BY_METRIC["tpr"]) if asked is None else asked.split(", ")
    for control in report.controls:
        yield from _of_control(control, attacked)
    if asked is not None:
        yield from _missing(report)
        yield from _unmeasured(report, asked)
        yield from _left_out(report)
    elif report.attempt is not None and report.attempt.in_all:
        yield "provenance: the requested attacks are missing; every audit names them"


def _findings(report: Report) -> list[Finding]:
    return list(dict.fromkeys(result.finding for result in report.results))


def _of_findings(report: Report) -> Iterator[str]:
    """Yield of which measurements there are two."""
    about = {(f.code, f.title, f.metric, f.attack, f.at_fpr, f.estimate): f for f in _findings(report)}
    for (code, title, attack, rate), count in Counter(
        (f.code, f.title, f.attack, f.at_fpr) for f in about.values()
    ).items():
        if count > 1:
            at = "" if rate is None else f" at {rate:g} FPR"
            yield f"{code} {title}: {count} findings are about the same{f' ({attack}{at})' if attack else ''}"


def _of_control(control: Control, attacked: Sequence[str]) -> Iterator[str]:
    other = (name for metric in ("access", "snapshots") for name in ATTACKS_BY_METRIC[metric])
    concerned = [*attacked, *other] if control.code == "CTL004" else _CONCERNED.get(control.code, ())
    if strange := sorted(set(control.attacks) - set(concerned)):
        yield f"{control.code} is not about {strange[0]!r}"
    if strange := sorted(set(control.overstates) - set(_OVERSTATED.get(control.code, ()))):
        yield f"{control.code} cannot show that {strange[0]!r} is too high"


def _missing(report: Report) -> Iterator[str]:
    there = {control.code for control in report.controls} | {skipped.code for skipped in report.skipped}
    there |= {finding.code for finding in _findings(report)}
    own = next((kind for kind in ("text", "generator") if there & codes_of(kind)), "classifier")
    version = version_of(report)
    for code, told in TOLD.items():
        if code in there or told.of not in ("", own) or report.rung not in told.rungs or version < told.since:
            continue
        if not told.asked:
            kind = "control" if code.startswith("CTL") else "check"
            yield f"the {kind} {code} is missing: every audit reports its outcome"
        elif told.asked in report.provenance:
            about = f"{told.asked} ({report.provenance[told.asked]})"
            yield f"the check {code} is missing: the audit was asked about {about}"


def codes_of(kind: str) -> set[str]:
    """Return the codes of one kind of model alone; of "", those of all kinds that need not be asked for."""
    return {code for code, told in TOLD.items() if told.of == kind and not told.asked}


def _unmeasured(report: Report, asked: str) -> Iterator[str]:
    """Yield the attacks that were asked for and neither measured nor refused at a rate."""
    rates = _numbers(report.provenance.get(ASKED_RATES, ""))
    attacks = [name for name in asked.split(", ") if name]
    if not rates or not attacks:
        yield "provenance: it names no attack, or no false-positive rate"
    measured, traced = (_made(report, metric) for metric in ("tpr", "traceability"))
    for name, rate in sorted((measured | traced) - {(name, rate) for name in attacks for rate in rates}, key=repr):
        yield f"{name} at {rate!r} FPR was measured, and not requested"
    for name in attacks:
        refused = [skipped.title for skipped in report.skipped if skipped.code in _codes(name)]
        withheld = [title for title in refused if f", {name}, at " not in title]
        for rate in rates:
            at = rf", {re.escape(name)}, at ([\d.]+)% "
            told = any(rounds(found[1], 100 * rate) for title in refused if (found := re.search(at, title)))
            if (name, rate) not in measured and not told and not _whole(withheld):
                yield f"{name} at {rate!r} FPR was requested, and has no result"


def _left_out(report: Report) -> Iterator[str]:
    """Yield at which rates a check by access, of two releases or of poisoned data has no result, and refused none."""
    for code in _BY_RATE:
        refused = [skipped.title for skipped in report.skipped if skipped.code == code]
        there = [finding for finding in _findings(report) if finding.code == code]
        if not there and (not refused or _whole(refused)):
            continue
        for rate in _numbers(report.provenance.get(ASKED_RATES, "")):
            for part in ATTACKS_BY_METRIC["snapshots"] if code == "MIA024" else ("",):
                made = any(finding.at_fpr == rate and part in ("", finding.attack) for finding in there)
                at = re.compile(rf"{part}.*, at ([\d.]+)% ")
                told = any(rounds(found[1], 100 * rate) for title in refused if (found := at.search(title)))
                if not made and not told:
                    yield f"{code} has no result{f' for {part} records' if part else ''} at {rate!r} FPR"


def _made(report: Report, metric: str) -> set[tuple[str | None, float | None]]:
    """Return the attacks that a metric was measured of, each with its false-positive rate."""
    return {(f.attack, f.at_fpr) for f in _findings(report) if f.metric == metric and f.code in MEASURES}


def _codes(attack: str) -> list[str]:
    return [
        code for code, measure in MEASURES.items() if measure.metric == "tpr" and attack.startswith(measure.attacks)
    ]


def _whole(titles: list[str]) -> bool:
    """Return whether a check was refused as a whole, and not one of its attacks at one rate."""
    return any(", at " not in title for title in titles)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(", ") if part]
    except ValueError:
        return []
