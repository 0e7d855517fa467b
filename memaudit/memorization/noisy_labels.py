"""How suspicious a label is: what models say that were not trained on the example.

A model that was trained on an example may have memorized its wrong label. One that was not expects the right one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.design import Pairs
from memaudit.memorization.observations import Observations

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
