"""The outcomes for a pipeline: one per gate and per control. They contain nothing about single examples."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PureWindowsPath

from memaudit.reports.text import one_line
from memaudit.reports.wording import CONTROL_LABELS, VERDICTS, result_label, sentence
from memaudit.types import Control, Limit, OnInconclusive, Report, Result, Skipped, Verdict

_SHORT, _LONG = 250, 1000  # GitHub shows 255 characters of a rule's name and 1,024 of its description


class Effect(StrEnum):
    """What an outcome does to a pipeline, from bad to good."""

    BROKEN = "broken"  # a limit that is broken, or that counts as broken while it is undecided
    UNDECIDED = "undecided"  # neither kept nor broken; or a control that failed
    TOLERATED = "tolerated"  # broken but waived, or undecided where the policy asks for no more than a warning
    KEPT = "kept"
    NONE = "none"  # a control that was not run


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a gate or a control, in visible text of one line.

    `key` names it from audit to audit: it depends on what was asked, never on what was found. `path` and `line` say
    where its limit was set, if that is known. `waiver` is the reason why a broken limit was waived.
    """

    key: str
    title: str
    verdict: Verdict
    effect: Effect
    label: str
    message: str
    control: bool = False
    source: str = ""
    path: str | None = None
    line: int = 1
    waiver: str | None = None


def outcomes(report: Report) -> tuple[Outcome, ...]:
    """Return the outcomes of a report, the worst first; a pass beside a failed control is inconclusive."""
    broken = any(control.passed is False for control in report.controls)
    gates = [_judged(result, broken) for result in report.results if result.verdict is not Verdict.NOTED]
    unsaid = [_unsaid(skipped) for skipped in report.skipped if skipped.verdict is not Verdict.NOTED]
    found = _told_apart([*gates, *unsaid, *map(_control, report.controls)])
    return tuple(sorted(found, key=lambda outcome: list(Effect).index(outcome.effect)))


def fingerprint(report: Report, outcome: Outcome) -> str:
    """Return what tells an outcome from all others of the same model, whatever was measured: 64 hexadecimal digits.

    The model counts by the name of its file, so that an outcome stays the same one when the model is trained again.
    """
    identity = f"{outcome.key}\0{one_line(_file(report), _LONG)}"
    return hashlib.sha256(identity.encode()).hexdigest()


def place(report: Report, outcome: Outcome) -> tuple[str, int]:
    """Return the file and line to point at: where the limit was set, or else the model, which every report knows."""
    if outcome.path is not None:
        return outcome.path, outcome.line
    return _inside(_file(report)) or "model", 1


def _file(report: Report) -> str:
    """Return the name of the model's file, without the folder that a report may name with it."""
    return report.subject.model.rpartition("/")[2]


def dump(content: object) -> bytes:
    """Return the content as indented JSON."""
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _judged(result: Result, broken: bool) -> Outcome:
    finding, limit = result.finding, result.limit
    if broken and result.verdict is Verdict.PASS:
        reason = f"{result.reason}; not a pass: a control failed"
        result = replace(result, verdict=Verdict.INCONCLUSIVE, reason=reason)
    asked = [finding.metric, finding.attack or "", "" if finding.at_fpr is None else f"{finding.at_fpr:g}"]
    name = limit.name if limit is not None else ""
    own = name if name != "-".join(filter(None, asked)) else ""  # a limit may be about more than this finding
    return Outcome(
        key=_line("/".join(filter(None, [finding.code, *asked, own]))),
        title=_line(f"{finding.code} {finding.title}" + (f" ({own})" if own else "")),
        verdict=result.verdict,
        effect=_effect(result.verdict, limit, result.waiver is not None),
        label=result_label(result),
        message=_message(finding.sentence, f"limit: {limit}" if limit else "", result.reason),
        source=one_line(finding.source, _LONG),
        path=_path(limit),
        line=_number(limit),
        waiver=None if result.waiver is None else one_line(result.waiver.reason, _LONG),
    )


def _unsaid(skipped: Skipped) -> Outcome:
    limit = skipped.limit
    return Outcome(
        key=_line("/".join(filter(None, [skipped.code, skipped.title if limit is None else limit.name]))),
        title=_line(f"{skipped.code} {skipped.title}"),
        verdict=skipped.verdict,
        effect=_effect(skipped.verdict, limit),
        label=VERDICTS[skipped.verdict].label,
        message=_message(skipped.title, skipped.reason),
        path=_path(limit),
        line=_number(limit),
    )


def _control(control: Control) -> Outcome:
    return Outcome(
        key=_line(control.code),
        title=_line(f"{control.code} {control.title}"),
        verdict={True: Verdict.PASS, False: Verdict.INCONCLUSIVE, None: Verdict.NOTED}[control.passed],
        effect={True: Effect.KEPT, False: Effect.UNDECIDED, None: Effect.NONE}[control.passed],
        label=f"CONTROL {CONTROL_LABELS[control.passed]}",
        message=_message(control.sentence),
        control=True,
        source=one_line(control.source, _LONG),
    )


def _effect(verdict: Verdict, limit: Limit | None, waived: bool = False) -> Effect:
    if verdict is Verdict.INCONCLUSIVE:
        wanted = limit.on_inconclusive if limit is not None else OnInconclusive.INCONCLUSIVE
        effects = {OnInconclusive.FAIL: Effect.BROKEN, OnInconclusive.WARN: Effect.TOLERATED}
        return effects.get(wanted, Effect.UNDECIDED)
    if verdict is Verdict.FAIL:
        return Effect.TOLERATED if waived else Effect.BROKEN
    return Effect.KEPT


def _line(text: str) -> str:
    return one_line(text, _SHORT) or "–"


def _message(*parts: str) -> str:
    return one_line(" ".join(sentence(part.strip()) for part in parts), _LONG) or "–"


def _path(limit: Limit | None) -> str | None:
    return _inside(limit.source) if limit is not None and limit.source else None


def _number(limit: Limit | None) -> int:
    return max(limit.line or 1, 1) if limit is not None else 1


def _inside(path: str) -> str | None:
    """Return a path as it is named inside a repository; of one that leads out of it, the file's name."""
    place = PureWindowsPath(one_line(path, _LONG))  # takes both kinds of slash
    outside = bool(place.anchor) or ".." in place.parts
    inside = place.name if outside else place.as_posix()
    return inside if inside.strip(". ") else None


def _told_apart(found: Iterable[Outcome]) -> Iterator[Outcome]:
    """Yield the outcomes with a number behind each key that came before."""
    seen: set[str] = set()
    counts: Counter[str] = Counter()
    for outcome in found:
        key = outcome.key
        while key in seen:
            counts[outcome.key] += 1
            key = f"{outcome.key}/{counts[outcome.key] + 1}"
        seen.add(key)
        yield replace(outcome, key=key)
