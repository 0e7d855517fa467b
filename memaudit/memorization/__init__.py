"""How much a training run depends on single examples: arrays in, scores with intervals out."""

from memaudit.memorization.counterfactual import (
    Counterfactual,
    Top,
    counterfactual,
    counterfactual_of_models,
    cross_fitted_top,
    null_deviation,
)
from memaudit.memorization.feldman import Memorization, memorization, paired_memorization
from memaudit.memorization.link import (
    EDGES,
    MEMORIZED,
    Link,
    LinkBin,
    cross_fitted_link,
    cross_fitted_spearman,
    rates_by_bin,
)
from memaudit.memorization.margin import Margin, margin
from memaudit.memorization.observations import Observations

__all__ = [
    "EDGES",
    "MEMORIZED",
    "Counterfactual",
    "Link",
    "LinkBin",
    "Margin",
    "Memorization",
    "Observations",
    "Top",
    "counterfactual",
    "counterfactual_of_models",
    "cross_fitted_link",
    "cross_fitted_spearman",
    "cross_fitted_top",
    "margin",
    "memorization",
    "null_deviation",
    "paired_memorization",
    "rates_by_bin",
]
