"""Where memorization sits: what is left of redrawn labels after an intervention, beside what is left of the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from memaudit.memorization.label_noise import known_memorization
from memaudit.stats import paired_change

Array = np.ndarray

MEASURES = ("memorized", "clean", "unseen")


@dataclass(frozen=True, slots=True)
class Remembered:
    """One share before an intervention and after it, and the change with its 95 % interval over pairs of models."""

    before: float
    after: float
    change: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an intervention does to a network.

    An intervention where memorization sits, and nothing else, lowers `memorized` to 0 and leaves the others.

    Attributes:
        memorized: Known memorization: the share predicted of the redrawn labels that a model was trained on, less that
            of labels redrawn in the same way that it was not.
        clean: The share predicted of its training labels that were not redrawn.
        unseen: The accuracy on other examples, with their own labels.
    """

    memorized: Remembered
    clean: Remembered
    unseen: Remembered


def effect(
    fitted: tuple[Bool[Array, "models examples"], Bool[Array, "models examples"]],
    correct: tuple[Shaped[Array, "models examples"], Shaped[Array, "models examples"]],
    redrawn: Bool[Array, "models examples"],
    members: UInt8[Array, "models examples"],
    paired: bool,
) -> Effect:
    """Return what an intervention does to models that were trained on partly redrawn labels.

    Args:
        fitted: Whether each model predicts the label that was drawn for each example: before and after.
        correct: Whether it predicts the example's own label: before and after.
        redrawn: Whether the label that was drawn is another than the example's own.
        members: How often each model was trained on each example, with the label that was drawn.
        paired: Whether models 2t and 2t + 1 are a complementary pair, and one unit of the intervals.

    Raises:
        ValueError: A model has no redrawn label, or no other one, on either side; or there are fewer than two units.

    Source: Maini et al. 2023 (ICML), "Can neural network memorization be localized?", sections 4 and 5; Wei et al. 2025
    (ACM CSUR 58(4):98), sections 3.7 and 4.5.
    """
    inside, units = members > 0, np.arange(len(members)) // (2 if paired else 1)
    sides = inside & ~redrawn, ~inside
    if not all(side.any(axis=1).all() for side in sides):
        raise ValueError("each model needs training labels that were not redrawn, and examples that it lacks")
    shares = []
    for now in (0, 1):
        known = known_memorization(fitted[now], redrawn, members, units).gains
        shares.append((known, *(_by_unit(correct[now], side, units) for side in sides)))
    return Effect(
        **{name: _remembered(*values) for name, values in zip(MEASURES, zip(*shares, strict=True), strict=True)}
    )


def _by_unit(right: Array, side: Array, units: Array) -> Float[Array, " units"]:
    shares = (right * side).sum(axis=1) / side.sum(axis=1)
    return np.asarray(np.bincount(units, shares) / np.bincount(units))


def _remembered(before: Array, after: Array) -> Remembered:
    return Remembered(float(before.mean()), float(after.mean()), paired_change(before, after))
