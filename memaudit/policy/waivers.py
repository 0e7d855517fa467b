"""Waivers: which of them excuse what."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from memaudit.types import Report, Result, Verdict, Waived, Waiver, WaiverState

_LOOK_LIKE = str.maketrans("авеіјкмнорсѕтухԁһԛԝαβεικμνορτυχ", "abeijkmhopcstyxdhqwabeikmvoptux")  # Cyrillic, Greek
_ANY = "?"


def excused(
    judged: Sequence[tuple[Result, float]], waivers: Sequence[Waiver], report: Report, today: date
) -> tuple[list[Result], tuple[Waived, ...]]:
    """Return the results, those excused that a waiver covers, and what each waiver did.

    Args:
        judged: Results with the bounds that the waivers' caps are compared with.
        waivers: All that were granted; each names the limit that it is about.
        report: For its subject and its controls.
        today: A waiver holds through the day on which it expires.
    """
    waived = tuple(Waived(waiver=waiver, state=_state(waiver, judged, report, today)) for waiver in waivers)
    return [_told(result, waived) for result, _ in judged], waived


def self_approved(owner: str, approved_by: str) -> bool:
    """Return whether the owner and the approver of a waiver are one name, however it is written.

    Case, accents, spaces, punctuation and letters of other scripts that look like Latin ones make no other name. Among
    Latin letters, one of another script is taken for whichever it may look like.
    """
    names = _skeleton(owner), _skeleton(approved_by)
    return len(names[0]) == len(names[1]) and all(a == b or _ANY in (a, b) for a, b in zip(*names, strict=True))


def _skeleton(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    letters = [letter for letter in decomposed.translate(_LOOK_LIKE) if letter.isalnum()]
    mixed = any(letter.isascii() and letter.isalpha() for letter in letters)
    return "".join(_ANY if mixed and not letter.isascii() else letter for letter in letters)


def _state(waiver: Waiver, judged: Sequence[tuple[Result, float]], report: Report, today: date) -> WaiverState:
    bounds = [low for result, low in judged if result.verdict is Verdict.FAIL and _name(result) == waiver.gate]
    if waiver.subject != report.subject.sha256:
        return WaiverState.OTHER_MODEL
    if self_approved(waiver.owner, waiver.approved_by):
        return WaiverState.SELF_APPROVED
    if today > date.fromisoformat(waiver.expires):
        return WaiverState.EXPIRED
    if not bounds:
        return WaiverState.UNNEEDED
    if any(control.passed is False for control in report.controls):
        return WaiverState.UNRELIABLE
    return WaiverState.APPLIED if max(bounds) <= waiver.cap else WaiverState.EXCEEDED


def _told(result: Result, waived: Sequence[Waived]) -> Result:
    """Return the result, if it is a failure, with what its waivers did to it."""
    if result.verdict is not Verdict.FAIL:
        return result
    for waiver, state in ((w.waiver, w.state) for w in waived if w.waiver.gate == _name(result)):
        if state is WaiverState.APPLIED:
            words = f"waived until {waiver.expires} by {waiver.approved_by}, up to {waiver.cap:g}: {waiver.reason}"
            result = replace(result, waiver=waiver, reason=f"{result.reason}; {words}")
        elif state is not WaiverState.OTHER_MODEL:
            words = f"the waiver by {waiver.approved_by} until {waiver.expires}, up to {waiver.cap:g}, is {state}"
            result = replace(result, reason=f"{result.reason}; {words}")
    return result


def _name(result: Result) -> str:
    return result.limit.name if result.limit is not None else ""
