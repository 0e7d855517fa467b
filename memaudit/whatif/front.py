"""Which variants are worth their cost: leak against utility, with statements that hold all together.

A variant dominates another if its models are more useful and leak less. The intervals that decide are counted
beforehand, so that all statements by them hold together with a probability of 95 %, whichever variants a comparison
went on with (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from memaudit.errors import EvidenceError
from memaudit.types import Estimate
from memaudit.whatif.measuring import Field, difference, mean

LEVEL = 0.95


def deciding_level(variants: int, rungs: int) -> float:
    """Return the coverage of each interval that decides: for each two variants two, for each one, at every rung."""
    return 1 - (1 - LEVEL) / (rungs * (variants * (variants - 1) + variants))


def dominated_by(name: str, names: Collection[str], field: Field, level: float) -> str | None:
    """Return which of some variants is shown to be more useful than one and to leak less; None if none is."""
    return next((other for other in names if other != name and _better(other, name, field, level)), None)


def _better(other: str, name: str, field: Field, level: float) -> bool:
    try:
        one, two = field.both(name, other)
    except EvidenceError:  # each can be compared with the baseline, but hardly a unit is in both
        return False
    if not (one.even and two.even):
        return False
    more_useful = difference(one.utility, two.utility, two.step, level).low > 0
    return more_useful and difference(one.leak, two.leak, two.step, level).high < 0


def leak_of(name: str, field: Field, level: float = LEVEL) -> Estimate | None:
    """Return the mean true-positive rate over a variant's models, with its interval; None if few models decide it."""
    own = field.alone(name)
    return mean(own.leak, own.step, level) if own.even else None


def on_the_front(points: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """Return the names of the (change of utility, change of leak) points that none dominates, most useful first."""
    front = [
        name
        for name, (useful, leak) in points.items()
        if not any(u >= useful and m <= leak and (u, m) != (useful, leak) for u, m in points.values())
    ]
    return tuple(sorted(front, key=lambda name: -points[name][0]))
