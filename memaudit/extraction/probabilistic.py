"""(n, p)-discoverable extraction: the chance that n random continuations of a prefix contain the suffix.

Everything is a function of log p_z, the log-probability of the suffix under the decoding scheme. p_z itself is often
below the smallest double, and (1 − p_z)^n, taken literally, is 1 long before.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Shaped

from memaudit.extraction.discoverable import Share, grouped_share
from memaudit.tokens import TOP_K, TokenStatistics

Array = np.ndarray

_TINY = -37.0  # nats: below, log(−log(1 − p)) is log p to double precision


def scheme_log_probability(tokens: TokenStatistics, top_k: bool) -> Float[Array, " texts"]:
    """Return log p_z per text in nats: the log-probability that sampling writes exactly these tokens.

    Args:
        tokens: Of the suffixes alone, each token given the true tokens before it.
        top_k: Whether the scheme samples from the 40 likeliest tokens, at temperature 1, instead of from all of them.
            A text with a less likely token is then never written: −inf.

    Raises:
        ValueError: A text has no predicted token; nothing is not extracted.

    Source: Hayes et al. 2025 (NAACL), p_z; top-k with k = 40 as in Carlini et al. 2021 (USENIX Security).
    """
    if not tokens.lengths.all():
        raise ValueError(f"text {int(np.argmin(tokens.lengths))} has no predicted token")
    each = np.minimum(tokens.logp - tokens.normaliser, 0.0) if top_k else tokens.logp
    never = np.isneginf(each) | (top_k & (tokens.rank >= TOP_K))
    # A sum of differences of running totals would carry one −inf into every later text.
    return np.where(tokens.sums(never) > 0, -np.inf, tokens.sums(np.where(never, 0.0, each)))


def chance_within(log_p: Float[Array, "..."] | float, n: Shaped[Array, "..."] | float | int) -> Float[Array, "..."]:
    """Return 1 − (1 − p_z)^n: the chance that at least one of n independent continuations is the suffix.

    Args:
        log_p: log p_z in nats, at most 0.
        n: Number of continuations, at least 1; the two are broadcast.

    Source: Hayes et al. 2025 (NAACL), (n, p)-discoverable extraction.
    """
    n = np.asarray(n, dtype=float)
    if np.any(n < 1):
        raise ValueError(f"at least one continuation is needed, got n = {n.min()}")
    with np.errstate(over="ignore"):  # certainty
        return np.asarray(-np.expm1(-np.exp(np.log(n) + _log_rate(log_p))))


def queries_needed(log_p: Float[Array, "..."] | float, p: float) -> Float[Array, "..."]:
    """Return how many continuations contain the suffix with probability p, at least 1, not rounded up.

    Infinite where p_z is 0 or the number is above the largest double; `log10_queries_needed` has no such limit.

    Source: Hayes et al. 2025 (NAACL): n = log(1 − p)/log(1 − p_z).
    """
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(_log_queries(log_p, p)))


def log10_queries_needed(log_p: Float[Array, "..."] | float, p: float) -> Float[Array, "..."]:
    """Return the decimal logarithm of `queries_needed`."""
    return np.asarray(_log_queries(log_p, p) / math.log(10))


def _log_queries(log_p: Array | float, p: float) -> Array:
    if not 0 < p < 1:
        raise ValueError(f"p must be between 0 and 1, got {p}")
    return np.asarray(np.maximum(math.log(-math.log1p(-p)) - _log_rate(log_p), 0.0))


def _log_rate(log_p: Array | float) -> Array:
    """Return log(−log(1 − p_z))."""
    x = np.asarray(log_p, dtype=np.float64)
    if not np.all(x <= 0):
        raise ValueError(f"a log-probability is at most 0, got {x.max()}")
    p = np.exp(np.maximum(x, _TINY))
    with np.errstate(divide="ignore"):  # p_z = 1: the rate is infinite
        rate = -np.where(p > 0.5, np.log(-np.expm1(x)), np.log1p(-np.where(p > 0.5, 0.5, p)))
    return np.where(x < _TINY, x, np.log(rate))


def extracted_within(
    log_p: Float[Array, " texts"], n: Float[Array, " points"], p: float
) -> Bool[Array, "points texts"]:
    """Return whether each text is (n, p)-discoverable: n continuations contain it with probability p or more."""
    return chance_within(log_p, n[:, None]) >= p


def extraction_curve(
    log_p: Float[Array, " texts"],
    n: Float[Array, " points"],
    p: float,
    groups: Shaped[Array, " texts"],
    level: float = 0.95,
) -> Share:
    """Return the share of texts that are (n, p)-discoverable at each n, with intervals by duplicate group."""
    return grouped_share(extracted_within(log_p, n, p), groups, level)
