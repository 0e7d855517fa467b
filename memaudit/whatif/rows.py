"""The row of a variant: its figures, what they changed, and what intervals that hold all together show of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from memaudit.errors import SettingsError
from memaudit.whatif.front import dominated_by, leak_of, on_the_front
from memaudit.whatif.measuring import Field, difference, mean
from memaudit.whatif.result import Row, Standing
from memaudit.whatif.variants import BASELINE


@dataclass(frozen=True, slots=True)
class Accepted:
    """The largest leak and the largest loss of utility that are accepted; None where none is set."""

    leak: float | None
    cost: float | None

    def __post_init__(self) -> None:
        if self.leak is not None and not 0 < self.leak < 1:
            raise SettingsError(f"limit = {self.leak}: the largest leak that is accepted is between 0 and 1")
        if self.cost is not None and self.leak is None:
            raise SettingsError("at_most_cost is about variants that keep a limit; set a limit, too")
        if self.cost is not None and not 0 <= self.cost < 1:
            raise SettingsError(f"at_most_cost = {self.cost}: the largest loss of utility is between 0 and 1")


def row(name: str, field: Field, accepted: Accepted, level: float) -> Row:
    """Return the row of one variant of a field.

    Args:
        name: Of the variant, or `BASELINE`.
        field: All that are compared now.
        accepted: What is asked of them.
        level: Coverage of each interval that decides.
    """
    own = field.alone(name)
    found: dict[str, Any] = {
        "name": name,
        "models": field.shadows,
        "units": field.units(name),
        "utility": mean(own.utility, own.step),
        "leak": mean(own.leak, own.step),
        "memorization": mean(own.memorization, own.step),
        "seconds": float(own.seconds.mean()),
        "even": own.even,
        "standing": _standing(name, field, accepted, level),
        "dominated_by": dominated_by(name, field.made, field, level),
    }
    return Row(**found) if name == BASELINE else Row(**found, **_changes(name, field))


def _changes(name: str, field: Field) -> dict[str, Any]:
    before, after = field.both(BASELINE, name)
    extra = before.seconds if field.made[name].on_top else np.zeros_like(before.seconds)
    found: dict[str, Any] = {
        f"{figure}_change": difference(getattr(before, figure), getattr(after, figure), after.step)
        for figure in ("utility", "leak", "memorization")
    }
    return found | {"seconds_ratio": float((after.seconds + extra).mean() / before.seconds.mean())}


def _standing(name: str, field: Field, accepted: Accepted, level: float) -> Standing:
    """Return what intervals show that hold together: that of the cost is among those that the level counts."""
    if accepted.leak is None:
        return Standing.NOT_ASKED
    leak = leak_of(name, field, level)
    if leak is not None and leak.low > accepted.leak:
        return Standing.EXCEEDS
    cheap: bool | None = True  # None: not shown
    if accepted.cost is not None and name != BASELINE:
        before, after = field.both(BASELINE, name)
        change = difference(before.utility, after.utility, after.step, level)
        cheap = True if change.low >= -accepted.cost else False if change.high < -accepted.cost else None
    if cheap is False:
        return Standing.COSTLY
    return Standing.KEEPS if leak is not None and leak.high <= accepted.leak and cheap else Standing.UNDECIDED


def settled(of: Row) -> bool:
    """Return whether more models would change nothing: it is dominated, exceeds the limit, or costs too much."""
    return of.dominated_by is not None or of.standing in (Standing.EXCEEDS, Standing.COSTLY)


def with_front(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return rows that say which of them are on the front; one that is shown to be dominated is not."""
    front = on_the_front({of.name: _point(of) for of in rows if of.dominated_by is None})
    return tuple(replace(of, front=of.name in front) for of in rows)


def _point(of: Row) -> tuple[float, float]:
    """Return a variant's changes of utility and leak; (0, 0) is the baseline."""
    useful, leak = of.utility_change, of.leak_change
    return (0.0 if useful is None else useful.value, 0.0 if leak is None else leak.value)
