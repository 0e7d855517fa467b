"""Unlearning, compared with models that never had the examples: the bank's own models without them are that oracle."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import stats

from memaudit.stats import paired_change, rate_by_pair

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
    inside, forgotten = require_forgotten(members, forgotten)
    by_pair = [_areas(signals.astype(np.float64), inside, forgotten) for signals in (before, after)]
    return changed(*by_pair)


def unlearned_tpr(
    before: Float[Array, "models examples"],
    after: Float[Array, "models examples"],
    members: UInt8[Array, "models examples"],
    forgotten: Bool[Array, "models examples"],
    fpr: float,
) -> Unlearning:
    """Return the share of the forgotten examples that an attack finds, in the form of `unlearning`.

    The false-positive rate is that over all examples in models that never had them.

    Raises:
        ValueError: As for `unlearning`; or the rate cannot be resolved.
    """
    inside, forgotten = require_forgotten(members, forgotten)
    either = forgotten[0::2] | forgotten[1::2]
    by_pair = []
    for signals in (before, after):
        had, never = (side - outside_mean(signals, inside) for side in sides(signals.astype(np.float64), inside))
        by_pair.append(rate_by_pair(had, never, fpr, either)[1])
    return changed(*by_pair)


def changed(before: Float[Array, " pairs"], after: Float[Array, " pairs"]) -> Unlearning:
    """Return the means over pairs and that of their difference, with 95 % intervals."""
    none = np.zeros(len(before))
    return Unlearning(paired_change(none, before), paired_change(none, after), paired_change(before, after))


def require_forgotten(
    members: UInt8[Array, "models examples"], forgotten: Bool[Array, "models examples"]
) -> tuple[Bool[Array, "models examples"], Bool[Array, "models examples"]]:
    """Return who is a member, and which members are forgotten; ValueError as `unlearning` raises it."""
    inside = members > 0
    if len(members) % 2 or len(members) < 6 or (inside[0::2] == inside[1::2]).any():
        raise ValueError("unlearning is measured on three complementary pairs of models or more")
    forgotten = forgotten & inside
    if not forgotten.any(axis=1).all():
        raise ValueError(f"model {int((~forgotten.any(axis=1)).argmax())} forgets none of its members")
    return inside, forgotten


def sides(
    signals: Float[Array, "models examples"], inside: Bool[Array, "models examples"]
) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
    """Return each example's signal in the model of a pair that was trained on it, and in the other."""
    one = inside[0::2]
    return np.where(one, signals[0::2], signals[1::2]), np.where(one, signals[1::2], signals[0::2])


def outside_mean(
    signals: Float[Array, "models examples"], inside: Bool[Array, "models examples"]
) -> Float[Array, "pairs examples"]:
    """Return each example's mean signal in the models of the other pairs that were not trained on it."""
    outside = sides(signals.astype(np.float64), inside)[1]
    return np.asarray((outside.sum(axis=0) - outside) / (len(outside) - 1))


def _areas(
    signals: Float[Array, "models examples"],
    inside: Bool[Array, "models examples"],
    forgotten: Bool[Array, "models examples"],
) -> Float[Array, " pairs"]:
    """Return the area under the curve of the forgotten examples against the complementary model's, by pair."""
    mean = outside_mean(signals, inside)
    areas = np.empty(len(signals))
    for model, who in enumerate(forgotten):
        had, never = ((signals[m] - mean[model // 2])[who] for m in (model, model ^ 1))
        areas[model] = stats.mannwhitneyu(had, never).statistic / len(had) ** 2
    return areas.reshape(-1, 2).mean(axis=1)
