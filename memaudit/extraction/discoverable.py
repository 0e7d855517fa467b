"""Discoverable extraction: given the tokens that precede it in training, does greedy decoding write the suffix?

Greedy decoding writes a suffix exactly if each of its tokens is the likeliest after those before it. One forward pass
therefore decides, without any decoding, except where two tokens are so close that rounding chooses between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from memaudit.extraction.index import CorpusIndex
from memaudit.stats import clopper_pearson
from memaudit.tokens import TokenStatistics

Array = np.ndarray


def suffix(tokens: TokenStatistics, length: int) -> TokenStatistics:
    """Return the statistics of the last `length` tokens of each text: of its suffix, given all that precedes it.

    Raises:
        ValueError: A text has fewer predicted tokens.
    """
    if length < 1 or np.any(tokens.lengths < length):
        raise ValueError(f"no suffix of {length} tokens in texts of {tokens.lengths.tolist()} predicted tokens")
    at = (tokens.starts[1:, None] - np.arange(length, 0, -1)).ravel()
    values = {field.name: getattr(tokens, field.name)[at] for field in fields(tokens) if field.name != "starts"}
    return TokenStatistics(starts=np.arange(len(tokens) + 1) * length, **values)


def greedy(tokens: TokenStatistics) -> Bool[Array, " texts"]:
    """Return whether greedy decoding writes each text: every one of its tokens is the likeliest.

    Args:
        tokens: Of the suffixes alone, each token given the true tokens before it.

    Raises:
        ValueError: A text has no predicted token; nothing is not extracted.

    Source: Carlini et al. 2023 (ICLR), the definition of a string extractable with k tokens of context.
    """
    return _least_gap(tokens) > 0


def near_ties(tokens: TokenStatistics, within: float = 1e-3) -> Bool[Array, " texts"]:
    """Return whether the answer of `greedy` hangs on a gap of fewer than `within` nats, so that it must be decoded.

    The least gap decides. A near tie at one token changes nothing where another is clearly not the likeliest.
    """
    return np.abs(_least_gap(tokens)) < within


def _least_gap(tokens: TokenStatistics) -> Float[Array, " texts"]:
    if not tokens.lengths.all():
        raise ValueError(f"text {int(np.argmin(tokens.lengths))} has no predicted token")
    return np.minimum.reduceat(tokens.gap, tokens.starts[:-1]) if len(tokens) else np.empty(0)


def well_specified(
    prefixes: Sequence[Int[Array, " _"]], suffixes: Sequence[Int[Array, " _"]], index: CorpusIndex
) -> Bool[Array, " texts"]:
    """Return whether each suffix is what follows its prefix wherever the prefix occurs in the corpus.

    If not, greedy decoding may write another piece of the training data and be counted as a miss. A document that ends
    within the suffix continues otherwise. True where the prefix does not occur: a held-out text that nothing in the
    corpus contradicts would be well specified if it were put there.

    Source: Training Data Extraction Challenge (google-research/lm-extraction-benchmark), well-specified suffixes.
    """
    whole = [np.concatenate(pair) for pair in zip(prefixes, suffixes, strict=True)]
    return np.asarray(index.occurrences(whole) == index.occurrences(prefixes))


@dataclass(frozen=True, slots=True)
class Share:
    """Shares of texts with their intervals."""

    value: Float[Array, "..."]
    low: Float[Array, "..."]
    high: Float[Array, "..."]


def grouped_share(hits: Bool[Array, "*points texts"], groups: Shaped[Array, " texts"], level: float = 0.95) -> Share:
    """Return the share of texts that are hit; texts of one group, such as near-duplicates, are no independent draws.

    The interval is that of Clopper and Pearson for (Σm)²/Σm² texts, where the groups have m texts: as many independent
    ones as vary alike when a group is hit as a whole or not at all. Without duplicates these are the texts themselves.

    Args:
        hits: Whether each text is hit, for any number of settings.
        groups: The group that each text belongs to.
        level: Two-sided coverage.

    Raises:
        ValueError: There are no texts.

    Source: effective sample size of clusters, Kish 1965, put into the interval as by Korn & Graubard 1998 (Survey
    Methodology 24:193).
    """
    if not len(groups):
        raise ValueError("a share of no texts")
    _, sizes = np.unique(groups, return_counts=True)
    share = np.asarray(hits.mean(axis=-1))
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    return Share(share, *clopper_pearson(np.asarray(share * effective), np.asarray(effective), level))
