"""Unlearning, compared with models that never had the examples: the bank's own models without them are that oracle."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import stats

from memaudit.stats import paired_change

Array = np.ndarray


class Unlearning(NamedTuple):
    """How well the forgotten examples are distinguished from the same examples in models that never had them.

    Each is (value, low, high) of an area under the curve: 0.5 = like a model that never had them; above: they still
    look like members; below: they look like neither, which reveals them too. `before` is that of the parents,
    `after` that of the children, `change` the difference, paired.
    """

    before: tuple[float, float, float]
    after: tuple[float, float, float]
    change: tuple[float, float, float]


def unlearning(
    before: Float[Array, "models examples"],
    after: Float[Array, "models examples"],
    members: UInt8[Array, "models examples"],
    forgotten: Bool[Array, "models examples"],
) -> Unlearning:
    """Return how much of its traces unlearning removes, with 95 % intervals over pairs of models.

    A forgotten example's signal in a child is compared with its signal in the child of the complementary model, which
    never had it; both less their mean over the other pairs' children without it. What the derivation does to all models
    alike, such as raising confidence, therefore does not count. The parents are compared in the same way.

    Args:
        before: Signals of the parents, complementary pairs next to each other; larger = more member-like.
        after: Signals of their children.
        members: How often each parent was trained on each example.
        forgotten: Which members each child was to forget.

    Raises:
        ValueError: The models are no complementary pairs, fewer than three pairs, or a model forgets nothing it had.

    Source: the oracle of Cao & Yang 2015 (retraining without the data), by the models of a bank; calibration by Watson
    et al. 2022.
    """
    inside = members > 0
    if len(members) % 2 or len(members) < 6 or (inside[0::2] == inside[1::2]).any():
        raise ValueError("unlearning is measured on three complementary pairs of models or more")
    forgotten = forgotten & inside
    if not forgotten.any(axis=1).all():
        raise ValueError(f"model {int((~forgotten.any(axis=1)).argmax())} forgets none of its members")
    by_pair = [_areas(signals.astype(np.float64), inside, forgotten) for signals in (before, after)]
    none = np.zeros(len(by_pair[0]))
    alone = [paired_change(none, areas) for areas in by_pair]
    return Unlearning(alone[0], alone[1], paired_change(by_pair[0], by_pair[1]))


def _areas(
    signals: Float[Array, "models examples"],
    inside: Bool[Array, "models examples"],
    forgotten: Bool[Array, "models examples"],
) -> Float[Array, " pairs"]:
    """Return the area under the curve of the forgotten examples against the complementary model's, by pair."""
    outside = np.where(inside[0::2], signals[1::2], signals[0::2])
    mean = (outside.sum(axis=0) - outside) / (len(outside) - 1)
    areas = np.empty(len(signals))
    for model, who in enumerate(forgotten):
        had, never = ((signals[m] - mean[model // 2])[who] for m in (model, model ^ 1))
        areas[model] = stats.mannwhitneyu(had, never).statistic / len(had) ** 2
    return areas.reshape(-1, 2).mean(axis=1)
