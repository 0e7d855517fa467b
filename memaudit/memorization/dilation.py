"""Memorization-dilation: how far a network moves wrongly labeled examples from where their class collapses to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Dilation:
    """How far features of wrongly labeled training examples are from the mean of their true class's test examples.

    Attributes:
        distance: Of each wrongly labeled example; larger = more memorized.
        unseen: Of each test example, from the mean of the others of its class: what an example that was not trained on
            is away.
        excess: mean distance − mean unseen: (value, low, high) of a 95 % interval over examples, for this network.
            0 = the wrong labels left no trace in the features.
        spread: Variance within classes of the test features, relative to the variance between classes; 0 = collapsed.
            The definition is about networks that collapse: above about 1, distances say little.
    """

    distance: Float[Array, " corrupted"]
    unseen: Float[Array, " test"]
    excess: tuple[float, float, float]
    spread: float

    @property
    def memorized(self) -> float:
        """The sum of the distances, mem of the definition; it grows with the number of wrong labels."""
        return float(self.distance.sum())


def dilation(
    corrupted: Float[Array, "corrupted features"],
    classes: Int[Array, " corrupted"],
    test: Float[Array, "test features"],
    test_classes: Int[Array, " test"],
) -> Dilation:
    """Return the memorization of wrong labels under neural collapse.

    Args:
        corrupted: Features of the training examples with a wrong label, by the layer before the last.
        classes: Their true classes, not those they were trained with.
        test: Features of examples that were not trained on.
        test_classes: Their classes.

    Raises:
        ValueError: Fewer than two wrong labels, two classes, or two test examples of some class.

    Source: Nguyen et al. 2023 (ICLR), "Memorization-dilation: modeling neural collapse under noise"; Wei et al. 2025
    (ACM CSUR 58(4):98), Definition 5 and Equation 5. The spread is NC1 of Papyan, Han & Donoho 2020 (PNAS), with a
    ratio of traces. The interval is Welch's.
    """
    number = np.bincount(test_classes, minlength=int(classes.max(initial=0)) + 1)
    if len(corrupted) < 2 or (number > 0).sum() < 2 or (number[np.union1d(classes, test_classes)] < 2).any():
        raise ValueError("at least two wrong labels, two classes and two test examples of each class are needed")
    test = test.astype(np.float64)
    sums = np.zeros((len(number), test.shape[1]))
    np.add.at(sums, test_classes, test)
    means = sums / np.maximum(number, 1)[:, None]
    own = number[test_classes][:, None]
    others = (sums[test_classes] - test) / (own - 1)
    distance = np.linalg.norm(corrupted - means[classes], axis=1)
    unseen = np.linalg.norm(test - others, axis=1)
    between = ((means[test_classes] - test.mean(axis=0)) ** 2).sum()
    within = ((test - means[test_classes]) ** 2).sum()
    found = stats.ttest_ind(distance, unseen, equal_var=False)
    interval = found.confidence_interval(0.95)
    excess = float(distance.mean() - unseen.mean()), float(interval.low), float(interval.high)
    return Dilation(distance, unseen, excess, float(within / between) if between > 0 else float("inf"))
