"""False-discovery rates: p-values from pooled null scores, and how many of them can be called discoveries."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray


def at_least(null: Float[Array, " null"], scores: Float[Array, "..."]) -> Int[Array, "..."]:
    """Return how many of the null scores, which are sorted, are at or above each score."""
    return np.asarray(len(null) - np.searchsorted(null, scores, side="left"))


def rank_p_values(null: Float[Array, " null"], scores: Float[Array, " scores"]) -> Float[Array, " scores"]:
    """Return (1 + null scores at or above the score) / (1 + null scores): small = unlike the null.

    P(p ≤ u) ≤ u for a score that is exchangeable with the null scores, whatever their law, ties included.

    Source: Vovk, Gammerman & Shafer 2005; Bates et al. 2023 (Annals of Statistics 51:149), equation 2.
    """
    return (1 + at_least(np.sort(null), scores)) / (1 + len(null))


def benjamini_hochberg(p: Float[Array, " tests"]) -> Float[Array, " tests"]:
    """Return q-values: rejecting all q ≤ α keeps the false-discovery rate at α × the share of true nulls, or below.

    For independent p-values, and for positively dependent ones, such as ranks among the same null scores.

    Source: Benjamini & Hochberg 1995 (JRSS B 57:289); Benjamini & Yekutieli 2001, Theorem 1.2, and Bates et al. 2023,
    Theorem 2, for the dependence.
    """
    tests = len(p)
    order = np.argsort(p, kind="stable")
    stepped = p[order] * tests / np.arange(1, tests + 1)
    q = np.empty(tests)
    q[order] = np.minimum(1, np.minimum.accumulate(stepped[::-1])[::-1])
    return q


def benjamini_yekutieli(p: Float[Array, " tests"]) -> Float[Array, " tests"]:
    """Return q-values under any dependence: those of `benjamini_hochberg` times 1 + 1/2 + … + 1/tests, at most 1.

    Source: Benjamini & Yekutieli 2001 (Annals of Statistics 29:1165), Theorem 1.3.
    """
    return np.minimum(1, benjamini_hochberg(p) * (1 / np.arange(1, len(p) + 1)).sum())
