"""A memorization proxy: the mean loss over the second half of training, in which only hard examples are left."""

import numpy as np

from memaudit.memorization.proxies import Proxy


def late(seen):
    """Return the mean loss of the looks after half of training, [models, examples]; larger = more memorized."""
    looks = seen.epochs >= seen.end / 2
    return seen["loss"][:, looks].mean(axis=1, dtype=np.float64)


LATE_LOSS = Proxy(
    name="late-loss",
    title="Late loss",
    formula="mean loss of the looks after half of training",
    source="an example",
    score=late,
    needs=("loss",),
)
