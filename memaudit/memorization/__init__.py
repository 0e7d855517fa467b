"""How much a training run depends on single examples: arrays in, scores with standard errors out."""

from memaudit.memorization.feldman import Memorization, memorization, reliability
from memaudit.memorization.link import EDGES, Link, LinkBin, cross_fitted_link, rates_by_bin
from memaudit.memorization.margin import Margin, margin

__all__ = [
    "EDGES",
    "Link",
    "LinkBin",
    "Margin",
    "Memorization",
    "cross_fitted_link",
    "margin",
    "memorization",
    "rates_by_bin",
    "reliability",
]
