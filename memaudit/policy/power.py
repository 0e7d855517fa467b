"""What a limit on a share can be expected to decide, before anything is measured.

The policy itself is asked for its verdict on numbers of hits, and each verdict is weighted with the binomial
probability of its numbers: exact for independent units. Of a true-positive rate, whose threshold comes from a few
shadow models, the units are members divided by `design_effect`: approximate. All controls are taken to pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from memaudit.policy.controls import needed_controls
from memaudit.policy.judge import hold
from memaudit.types import Control, Estimate, Finding, Limit, Report, Result, Subject, Verdict

_MOST = 10**9
_EXCESS = 3.0, 48.0  # of the variance at an FPR of 1 % and above: factors of 1/(n − 2) and of its third power
_STEEPER = 0.45  # by which power of the rate the excess grows below 1 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """The probabilities of the three verdicts at a true share."""

    rate: float
    passes: float
    fails: float
    undecided: float


def design_effect(shadows: int, fpr: float) -> float:
    """Return how many times the variance of a true-positive rate is that of independent members, as far as is known.

    The excess comes from the threshold and from between training runs; it is measured in an audit, and here read off
    simulated banks whose models do not differ (benchmarks.operating_characteristics): 2.5 with 6 shadow models, 1.7
    with 8, 1.2 with 16, 1.05 with 64 at a false-positive rate of 1 %; 5.2, 3.0, 1.7 and 1.1 at 0.1 %. Models that
    differ, or copies among the examples, have more.

    Args:
        shadows: Number of shadow models, at least 4.
        fpr: False-positive rate of the threshold.
    """
    first, third = (excess / (shadows - 2) ** power for excess, power in zip(_EXCESS, (1, 3), strict=True))
    return 1 + (first + third) * max(1.0, 0.01 / fpr) ** _STEEPER


def chances(limit: Limit, units: int, rate: float, comparisons: int = 1) -> Chances:
    """Return how likely each verdict on a share is, if so many units are looked at and the true share is `rate`.

    Args:
        limit: What the share is compared with.
        units: Members, or whatever is counted; at least 1.
        rate: The true share.
        comparisons: How many comparisons share the confidence by Holm's procedure. The others are taken to stay
            undecided, so that this one gets the least that it can get.
    """
    from scipy.stats import binom

    passes = float(binom.cdf(most_kept(limit, units, comparisons), units, rate))
    fails = float(binom.sf(least_broken(limit, units, comparisons) - 1, units, rate))
    return Chances(rate=rate, passes=passes, fails=fails, undecided=max(0.0, 1 - passes - fails))


@cache
def most_kept(limit: Limit, units: int, comparisons: int = 1) -> int:
    """Return the most hits among so many units with which the limit is kept; −1 if even none would not do."""
    others = [units] * (comparisons - 1)
    return _first(units + 1, lambda hits: _verdict(limit, units, [hits, *others]) is not Verdict.PASS) - 1


@cache
def least_broken(limit: Limit, units: int, comparisons: int = 1) -> int:
    """Return the least hits among so many units with which the limit is broken; units + 1 if all would not do."""
    others = [0] * (comparisons - 1)
    return _first(units + 1, lambda hits: _verdict(limit, units, [hits, *others]) is Verdict.FAIL)


@cache
def least_units(limit: Limit, comparisons: int = 1) -> int | None:
    """Return the least units with which the limit can be kept at all: if there is no hit among them.

    None if no number within reach would do. At one comparison it is ⌈ln α / ln(1 − limit)⌉, the "rule of three".
    """

    def kept(units: int) -> bool:
        return _verdict(limit, units, [0, *[units] * (comparisons - 1)]) is Verdict.PASS

    found = 1 + _first(_MOST, lambda below: kept(below + 1))
    return found if found <= _MOST else None


def _first(end: int, holds: Callable[[int], bool]) -> int:
    """Return the first number from 0 at which something holds that holds from there on; `end` if it never does."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _verdict(limit: Limit, units: int, hits: list[int]) -> Verdict:
    """Return the verdict on the first of several shares, each of which is compared with a limit like this one."""
    import numpy as np

    from memaudit.stats import clopper_pearson

    low, high = clopper_pearson(np.array(hits), units)
    results = tuple(
        Result(
            finding=_finding(limit, number, found, units, float(low[number]), float(high[number])),
            verdict=Verdict.NOTED,
            reason="",
        )
        for number, found in enumerate(hits)
    )
    report = Report(
        created="",
        subject=Subject(model="", sha256="", members=units, nonmembers=units, shadows=2),
        results=results,
        skipped=(),
        controls=tuple(
            Control(code=code, title="", passed=True, sentence="") for code in needed_controls(limit.metric)
        ),
        provenance={},
    )
    limits = [replace(limit, id=f"{number}", attack=f"{number}", at_fpr=None) for number in range(len(hits))]
    return hold(report, limits).results[0].verdict


def _finding(limit: Limit, number: int, hits: int, units: int, low: float, high: float) -> Finding:
    estimate = Estimate(value=hits / units, low=low, high=high, unit="share", method="Clopper–Pearson")
    return Finding(
        code="",
        title="",
        metric=limit.metric,
        attack=f"{number}",
        estimate=estimate,
        sentence="",
        n=units,
        source="",
    )
