"""The scaled logit: how confident a model is in the true label, on a scale where confidences are roughly normal."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import logit, logsumexp

Array = np.ndarray

_LEAST_PROBABILITY = 1e-6
LEAST_LOGIT = float(np.log(_LEAST_PROBABILITY) - np.log1p(-_LEAST_PROBABILITY))
_SPAN = 2**18  # logits in double precision at a time: the temporaries do not grow with the number of examples
_SINGLE = 2.0**-24  # half the distance from 1 to the next smaller number in single precision


def scaled_logit(logits: Float[Array, "examples classes"], y: Int[Array, " examples"]) -> Float[Array, " examples"]:
    """Return φ = log p_y − log(1 − p_y) per example, in nats; larger = more confident in the true label.

    Computed as z_y − logsumexp of the other logits. Through a softmax, confident examples, the very ones that
    matter, would saturate and tie. A single column is the logit of class 1 of two.

    Source: Carlini et al. 2022, the φ of Algorithm 1: log(p/(1−p)) with p the confidence in the true class.
    """
    if logits.shape[1] == 1:
        z = logits[:, 0].astype(np.float64)
        return np.where(y == 1, z, -z)
    phi = np.empty(len(logits))
    step = max(1, _SPAN // logits.shape[1])
    for span in (slice(start, start + step) for start in range(0, len(phi), step)):
        z = logits[span].astype(np.float64)
        rows, own = np.arange(len(z)), y[span]
        true = z[rows, own]
        z[rows, own] = -np.inf
        phi[span] = true - logsumexp(z, axis=1)
    return phi


def scaled_logit_of_probabilities(
    p: Float[Array, "examples classes"], y: Int[Array, " examples"], votes: int | None = None
) -> Float[Array, " examples"]:
    """Return φ from probabilities, finite also where they are 0 or 1.

    A share of n votes, as a forest's, becomes the empirical logit log((np + ½) / (n(1 − p) + ½)): one vote more or less
    must not look like certainty lost, and no two shares tie. Other probabilities are kept 1e-6 away from 0 and 1, so
    that φ is within ±13.8 nats.

    Args:
        p: Probabilities.
        y: True labels.
        votes: Of how many votes p is a share; None if it is no share of votes.

    Source: Haldane 1956, Anscombe 1956, the empirical logit; φ as for `scaled_logit`.
    """
    true = p[np.arange(len(p)), y].astype(np.float64)
    if votes is not None:
        return np.log(votes * true + 0.5) - np.log(votes * (1 - true) + 0.5)
    true = np.clip(true, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return np.log(true) - np.log1p(-true)


def log_odds(p: Float[Array, "examples classes"]) -> Float[Array, "examples classes"]:
    """Return the logit of each probability, which a network computed in single precision: finite at 0 and 1."""
    return np.asarray(logit(np.clip(p.astype(np.float64), _SINGLE, 1 - _SINGLE)))


def log_probabilities(p: Float[Array, "examples classes"]) -> Float[Array, "examples classes"]:
    """Return log p, finite at 0. As logits, these keep what 1 − p rounds away: the other classes' small numbers."""
    return np.log(np.maximum(p.astype(np.float64), np.finfo(np.float32).tiny))


def log_probabilities_of(p: Float[Array, "examples classes"], votes: int | None) -> Float[Array, "examples classes"]:
    """Return log p of each class, finite at 0, with the corrections of `scaled_logit_of_probabilities`.

    Of n votes, every class has half a vote more; other probabilities are at least 1e-6.
    """
    p = p.astype(np.float64)
    raised = np.maximum(p, _LEAST_PROBABILITY) if votes is None else votes * p + 0.5
    return np.asarray(np.log(raised) - np.log(raised.sum(axis=1, keepdims=True)))


def modified_entropy(logits: Float[Array, "examples classes"], y: Int[Array, " examples"]) -> Float[Array, " examples"]:
    """Return −(1 − p_y) log p_y − Σ_{c ≠ y} p_c log(1 − p_c) per example, in nats; 0 = sure of the true label.

    Computed from log-probabilities. 1 − p of the likeliest class is the sum of the others' p, which does not cancel. A
    single column is the logit of class 1 of two.

    Source: Song & Mittal 2021 (USENIX Security), Equation 8.
    """
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    found = np.empty(len(logits))
    step = max(1, _SPAN // logits.shape[1])
    for span in (slice(start, start + step) for start in range(0, len(found), step)):
        z = logits[span].astype(np.float64)
        rows, own, top = np.arange(len(z)), y[span], z.argmax(axis=1)
        logp = z - logsumexp(z, axis=1, keepdims=True)
        p = np.exp(logp)
        rest = np.where(np.arange(z.shape[1]) == top[:, None], 0, p).sum(axis=1)
        with np.errstate(divide="ignore"):
            log_rest = np.log(np.maximum(rest, np.finfo(np.float64).tiny))
            log_other = np.log1p(-p)
        log_other[rows, top] = log_rest
        terms = -p * log_other
        other_than_own = np.where(top == own, rest, 1 - p[rows, own])
        terms[rows, own] = -other_than_own * logp[rows, own]
        found[span] = terms.sum(axis=1)
    return found


def cross_entropy(phi: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the cross-entropy −log p_y in nats that belongs to a scaled logit: softplus(−φ)."""
    return np.logaddexp(0, -phi)


def is_correct(scores: Float[Array, "examples classes"], y: Int[Array, " examples"]) -> Bool[Array, " examples"]:
    """Return whether the largest output is the true label's; for a single column, whether it has the right sign."""
    if scores.shape[1] == 1:
        return (scores[:, 0] > 0) == (y == 1)
    return scores.argmax(axis=1) == y
