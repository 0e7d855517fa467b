"""Which model each score in pair form comes from: what rates and thresholds by model need to know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Couples:
    """For each example, models that were trained on it, each matched with one that was not.

    Where the models are complementary pairs, couple t of every example is pair t. In any other design, row t has other
    models for other examples, and two rows share models: rows are then no independent units, models are.

    Attributes:
        inside: Which model the inside score of each couple and example comes from.
        outside: The same for the outside score.
        clusters: The cluster of each model, numbered from 0: models of one cluster depend on each other, as the two
            of a complementary pair do; clusters are independent draws.
        paired: Whether couple t is of the two models of cluster t, for every example.
    """

    inside: Int[Array, "couples examples"]
    outside: Int[Array, "couples examples"]
    clusters: Int[Array, " models"]
    paired: bool = False

    @classmethod
    def of_pairs(cls, first_inside: Bool[Array, "pairs examples"]) -> Couples:
        """Return the couples of complementary pairs: models 2t and 2t + 1, of which one was trained on the example."""
        first = 2 * np.arange(len(first_inside), dtype=np.int32)[:, None]
        second_inside = (~first_inside).astype(np.int32)
        clusters = np.repeat(np.arange(len(first_inside), dtype=np.int32), 2)
        return cls(first + second_inside, first + 1 - second_inside, clusters, paired=True)

    @property
    def models(self) -> int:
        """Number of models."""
        return len(self.clusters)

    @property
    def groups(self) -> int:
        """Number of clusters."""
        return int(self.clusters.max()) + 1

    @property
    def share(self) -> float:
        """Mean share of the examples for which a model is used on one side."""
        return len(self.inside) / self.models

    def take(self, couples: int, step: int = 1) -> Couples:
        """Return the first couples of every nth example, with the models of complementary pairs that are in them."""
        inside, outside = self.inside[:couples, ::step], self.outside[:couples, ::step]
        clusters = self.clusters[: max(int(inside.max()), int(outside.max())) + 1]
        return Couples(inside, outside, clusters, self.paired)

    def totals(
        self, side: Int[Array, "couples examples"], values: Shaped[Array, "couples examples"]
    ) -> Float[Array, " models"]:
        """Return the sum of one side's values for each model."""
        if values.dtype == bool:
            return np.bincount(side[values], minlength=self.models).astype(np.float64)
        return np.bincount(side.ravel(), np.asarray(values, np.float64).ravel(), self.models)

    def numbers(self, side: Int[Array, "couples examples"]) -> Int[Array, " models"]:
        """Return the number of values that each model has on one side."""
        return np.bincount(side.ravel(), minlength=self.models)

    def by_cluster(
        self, side: Int[Array, "couples examples"], scores: Float[Array, "couples examples"]
    ) -> Float[Array, "clusters examples"]:
        """Return one side's scores with a row for each cluster; NaN where a cluster has no score of an example."""
        found = np.full((self.groups, scores.shape[1]), np.nan, scores.dtype)
        found[self.clusters[side], np.arange(scores.shape[1])] = scores
        return found
