"""How much a training run depends on single examples: arrays in, scores with intervals out."""

from memaudit.memorization.benign import BenignMemorization, Memorizes, benign_memorization
from memaudit.memorization.counterfactual import (
    Counterfactual,
    Top,
    counterfactual,
    counterfactual_of_models,
    cross_fitted_top,
    null_deviation,
)
from memaudit.memorization.depth import prediction_depth
from memaudit.memorization.dilation import Dilation, dilation
from memaudit.memorization.feldman import Memorization, memorization, paired_memorization
from memaudit.memorization.forgetting_quality import ForgettingQuality, forgetting_quality
from memaudit.memorization.forgetting_rate import ForgettingRate, rate_of_forgetting
from memaudit.memorization.found import Found, Strongest, beyond_chance, strongest
from memaudit.memorization.holdout_retraining import HoldoutRetraining, holdout_retraining
from memaudit.memorization.influence import Influence, influence, self_influence
from memaudit.memorization.label_noise import KnownMemorization, known_memorization
from memaudit.memorization.leave_one_out import Agreement, LeaveOneOut, agreement, leave_one_out
from memaudit.memorization.link import (
    EDGES,
    MEMORIZED,
    Link,
    LinkBin,
    cross_fitted_link,
    cross_fitted_spearman,
    rates_by_bin,
)
from memaudit.memorization.link_by_model import Half, link_of_halves
from memaudit.memorization.localisation import Effect, Remembered, effect
from memaudit.memorization.margin import Margin, margin
from memaudit.memorization.observations import Observations
from memaudit.memorization.onion import PrivacyOnion, exposure, privacy_onion
from memaudit.memorization.probe import nearest_labels
from memaudit.memorization.second_split import Kind, SecondSplit, forgetting_time, second_split
from memaudit.memorization.standardized import standardized_by_class
from memaudit.memorization.tail import TAIL, TAIL_EDGES, USEFUL, Tail, tail
from memaudit.memorization.unlearning import Unlearning, changed, unlearned_tpr, unlearning
from memaudit.memorization.valuation import banzhaf, c_score

__all__ = [
    "EDGES",
    "MEMORIZED",
    "TAIL",
    "TAIL_EDGES",
    "USEFUL",
    "Agreement",
    "BenignMemorization",
    "Counterfactual",
    "Dilation",
    "Effect",
    "ForgettingQuality",
    "ForgettingRate",
    "Found",
    "Half",
    "HoldoutRetraining",
    "Influence",
    "Kind",
    "KnownMemorization",
    "LeaveOneOut",
    "Link",
    "LinkBin",
    "Margin",
    "Memorization",
    "Memorizes",
    "Observations",
    "PrivacyOnion",
    "Remembered",
    "SecondSplit",
    "Strongest",
    "Tail",
    "Top",
    "Unlearning",
    "agreement",
    "banzhaf",
    "benign_memorization",
    "beyond_chance",
    "c_score",
    "changed",
    "counterfactual",
    "counterfactual_of_models",
    "cross_fitted_link",
    "cross_fitted_spearman",
    "cross_fitted_top",
    "dilation",
    "effect",
    "exposure",
    "forgetting_quality",
    "forgetting_time",
    "holdout_retraining",
    "influence",
    "known_memorization",
    "leave_one_out",
    "link_of_halves",
    "margin",
    "memorization",
    "nearest_labels",
    "null_deviation",
    "paired_memorization",
    "prediction_depth",
    "privacy_onion",
    "rate_of_forgetting",
    "rates_by_bin",
    "second_split",
    "self_influence",
    "standardized_by_class",
    "strongest",
    "tail",
    "unlearned_tpr",
    "unlearning",
]
