"""How suspicious a label is: what models say that were not trained on the example.

A model that was trained on an example may have memorized its wrong label. One that was not expects the right one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from memaudit.design import Pairs
from memaudit.memorization.observations import Observations
from memaudit.stats import holm

Array = np.ndarray

_BLOCK = 4_096


def outside_margin(pairs: Pairs) -> Float[Array, " examples"]:
    """Return minus the mean signal of models without each example: for a classifier −log p(label) / (1 − p(label)).

    Larger = more suspicious. 0 is a label that these models give a probability of about 1/2.

    Source: the margin of confident learning, Northcutt, Jiang & Chuang 2021 (JAIR 70:1373), here with held-out models
    in place of folds.
    """
    examples = pairs.shape[1]
    found = np.empty(examples)
    for start in range(0, examples, _BLOCK):
        at = slice(start, min(start + _BLOCK, examples))
        found[at] = -pairs.block(at)[1].mean(axis=(0, 2), dtype=np.float64)
    return found


def contradicted(
    hits: Int[Array, " examples"], models: Int[Array, " examples"], error: float = 0.025
) -> tuple[int, int]:
    """Return (low, high): bounds of the number of examples whose label most models contradict.

    A label is contradicted if a model that was not trained on the example predicts it with a probability below 1/2.
    Each bound holds with probability 1 − error or more, at any dependence between examples: `low` counts the labels
    that are shown to be contradicted, `high` all that are not shown to be confirmed, each by exact binomial tests with
    Holm's correction over the examples.

    Args:
        hits: Of the models without each example, those that predict its label.
        models: Their number; they are independent draws.
        error: Probability that a bound does not hold.

    Source: Clopper & Pearson 1934, the exact binomial test; Holm 1979, by which all rejections are true together.
    """
    against, for_it = map(np.asarray, (stats.binom.cdf(hits, models, 0.5), stats.binom.sf(hits - 1, models, 0.5)))
    return int((holm(against) <= error).sum()), len(hits) - int((holm(for_it) <= error).sum())


def outside_loss(seen: Observations) -> Float[Array, " examples"]:
    """Return the mean loss over epochs of models without each example; larger = more suspicious.

    Raises:
        ValueError: An example was in the training sets of all models.

    Source: cumulative sample loss, Ravikumar et al. 2025, on models that were not trained on the example.
    """
    outside = seen.members == 0
    if not outside.any(axis=0).all():
        raise ValueError(f"all models were trained on example {int(np.argmin(outside.any(axis=0)))}")
    return (seen.over_epochs(seen["loss"]) * outside).sum(axis=0) / outside.sum(axis=0)
