"""How differently two networks answer: the symmetric Kullback-Leibler divergence of their probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax

from memaudit.errors import ModelError
from memaudit.recipe import Examples
from memaudit.recipe.recipes import Output, Outputs
from memaudit.signals.logits import log_odds, log_probabilities
from memaudit.signals.network import asked

Array = np.ndarray

_FIRST, _BATCH, _OUTPUTS = 64, 1024, 2**24  # examples, and outputs, at a time


def divergence(
    one: Any,
    other: Any,
    examples: Examples,
    device: str = "cpu",
    outputs: Outputs | None = None,
    output: Output | None = None,
) -> Float[Array, " examples"]:
    """Return the symmetric divergence of two networks' class probabilities on every example, in nats, float32.

    Both are run in one pass, batch by batch, and no probabilities are kept.

    Args:
        one: A network.
        other: Another one with as many outputs.
        examples: What both are asked about.
        device: Where they are run.
        outputs: What their outputs are, as for `evaluate`; but no independent probabilities (one-vs-rest).
        output: Which part of what they return.

    Raises:
        ModelError: They have other numbers of classes.

    Source: Carlini, Erlingsson & Papernot 2019 (arXiv 1910.13427), holdout retraining; Wei et al. 2025 (ACM CSUR
    58(4):98), Equation 7.
    """
    networks = [asked(network, examples.inputs, device, output) for network in (one, other)]
    found = np.empty(len(examples), np.float32)
    start, batch = 0, _FIRST
    while start < len(examples):
        rows = slice(start, min(start + batch, len(examples)))
        p, q = (_log_probabilities(network(rows), outputs) for network in networks)
        if p.shape != q.shape:
            raise ModelError(f"the networks have {p.shape[1]} and {q.shape[1]} classes; keep the number of outputs")
        found[rows] = symmetric_kl(p, q)
        start, batch = rows.stop, max(2, min(_BATCH, _OUTPUTS // p.shape[1]))
    return found


def symmetric_kl(p: Float[Array, "rows classes"], q: Float[Array, "rows classes"]) -> Float[Array, " rows"]:
    """Return KL(p‖q) + KL(q‖p) = Σ (p − q)(log p − log q) of rows of log-probabilities, in nats; at least 0.

    A class that both exclude adds nothing; one that a single side excludes makes it infinite.
    """
    with np.errstate(invalid="ignore"):
        terms = (np.exp(p) - np.exp(q)) * (p - q)
    return np.asarray(np.where(np.isneginf(p) & np.isneginf(q), 0.0, terms).sum(axis=1))


def _log_probabilities(answers: Float[Array, "rows columns"], kind: Outputs | None) -> Float[Array, "rows classes"]:
    """Return the log-probability of each class, of outputs of some kind; a single column is of class 1 of two."""
    if kind == "probabilities":
        answers = log_odds(answers) if answers.shape[1] == 1 else log_probabilities(answers)
    if answers.shape[1] == 1:
        answers = np.concatenate([np.zeros_like(answers), answers], axis=1)
    return np.asarray(log_softmax(answers.astype(np.float64), axis=1))
