"""How many bits scores tell about memberships: a lower bound of conditional mutual information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Array = np.ndarray

_FOLDS, _BINS = 5, 64


def membership_bits(
    inside: Float[Array, "clusters examples"], outside: Float[Array, "clusters examples"]
) -> Float[Array, " clusters"]:
    """Return how many bits per example each pair of models tells about memberships, at most 1; 0 or less for nothing.

    It is 1 less the cross-entropy, in bits, of predicted memberships U. If these are fair and independent, no predictor
    of U_i has a mean cross-entropy below 1 − I(U_i; θ), and the I of all examples add up to CMI or less: the mean over
    clusters, times the number of examples, estimates a lower bound of CMI.

    A score becomes a probability of membership by what it meant in clusters of other folds. Scores of a cluster must
    not depend on its own memberships.

    Args:
        inside: Scores of the models that were trained on the example, in any unit; finite.
        outside: Scores of those that were not.

    Raises:
        ValueError: Fewer than two clusters.

    Source: Steinke & Zakynthinou 2020 (COLT), the definition of CMI; Barber & Agakov 2003 (NIPS), the variational lower
    bound of mutual information; independent memberships make it superadditive.
    """
    clusters = len(inside)
    if clusters < 2:
        raise ValueError(f"bits of membership need at least 2 pairs of models, got {clusters}")
    fold = np.arange(clusters) % min(_FOLDS, clusters)
    bits = np.empty(clusters)
    for own in range(fold.max() + 1):
        tell = Calibration.of(inside[fold != own], outside[fold != own])
        here = fold == own
        bits[here] = 1 + (tell.log2(inside[here], True) + tell.log2(outside[here], False)) / 2
    return bits


@dataclass(frozen=True, slots=True)
class Calibration:
    """What scores mean: the share of members among other models' scores between two edges."""

    edges: Float[Array, " edges"]
    member: Float[Array, " bins"]

    @classmethod
    def of(cls, inside: Float[Array, "..."], outside: Float[Array, "..."]) -> Calibration:
        """Return the calibration by scores of members and of non-members: Laplace's rule in bins of equal counts."""
        both = np.concatenate([inside.ravel(), outside.ravel()])
        bins = int(np.clip(np.cbrt(len(both)), 2, _BINS))
        edges = np.unique(np.quantile(both, np.arange(1, bins) / bins))
        members, others = (
            np.bincount(np.digitize(of.ravel(), edges), minlength=len(edges) + 1) for of in (inside, outside)
        )
        return cls(edges, (members + 1) / (members + others + 2))

    def probability(self, scores: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the probability of membership that each score means, if half of all candidates are members."""
        return self.member[np.digitize(scores, self.edges)]

    def log2(self, scores: Float[Array, "... examples"], member: Bool[Array, " examples"] | bool) -> Array:
        """Return the mean log2 of the probability of what is true, over the examples."""
        told = self.probability(scores)
        return np.asarray(np.log2(np.where(member, told, 1 - told)).mean(axis=-1))
