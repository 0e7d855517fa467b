"""Labels that are redrawn at random: fitting them is memorization, as nothing else predicts them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from memaudit.design.streams import LABELS, TARGET_LABELS, stream

Array = np.ndarray


def redrawn(
    seed: int,
    model: int | None,
    y: Int[Array, " examples"],
    unit_of: Int[Array, " examples"],
    classes: int,
    share: float,
) -> Int[Array, " examples"]:
    """Return the labels that one model of a bank is trained on, of which a share is replaced by another class.

    Each unit's label is replaced with probability `share`, whether it is a member or not, by one of the other classes
    with equal probability. The labels of all of a unit are shifted alike, so that exact copies still agree. The draw
    depends on (seed, model) alone, and not on membership.

    Args:
        seed: Of the bank.
        model: Its number; None for a target.
        y: The examples' own labels, from 0.
        unit_of: The number of each example's unit.
        classes: How many there are.
        share: Probability that a label is replaced.

    Source: Zhang et al. 2017 (ICLR), section 2.1, partially corrupted labels; here never by the label itself.
    """
    source = stream(seed, TARGET_LABELS, 0) if model is None else stream(seed, LABELS, model)
    units = int(unit_of.max()) + 1
    shift = source.integers(1, classes, units)
    shift[source.random(units) >= share] = 0
    return np.asarray((y + shift[unit_of]) % classes, y.dtype)
