"""Known memorization: labels that were redrawn at random can only be predicted by who was trained on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class KnownMemorization:
    """How often models predict labels that were redrawn at random, those they were trained on and others.

    `inside` is the share of its redrawn training labels that each model predicts, `outside` that of labels that were
    redrawn in the same way for examples it was not trained on. `gains` has the difference of the two, in [−1, 1],
    larger = more memorized, as the mean over the models of each cluster: clusters are independent draws.
    """

    inside: Float[Array, " models"]
    outside: Float[Array, " models"]
    gains: Float[Array, " clusters"]


def known_memorization(
    fitted: Bool[Array, "models examples"],
    redrawn: Bool[Array, "models examples"],
    members: UInt8[Array, "models examples"],
    clusters: Int[Array, " models"],
) -> KnownMemorization:
    """Return the known memorization of models that were trained on redrawn labels.

    Labels are redrawn independently of membership, so that the labels redrawn for other examples show how often such a
    label is predicted without having been trained on: the difference is the memorization of an example whose label is
    random, by Feldman's definition.

    Args:
        fitted: Whether each model predicts the label that was drawn for each example.
        redrawn: Whether that label is another than the example's own.
        members: How often each model was trained on each example, with that label.
        clusters: The number of each model's cluster, from 0: the two of a complementary pair are one.

    Raises:
        ValueError: A model has no redrawn label among its members, or among the other examples.

    Source: Zhang et al. 2017 (ICLR), fitting random labels; Feldman 2020, mem(A, S, i) of an example with such a label.
    """
    sides = redrawn & (members > 0), redrawn & (members == 0)
    counts = [side.sum(axis=1) for side in sides]
    if (least := int(min(count.min() for count in counts))) < 1:
        worst = next(int(np.argmin(count)) for count in counts if count.min() == least)
        raise ValueError(f"model {worst} has no redrawn label on one side: raise label_noise, or give more examples")
    inside, outside = ((fitted & side).sum(axis=1) / count for side, count in zip(sides, counts, strict=True))
    return KnownMemorization(inside, outside, np.bincount(clusters, inside - outside) / np.bincount(clusters))
