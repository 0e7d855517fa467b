"""Cross-influence: how much training on one example changes what models say about another.

    infl(i, j) = E[M(f, z_j) | i in f's training set] − E[M(f, z_j) | i not in it]

M is any metric of a model on an example, larger = better: whether it is right, its scaled logit φ, minus its loss. The
diagonal is memorization. All of it is one matrix product, made block by block: nothing of its size is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from memaudit.design import by_pair
from memaudit.memorization.counterfactual import Counterfactual, counterfactual, counterfactual_of_models
from memaudit.memorization.signs import SignLaw

Array = np.ndarray

_BLOCK = 2**22  # influences at a time: 16 MiB
Examples = slice | Int[Array, " some"]


@dataclass(frozen=True, slots=True)
class PairInfluence:
    """Influences by complementary pairs: infl(i, j) is the mean over pairs of sign × effect.

    `signs` is +1 where the first model of a pair has the training example, and −1 where the second has it. `effects` is
    the metric of the first model less that of the second. Of models without the measured example, it is twice the
    metric about its mean, with a minus where the second model is the one without it: as i is in that model with
    probability 1/2, the mean is the difference.

    Without influence, the signs of i are random and fair, whatever the effects on j are, so that the law of the sum is
    known for any number of pairs: `SignLaw`.
    """

    signs: Float[Array, "pairs training"]
    effects: Float[Array, "pairs measured"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, training examples, measured examples."""
        return *self.signs.shape, self.effects.shape[1]

    def sums(self, measured: Examples) -> Float[Array, "training block"]:
        """Return the sums of sign × effect."""
        return self.signs.T @ self.effects[:, measured]

    def block(self, measured: Examples) -> Float[Array, "training block"]:
        """Return the influences on some measured examples."""
        return self.sums(measured) / np.float32(len(self.signs))

    def variance(self, measured: Examples) -> Float[Array, "training block"]:
        """Return the variance of a mean of paired differences, whose squares do not depend on the signs."""
        square = (self.effects[:, measured] ** 2).mean(axis=0)
        return np.maximum(square - self.block(measured) ** 2, 0) / np.float32(len(self.signs) - 1)

    def least(self, measured: Examples, p: float) -> Float[Array, " block"]:
        """Return how large a sum must be for a p-value of at most `p`; infinite if none can be."""
        laws, which = self._laws(measured)
        return np.array([law.least(p) for law in laws])[which]

    def largest(self, measured: Examples) -> Float[Array, " block"]:
        """Return how large a sum can be at most, whatever the memberships."""
        return np.asarray(np.abs(self.effects[:, measured]).sum(axis=0, dtype=np.float64))

    def p_values(self, measured: Int[Array, " some"], sums: Float[Array, " some"]) -> Float[Array, " some"]:
        """Return two-sided p-values of "no influence"."""
        laws, which = self._laws(measured)
        found = np.empty(len(sums))
        for place, law in enumerate(laws):
            found[which == place] = law.p_values(sums[which == place])
        return found

    def contributions(self, training: Int[Array, " some"], measured: Int[Array, " some"]) -> Float[Array, "pairs some"]:
        """Return sign × effect of each pair of models."""
        return self.signs[:, training] * self.effects[:, measured]

    def take(self, draws: Int[Array, " some"]) -> PairInfluence:
        """Return the influences by some of the pairs alone."""
        return PairInfluence(self.signs[draws], self.effects[draws])

    def _laws(self, measured: Examples) -> tuple[list[SignLaw], Int[Array, " block"]]:
        """Return the laws of sums on some measured examples, and which one belongs to each."""
        sizes = np.sort(np.abs(self.effects[:, measured]).round(5), axis=0)
        columns, which = np.unique(sizes, axis=1, return_inverse=True)
        return [SignLaw.of(column) for column in columns.T], which.ravel()


