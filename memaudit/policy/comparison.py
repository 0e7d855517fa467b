"""A finding beside a limit: p-values and one-sided bounds, as sharp as a saved report allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from memaudit.types import Bounds, Estimate, Finding, Limit

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Comparison:
    """A finding beside a limit that is about it.

    `p_kept` is the p-value of the hypothesis that the true number exceeds the limit, `p_broken` of the one that it does
    not: a small one speaks for the limit's being kept, or broken. `hits` is the number of successes of a binomial
    share, None for any other number.
    """

    limit: Limit
    finding: Finding
    hits: int | None
    p_kept: float
    p_broken: float

    @property
    def alpha(self) -> float:
        """Return the probability of error that the limit allows."""
        return 1 - self.limit.confidence

    def bounds(self, alpha: float) -> Bounds:
        """Return the lower and the upper bound, each with a probability of error of `alpha`.

        Of anything but a binomial share these are the least sure of those in the report that are sure enough; if none
        is, the strictest.
        """
        if self.hits is None:
            kept = _kept(self.finding.estimate)
            return next((bounds for bounds in kept if bounds.confidence >= 1 - alpha - _ROUNDING), kept[-1])
        low, high = _clopper_pearson(self.hits, self.finding.n, 1 - 2 * alpha)
        return Bounds(confidence=1 - alpha, low=low, high=high)

    def too_unsure(self, alpha: float) -> bool:
        """Return whether even the strictest bounds of the report clear the limit, but `alpha` needs stricter ones."""
        bounds = self.bounds(alpha)
        clear = bounds.high <= self.limit.max or bounds.low > self.limit.max
        return clear and bounds.confidence < 1 - alpha - _ROUNDING


def compare(limit: Limit, finding: Finding) -> Comparison:
    """Return the finding beside the limit.

    The number of successes of a binomial share is regained from its value, and its p-values are exact: at any
    confidence, p ≤ α just when the Clopper–Pearson bound at confidence 1 − α clears the limit. Of any other number a
    report keeps bounds at some confidences, or, if it is an older one, a two-sided interval, whose ends at 95 % are
    bounds at 97.5 %. The p-value is then what the strictest bound that clears the limit leaves, and 1 if none does. It
    is never too small.

    Raises:
        ValueError: The limit's confidence is not between 0.5 and 1.

    Source: Clopper & Pearson 1934, whose bounds invert the one-sided binomial tests.
    """
    if not 0.5 < limit.confidence < 1:
        raise ValueError(f"a limit's confidence must be between 0.5 and 1, got {limit.confidence}")
    hits = _hits(finding)
    if hits is not None:
        return Comparison(limit, finding, hits, *_binomial_p_values(hits, finding.n, limit.max))
    bounds = _kept(finding.estimate)
    kept = min((1 - b.confidence for b in bounds if b.high <= limit.max), default=1.0)
    broken = min((1 - b.confidence for b in bounds if b.low > limit.max), default=1.0)
    return Comparison(limit, finding, None, kept, broken)


def _kept(estimate: Estimate) -> tuple[Bounds, ...]:
    """Return the bounds that a report keeps of a number, at rising confidence."""
    ends = Bounds(confidence=(1 + estimate.level) / 2, low=estimate.low, high=estimate.high)
    return tuple(sorted(estimate.bounds, key=lambda bounds: bounds.confidence)) or (ends,)


def _hits(finding: Finding) -> int | None:
    """Return the number of successes if the finding's interval is Clopper–Pearson's of value·n among n; else None."""
    estimate, n = finding.estimate, finding.n
    if estimate.unit != "share" or n < 1 or not 0 <= estimate.value <= 1 or not 0 < estimate.level < 1:
        return None
    hits = round(estimate.value * n)
    ends = _clopper_pearson(hits, n, estimate.level)
    known = (hits / n, estimate.value), (ends[0], estimate.low), (ends[1], estimate.high)
    return hits if all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in known) else None


def _clopper_pearson(hits: int, n: int, level: float) -> tuple[float, float]:
    from memaudit.stats import clopper_pearson  # takes a second, which a report without limits need not wait for

    low, high = clopper_pearson(hits, n, level)
    return float(low), float(high)


def _binomial_p_values(hits: int, n: int, share: float) -> tuple[float, float]:
    """Return P[X ≤ hits] and P[X ≥ hits] for X of n with that share: 0 for what no share from 0 to 1 can be."""
    from scipy.special import betainc

    if share >= 1:
        return 0.0, 1.0
    if share < 0:
        return 1.0, 0.0
    at_most = 1.0 if hits == n else float(betainc(n - hits, hits + 1, 1 - share))
    at_least = 1.0 if hits == 0 else float(betainc(hits, n - hits + 1, share))
    return at_most, at_least
