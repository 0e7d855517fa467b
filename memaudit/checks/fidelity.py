"""CTL001: does the target look like its shadows? If not, no figure about it is given."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.checks.evidence import ControlCheck, Evidence
from memaudit.stats import holm, predictive_p_value
from memaudit.types import Control, Table

Array = np.ndarray

_BLOCK = 4096
_LEAST_LOSS = 1e-12
_ALARM = 0.01  # family-wise probability of a false alarm
_STATISTICS = ("Accuracy", "Mean signal (scaled logit, or log-probability)", "Log of mean loss")


def _fidelity(evidence: Evidence) -> Control:
    """Fidelity: does the target look like one of its shadows?

    Shadows stand in for the target only if they were made alike. Compared are the accuracy, the mean scaled logit and
    the log of the mean loss, on members and on non-members, each by a prediction interval from the shadows, with Holm's
    correction over the six. A small p-value means another recipe, another training set, or other members than stated;
    figures about the target are then withheld.

    Source: Student-t prediction interval (Hahn & Meeker 1991, chapter 4); Holm 1979.
    """
    target = _means(_sums(evidence, evidence.phi[:, :1].T, evidence.correct[None], evidence.members[None]))[0]
    shadows = _shadow_summaries(evidence)
    least = [1 / evidence.members.sum(), 1 / (~evidence.members).sum(), 0, 0, 0, 0]  # accuracies come in steps
    p = [predictive_p_value(t, s, float(step)) for t, s, step in zip(target, shadows.T, least, strict=True)]
    adjusted = holm(np.array(p))
    names = [name for statistic in _STATISTICS for name in (f"{statistic}, members", "… non-members")]
    rows = tuple(
        (name, f"{t:.3f}", f"{s.mean():.3f} ± {s.std(ddof=1):.3f}", f"{q:.3g}")
        for name, t, s, q in zip(names, target, shadows.T, adjusted, strict=True)
    )
    passed = bool(adjusted.min() >= _ALARM)
    return Control(
        code="CTL001",
        title="Fidelity: does the model look like its shadows?",
        passed=passed,
        sentence=(
            f"The model is like its shadow models (p = {adjusted.min():.2g})."
            if passed
            else f"The model does not look like its shadow models (p = {adjusted.min():.2g}): it was made by another "
            "recipe, on another share of the examples, or with other members than stated. Its figures are withheld."
        ),
        source="Student-t prediction interval; Holm 1979",
        tables=(Table(title="Model and shadows", columns=("", "Model", "Shadows (mean ± sd)", "p (Holm)"), rows=rows),),
    )


fidelity_check = ControlCheck("CTL001", "Fidelity", _fidelity)


def _sums(evidence: Evidence, phi: Array, correct: Array, members: Array) -> Array:
    """Returns the sums of correctness, φ and loss over members and over non-members, and the numbers of both."""
    values = (correct, phi, evidence.loss(phi.astype(np.float64)), np.ones_like(correct))
    return np.stack([np.where(k, v, 0).sum(axis=1) for v in values for k in (members, ~members)], axis=1, dtype=float)


def _means(sums: Array) -> Float[Array, "models six"]:
    """Returns accuracy, mean φ and log of the mean loss, each over members and over non-members, for each model."""
    means = sums[:, :6] / np.tile(sums[:, 6:], 3)
    means[:, 4:] = np.log(np.maximum(means[:, 4:], _LEAST_LOSS))
    return means


def _shadow_summaries(evidence: Evidence) -> Float[Array, "models six"]:
    """Returns the means of every shadow, read by blocks."""
    pairs, examples, _ = evidence.bank.shape
    sums = np.zeros((2, pairs, 8))
    for start in range(0, examples, _BLOCK):
        at = slice(start, min(start + _BLOCK, examples))
        inside, outside = (side[:, :, 0] for side in evidence.bank.block(at))
        first = evidence.first_inside[:, at]
        models = np.where(first, inside, outside), np.where(first, outside, inside)
        for model, (phi, members) in enumerate(zip(models, (first, ~first), strict=True)):
            sums[model] += _sums(evidence, phi, evidence.bank.correct[model::2, at], members)
    return _means(sums.reshape(-1, 8))
