"""What would decide an undecided limit."""

from __future__ import annotations

import math
from statistics import NormalDist

from memaudit.attack_names import OF_REFERENCES
from memaudit.policy.comparison import Comparison
from memaudit.policy.plausible import MEASURES
from memaudit.types import Limit, Report, Rung

NEEDS_BANK = "a bank of shadow models: memaudit bank fill --shadows 64"
SHADOW_SECONDS = "seconds per shadow model"  # a key of a report's provenance

_POWER = 0.8
_MOST = 10**6  # times as much data
_MOST_UNITS = 10**8


def needed(comparison: Comparison, alpha: float, report: Report) -> str:
    """Return what would decide a limit inside the interval of the finding, for a bound at confidence 1 − α.

    As many would do it in four of five audits if the finding is right: so many more units of a binomial share, by exact
    power, or else so many more shadow models, if the interval narrows with the root of their number. A true-positive
    rate needs more of both.
    """
    if comparison.finding.metric == "epsilon":
        return (
            f"a claim of ε ≤ {comparison.limit.max:g} that the audit can refute and does not: more canaries "
            "(memaudit.classifier_canaries) or shadow models to test it, or training with more noise"
        )
    if comparison.finding.metric == "epsilon-floor":
        return 'a limit on "epsilon": a lower bound can break a limit, and never keep it'
    if report.rung < Rung.BANK and comparison.finding.metric == "tpr":
        times = _times(comparison, alpha)
        what = "" if times is None else f"about {math.ceil(10 * times) / 10:g} times as many members and non-members"
    elif comparison.hits is None:
        times = _times(comparison, alpha)
        if comparison.finding.metric == "planted-exposure":
            return _more_canaries(comparison.finding.n, times)
        what = "" if times is None else _more_shadows(_rounded(_pairs(report.subject.shadows, times)), report)
        if what and comparison.finding.metric == "tpr":
            more = max(1, math.ceil(comparison.finding.n * (times or 1) - comparison.finding.n))
            what = f"about {_rounded(more):,} more {comparison.finding.counted} and {what.removeprefix('about ')}"
    else:
        count = _units(comparison.hits, comparison.finding.n, comparison.limit.max, alpha)
        extreme = comparison.hits in (0, comparison.finding.n)  # the true share is less so
        bound = "at least" if extreme else "about"
        what = "" if count is None else f"{bound} {_rounded(count):,} more {comparison.finding.counted}"
    return what or "more data than is feasible: the result is too close to the limit"


def rung_of(limit: Limit) -> Rung:
    """Return the lowest rung on which a limit can be kept.

    A limit on the true-positive rate that names no attack is about the strongest, and that needs a bank. So does one on
    SLiRA: learned from four or five shadow models, it finds less than from a bank.
    """
    if limit.metric == "tpr" and limit.attack in (None, "slira"):
        return Rung.BANK
    return min(
        (
            measure.rung
            for measure in MEASURES.values()
            if measure.metric == limit.metric
            and (limit.attack is None or not measure.attacks or limit.attack.startswith(measure.attacks))
        ),
        default=Rung.TARGET,
    )


def unmeasured(limit: Limit, report: Report) -> str:
    """Return what it takes to measure what a limit is about; empty if it is not known."""
    if limit.metric == "epsilon":
        return "a claim to compare with: [dp] epsilon, delta in memaudit.toml"
    if report.rung < Rung.BANK and rung_of(limit) is Rung.BANK:
        return NEEDS_BANK
    if report.rung is Rung.TARGET and limit.metric == "tpr" and limit.attack in OF_REFERENCES:
        return f"reference models (--reference PATH), or {NEEDS_BANK}"
    measured = {result.finding.metric for result in report.results}
    if limit.metric == "access" and limit.attack is not None and "access" in measured:
        return "a limit without “attack”: only the strongest attack at each access has a finding"
    if limit.metric not in ("tpr", "access") or limit.at_fpr is None:
        return ""
    from memaudit.stats import least_nonmembers

    missing = least_nonmembers(limit.at_fpr) - report.subject.nonmembers
    return f"{missing:,} more non-members" if missing > 0 else ""


def _more_shadows(count: int, report: Report) -> str:
    try:
        minutes = count * float(report.provenance[SHADOW_SECONDS]) / 60
    except (KeyError, ValueError):
        return f"about {count:,} more shadow models"
    time = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
    return f"about {count:,} more shadow models ({'1 minute' if minutes < 1.5 else time} of training)"


def _more_canaries(count: int, times: float | None) -> str:
    """Return how many more canaries would do, if the interval narrows with the root of their number."""
    if times is None:
        return "more canaries than is within reach: the finding is too close to the limit"
    return f"about {_rounded(max(1, math.ceil(count * (times - 1)))):,} more planted canaries"


def _times(comparison: Comparison, alpha: float) -> float | None:
    """Return how many times as much data would do; None if no amount within reach."""
    value, limit, bounds = comparison.finding.estimate.value, comparison.limit.max, comparison.bounds(alpha)
    end = bounds.high if value < limit else bounds.low
    if value == limit or not math.isfinite(end - value) or not 0.5 < bounds.confidence < 1:
        return None
    z = NormalDist().inv_cdf(bounds.confidence)
    times = ((end - value) / (limit - value) * (z + NormalDist().inv_cdf(_POWER)) / z) ** 2
    return times if times < _MOST else None


def _pairs(shadows: int, times: float) -> int:
    """Return how many more shadow models make so many times as many, in whole pairs."""
    return max(2, 2 * math.ceil(shadows * (times - 1) / 2))


def _units(hits: int, n: int, limit: float, alpha: float) -> int | None:
    """Return how many more units would do if the true share is hits/n; None if no number within reach."""
    if hits == limit * n or not 0 < limit < 1:
        return None
    low = high = n  # power has teeth, so that the bisection finds a number near the least
    while _power(hits / n, high, limit, alpha) < _POWER:
        low, high = high, 2 * high
        if high > _MOST_UNITS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(hits / n, middle, limit, alpha) >= _POWER else (middle, high)
    return max(1, high - n)


def _power(share: float, n: int, limit: float, alpha: float) -> float:
    """Return the probability that n units with this share decide the limit in the direction of the share."""
    from scipy.stats import binom

    if share < limit:
        most = int(binom.ppf(alpha, n, limit)) - 1  # the most hits that keep the limit
        most += bool(binom.cdf(most + 1, n, limit) <= alpha)
        return float(binom.cdf(most, n, share))
    least = int(binom.isf(alpha, n, limit)) + 1
    return float(binom.sf(least - 1, n, share))


def _rounded(count: int) -> int:
    """Return the number rounded up to two digits."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step
