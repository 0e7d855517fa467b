"""The scaled logit: how confident a model is in the true label, on a scale where confidences are roughly normal."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import logsumexp

Array = np.ndarray

_LEAST_PROBABILITY = 1e-6
LEAST_LOGIT = float(np.log(_LEAST_PROBABILITY) - np.log1p(-_LEAST_PROBABILITY))


def scaled_logit(logits: Float[Array, "examples classes"], y: Int[Array, " examples"]) -> Float[Array, " examples"]:
    """Returns φ = log p_y − log(1 − p_y) per example, in nats; larger = more confident in the true label.

    Computed as z_y − logsumexp of the other logits. Through a softmax, confident examples, the very ones that
    matter, would saturate and tie. A single column is the logit of class 1 of two.

    Source: Carlini et al. 2022, the φ of Algorithm 1: log(p/(1−p)) with p the confidence in the true class.
    """
    z = logits.astype(np.float64)
    if z.shape[1] == 1:
        return np.where(y == 1, z[:, 0], -z[:, 0])
    rows = np.arange(len(z))
    true = z[rows, y]
    z[rows, y] = -np.inf
    return true - logsumexp(z, axis=1)


def scaled_logit_of_probabilities(
    p: Float[Array, "examples classes"], y: Int[Array, " examples"], votes: int | None = None
) -> Float[Array, " examples"]:
    """Returns φ from probabilities, which are kept away from 0 and 1, where φ is infinite.

    They are kept away by half a vote where the probability is a share of that many votes, as a forest's: one vote more
    or less must not look like certainty lost. Otherwise by 1e-6, so that φ lies within ±13.8 nats.
    """
    least = _LEAST_PROBABILITY if votes is None else 1 / (2 * votes)
    true = np.clip(p[np.arange(len(p)), y].astype(np.float64), least, 1 - least)
    return np.log(true) - np.log1p(-true)


def cross_entropy(phi: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns the cross-entropy −log p_y in nats that belongs to a scaled logit: softplus(−φ)."""
    return np.logaddexp(0, -phi)


def is_correct(scores: Float[Array, "examples classes"], y: Int[Array, " examples"]) -> Bool[Array, " examples"]:
    """Returns whether the largest output is the true label's; for a single column, whether it has the right sign."""
    if scores.shape[1] == 1:
        return (scores[:, 0] > 0) == (y == 1)
    return scores.argmax(axis=1) == y
