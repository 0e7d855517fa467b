"""How soon and how steadily an example is classified correctly."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.memorization.observations import Observations
from memaudit.memorization.proxies.interface import Proxy

Array = np.ndarray


def _by_epoch(seen: Observations) -> Float[Array, "models examples"]:
    """Return the share of epochs after which the example is wrong."""
    return 1 - seen.over_epochs(seen["correct"])


def _by_batch(seen: Observations) -> Float[Array, "models examples"]:
    """Return the expected share of passes in which the example is wrong before its batch's update."""
    starts = np.maximum(seen.whole_epochs - 1, 0)
    before = np.stack([np.interp(starts, seen.epochs, one) for one in np.eye(len(seen.epochs))], axis=1)
    return 1 - seen.over_epochs(seen["correct"], (before + seen.weights) / 2)


APB = Proxy(
    name="apb",
    title="Accuracy per batch (ApB)",
    formula="1 − mean over epochs of [correct after the epoch]",
    source="Accuracy per batch, the text of its section 4.3; mean correctness, Jiang et al. 2021",
    score=_by_epoch,
    needs=("correct", "course"),
)
APB_BATCH = Proxy(
    name="apb-batch",
    title="ApB within the batch",
    formula="1 − mean over epochs of [correct just before the update on it]; its place in the epoch is random",
    source="Accuracy per batch, its Algorithm 1, interpolated between the ends of epochs",
    score=_by_batch,
    needs=("correct", "course"),
)
