"""Second-split forgetting: after how much training on other data a model forgets what it had learned, for good.

Mislabeled examples are said to be forgotten fast, rare ones slowly, typical ones never (Maini et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

Array = np.ndarray


class Kind(IntEnum):
    """What forgetting says of an example; UNLEARNED: too few models had learned it to say anything."""

    UNLEARNED = 0
    TYPICAL = 1
    RARE = 2
    MISLABELED = 3


@dataclass(frozen=True, slots=True)
class SecondSplit:
    """When every example is forgotten, over the models that had learned it.

    Attributes:
        time: The median time, in epochs of the second training; infinite where most models never forget it, NaN where
            no model had learned it. Smaller = forgotten sooner.
        forgotten: The share of those models that forget it for good.
        learned: The number of those models.
    """

    time: Float[Array, " examples"]
    forgotten: Float[Array, " examples"]
    learned: Int[Array, " examples"]

    def kinds(self, early: float, least: int = 2) -> Int[Array, " examples"]:
        """Return the three-way split, as `Kind`.

        Args:
            early: Forgotten after so many epochs or fewer is mislabeled, later is rare. It depends on the second
                training, its learning rate above all, and no value fits all.
            least: Models that must have learned an example.
        """
        kinds = np.where(np.isinf(self.time), Kind.TYPICAL, np.where(self.time <= early, Kind.MISLABELED, Kind.RARE))
        return np.where(self.learned < least, Kind.UNLEARNED, kinds).astype(np.int64)


def forgetting_time(
    correct: Bool[Array, "times models examples"], epochs: Float[Array, " times"]
) -> Float[Array, "models examples"]:
    """Return the earliest epoch after which every look finds the example misclassified; infinite if there is none.

    Source: Maini et al. 2022 (NeurIPS), second-split forgetting time; Wei et al. 2025, Definition 10, Equation 14.
    """
    wrong_from_here = np.logical_and.accumulate(~correct[::-1], axis=0)[::-1]
    return np.where(wrong_from_here[-1], epochs[wrong_from_here.argmax(axis=0)], np.inf)


def second_split(
    correct: Bool[Array, "models times examples"],
    epochs: Float[Array, " times"],
    members: UInt8[Array, "models examples"],
    seen: UInt8[Array, "models examples"],
    learned: Bool[Array, "models examples"],
) -> SecondSplit:
    """Return when every example is forgotten, from children that were trained further on other data.

    Args:
        correct: Whether each child classifies each example correctly, at each look.
        epochs: Of the second training, at each look; the last is its end.
        members: How often each parent was trained on each example.
        seen: How often the example was in the second training; those that were are left out.
        learned: Whether the parent, at its end, classifies the example correctly: what was never learned is not
            forgotten.
    """
    counted = (members > 0) & (seen == 0) & learned
    times = forgetting_time(np.moveaxis(correct, 1, 0), epochs)
    number = counted.sum(axis=0)
    forgotten = (counted & np.isfinite(times)).sum(axis=0)
    ordered = np.sort(np.where(counted, times, np.nan), axis=0)  # NaN goes last
    middle = np.maximum(number - 1, 0) // 2
    median = ordered[middle, np.arange(ordered.shape[1])]
    with np.errstate(invalid="ignore"):
        return SecondSplit(
            np.where(number > 0, median, np.nan), forgotten / np.where(number > 0, number, np.nan), number
        )
