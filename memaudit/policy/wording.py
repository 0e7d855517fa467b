"""Bounds and confidence in words."""

from __future__ import annotations

import math

from memaudit.policy.comparison import Comparison

_BARE = ("correlation", "epsilon")  # units that are not written


def shown(value: float, unit: str, limit: float | None = None) -> str:
    """Return a number with its unit: two significant digits, and as many more as tell it from a limit."""
    scale, suffix = (100, "%") if unit == "share" else (1, "" if unit in _BARE else f" {unit}")
    digits = 2
    while (
        limit is not None
        and value != limit
        and digits < 9
        and math.isclose(_rounded(value, scale, digits), scale * limit)
    ):
        digits += 1
    return f"{_rounded(value, scale, digits):.10g}{suffix}"


def exact(value: float, unit: str) -> str:
    """Return a number that somebody chose, with its unit."""
    return f"{100 * value:.10g}%" if unit == "share" else f"{value:.10g}{'' if unit in _BARE else f' {unit}'}"


def _rounded(value: float, scale: int, digits: int) -> float:
    number = scale * value
    near_all = scale == 100 and 90 < number < 100  # 99.96 % must not become 100 %
    return round(100 - float(f"{100 - number:.{digits}g}"), 9) if near_all else float(f"{number:.{digits}g}")


def percent(share: float) -> str:
    """Return a confidence as a percentage."""
    return f"{100 * share:.4g}%"


def confidence(comparison: Comparison, family: int) -> str:
    """Return the confidence of a comparison's bounds, of so many that share it."""
    if family > 1:
        return f"{percent(comparison.limit.confidence)} confidence (jointly over {family} comparisons)"
    return f"{percent(comparison.bounds(comparison.alpha).confidence)} confidence"


def too_unsure(comparison: Comparison, divisor: int) -> str:
    """Return that the interval of the report has less confidence than α/divisor, in words."""
    jointly = f" for {divisor} joint comparisons" if divisor > 1 else ""
    required = percent(1 - comparison.alpha / divisor)
    kept = comparison.bounds(comparison.alpha / divisor).confidence
    return f"but only at {percent(kept)} confidence; {required} is required{jointly}"
