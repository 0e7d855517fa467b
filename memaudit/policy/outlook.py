"""What the limits on membership inference can be expected to decide with the examples that there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from memaudit.policy.needs import NEEDS_BANK, rung_of
from memaudit.policy.power import Chances, chances, design_effect, least_units
from memaudit.types import Limit, Rung

_RATES = (0.1, 0.5, 2.0, 5.0)  # true rates that are looked at, as multiples of the limit
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a limit can be expected to decide.

    `can_pass` says whether it can be kept at all, and is None where that is unknown beforehand; `reason` says in
    words why it is not True. `chances` are the probabilities of the verdicts at true rates below and above the limit;
    none where nothing can be measured or told.
    """

    limit: str
    can_pass: bool | None
    reason: str
    chances: tuple[Chances, ...] = ()


def outlooks(
    limits: Sequence[Limit],
    attacks: Sequence[str],
    fprs: Sequence[float],
    members: int,
    nonmembers: int,
    shadows: int,
) -> tuple[Outlook, ...]:
    """Return for each limit what it can be expected to decide, all controls being taken to pass.

    The comparisons that share the confidence are counted as `hold` will count them, a limit on another metric as one.

    Args:
        limits: The limits.
        attacks: The names of those that will be run.
        fprs: False-positive rates that will be measured.
        members: Of the target.
        nonmembers: Of the target.
        shadows: Number of shadow models.
    """
    shown = {limit: _findings(limit, attacks, fprs, nonmembers) for limit in limits}
    comparisons = max(1, sum(shown.values()))
    lowest = min((fpr for fpr in fprs if fpr * nonmembers >= 1), default=max(fprs, default=1.0))
    return tuple(
        _outlook(limit, shown[limit], comparisons, members, nonmembers, design_effect(shadows, limit.at_fpr or lowest))
        for limit in limits
    )


def held_out_outlooks(
    limits: Sequence[Limit],
    attacks: Sequence[str],
    fprs: Sequence[float],
    members: int,
    nonmembers: int,
    rung: Rung,
) -> tuple[Outlook, ...]:
    """Return for each limit whether an audit without a bank can decide it at all, all controls being taken to pass.

    The interval is that of `HeldOutRate`, exact at every number of examples. How likely each verdict is depends on the
    whole ROC curve, not on the true rate alone, so that no probabilities are given: a limit can pass if it does where
    no member is identified.

    Args:
        limits: The limits.
        attacks: The names of those that will be run.
        fprs: False-positive rates that will be measured.
        members: Of the target.
        nonmembers: Of the target, which set the thresholds.
        rung: Of the audit.
    """
    shown = {limit: _findings(limit, attacks, fprs, nonmembers) for limit in limits}
    comparisons = max(1, sum(shown.values()))
    lowest = min((fpr for fpr in fprs if fpr * nonmembers >= 1), default=max(fprs, default=1.0))
    return tuple(
        _held_out(limit, shown[limit], comparisons, members, nonmembers, limit.at_fpr or lowest, rung)
        for limit in limits
    )


def _held_out(
    limit: Limit, findings: int, comparisons: int, members: int, nonmembers: int, fpr: float, rung: Rung
) -> Outlook:
    from scipy.stats import binom

    from memaudit.stats import clopper_pearson, least_nonmembers

    if rung_of(limit) > rung:
        can_fail = " It can fail." if limit.metric == "tpr" and limit.attack is None and findings else ""
        return Outlook(limit=str(limit), can_pass=False, reason=f"it takes {NEEDS_BANK}.{can_fail}")
    if limit.metric != "tpr":
        return Outlook(limit=str(limit), can_pass=None, reason="unknown before the audit: it depends on the texts")
    if not findings:
        missing = max(0, least_nonmembers(fpr) - nonmembers)
        lacking = f"{missing:,} more non-members are needed" if missing else "its attack is not run"
        return Outlook(limit=str(limit), can_pass=False, reason=f"nothing is measured that it is about: {lacking}")
    error = (1 - limit.confidence) / comparisons
    loose = int(binom.ppf(1 - error / 2, nonmembers, fpr)) + 1
    most = float(clopper_pearson(0, members, 1 - error)[1]) if loose <= nonmembers else 1.0
    strict = int(binom.ppf(error / 2, nonmembers, fpr))
    blunt = "" if strict else f"; it cannot fail: no threshold of {nonmembers:,} non-members surely has a {fpr:g} FPR"
    if most > limit.max:
        reason = f"even if no member is identified, the upper bound is {most:.2g}{blunt}"
        return Outlook(limit=str(limit), can_pass=False, reason=reason)
    return Outlook(limit=str(limit), can_pass=True, reason=blunt.removeprefix("; "))


def _findings(limit: Limit, attacks: Sequence[str], fprs: Sequence[float], nonmembers: int) -> int:
    """Return how many findings a limit will be compared with."""
    from memaudit.stats import resolvable

    if limit.metric != "tpr":
        return 1
    rates = [fpr for fpr in fprs if resolvable(fpr, nonmembers)]
    return sum(limit.attack in (None, a) and limit.at_fpr in (None, f) for a, f in product(attacks, rates))


def _outlook(
    limit: Limit, findings: int, comparisons: int, members: int, nonmembers: int, design_effect: float
) -> Outlook:
    from memaudit.stats import least_nonmembers

    name = str(limit)
    if limit.metric != "tpr":
        reason = "unknown before the audit: it depends on the shadow models, the canaries, or the tested texts"
        return Outlook(limit=name, can_pass=None, reason=reason)
    if not findings and limit.at_fpr is not None:
        missing = least_nonmembers(limit.at_fpr) - nonmembers
        reason = f"{nonmembers:,} non-members cannot resolve this rate; {missing:,} more are needed"
        return Outlook(limit=name, can_pass=False, reason=reason)
    if not findings:
        return Outlook(limit=name, can_pass=False, reason="the non-members cannot resolve any requested rate")
    least = least_units(limit, comparisons)
    rates = dict.fromkeys(min(1.0, factor * limit.max) for factor in _RATES)
    effective = max(1, int(members / design_effect + _ROUNDING))
    expected = tuple(chances(limit, effective, rate, comparisons) for rate in rates)
    if least is None or effective < least:
        missing = 0 if least is None else math.ceil(least * design_effect - _ROUNDING) - members
        more = "no number of members would do" if least is None else f"{missing:,} more members are needed"
        return Outlook(limit=name, can_pass=False, reason=f"even if no member is identified, {more}", chances=expected)
    return Outlook(limit=name, can_pass=True, reason="", chances=expected)
