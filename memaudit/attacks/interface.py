"""The contract of an attack."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from memaudit.design import Pairs

Array = np.ndarray

_BLOCK = 2**19  # numbers per block: 4 MB in float64, which stays in the cache


@runtime_checkable  # for the shape checks of the tests
class Attack(Protocol):
    """Scores membership with the help of a bank; larger = more likely a member."""

    @property
    def name(self) -> str:
        """What the attack is called in settings and reports."""
        ...

    @property
    def source(self) -> str:
        """Paper and place of the definition."""
        ...

    def scores(self, target: Float[Array, "examples queries"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return float32 scores of a model outside the bank, computed as `leave_pair_out` computes those of a shadow.

        The last pair is left out of the references. A target with one more reference pair than the shadows would have
        scores of another scale, and a threshold set on the shadows would not keep its false-positive rate.
        """
        ...

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside): the scores of every bank model as a target, its own pair left out."""
        ...


@runtime_checkable
class Learner(Protocol):
    """An attack that learns from the bank before it scores."""

    def learn(self, pairs: Pairs) -> Attack:
        """Return the attack with what it learned from the bank; the other methods of one without learn each time."""
        ...


def taught(attack: Attack, pairs: Pairs) -> Attack:
    """Return the attack, after it has learned from the bank if it is one that does."""
    return attack.learn(pairs) if isinstance(attack, Learner) else attack


def references(pairs: Pairs) -> Pairs:
    """Return the pairs that a target is scored with: all but the last, as many as a shadow is scored with.

    Pairs are independent draws, so which one is left out does not matter.
    """
    return pairs.take(np.arange(pairs.shape[0] - 1))


def require_finite(signals: Float[Array, "... examples queries"], first: int = 0) -> None:
    """Refuse NaN and infinity: one of them spoils a variance that examples share, and a NaN is above no threshold.

    The attack would then find nothing, and the audit would say so.

    Raises:
        ValueError: A signal is not finite; names the example, counted from `first`.
    """
    finite = np.isfinite(signals)
    if not finite.all():  # which is much faster than along the short last axis
        bad = ~finite.all(axis=-1)
        example = first + int(np.flatnonzero(bad.reshape(-1, bad.shape[-1]).any(axis=0))[0])
        raise ValueError(f"the signals of example {example} are not all finite")


def read(pairs: Pairs, block: slice) -> tuple[Float[Array, "pairs block queries"], Float[Array, "pairs block queries"]]:
    """Return the inside and outside signals of a block of examples, all of them finite."""
    within, without = pairs.block(block)
    for signals in (within, without):
        require_finite(signals, block.start)
    return within, without


def blocks(pairs: Pairs) -> Iterator[slice]:
    """Return slices that cover the examples in pieces small enough for the cache."""
    count, examples, queries = pairs.shape
    step = max(1, _BLOCK // max(1, count * queries))
    return (slice(start, min(start + step, examples)) for start in range(0, examples, step))


class Signal(StrEnum):
    """Unit of the signals, for the attacks that need probabilities.

    SCALED_LOGIT: log p − log(1 − p) of the true label (classifiers).
    LOG_PROBABILITY: log p, in nats; for a text, the mean over its tokens (language models).
    """

    SCALED_LOGIT = "scaled-logit"
    LOG_PROBABILITY = "log-probability"


def log_probability(phi: Float[Array, "..."], signal: Signal) -> Float[Array, "..."]:
    """Return log p in nats, float64, of the same shape; never above 0 for scaled logits.

    A scaled logit φ gives log p = −log(1 + exp(−φ)), computed without overflow and without passing through p.

    Args:
        phi: The signals; larger = more confident.
        signal: Their unit.
    """
    values = phi.astype(np.float64)
    return values if signal is Signal.LOG_PROBABILITY else -np.logaddexp(0, -values)
