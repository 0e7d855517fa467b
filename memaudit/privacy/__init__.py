"""Differential privacy beside an audit: what (ε, δ) allows at most, and what ε a model shows at least."""

from memaudit.privacy.accounting import Steps, epsilon_of_steps
from memaudit.privacy.ceilings import (
    LARGEST,
    delta_of_gaussian,
    epsilon_of_gaussian,
    exposure_ceiling,
    gaussian_ceiling,
    memorization_ceiling,
    mu_of_epsilon,
    of_group,
    tpr_ceiling,
)
from memaudit.privacy.claim import Claim, Promise
from memaudit.privacy.many_runs import epsilon_of_counts, gaussian_of_counts
from memaudit.privacy.one_run import (
    epsilon_bound,
    gaussian_bound,
    guess_numbers,
    lower_bound,
    most_shown,
    p_value,
    right_guesses,
)

__all__ = [
    "LARGEST",
    "Claim",
    "Promise",
    "Steps",
    "delta_of_gaussian",
    "epsilon_bound",
    "epsilon_of_counts",
    "epsilon_of_gaussian",
    "epsilon_of_steps",
    "exposure_ceiling",
    "gaussian_bound",
    "gaussian_ceiling",
    "gaussian_of_counts",
    "guess_numbers",
    "lower_bound",
    "memorization_ceiling",
    "most_shown",
    "mu_of_epsilon",
    "of_group",
    "p_value",
    "right_guesses",
    "tpr_ceiling",
]
