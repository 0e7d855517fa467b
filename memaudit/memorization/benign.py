"""Benign memorization: a network that fits random labels, and learns a better representation all the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool

from memaudit.stats import newcombe_paired

Array = np.ndarray


class Memorizes(StrEnum):
    """What a network does with random labels."""

    UNFITTED = "it does not fit the labels"
    BENIGN = "benign: it fits the labels, and its representation improved"
    MALIGN = "malign: it fits the labels, and its representation became worse"
    UNDECIDED = "it fits the labels, and no change of its representation is shown"


@dataclass(frozen=True, slots=True)
class BenignMemorization:
    """The accuracy of a nearest-neighbour probe with clean labels, after training on random ones and before.

    Attributes:
        fitted: The share of its random labels that the network predicts.
        after: Probe accuracy on the trained network's representation; mem(h, D_test) of Equation 4.
        before: The same at initialization.
        change: after − before: (value, low, high) of a 95 % interval over test examples, for these two networks.
    """

    fitted: float
    after: float
    before: float
    change: tuple[float, float, float]

    def kind(self, least: float = 1.0) -> Memorizes:
        """Return what the network does.

        Args:
            least: The share of labels from which they count as fitted; all of them, by the definition.
        """
        if self.fitted < least:
            return Memorizes.UNFITTED
        _, low, high = self.change
        return Memorizes.BENIGN if low > 0 else Memorizes.MALIGN if high < 0 else Memorizes.UNDECIDED


def benign_memorization(
    fitted: Bool[Array, " members"], after: Bool[Array, " test"], before: Bool[Array, " test"]
) -> BenignMemorization:
    """Return whether a memorization of random labels is benign.

    The definition calls every memorization that is not benign malign; here it is undecided where the interval of the
    change holds 0.

    Args:
        fitted: Whether the network predicts the random label of each of its training examples.
        after: Whether the probe of the trained network is right on each test example.
        before: The same for the network at initialization.

    Source: Anagnostidis et al. 2023 (ICLR), "The curious case of benign memorization"; Wei et al. 2025 (ACM CSUR
    58(4):98), Definition 4 and Equation 4.
    """
    low, high = newcombe_paired(int(after.sum()), int(before.sum()), int((after & before).sum()), len(after))
    value = float(after.mean() - before.mean())
    return BenignMemorization(
        float(fitted.mean()), float(after.mean()), float(before.mean()), (value, float(low), float(high))
    )
