"""The rate of forgetting: how well an attack still finds members, by the training since they were last seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from scipy import stats

from memaudit.stats import paired_change

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class ForgettingRate:
    """An attack's success after each amount of further training, with its interval over models.

    Attributes:
        since: Epochs of further training, or steps: whatever was given.
        success: The attack's area under the curve; 0.5 = it finds nothing. Mean over models.
        low: Lower ends of the intervals.
        high: Upper ends.
    """

    since: Float[Array, " times"]
    success: Float[Array, " times"]
    low: Float[Array, " times"]
    high: Float[Array, " times"]

    def forgets(self, alpha: float) -> float:
        """Return the least k such that the training (A, α, k)-forgets: from there on, no upper end is above α.

        Infinite if that is never seen.

        Source: Jagielski et al. 2023 (ICLR); Wei et al. 2025, Definition 11.
        """
        below = np.logical_and.accumulate((self.high <= alpha)[::-1])[::-1]
        return float(self.since[below.argmax()]) if below[-1] else float("inf")


def rate_of_forgetting(
    signal: Float[Array, "models times examples"],
    since: Float[Array, " times"],
    members: UInt8[Array, "models examples"],
    seen: UInt8[Array, "models examples"],
    level: float = 0.95,
) -> ForgettingRate:
    """Return how well members are distinguished from non-members after further training on other data.

    The attack is the difficulty-calibrated signal: that of a model, less its mean over the other models that were never
    trained on the example, at the same time. In every model, members and non-members that the further training used are
    left out: what it used is seen last. Leave some non-members unused, as by `Part("nonmembers", 0.5)`.

    Args:
        signal: Larger = more member-like, such as minus the loss.
        since: Training since the end of the first one, at each look.
        members: How often each model was trained on each example before.
        seen: How often the example was in the further training.
        level: Of the intervals: Student's t over pairs of models, or over models that are no pairs.

    Raises:
        ValueError: A model has no unused member or non-member, or there are fewer than three models.

    Source: Jagielski et al. 2023 (ICLR), "Measuring forgetting of memorized training examples"; calibration by Watson
    et al. 2022.
    """
    inside, outside = (members > 0) & (seen == 0), (members == 0) & (seen == 0)
    if len(signal) < 3 or not (inside.any(axis=1) & outside.any(axis=1)).all():
        raise ValueError(
            "each of three models or more needs members and non-members that the further training did not use"
        )
    others = outside.sum(axis=0) - outside  # models without the example, this one left out
    known = others > 0
    found = np.empty((len(signal), signal.shape[1]))
    for time in range(signal.shape[1]):
        now = signal[:, time].astype(np.float64)
        mean = (np.where(outside, now, 0).sum(axis=0) - np.where(outside, now, 0)) / np.maximum(others, 1)
        score = now - mean
        for model in range(len(signal)):
            one, other = (score[model, side[model] & known[model]] for side in (inside, outside))
            found[model, time] = stats.mannwhitneyu(one, other).statistic / (len(one) * len(other))
    if len(found) % 2 == 0 and ((members[0::2] > 0) != (members[1::2] > 0)).all():
        found = found.reshape(-1, 2, found.shape[1]).mean(axis=1)  # the two of a pair depend on each other
    none = np.zeros(len(found))
    value, low, high = np.array([paired_change(none, column, level) for column in found.T]).T
    return ForgettingRate(np.asarray(since, np.float64), value, low, high)