@dataclass(frozen=True, slots=True)
class DrawInfluence:
    """Influences by models whose training sets were drawn independently: a difference of means of models.

    `used` is 1 for the models that count for a measured example; all do if it is None.

    Without influence, the memberships of i are independent of the metric of j. The law of the sum of the metric about
    its mean, over models with i, is bounded by Hoeffding's inequality, whatever the probability of membership.
    """

    members: Float[Array, "models training"]
    metric: Float[Array, "models measured"]
    used: Float[Array, "models measured"] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Models, training examples, measured examples."""
        return *self.members.shape, self.metric.shape[1]

    def sums(self, measured: Examples) -> Float[Array, "training block"]:
        """Return the sums of the metric about its mean over the models with each training example."""
        return self.members.T @ self._centred(measured)

    def block(self, measured: Examples) -> Float[Array, "training block"]:
        """Return the influences on some measured examples; NaN where no model counts on one side."""
        sums, (inside, outside) = self.sums(measured), self._counts(measured)
        with np.errstate(divide="ignore", invalid="ignore"):
            return sums / inside + sums / outside  # about the mean, the models without i sum to −sums

    def variance(self, measured: Examples) -> Float[Array, "training block"]:
        """Return the sum of the unbiased variances of two means; NaN where a side has fewer than two models."""
        sums, (inside, outside) = self.sums(measured), self._counts(measured)
        centred = self._centred(measured)
        square = self.members.T @ centred**2
        rest = (centred**2).sum(axis=0) - square
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [np.maximum(of / n - (sums / n) ** 2, 0) / (n - 1) for of, n in ((square, inside), (rest, outside))]
        return parts[0] + parts[1]

    def least(self, measured: Examples, p: float) -> Float[Array, " block"]:
        """Return how large a sum must be for a p-value of at most `p`; infinite where nothing varies."""
        norm = self._norm(measured)
        return np.where(norm > 0, np.sqrt(norm * np.log(2 / p) / 2), np.inf)

    def largest(self, measured: Examples) -> Float[Array, " block"]:
        """Return how large a sum can be at most, whatever the memberships."""
        return np.asarray(np.abs(self._centred(measured)).sum(axis=0, dtype=np.float64))

    def p_values(self, measured: Int[Array, " some"], sums: Float[Array, " some"]) -> Float[Array, " some"]:
        """Return two-sided p-values of "no influence"."""
        return _hoeffding(2 * sums.astype(np.float64) ** 2, self._norm(measured))

    def contributions(
        self, training: Int[Array, " some"], measured: Int[Array, " some"]
    ) -> Float[Array, "models some"]:
        """Return each model's metric about the mean, over the share of its side, with a minus without the example."""
        used = np.ones((len(self.members), len(measured))) if self.used is None else self.used[:, measured]
        inside, outside = used * self.members[:, training], used * (1 - self.members[:, training])
        with np.errstate(divide="ignore", invalid="ignore"):  # NaN where no model counts on one side
            weights = inside / inside.sum(axis=0) - outside / outside.sum(axis=0)
        return len(self.members) * weights * self._centred(measured)

    def take(self, draws: Int[Array, " some"]) -> DrawInfluence:
        """Return the influences by some of the models alone."""
        used = None if self.used is None else self.used[draws]
        return DrawInfluence(self.members[draws], self.metric[draws], used)

    def _centred(self, measured: Examples) -> Float[Array, "models block"]:
        """Return the metric about its mean, 0 for models that do not count: products of large numbers lose digits."""
        metric = self.metric[:, measured].astype(np.float64)
        if self.used is None:
            return (metric - metric.mean(axis=0)).astype(np.float32)
        used = self.used[:, measured]
        return ((metric - (metric * used).sum(axis=0) / np.maximum(used.sum(axis=0), 1)) * used).astype(np.float32)

    def _counts(self, measured: Examples) -> tuple[Array, Array]:
        """Return how many models count with each training example, and without it."""
        if self.used is None:
            inside = self.members.sum(axis=0)[:, None]
            return inside, len(self.members) - inside
        used = self.used[:, measured]
        inside = self.members.T @ used
        return inside, used.sum(axis=0) - inside

    def _norm(self, measured: Examples) -> Float[Array, " block"]:
        return (self._centred(measured).astype(np.float64) ** 2).sum(axis=0)


Influence = PairInfluence | DrawInfluence


