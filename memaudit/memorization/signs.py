"""The law of a sum of numbers with random signs: the null distribution of an influence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

Array = np.ndarray

_TIES = 1e-4  # relative, of sums that are the same but for rounding


@dataclass(frozen=True, slots=True)
class SignLaw:
    """P[|Σ ±m_t| ≥ s], exact where the m_t have at most two sizes, and otherwise Hoeffding's bound of it.

    Two sizes are all that the metric "right or wrong" leads to: 1 and 0, or the distances of 1 and 0 from the mean.
    `sizes` rises, and `tail` is the probability of a sum of at least that size; both are None for the bound.

    Source: the binomial law of a sum of signs; Hoeffding 1963 (JASA 58:13), Theorem 2: 2 exp(−s²/(2 Σm²)).
    """

    norm: float
    sizes: Float[Array, " sums"] | None = None
    tail: Float[Array, " sums"] | None = None

    @classmethod
    def of(cls, magnitudes: Float[Array, " terms"]) -> SignLaw:
        """Return the law for the sizes of the terms."""
        norm = float((magnitudes.astype(np.float64) ** 2).sum())
        distinct, counts = np.unique(magnitudes[magnitudes > 0], return_counts=True)
        if len(distinct) > 2:
            return cls(norm)
        sums, chances = np.zeros(1), np.ones(1)
        for size, count in zip(distinct.astype(np.float64), counts, strict=True):
            heads = np.arange(count + 1)
            sums = np.add.outer(sums, size * (2 * heads - count)).ravel()
            chances = np.multiply.outer(chances, stats.binom.pmf(heads, count, 0.5)).ravel()
        order = np.argsort(np.abs(sums))
        sizes, tail = np.abs(sums)[order], np.cumsum(chances[order][::-1])[::-1]
        return cls(norm, sizes, tail[np.searchsorted(sizes, sizes * (1 - _TIES))])

    def p_values(self, sums: Float[Array, " some"]) -> Float[Array, " some"]:
        """Return the two-sided p-values of sums."""
        sizes = np.abs(sums.astype(np.float64)) * (1 - _TIES)
        if self.sizes is not None and self.tail is not None:
            place = np.searchsorted(self.sizes, sizes)
            return np.minimum(np.append(self.tail, 0.0)[place], 1.0)
        return np.minimum(2 * np.exp(-(sizes**2) / (2 * self.norm)), 1.0)

    def least(self, p: float) -> float:
        """Return how large a sum must be for a p-value of at most `p`; infinite if none can be."""
        if self.sizes is None or self.tail is None:
            return float(np.sqrt(2 * self.norm * np.log(2 / p)))
        rare = np.flatnonzero((self.tail <= p) & (self.sizes > 0))
        return float(self.sizes[rare[0]]) * (1 - _TIES) if len(rare) else np.inf
