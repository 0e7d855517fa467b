"""Two audits compared: does the new release leak more than the old one?

Only like is compared with like: the same examples, the same bank, the same attacks at the same rates. Both releases
were attacked with the same shadow models, so that an example that is easy to find is easy in both. Where both audits
left evidence, the change is therefore taken example by example, which shows far smaller changes than two intervals
side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool
from scipy import stats as laws

from memaudit.auditing.comparable import (
    OF_THE_BANK,
    Pairing,
    Side,
    differences,
    findings,
    pairing,
    same_model,
)
from memaudit.auditing.flags import OF_MEMBERS, flag_column
from memaudit.errors import EvidenceError, SettingsError
from memaudit.metrics import METRICS
from memaudit.reports.text import one_line
from memaudit.stats import mover_difference, newcombe_paired
from memaudit.types import Estimate, Finding, Subject, Verdict, worst

Array = np.ndarray

_LEVEL = 0.95
_NO_LEAK = OF_THE_BANK | {name for name, metric in METRICS.items() if not metric.leak}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How much more the new release leaks; above 0 is worse.

    `pairs` is the number of members that were compared one by one, None for an unpaired change. `flagged` is the change
    in the measured FPR, also paired.
    """

    finding: Finding
    old: float
    new: float
    change: Estimate
    pairs: int | None = None
    flagged: Estimate | None = None
    verdict: Verdict = Verdict.NOTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All changes; those whose verdict is not NOTED decide.

    Where a control failed, nothing is decided but a regression.
    """

    old: Subject
    new: Subject
    margin: float
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    failed_controls: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """FAIL for a regression, PASS where none larger than the margin is possible, INCONCLUSIVE otherwise."""
        verdict = worst(change.verdict for change in self.changes)
        return Verdict.INCONCLUSIVE if self.failed_controls and verdict is not Verdict.FAIL else verdict


def compare(old: Side, new: Side, margin: float = 0.0) -> Comparison:
    """Return what changed from an old release to a new one.

    What has a limit in the new audit decides; where nothing has, every attack on membership does. Each of k that decide
    has an interval of coverage 1 − 0.05/k: where nothing changed, a regression is seen in about 1 comparison of 40.

    Args:
        old: The audit of the old release.
        new: The audit of the new one.
        margin: The change that is still accepted, in the unit of the finding: 0.02 is two percentage points.

    Raises:
        EvidenceError: The two cannot be compared; the message names all that differs.
        SettingsError: The margin is negative.
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise SettingsError(f"margin must be 0 or more, got {margin:g}")
    if told := differences(old, new):
        lines = (one_line(line, 300) for line in told)  # which others may have written
        raise EvidenceError("\n  ".join([f"{old.place} and {new.place} cannot be compared:", *lines]))
    before, after = findings(old.report), findings(new.report)
    compared = {key: entry for key, entry in after.items() if entry[0].metric not in _NO_LEAK}
    deciding = {key for key, (_, limited) in compared.items() if limited}
    deciding = deciding or {key for key, (finding, _) in compared.items() if finding.metric == "tpr"}
    if not deciding:
        raise EvidenceError("nothing to compare: neither report has a membership attack or a limit")
    pairs, notes = pairing(old, new)
    changes = []
    for key, (finding, _) in compared.items():
        level = 1 - (1 - _LEVEL) / len(deciding) if key in deciding else _LEVEL
        change = _change(before[key][0], finding, pairs, level)
        if same_model(old.report, new.report):
            nothing = replace(change.change, low=0.0, high=0.0, method="same model")
            change = replace(change, change=nothing)
        changes.append(replace(change, verdict=_judged(change.change, margin) if key in deciding else Verdict.NOTED))
    failed = (f"{s.place}: {c.title}" for s in (old, new) for c in s.report.controls if c.passed is False)
    return Comparison(
        old=old.report.subject,
        new=new.report.subject,
        margin=margin,
        changes=tuple(changes),
        notes=notes,
        failed_controls=tuple(failed),
    )


def _judged(change: Estimate, margin: float) -> Verdict:
    """Return the verdict of the gate, on a change: the interval decides, never the point."""
    if change.low > margin:
        return Verdict.FAIL
    return Verdict.PASS if change.high <= margin else Verdict.INCONCLUSIVE


def _change(before: Finding, after: Finding, pairs: Pairing | None, level: float) -> Change:
    if pairs is None or after.metric not in OF_MEMBERS or after.at_fpr is None:
        return _unpaired(before, after, level)
    found = pairs.both(flag_column(after.at_fpr, after.attack))
    was_member, is_member = pairs.both("member")
    shared, outside = was_member & is_member, ~was_member & ~is_member
    return Change(
        finding=after,
        old=float(found[0][shared].mean()),
        new=float(found[1][shared].mean()),
        change=_paired(found[0][shared], found[1][shared], level),
        pairs=int(shared.sum()),
        flagged=_paired(found[0][outside], found[1][outside], _LEVEL) if outside.any() else None,
    )


def _paired(old: Bool[Array, " examples"], new: Bool[Array, " examples"], level: float) -> Estimate:
    low, high = newcombe_paired(int(new.sum()), int(old.sum()), int((old & new).sum()), len(old), level)
    value = float(new.mean() - old.mean())
    method = "Newcombe for paired shares"
    return Estimate(value=value, low=float(low), high=float(high), level=level, unit="share", method=method)


def _unpaired(before: Finding, after: Finding, level: float) -> Change:
    old, new = before.estimate, after.estimate
    # Several changes decide together: each end moves out as that of a normal law would.
    wider = float(laws.norm.ppf((1 + level) / 2) / laws.norm.ppf((1 + old.level) / 2))
    after_, before_ = (
        (e.value, e.value - wider * (e.value - e.low), e.value + wider * (e.high - e.value)) for e in (new, old)
    )
    low, high = mover_difference(after_, before_)
    change = Estimate(
        value=new.value - old.value,
        low=float(low),
        high=float(high),
        level=level,
        unit=new.unit,
        method="Zou–Donner, as of independent estimates",
    )
    return Change(finding=after, old=old.value, new=new.value, change=change)
