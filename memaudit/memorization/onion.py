"""The privacy onion: what is left of an attack when those whom it finds best are removed, and models trained again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from memaudit.stats import paired_change, rate_by_pair

Array = np.ndarray

Rate = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyOnion:
    """True-positive rates of an attack at one false-positive rate; each is (value, low, high) of a 95 % interval.

    Intervals are over pairs of models; the examples are taken as given.

    Attributes:
        baseline: Of all members, in models trained on halves of all examples.
        ideal: Of the members that stay, in the same models: what removal would reach if nobody else became exposed.
        actual: Of the same examples, in models trained without the removed ones.
        gain: baseline − actual, above 0: removal helped.
        onion: actual − ideal, above 0: others became exposed instead.
        pairs: Pairs of models behind each rate.
        removed: Units that were removed.
    """

    baseline: Rate
    ideal: Rate
    actual: Rate
    gain: Rate
    onion: Rate
    pairs: int
    removed: int


def exposure(
    inside: Float[Array, "pairs examples"], outside: Float[Array, "pairs examples"]
) -> Float[Array, " examples"]:
    """Return how well an attack finds each example, in [−1, 1]; larger = more exposed, 0 = not at all.

    It is the mean percentile of the example's inside scores among all outside scores, less that of its outside scores.
    The paper's is the share of models in which the attack is right about the example, which few models leave tied.

    Args:
        inside: Scores of models that were trained on the example.
        outside: Scores of models that were not.

    Source: after Carlini et al. 2022 (NeurIPS), "The privacy onion effect", section 3, the privacy score.
    """
    ordered = np.sort(outside.ravel())
    found = [
        np.searchsorted(ordered, scores) + np.searchsorted(ordered, scores, "right") for scores in (inside, outside)
    ]
    return (found[0] - found[1]).mean(axis=0) / (2 * len(ordered))


def privacy_onion(
    before: tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]],
    after: tuple[Float[Array, "others stay"], Float[Array, "others stay"]],
    stay: Int[Array, " stay"],
    fpr: float,
) -> PrivacyOnion:
    """Return how much of an attack is left after removal, with the threshold of each rate set on its own examples.

    Args:
        before: (inside, outside) scores of models trained on halves of all examples. Who is removed must have been
            chosen on other models: a choice by the same scores makes `ideal` too small.
        after: Scores of models trained on halves of the examples that stay, by as many pairs.
        stay: The columns of `before` that `after` has, in its order.
        fpr: The false-positive rate.

    Raises:
        ValueError: The banks have not as many pairs, or too few scores to resolve the rate.

    Source: Carlini et al. 2022 (NeurIPS), "The privacy onion effect: memorization is relative", Figure 1; choosing and
    measuring on other models is ours. The interval of actual − ideal is Welch's.
    """
    pairs, examples = before[0].shape
    if len(after[0]) != pairs:
        raise ValueError(f"there are {pairs} pairs of models before and {len(after[0])} after; compare as many")
    of_all, of_stay = (
        rate_by_pair(before[0][:, rows], before[1][:, rows], fpr)[1] for rows in (np.arange(examples), stay)
    )
    again = rate_by_pair(*after, fpr)[1]
    none = np.zeros(pairs)
    return PrivacyOnion(
        baseline=paired_change(none, of_all),
        ideal=paired_change(none, of_stay),
        actual=paired_change(none, again),
        gain=_difference(again, of_all),
        onion=_difference(of_stay, again),
        pairs=pairs,
        removed=examples - len(stay),
    )


def _difference(one: Float[Array, " pairs"], other: Float[Array, " pairs"]) -> Rate:
    """Return other − one of independent pairs."""
    value = float(other.mean() - one.mean())
    if one.std() == other.std() == 0:
        return value, value, value
    interval = stats.ttest_ind(other, one, equal_var=False).confidence_interval(0.95)
    return value, float(interval.low), float(interval.high)
