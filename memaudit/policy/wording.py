"""Bounds and confidence in words."""

from __future__ import annotations

from memaudit.policy.comparison import Comparison


def shown(value: float, unit: str) -> str:
    """Returns a number with its unit; a share as a percentage."""
    return percent(value) if unit == "share" else f"{value:.4g}" + ("" if unit == "correlation" else f" {unit}")


def percent(share: float) -> str:
    """Returns a share as a percentage."""
    return f"{100 * share:.4g}%"


def confidence(comparison: Comparison, family: int) -> str:
    """Returns how sure the bounds of a comparison are, of so many that are made."""
    if family > 1:
        return f"{percent(comparison.limit.confidence)} confidence, all {family} comparisons together"
    return f"{percent(comparison.bounds(comparison.alpha).confidence)} confidence"


def too_unsure(comparison: Comparison, divisor: int) -> str:
    """Returns that the interval of the report is not as sure as α/divisor, in words."""
    together = f", {divisor} comparisons together" if divisor > 1 else ""
    asked = percent(1 - comparison.alpha / divisor)
    kept = comparison.bounds(comparison.alpha / divisor).confidence
    return f"but at {percent(kept)} confidence only, and {asked} is asked of it{together}"
