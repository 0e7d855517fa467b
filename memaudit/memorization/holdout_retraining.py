"""Holdout retraining: how much a model's answer to an example changes when it is trained on held-out data.

A proxy of memorization that needs one model and its child: what only the example itself taught the model, other data of
the same distribution overwrites.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

Array = np.ndarray


class HoldoutRetraining(NamedTuple):
    """The divergence of every example in nats, larger = more atypical, with its standard error over models."""

    value: Float[Array, " examples"]
    error: Float[Array, " examples"]


def holdout_retraining(
    divergence: Float[Array, "models examples"],
    members: UInt8[Array, "models examples"],
    seen: UInt8[Array, "models examples"],
) -> HoldoutRetraining:
    """Return the mean divergence of each example over the models that were trained on it, and not retrained on it.

    The mean is NaN for an example that no model was trained on alone, the error for one of a single model.

    Args:
        divergence: Between a model's and its child's class probabilities: KL(p‖q) + KL(q‖p), in nats.
        members: How often each model was trained on each example.
        seen: How often the example was in the data of the derivation.

    Source: Carlini, Erlingsson & Papernot 2019 (arXiv 1910.13427), holdout retraining; Wei et al. 2025 (ACM CSUR
    58(4):98), Equation 7.
    """
    of_members = (members > 0) & (seen == 0)
    number = of_members.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(of_members, divergence, 0).sum(axis=0) / number
        square = np.where(of_members, (divergence - mean) ** 2, 0).sum(axis=0)
        return HoldoutRetraining(mean, np.sqrt(square / (number - 1) / number))