def influence(
    metric: Shaped[Array, "models measured"],
    members: UInt8[Array, "models training"],
    without: UInt8[Array, "models measured"] | None = None,
) -> Influence:
    """Return the cross-influences of training examples on measured examples.

    Args:
        metric: M of each model on each measured example, larger = better; finite.
        members: How often each model was trained on each training example: complementary pairs, next to each other, or
            independent draws. Standard errors and p-values are those of the one or the other.
        without: How often each model was trained on each *measured* example. If given, only models that were not
            trained on a measured example count for it, as for a test example. By default all count, and the influence
            on a training example is diluted by the models that were trained on it.

    Raises:
        ValueError: The metric is not finite, or fewer than two draws have, or lack, an example.

    Source: Feldman & Zhang 2020 (NeurIPS), the definition of infl(A, S, i, j) and its subset estimator; Usynin et al.
    2024 (TMLR), equation 4, for any metric.
    """
    if not np.isfinite(metric).all():
        raise ValueError(f"the metric of example {int(np.argmin(np.isfinite(metric).all(axis=0)))} is not finite")
    if paired(members):
        return _of_pairs(metric, members, without)
    inside = (members > 0).sum(axis=0)
    if (fewest := np.minimum(inside, len(members) - inside)).min() < 2:
        raise ValueError(f"example {int(fewest.argmin())} has fewer than two models with it, or without it")
    used = None if without is None else (without == 0).astype(np.float32)
    return DrawInfluence((members > 0).astype(np.float32), metric.astype(np.float32), used)


def self_influence(
    metric: Shaped[Array, "models examples"], members: UInt8[Array, "models examples"], level: float = 0.95
) -> Counterfactual:
    """Return memorization of every example with any metric M, infl(i, i), with standard errors and intervals.

    Args:
        metric: M of each model on each example, larger = better; finite.
        members: How often each model was trained on each example: complementary pairs, or independent draws.
        level: Coverage of the intervals, for each example by itself.

    Source: Feldman 2020, with any metric as in Usynin et al. 2024 (TMLR), equation 3.
    """
    if paired(members):
        return counterfactual(*by_pair(metric.astype(np.float64), members), level)
    return counterfactual_of_models(metric.astype(np.float64), members, level)


def paired(members: UInt8[Array, "models examples"]) -> bool:
    """Return whether models 2t and 2t + 1 are complementary: one of the two was trained on each example."""
    first, second = members[0::2] > 0, members[1::2] > 0
    return len(first) == len(second) and not np.any(first == second)


def blocks(influence: Influence) -> Iterator[slice]:
    """Yield slices of the measured examples that take 16 MiB as a block of influences."""
    _, training, measured = influence.shape
    step = max(1, _BLOCK // training)
    return (slice(start, min(start + step, measured)) for start in range(0, measured, step))


def _of_pairs(
    metric: Shaped[Array, "models measured"],
    members: UInt8[Array, "models training"],
    without: UInt8[Array, "models measured"] | None,
) -> PairInfluence:
    pairs = len(members) // 2
    if pairs < 2:
        raise ValueError(f"influence needs at least 2 pairs of models, got {pairs}")
    signs = np.where(members[0::2] > 0, np.float32(1), np.float32(-1))
    if without is None:
        return PairInfluence(signs, metric[0::2].astype(np.float32) - metric[1::2])
    first = without[0::2] == 0  # in which the measured example is not
    outside = np.where(first, metric[0::2], metric[1::2]).astype(np.float64)
    about = (outside - outside.mean(axis=0)) * (2 * pairs / (pairs - 1))  # the mean takes 1/pairs of the effect away
    return PairInfluence(signs, np.where(first, about, -about).astype(np.float32))


def _hoeffding(excess: Float[Array, " some"], norm: Float[Array, " some"]) -> Float[Array, " some"]:
    """Return 2 exp(−excess/norm), at most 1; 1 where nothing varies.

    Source: Hoeffding 1963 (JASA 58:13), Theorem 2: of a sum of independent terms in intervals of lengths c_k,
    P[|sum − mean| ≥ t] ≤ 2 exp(−2t²/Σc_k²); a membership, 0 or 1, times a metric m has c = |m|.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(norm > 0, np.minimum(2 * np.exp(-excess / norm), 1.0), 1.0)
