"""The robust membership-inference attack (RMIA): the target's probability relative to that of the references.

Source: Zarifzadeh, Liu & Shokri 2024 (ICML), "Low-Cost High-Power Membership Inference Attacks".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.attacks.blockwise import Scorer, pair_scores, target_scores
from memaudit.attacks.interface import Signal, log_probability
from memaudit.design import Pairs

Array = np.ndarray

DEFAULT_A = {Signal.SCALED_LOGIT: 0.3, Signal.LOG_PROBABILITY: 1.0}


@dataclass(frozen=True, slots=True)
class Rmia:
    """Score by log P(x|target) − log P(x), in nats.

    The paper's score is the share of population examples z with LR(x, z) = [P(x|θ)/P(x)] / [P(z|θ)/P(z)] ≥ γ. For one
    target it is a non-decreasing function of P(x|θ)/P(x). Both therefore give the same ROC curve, except that the
    paper's score adds ties. This class returns the logarithm of the ratio; it needs no population and no γ.

    Online, P(x) is the mean of P_in and P_out: the mean probabilities under the inside and the outside references.
    That is also the online score of BASE (Lassila, Östman & Ngo 2025), at a softmax temperature of 1.
    Offline, P(x) = ½[(1 + a)·P_out + (1 − a)], which assumes P_in = a·P_out + (1 − a).

    Two choices differ from the paper: the probabilities are plain softmax probabilities, not SM-Taylor-softmax, and
    several queries are combined by the mean of their scores, not by majority vote.

    Attributes:
        offline: Use the outside references only.
        a: Offline only, 0 to 1. At a = 0 members have probability 1; at a = 1 the score is the log ratio to P_out.
            The paper tunes a on a reference model, never on the target. None means 0.3 for scaled logits, the default
            of the authors' published code, and 1 for log-probabilities: members' tokens are far from probability 1.
        signal: Unit of the signals.

    References:
        Zarifzadeh et al. 2024 (ICML). Checked against the authors' code (Privacy Meter e384af8 and d327341), not
        against the equations of the paper. BASE: checked against the code in LeakPro c47752f.

    Raises:
        ValueError: a is outside [0, 1].
    """

    offline: bool = False
    a: float | None = None
    signal: Signal = Signal.SCALED_LOGIT

    def __post_init__(self) -> None:
        if self.a is not None and not 0 <= self.a <= 1:
            raise ValueError(f"a must be between 0 and 1, got {self.a}")

    @property
    def name(self) -> str:
        """`rmia` or `rmia-offline`."""
        return "rmia-offline" if self.offline else "rmia"

    @property
    def source(self) -> str:
        """Paper that defines the attack."""
        return "Zarifzadeh et al. 2024 (ICML), RMIA" + (
            ", offline" if self.offline else "; same score: Lassila et al. 2025 (NeurIPS), BASE"
        )

    def scores(self, target: Float[Array, "examples queries"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the log ratio of a model outside the bank, in nats, averaged over queries; larger = member-like.

        The last pair is not a reference, so that the target has as many references as a bank model.

        Raises:
            ValueError: Fewer than 2 pairs, signals of another shape than the bank's, or one that is not finite.
        """
        return target_scores(self._fit, target, pairs, least=2)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside): log ratios of every bank model in nats, its own pair left out.

        Raises:
            ValueError: Fewer than 2 pairs, or a signal that is not finite.
        """
        return pair_scores(self._fit, pairs, least=2)

    def _fit(self, within: Array, without: Array, left_out: bool) -> Scorer:
        mean = log_mean_without_each if left_out else log_mean
        log_out = mean(log_probability(without, self.signal))
        if self.offline:
            log_p = offline_log_mean(log_out, DEFAULT_A[self.signal] if self.a is None else self.a)
        else:
            log_p = np.log(0.5) + np.logaddexp(mean(log_probability(within, self.signal)), log_out)
        return lambda x: log_probability(x, self.signal) - log_p


def offline_log_mean(log_out: Float[Array, "..."], a: float) -> Float[Array, "..."]:
    """Return log ½[(1 + a)·P_out + (1 − a)] from log P_out."""
    if a == 1:
        return log_out
    return np.logaddexp(np.log((1 + a) / 2) + log_out, np.log((1 - a) / 2))


def log_mean(logs: Float[Array, " pairs *rest"]) -> Float[Array, " *rest"]:
    """Return the logarithm of the mean probability over pairs."""
    top = logs.max(axis=0)
    return top + np.log(np.exp(logs - top).mean(axis=0))


def log_mean_without_each(logs: Float[Array, " pairs *rest"]) -> Float[Array, " pairs *rest"]:
    """Return for each pair the logarithm of the mean probability over the other pairs.

    Each sum is added up from the terms before and after the pair. Subtracting the pair from the total would cancel
    where one model has nearly all of the probability.
    """
    first = logs.argmax(axis=0)[None]
    top = np.take_along_axis(logs, first, axis=0)
    others = logs.copy()
    np.put_along_axis(others, first, -np.inf, axis=0)
    second = others.max(axis=0, keepdims=True)
    terms = np.exp(logs - top)
    total = np.zeros_like(terms)
    total[1:] = terms[:-1].cumsum(axis=0)
    total[:-1] += terms[:0:-1].cumsum(axis=0)[::-1]
    np.put_along_axis(total, first, np.exp(others - second).sum(axis=0, keepdims=True), axis=0)
    scale = np.broadcast_to(top, logs.shape).copy()
    np.put_along_axis(scale, first, second, axis=0)
    return scale + np.log(total / (len(logs) - 1))
