"""Membership scores of texts from what a language model says about every token; larger = more likely a member."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from memaudit.attacks.blockwise import Scorer, mean_of_references, pair_scores, target_scores
from memaudit.design import Pairs
from memaudit.tokens import TokenScores, TokenStatistics

Array = np.ndarray
Scores = Float[Array, " texts"]
Statistic = Callable[[Any, Int[Array, " texts"]], Scores]

_LEAST_DEVIATION = 1e-4  # nats; below it, differences of log-probabilities in float32 are rounding


def zlib_bytes(texts: Sequence[str]) -> Int[Array, " texts"]:
    """Return the length of each text as zlib compresses it (level 6), in bytes; about 8 of them are header."""
    return np.array([len(zlib.compress(text.encode("utf-8"))) for text in texts], dtype=np.int64)


def mean_logp(tokens: TokenScores) -> Scores:
    """Return the mean log-probability of the tokens of each text, in nats: minus the loss.

    Raises:
        ValueError: A text has no predicted token.

    Source: Yeom et al. 2018 (CSF), Adversary 2.
    """
    return tokens.means(tokens.logp)


def zlib_ratio(tokens: TokenScores, compressed: Int[Array, " texts"]) -> Scores:
    """Return Σ log p / (length when compressed), in nats per byte: the model's code length beside zlib's, negated.

    The header of about 8 bytes weighs more in a short text, whose ratio it draws towards 0, the members' side: texts
    of very different lengths are not ranked fairly.

    Args:
        tokens: Of the texts.
        compressed: `zlib_bytes` of the same texts (of the part that is predicted).

    Raises:
        ValueError: A text has no predicted token, or a length is not positive.

    Source: Carlini et al. 2021, "Extracting Training Data from Large Language Models" (the zlib metric), with both
    lengths in total; published code often divides the mean over tokens instead.
    """
    if not (compressed > 0).all():
        raise ValueError(f"compressed lengths must be positive, got {compressed.min()}")
    return mean_logp(tokens) * tokens.lengths / compressed


def min_k(tokens: TokenScores, share: float = 0.2) -> Scores:
    """Return the mean of the lowest log-probabilities of each text, in nats: of that share of its tokens, at least 1.

    Raises:
        ValueError: A text has no predicted token, or the share is not in (0, 1].

    Source: Shi et al. 2024 (ICLR), "Detecting Pretraining Data from Large Language Models", Min-K% Prob.
    """
    return _mean_of_lowest(tokens, tokens.logp, share)


def min_k_plus_plus(tokens: TokenStatistics, share: float = 0.2) -> Scores:
    """Return the mean of the lowest (log p − μ)/σ of each text: of that share of its tokens, at least 1.

    μ and σ are mean and deviation of log p under the model's own distribution p of the next token, not over the
    vocabulary. Where the model leaves no choice, σ is 0; it is taken to be at least 1e-4 nats.

    Raises:
        ValueError: A text has no predicted token, or the share is not in (0, 1].

    Source: Zhang et al. 2025 (ICLR), "Min-K%++: Improved Baseline for Detecting Pre-Training Data from Large Language
    Models".
    """
    standard = (tokens.logp - tokens.mean) / np.maximum(tokens.deviation, _LEAST_DEVIATION)
    return _mean_of_lowest(tokens, standard, share)


def _mean_of_lowest(tokens: TokenScores, values: Float[Array, " tokens"], share: float) -> Scores:
    """Return the mean of the lowest values of each text: of max(1, ⌈share·n⌉) of its n tokens."""
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}")
    lengths = tokens.lengths
    if not lengths.all():
        raise ValueError(f"text {int(np.argmin(lengths))} has no predicted token")
    text = np.repeat(np.arange(len(tokens)), lengths)
    ascending = values[np.lexsort((values, text))].astype(np.float64)
    taken = np.maximum(1, np.ceil(share * lengths - 1e-9).astype(np.int64))  # 0.07 * 100 is 7.000…01
    lowest = np.arange(len(values)) - tokens.starts[text] < taken[text]
    return np.bincount(text[lowest], ascending[lowest], minlength=len(tokens)) / taken


OF_DISTRIBUTION = ("min-k++",)  # which need the model's whole distribution at every token, not one log-probability

STATISTICS: dict[str, tuple[Statistic, str]] = {
    "zlib": (zlib_ratio, "Carlini et al. 2021 (USENIX Security), zlib metric"),
    "min-k": (lambda tokens, _: min_k(tokens), "Shi et al. 2024 (ICLR), Min-K% Prob"),
    "min-k++": (lambda tokens, _: min_k_plus_plus(tokens), "Zhang et al. 2025 (ICLR), Min-K%++"),
}


@dataclass(frozen=True, slots=True)
class Calibrated:
    """How much more confident the target is than models that were not trained on the example.

    The score is φ − mean of φ over the outside models. Their mean measures how hard the example is, which otherwise
    dominates the loss of a text.
    """

    name: str = "reference"
    source: str = "Watson et al. 2022 (ICLR), difficulty calibration, with the bank's outside models as reference"

    def scores(self, target: Float[Array, "examples queries"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the target's signal minus the mean of the outside models' of all pairs but the last, over queries.

        Raises:
            ValueError: Fewer than 2 pairs, signals of another shape than the bank's, or one that is not finite.
        """
        return target_scores(_calibrated, target, pairs, least=2)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside): the scores of every bank model as a target, its own pair left out.

        Exactly what `scores` would give with that pair as the last one, in O(models × examples).

        Raises:
            ValueError: Fewer than 2 pairs, or a signal that is not finite.
        """
        return pair_scores(_calibrated, pairs, least=2)


def _calibrated(within: Array, without: Array, left_out: bool) -> Scorer:
    """Return the scorer that takes from a signal the mean of the outside models."""
    mean = mean_of_references(without, left_out)
    return lambda x: x - mean
