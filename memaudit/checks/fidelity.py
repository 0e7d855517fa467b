"""CTL001: does the target look like its shadow models? If not, no result about it is reported."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

from memaudit.checks.evidence import ControlCheck, Evidence
from memaudit.checks.memorized import of_all
from memaudit.design import about_share
from memaudit.reports.text import percent
from memaudit.stats import holm
from memaudit.types import Control, Table

Array = np.ndarray

_BLOCK = 4096
_LEAST_LOSS = 1e-12
_ROUNDING = 1e-6  # of a mean, in nats: what single precision leaves of 14 nats
_ALARM = 0.01  # family-wise probability of a false alarm
_STATISTICS = ("Accuracy", "Mean signal (scaled logit, or log-probability)", "Log of mean loss")
_TERMS = 4  # of a sum: value, reference, square of their difference, number


def _fidelity(evidence: Evidence) -> Control:
    """Fidelity: does the target look like one of its shadow models?

    Shadow models represent the target only if they were trained the same way. Three statistics are compared, on members
    and on non-members: accuracy, mean scaled logit and log of the mean loss. Each is taken relative to other shadow
    models on the same examples with the same membership, so it does not depend on which examples are members. The
    target's value is compared with a prediction interval from the shadow models. Its own sampling variance is added
    where it has fewer members or non-members than they have. The six p-values are corrected by Holm's procedure.

    A small p-value means another recipe, another training set, or other members than stated. Results about the target
    are then withheld. False alarms: 1 to 2 %. With 20 % members 28 of 2,000 honest models failed, or 1.4 % (95 % CI
    0.9-2.0 %; benchmarks.shares, logistic regression).

    Source: Student-t prediction interval (Hahn & Meeker 1991, chapter 4); Holm 1979.
    """
    target, shadows = _summaries(evidence)
    (own, error), (others, errors) = _relative(target), _relative(shadows)
    spread = others.var(axis=0, ddof=1) * (1 + 1 / len(others)) + np.maximum(error[0] - errors.mean(axis=0), 0)
    t = np.abs(own[0] - others.mean(axis=0)) / np.sqrt(spread + _ROUNDING**2)
    adjusted = holm(2 * stats.t.sf(t, len(others) - 1))
    names = [name for statistic in _STATISTICS for name in (f"{statistic}, members", "… non-members")]
    rows = tuple(
        (name, f"{t:+.3f}", f"{s.mean():+.3f} ± {s.std(ddof=1):.3f}", f"{q:.3g}")
        for name, t, s, q in zip(names, own[0], others.T, adjusted, strict=True)
    )
    passed = bool(adjusted.min() >= _ALARM)
    columns = ("Difference from other shadow models", "This model", "Shadow models (mean ± sd)", "p (Holm)")
    return Control(
        code="CTL001",
        title="Fidelity: the model looks like its shadow models",
        passed=passed,
        sentence=(
            f"The model is consistent with its shadow models (p = {adjusted.min():.2g})."
            if passed
            else f"The model does not look like its shadow models (p = {adjusted.min():.2g}). It was trained with "
            "another recipe, on another share of the examples, or on other members than stated. Its results are "
            "withheld." + _way_out(evidence)
        ),
        source="Student-t prediction interval; Holm 1979",
        tables=(Table(title="Model and shadow models, on the same examples", columns=columns, rows=rows),),
    )


def _way_out(evidence: Evidence) -> str:
    """Return how to fill a bank whose models are as large as the target, where the shares differ."""
    share = np.count_nonzero(evidence.bank.members) / evidence.bank.members.size
    if about_share(evidence.members, share):
        return ""
    return (
        f" The model was trained on {percent(float(evidence.members.mean()))} of the examples and its shadow models on "
        f"{of_all(share)} of them: fill a bank for this model (memaudit bank fill --bank FOLDER --members FILE)."
    )


fidelity_check = ControlCheck("CTL001", "Fidelity", _fidelity)


def _relative(sums: Float[Array, "models sides statistics terms"]) -> tuple[Array, Array]:
    """Return each model's six statistics relative to its references, and their sampling variances [models, six].

    Accuracy and signal are differences of means, the loss is the log of a ratio of means.
    """
    value, reference, square, number = np.moveaxis(sums, -1, 0)
    difference = (value - reference) / number
    variance = (square / number - difference**2) / number
    floor = _LEAST_LOSS * number[..., 2]
    low, high = np.maximum(value[..., 2], floor), np.maximum(reference[..., 2], floor)
    variance[..., 2] /= (high / number[..., 2]) ** 2
    difference[..., 2] = np.log(low / high)
    shape = len(sums), 2 * len(_STATISTICS)
    return tuple(np.swapaxes(part, 1, 2).reshape(shape) for part in (difference, variance))


def _summaries(evidence: Evidence) -> tuple[Array, Array]:
    """Return the sums of the target and of every shadow: [models, members and non-members, statistics, terms].

    References are the other pairs' models, with the same membership of the example; of the target, all pairs but the
    last.
    """
    pairs, examples, _ = evidence.bank.shape
    target = np.zeros((1, 2, len(_STATISTICS), _TERMS))
    shadows = np.zeros((evidence.couples.models, 2, len(_STATISTICS), _TERMS))
    for start in range(0, examples, _BLOCK):
        at = slice(start, min(start + _BLOCK, examples))
        members, couples = evidence.members[at], evidence.couples_of(at)
        signals = [side[:, :, 0].astype(np.float64) for side in evidence.bank.block(at)]
        correct = [side[:, at].astype(np.float64) for side in evidence.correct_by_pair]
        own = evidence.phi[at, 0].astype(np.float64)
        sides = (members, couples.inside), (~members, couples.outside)
        for s, (of_side, models) in enumerate(sides):
            values = correct[s], signals[s], evidence.loss(signals[s])
            of_target = evidence.correct[at].astype(np.float64), own, evidence.loss(own)
            for k, (value, mine) in enumerate(zip(values, of_target, strict=True)):
                others = (value.sum(axis=0) - value) / (pairs - 1)
                target[0, s, k] += [np.where(of_side, term, 0).sum() for term in _terms(mine, others[-1])]
                shadows[:, s, k] += np.stack([couples.totals(models, t) for t in _terms(value, others)], axis=-1)
    return target, shadows


def _terms(value: Array, reference: Array) -> tuple[Array, ...]:
    return value, reference, (value - reference) ** 2, np.ones_like(value)
