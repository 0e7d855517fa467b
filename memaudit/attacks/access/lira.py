"""The likelihood-ratio attack on what an adversary with less access sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.attacks.access.boundary import distance
from memaudit.attacks.access.columns import Reduce, one_column, reduced_target
from memaudit.attacks.access.interface import RECORDED
from memaudit.attacks.blockwise import Scorer, pair_scores, target_scores
from memaudit.attacks.lira import Lira
from memaudit.design import Pairs
from memaudit.types import Level

Array = np.ndarray

_SINGLE = 2.0**-24  # half the distance from 1 to the next smaller number in single precision
_SOURCE = "Carlini et al. 2022 (S&P), LiRA, online, Algorithm 1"


@dataclass(frozen=True, slots=True)
class LabelLira:
    """Likelihood ratio of one observed bit: is the label right?

    With the example in training, models are right with probability p_in, without it with p_out. The score is
    log(p_in/p_out) where the label is right and log((1 − p_in)/(1 − p_out)) where it is wrong. Both probabilities are
    (right models + ½)/(models + 1) over the references (Jeffreys). It needs shadow models and one query.
    """

    name: str = "label-lira"
    source: str = f"{_SOURCE}, with Bernoulli laws"
    level: Level = Level.LABELS
    view: str = RECORDED

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the log-likelihood ratio of a target, in nats; the last pair is not a reference."""
        return target_scores(_bernoulli, target, pairs, least=2)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) log-likelihood ratios of every bank model, its own pair left out."""
        return pair_scores(_bernoulli, pairs, least=2)


def _bernoulli(within: Array, without: Array, left_out: bool) -> Scorer:
    def right(side: Array) -> Array:
        total = side.sum(axis=0, keepdims=True)
        found = (total - side + 0.5) / len(side) if left_out else (total[0] + 0.5) / (len(side) + 1)
        return np.asarray(found)

    inside, outside = right(within), right(without)
    gain, loss = np.log(inside / outside), np.log((1 - inside) / (1 - outside))
    return lambda x: x * gain + (1 - x) * loss


@dataclass(frozen=True, slots=True)
class ReducedLira:
    """LiRA on one number that is made of a view's columns: the signal whose laws with and without an example differ."""

    name: str
    level: Level
    view: str
    reduce: Reduce
    source: str = _SOURCE

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the log-likelihood ratio of a target, in nats; the last pair is not a reference."""
        return Lira().scores(reduced_target(self.reduce, target)[:, None], one_column(self.reduce, pairs))

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) log-likelihood ratios of every bank model, its own pair left out."""
        return Lira().leave_pair_out(one_column(self.reduce, pairs))


def noise_logit(columns: Float[Array, "... columns"], block: slice) -> Float[Array, "..."]:
    """Return the empirical logit of the votes of noisy copies and the example itself.

    Source: Haldane 1956, Anscombe 1956. The number of votes behind a share is not known here; half a vote is 1/32 of a
    column.
    """
    share, half = columns.mean(axis=-1), 1 / (32 * columns.shape[-1])
    return np.asarray(np.log(share + half) - np.log(1 - share + half))


def vote_logit(columns: Float[Array, "... columns"], block: slice) -> Float[Array, "..."]:
    """Return the empirical logit of single votes: log((right + ½)/(wrong + ½))."""
    votes = columns.shape[-1]
    right = columns.sum(axis=-1)
    return np.asarray(np.log(right + 0.5) - np.log(votes - right + 0.5))


def confidence_logit(columns: Float[Array, "... columns"], block: slice) -> Float[Array, "..."]:
    """Return log p − log(1 − p) of the label's probability as an interface returns it, in single precision."""
    p = np.clip(np.exp(columns[..., 0]), _SINGLE, 1 - _SINGLE)
    return np.asarray(np.log(p) - np.log1p(-p))


@dataclass(frozen=True, slots=True)
class TopLogit:
    """Returns the logit of the label's probability where it is among the likeliest classes.

    Elsewhere it takes an equal share of what the returned probabilities leave to the classes that are not returned.
    """

    most: int

    def __call__(self, columns: Float[Array, "... columns"], block: slice) -> Float[Array, "..."]:
        """Return the logits."""
        p, classes = np.exp(columns), columns.shape[-1]
        place = (columns[..., 1:] > columns[..., :1]).sum(axis=-1)
        shown = -np.sort(-p, axis=-1)[..., : self.most].sum(axis=-1)
        share = np.maximum(1 - shown, 0) / max(1, classes - self.most)
        found = np.clip(np.where(place < self.most, p[..., 0], share), _SINGLE, 1 - _SINGLE)
        return np.asarray(np.log(found) - np.log1p(-found))


NOISE_LIRA = ReducedLira("noise-lira", Level.LABELS, "noise-votes", noise_logit, f"{_SOURCE}, on votes")
AUGMENTATION_LIRA = ReducedLira(
    "augmentation-lira", Level.LABELS, "augmentation-votes", vote_logit, f"{_SOURCE}, on votes"
)
BOUNDARY_LIRA = ReducedLira("boundary-lira", Level.LABELS, "boundary", distance, f"{_SOURCE}, on the distance")
TOP1_LIRA = ReducedLira("top1-lira", Level.TOP, "confidences", TopLogit(1), f"{_SOURCE}, on the top confidence")
TOP3_LIRA = ReducedLira("top3-lira", Level.TOP, "confidences", TopLogit(3), f"{_SOURCE}, on the top 3 confidences")
CONFIDENCE_LIRA = ReducedLira("confidence-lira", Level.CONFIDENCES, "confidences", confidence_logit)
