"""Attacks with the weights: by gradients, and by what the last layer makes of the features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import optimize, special

from memaudit.attacks.access.columns import one_column, reduced_pairs, reduced_target
from memaudit.attacks.interface import blocks, read
from memaudit.attacks.lira import Lira
from memaudit.design import PairArrays, Pairs
from memaudit.types import Level

Array = np.ndarray

_MOST, _PENALTY = 30.0, 1e-3  # nats; on squared weights, per row
_MOST_EXAMPLES, _LEAST_PAIRS = 2_000, 3  # that weights are learned from
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


@dataclass(frozen=True, slots=True)
class Combined:
    """A linear attack on all columns of a view: a logistic regression on LiRA's log-likelihood ratio of each column.

    The weights of the columns are learned from the other pairs of models, each scored with its own pair left out: no
    model is scored by weights that saw it or its twin. With three pairs nothing is left to learn from, and the columns
    have equal weights.
    """

    name: str
    view: str
    source: str = "Leino & Fredrikson 2020 (USENIX Security), calibrated logistic combination; LiRA of each column"
    level: Level = Level.WEIGHTS

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the log-odds of membership of a target, up to a constant; the last pair is left out."""
        whole = _in_memory(pairs)
        ratios = [Lira().scores(target[:, [c]], _column(whole, c)) for c in range(target.shape[1])]
        weights = _learned(whole.take(np.arange(pairs.shape[0] - 1)))
        return _weighted(np.stack(ratios, axis=-1), weights)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) of every bank model, its own pair left out of the references and of the learning."""
        whole, everything = _in_memory(pairs), np.arange(pairs.shape[0])
        inside, outside = _ratios_of_pairs(whole)
        weights = [_learned(whole.take(everything[everything != pair])) for pair in everything]
        found = [
            (_weighted(within, own), _weighted(without, own))
            for within, without, own in zip(inside, outside, weights, strict=True)
        ]
        return np.stack([side[0] for side in found]), np.stack([side[1] for side in found])


def _norm(columns: Array, block: slice) -> Array:
    return np.asarray(-columns[..., _NORM])


def _displacement(columns: Array, block: slice) -> Array:
    return np.asarray(columns[..., _DISPLACEMENT])


def _in_memory(pairs: Pairs) -> PairArrays:
    inside, outside = (
        np.concatenate(side, axis=1) for side in zip(*(read(pairs, block) for block in blocks(pairs)), strict=True)
    )
    return PairArrays(inside, outside)


def _column(pairs: PairArrays, column: int) -> PairArrays:
    return PairArrays(pairs.inside[..., [column]], pairs.outside[..., [column]])


def _ratios_of_pairs(pairs: PairArrays) -> list[Float[Array, "pairs examples columns"]]:
    """Return (inside, outside): the log-likelihood ratios of each column, the own pair of each model left out."""
    found = [Lira().leave_pair_out(_column(pairs, column)) for column in range(pairs.shape[2])]
    return [np.stack(side, axis=-1) for side in zip(*found, strict=True)]


def _weighted(ratios: Float[Array, "examples columns"], weights: Float[Array, " weights"]) -> Float[Array, " examples"]:
    return np.asarray(np.clip(ratios, -_MOST, _MOST) @ weights[:-1] + weights[-1])


def _learned(pairs: PairArrays) -> Float[Array, " weights"]:
    """Return the coefficients and the intercept of a logistic regression with a small ridge penalty."""
    columns = pairs.shape[2]
    if pairs.shape[0] < _LEAST_PAIRS:
        return np.append(np.ones(columns), 0.0)
    every = slice(None, None, -(-pairs.shape[1] // _MOST_EXAMPLES))
    sides = _ratios_of_pairs(PairArrays(pairs.inside[:, every], pairs.outside[:, every]))
    rows = [np.clip(side.reshape(-1, columns), -_MOST, _MOST).astype(np.float64) for side in sides]
    x = np.concatenate([np.pad(side, ((0, 0), (0, 1)), constant_values=1) for side in rows])
    sign = np.repeat([1.0, -1.0], len(x) // 2)

    def loss(w: Array) -> tuple[float, Array]:
        margin = sign * (x @ w)
        gradient = -(x * (sign * special.expit(-margin))[:, None]).mean(axis=0) + 2 * _PENALTY * w
        return float(np.logaddexp(0, -margin).mean() + _PENALTY * (w @ w)), gradient

    return np.asarray(optimize.minimize(loss, np.zeros(columns + 1), jac=True, method="L-BFGS-B").x)
