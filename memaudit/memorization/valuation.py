"""What an example is worth to a model, and how well it is predicted by models that never saw it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

from memaudit.memorization.counterfactual import Counterfactual
from memaudit.memorization.influence import self_influence
from memaudit.stats import wilson

Array = np.ndarray


def banzhaf(
    utility: Float[Array, " models"], members: UInt8[Array, "models examples"], level: float = 0.95
) -> Counterfactual:
    """Return the Data Banzhaf value of every example: how much it raises a model's utility on average.

    The average is over random halves of the other examples. Models with fair, independent memberships give an unbiased
    estimate. So do complementary pairs, as each model's training set is such a random half; their two models depend on
    each other, which the standard errors, over pairs, account for. With memberships of another probability r, the
    average is over random subsets of that share, and the value is a weighted Banzhaf value.

    It is a value in a market sense and no measure of memorization: an example with an exact copy is worth nothing.

    Args:
        utility: Of each model, such as its accuracy on a fixed test set, larger = better.
        members: How often each model was trained on each example.
        level: Coverage of the intervals, for each example by itself.

    Source: Wang & Jia 2023 (AISTATS), "Data Banzhaf", the maximum-sample-reuse estimator.
    """
    return self_influence(np.broadcast_to(utility[:, None], members.shape), members, level)


def c_score(
    correct: Bool[Array, "models examples"], members: UInt8[Array, "models examples"], level: float = 0.95
) -> tuple[Float[Array, " examples"], Float[Array, " examples"], Float[Array, " examples"]]:
    """Return the consistency score of every example with its interval: the accuracy of models without it.

    It is for training sets of the bank's size; published C-scores average over several sizes.

    Args:
        correct: Whether each model predicts each example's label.
        members: How often each model was trained on each example.
        level: Coverage of the intervals, for each example by itself.

    Returns:
        (value, low, high), 0 to 1, larger = more typical.

    Raises:
        ValueError: Every model was trained on some example.

    Source: Jiang et al. 2021 (ICML), "Characterizing Structural Regularities of Labeled Data", equation 1; Wilson 1927.
    """
    outside = members == 0
    models = outside.sum(axis=0)
    if (models == 0).any():
        raise ValueError(f"every model was trained on example {int(np.argmax(models == 0))}")
    hits = (correct & outside).sum(axis=0)
    return hits / models, *wilson(hits, models, level)
