"""How many bits scores tell about memberships: a lower bound of conditional mutual information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Array = np.ndarray

_FOLDS, _BINS = 5, 64


def entropy(share: float) -> float:
    """Return the bits of a membership that has this probability; 1 of a fair one."""
    return float(-share * np.log2(share) - (1 - share) * np.log2(1 - share))


def membership_bits(
    inside: Float[Array, "clusters examples"], outside: Float[Array, "clusters examples"], share: float = 0.5
) -> Float[Array, " clusters"]:
    """Return how many bits per example each cluster of models tells about memberships; 0 or less for nothing.

    It is the entropy of the memberships U less the cross-entropy of predictions of them, in bits. If they are
    independent, no predictor of U_i has a mean cross-entropy below H(U_i) − I(U_i; θ), and the I of all examples add up
    to CMI or less: the mean over clusters, times the number of examples, estimates a lower bound of CMI.

    A score becomes a probability of membership by what it meant in clusters of other folds. Scores of a cluster must
    not depend on its own memberships.

    Args:
        inside: Scores of the models that were trained on the example, in any unit; finite, or NaN where no model of the
            cluster was. As many in all as there are outside.
        outside: Scores of those that were not.
        share: The probability of a membership.

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
        tell = Calibration.of(inside[fold != own], outside[fold != own], share)
        here = fold == own
        told = share * tell.log2(inside[here], True) + (1 - share) * tell.log2(outside[here], False)
        bits[here] = entropy(share) + told
    return bits


@dataclass(frozen=True, slots=True)
class Calibration:
    """What scores mean: the probability of a membership, from other models' scores between two edges."""

    edges: Float[Array, " edges"]
    member: Float[Array, " bins"]

    @classmethod
    def of(cls, inside: Float[Array, "..."], outside: Float[Array, "..."], share: float = 0.5) -> Calibration:
        """Return the calibration by scores of members and of non-members: Laplace's rule in bins of equal counts.

        Args:
            inside: Scores of members; NaN is none.
            outside: As many scores of non-members.
            share: The probability of a membership.
        """
        inside, outside = (of[~np.isnan(of)] for of in (inside, outside))
        both = np.concatenate([inside, outside])
        bins = int(np.clip(np.cbrt(len(both)), 2, _BINS))
        edges = np.unique(np.quantile(both, np.arange(1, bins) / bins))
        members, others = (np.bincount(np.digitize(of, edges), minlength=len(edges) + 1) for of in (inside, outside))
        expected, rest = share * (members + 1), (1 - share) * (others + 1)
        return cls(edges, expected / (expected + rest))

    def log2(self, scores: Float[Array, "... examples"], member: Bool[Array, " examples"] | bool) -> Array:
        """Return the mean log2 of the probability of what is true, over the examples with a score."""
        told = self.member[np.digitize(scores, self.edges)]
        return np.asarray(np.log2(np.where(member, told, 1 - told)).mean(axis=-1, where=~np.isnan(scores)))
