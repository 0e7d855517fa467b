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
from memaudit.memorization.forgetting_rate import ForgettingRate, rate_of_forgetting
from memaudit.memorization.holdout_retraining import HoldoutRetraining, holdout_retraining
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
from memaudit.memorization.second_split import Kind, SecondSplit, forgetting_time, second_split
from memaudit.memorization.unlearning import Unlearning, unlearning

__all__ = [
    "EDGES",
    "MEMORIZED",
    "Counterfactual",
    "ForgettingRate",
    "HoldoutRetraining",
    "Kind",
    "Link",
    "LinkBin",
    "Margin",
    "Memorization",
    "SecondSplit",
    "Top",
    "Unlearning",
    "counterfactual",
    "counterfactual_of_models",
    "cross_fitted_link",
    "cross_fitted_spearman",
    "cross_fitted_top",
    "forgetting_time",
    "holdout_retraining",
    "margin",
    "memorization",
    "null_deviation",
    "paired_memorization",
    "rate_of_forgetting",
    "rates_by_bin",
    "second_split",
    "unlearning",
]
