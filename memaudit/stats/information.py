"""How many bits scores tell about memberships: a lower bound of conditional mutual information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Bool, Float

from memaudit.stats.intervals import cluster_mean_interval

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
    told = _told(inside, outside, share)
    return entropy(share) + share * np.nanmean(told[0], axis=1) + (1 - share) * np.nanmean(told[1], axis=1)


def information_interval(
    inside: Float[Array, "clusters examples"],
    outside: Float[Array, "clusters examples"],
    share: float = 0.5,
    level: Float[Array, " levels"] | float = 0.95,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return the ends of the interval of the mean of `membership_bits`, over clusters of models and over examples.

    The half-widths of the two add up in squares: Student's t over clusters, widened for skewness, and the normal one
    over examples. Clusters alone fall short: each is scored by the others, and all on the same examples.

    Args: As of `membership_bits`, and the coverage.
    """
    bits = membership_bits(inside, outside, share)
    told = _told(inside, outside, share)
    examples = share * np.nanmean(told[0], axis=0) + (1 - share) * np.nanmean(told[1], axis=0)
    error = scipy.stats.norm.ppf((1 + np.asarray(level)) / 2) * examples.std(ddof=1) / np.sqrt(len(examples))
    low, high = cluster_mean_interval(bits, level)
    mean = bits.mean()
    return np.asarray(mean - np.hypot(mean - low, error)), np.asarray(mean + np.hypot(high - mean, error))


def _told(
    inside: Float[Array, "clusters examples"], outside: Float[Array, "clusters examples"], share: float
) -> Float[Array, "2 clusters examples"]:
    """Return the log2 of the probability of what is true, by what scores meant in clusters of other folds."""
    clusters = len(inside)
    if clusters < 2:
        raise ValueError(f"bits of membership need at least 2 pairs of models, got {clusters}")
    fold = np.arange(clusters) % min(_FOLDS, clusters)
    told = np.empty((2, *inside.shape))
    for own in range(fold.max() + 1):
        tell = Calibration.of(inside[fold != own], outside[fold != own], share)
        for side, (scores, member) in enumerate(((inside, True), (outside, False))):
            told[side, fold == own] = tell.each_log2(scores[fold == own], member)
    return told


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

    def probability(self, scores: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the probability of membership that each score means, at the share of members of the calibration."""
        return self.member[np.digitize(scores, self.edges)]

    def log2(self, scores: Float[Array, "... examples"], member: Bool[Array, " examples"] | bool) -> Array:
        """Return the mean log2 of the probability of what is true, over the examples with a score."""
        return np.asarray(np.nanmean(self.each_log2(scores, member), axis=-1))

    def each_log2(self, scores: Float[Array, "... examples"], member: Bool[Array, " examples"] | bool) -> Array:
        """Return the log2 of the probability of what is true, of each score; NaN where there is none."""
        told = self.probability(scores)
        return np.asarray(np.where(np.isnan(scores), np.nan, np.log2(np.where(member, told, 1 - told))))
