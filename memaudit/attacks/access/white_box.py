"""Attacks with the weights: by gradients, and by what the last layer makes of the features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import optimize, special

from memaudit.attacks.access.columns import one_column, reduced_pairs, reduced_target
from memaudit.attacks.interface import blocks, read
from memaudit.attacks.lira import Lira
from memaudit.design import PairArrays, Pairs
from memaudit.types import Level

Array = np.ndarray

_FOLDS, _MOST, _PENALTY = 5, 30.0, 1e-3  # folds of examples; nats; on squared weights, per row
_MOST_ROWS = 100_000  # of a fit
_NORM, _DISPLACEMENT = 1, 2  # columns of the views


@dataclass(frozen=True, slots=True)
class GradientNorm:
    """Members have small gradients: LiRA (online) on minus the log of the gradient's norm."""

    name: str = "gradient-norm"
    source: str = "Nasr, Shokri & Houmansadr 2019 (S&P); Rezaei & Liu 2021 (CVPR), gradient norms; LiRA on the norm"
    level: Level = Level.WEIGHTS
    view: str = "gradients"

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the log-likelihood ratio of a target's norms in nats."""
        return Lira().scores(reduced_target(_norm, target)[:, None], one_column(_norm, pairs))

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) of every bank model, its own pair left out."""
        return Lira().leave_pair_out(one_column(_norm, pairs))


@dataclass(frozen=True, slots=True)
class StolenMemories:
    """Evidence for the label that the last layer sees and a proxy layer does not: one threshold for all examples.

    Needs no shadow models, except for the threshold.
    """

    name: str = "stolen-memories"
    source: str = "Leino & Fredrikson 2020 (USENIX Security), displacement from a proxy, of the last layer"
    level: Level = Level.WEIGHTS
    view: str = "last-layer"

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the displacement of the label's log-odds in nats."""
        return reduced_target(_displacement, target)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) of every bank model."""
        return reduced_pairs(_displacement, pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """A linear attack on all columns of a view: a logistic regression on LiRA's log-likelihood ratio of each column.

    The weights are learned from the bank's models, each scored with its own pair left out, and cross-fitted by example:
    those that score an example were learned from others. `weights` has a row for each fold, the intercept last.
    """

    name: str
    view: str
    source: str = "Leino & Fredrikson 2020 (USENIX Security), calibrated logistic combination; LiRA of each column"
    level: Level = Level.WEIGHTS
    weights: Float[Array, "folds columns"] | None = None

    def learn(self, pairs: Pairs) -> Combined:
        """Return the attack with its weights."""
        inside, outside = _ratios_of_pairs(pairs)
        fold = _folds(inside.shape[1])
        return replace(
            self, weights=np.stack([_logistic(inside[:, fold != f], outside[:, fold != f]) for f in range(_FOLDS)])
        )

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the log-odds of membership of a target, up to a constant."""
        weights = self._weights(pairs)
        columns = [Lira().scores(target[:, [c]], _column(pairs, c)) for c in range(target.shape[1])]
        return _weighted(np.stack(columns, axis=-1), weights)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) of every bank model, its own pair left out of the references."""
        weights = self._weights(pairs)
        inside, outside = (_weighted(side, weights) for side in _ratios_of_pairs(pairs))
        return inside, outside

    def _weights(self, pairs: Pairs) -> Float[Array, "folds columns"]:
        weights = self.weights if self.weights is not None else self.learn(pairs).weights
        assert weights is not None
        return weights


def _norm(columns: Array, block: slice) -> Array:
    return np.asarray(-columns[..., _NORM])


def _displacement(columns: Array, block: slice) -> Array:
    return np.asarray(columns[..., _DISPLACEMENT])


def _column(pairs: Pairs, column: int) -> PairArrays:
    sides = zip(*(read(pairs, block) for block in blocks(pairs)), strict=True)
    return PairArrays(*(np.concatenate([part[..., [column]] for part in side], axis=1) for side in sides))


def _ratios_of_pairs(pairs: Pairs) -> list[Float[Array, "pairs examples columns"]]:
    """Return (inside, outside): the log-likelihood ratios of each column."""
    found = [Lira().leave_pair_out(_column(pairs, column)) for column in range(pairs.shape[2])]
    return [np.stack(side, axis=-1) for side in zip(*found, strict=True)]


def _weighted(
    ratios: Float[Array, "*pairs examples columns"], weights: Float[Array, "folds weights"]
) -> Float[Array, "*pairs examples"]:
    """Return the log-odds of each example by the weights of its fold."""
    own = weights[_folds(ratios.shape[-2])]
    return np.asarray((np.clip(ratios, -_MOST, _MOST) * own[:, :-1]).sum(axis=-1) + own[:, -1])


def _folds(examples: int) -> Array:
    return np.random.default_rng(examples).permutation(examples) % _FOLDS


def _logistic(
    inside: Float[Array, "pairs some columns"], outside: Float[Array, "pairs some columns"]
) -> Float[Array, " weights"]:
    """Return the coefficients and the intercept of a logistic regression with a small ridge penalty."""
    sides = [np.clip(side.reshape(-1, side.shape[-1]), -_MOST, _MOST).astype(np.float64) for side in (inside, outside)]
    step = -(-len(sides[0]) // (_MOST_ROWS // 2))
    x = np.concatenate([np.pad(side[::step], ((0, 0), (0, 1)), constant_values=1) for side in sides])
    sign = np.repeat([1.0, -1.0], len(x) // 2)

    def loss(w: Array) -> tuple[float, Array]:
        margin = sign * (x @ w)
        gradient = -(x * (sign * special.expit(-margin))[:, None]).mean(axis=0) + 2 * _PENALTY * w
        return float(np.logaddexp(0, -margin).mean() + _PENALTY * (w @ w)), gradient

    return np.asarray(optimize.minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x)
