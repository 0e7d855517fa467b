"""Intervals, ROC points, thresholds and correlations. Every function names its source."""

from memaudit.stats.correlation import Ranks, partial_spearman, spearman, spearman_interval
from memaudit.stats.counts import columns, right_without
from memaudit.stats.couples import Couples
from memaudit.stats.crossed import crossed_variance
from memaudit.stats.fdr import at_least, benjamini_hochberg, benjamini_yekutieli, rank_p_values
from memaudit.stats.held_out import HeldOutRate
from memaudit.stats.information import Calibration, MembershipBits, entropy
from memaudit.stats.intervals import (
    clopper_pearson,
    cluster_difference_interval,
    cluster_interval,
    cluster_mean_interval,
    effective_share,
    holm,
    korn_graubard,
    mover_difference,
    newcombe_paired,
    newcombe_wilson,
    wilson,
    without_variation,
)
from memaudit.stats.paired import change_interval, paired_change, rate_by_pair, rate_interval
from memaudit.stats.prediction import predictive_p_value, predictive_share_p_value
from memaudit.stats.roc import (
    auc,
    auc_interval,
    least_nonmembers,
    own_tpr,
    own_tpr_interval,
    percentiles,
    resolvable,
    roc_points,
    threshold,
    tpr_draws,
    tpr_interval,
    transferred_thresholds,
)
from memaudit.stats.suppression import shown_groups
from memaudit.stats.transfer import Reached, TransferredRate, transferred_rate, unreachable
from memaudit.stats.variance import floored

__all__ = [
    "Calibration",
    "Couples",
    "HeldOutRate",
    "MembershipBits",
    "Ranks",
    "Reached",
    "TransferredRate",
    "at_least",
    "auc",
    "auc_interval",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "change_interval",
    "clopper_pearson",
    "cluster_difference_interval",
    "cluster_interval",
    "cluster_mean_interval",
    "columns",
    "crossed_variance",
    "effective_share",
    "entropy",
    "floored",
    "holm",
    "korn_graubard",
    "least_nonmembers",
    "mover_difference",
    "newcombe_paired",
    "newcombe_wilson",
    "own_tpr",
    "own_tpr_interval",
    "paired_change",
    "partial_spearman",
    "percentiles",
    "predictive_p_value",
    "predictive_share_p_value",
    "rank_p_values",
    "rate_by_pair",
    "rate_interval",
    "resolvable",
    "right_without",
    "roc_points",
    "shown_groups",
    "spearman",
    "spearman_interval",
    "threshold",
    "tpr_draws",
    "tpr_interval",
    "transferred_rate",
    "transferred_thresholds",
    "unreachable",
    "wilson",
    "without_variation",
]
