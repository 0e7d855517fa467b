"""MEM…: how much does training on an example change the models' outputs for it?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.evidence import Check, Evidence, Outcome, estimate, points_between
from memaudit.checks.tasks import MultilabelEvidence, RegressionEvidence
from memaudit.memorization import Memorization
from memaudit.reports.text import percent, points
from memaudit.stats import cluster_mean_interval
from memaudit.types import Cell, Curve, Estimate, Figure, FigureKind, Finding, Table

_HALF = 0.05  # from half that still counts as it
MEAN_METHOD = "Student t over pairs of shadow models, widened for skewness"
COLUMNS = ("Estimated memorization", "Examples", "Share", "Mean half-width of 95% CIs")
TAILS = "Estimation noise widens the distribution: more examples have extreme estimates than extreme memorization."
_BINS = ((-1.0, 0.02), (0.02, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 0.9), (0.9, 1.0))


def _memorization(evidence: ClassifierEvidence) -> Outcome:
    """Memorization: how much more often a model is right on an example because it was trained on it.

    For each example: the accuracy of shadow models trained on it, minus the accuracy of those trained without it,

        mem(i) = P[correct on i | i in training] − P[correct on i | i not in training].

    0 means the example made no difference; 1 means the model is right only because it was trained on the example. The
    score is also the advantage of a real attack, "member if and only if the model is right".

    The result is the mean over all examples, which is the shadow models' gap between training and test accuracy. Its
    interval is Student's t over pairs of shadow models, widened because few pairs may be skewed. It describes this
    recipe with half of the examples as training set. It is neither a property of one trained model nor the
    leave-one-out score of the full set. A score near 0 does not mean that an example is safe: the margin score also
    reflects changes of confidence that flip no prediction.

    Source: Feldman & Zhang 2020, "What Neural Networks Memorize and Why": mem(A, S, i) and its subset estimator.
    """
    scores, mean = evidence.memorization, mean_memorization(evidence)
    variance = scores.variance if isinstance(scores, Memorization) else scores.se**2
    rms, half_width = np.sqrt(variance.mean()), (scores.high - scores.low).mean() / 2
    finding = Finding(
        code="MEM001",
        title="Memorization of training examples",
        metric="memorization",
        estimate=mean,
        sentence=(
            f"Mean memorization is {points(mean.value)} percentage points (95% CI "
            f"{points_between(mean.low, mean.high)}): training on an example raises {_raised(evidence)} by that much."
        ),
        n=len(scores.value),
        counted=f"{evidence.unit} in {len(evidence.bank.members)} shadow models",
        source="Feldman & Zhang 2020, subset estimator of mem(A, S, i)",
        figures=(_histogram(evidence),),
        tables=(_distribution(evidence),),
        notes=(
            f"Per-example scores have a root-mean-square standard error of {rms:.3f}; their 95% CIs have a mean "
            f"half-width of {half_width:.3f}.",
            f"The scores apply to training sets of {of_all(evidence.share)} of the examples.",
        ),
    )
    return (finding,), ()


def _raised(evidence: ClassifierEvidence) -> str:
    """Return what the score is the rise of."""
    if isinstance(evidence, RegressionEvidence):
        return "the explained share of its label (1 − squared error / variance of the labels, at least 0)"
    if isinstance(evidence, MultilabelEvidence):
        return "the share of its labels that are predicted correctly"
    return "its chance of being classified correctly"


memorization_check = Check(
    "MEM001", "Memorization of training examples", "memorization", _memorization, ClassifierEvidence
)


def of_all(share: float) -> str:
    """Return in words which share of the examples a shadow model was trained on."""
    return "half" if abs(share - 0.5) < _HALF else percent(share)


def mean_memorization(evidence: Evidence) -> Estimate:
    """Return the mean score over all examples, with an interval over pairs of shadow models, which are independent."""
    value = float(evidence.memorization.value.mean())
    method = MEAN_METHOD if evidence.matched is None else MEAN_METHOD.replace("pairs of ", "")
    return estimate(value, partial(cluster_mean_interval, evidence.gains), "share", method)


def by_memorization(evidence: Evidence, bins: Sequence[tuple[float, float]]) -> tuple[tuple[Cell, ...], ...]:
    """Return a row per bin with examples: their number and share, mean half-width of their CIs, shift, separation."""
    scores, margins = evidence.memorization, evidence.margin
    rows = []
    for low, high in bins:
        here = (scores.value >= low) & ((scores.value < high) | (high == 1.0))
        if here.any():
            rows.append(
                (
                    f"< {high:g}" if low == -1 else f"{low:g}–{high:g}",
                    int(here.sum()),
                    percent(float(here.mean())),
                    f"{(scores.high - scores.low)[here].mean() / 2:.3f}",
                    f"{margins.shift[here].mean():.2f}",
                    f"{margins.separation[here].mean():.2f}",
                )
            )
    return tuple(rows)


def _histogram(evidence: ClassifierEvidence) -> Figure:
    values = evidence.memorization.value
    edges = np.arange(min(0, np.floor(values.min() * 20)), 21) / 20
    counts, _ = np.histogram(values, edges)
    return Figure(
        kind=FigureKind.HISTOGRAM,
        title="Estimated memorization of each example",
        x_label="Estimated memorization (0 = no effect of training, 1 = right only after training)",
        y_label=evidence.unit.capitalize(),
        curves=(Curve(x=tuple(edges.tolist()), y=tuple(counts.astype(float).tolist()), label=evidence.unit),),
        alt=(
            f"Histogram of estimated memorization over {len(values):,} {evidence.unit}. {TAILS} Estimated below 0.1: "
            f"{percent(float((values < 0.1).mean()))}; above 0.5: {percent(float((values > 0.5).mean()))}."
        ),
    )


def _distribution(evidence: ClassifierEvidence) -> Table:
    return Table(
        title="Distribution of estimated memorization",
        columns=(COLUMNS[0], evidence.unit.capitalize(), *COLUMNS[2:], "Margin shift (nats)", "Separation d"),
        rows=by_memorization(evidence, _BINS),
        note=(
            f"{TAILS} Margin shift: the effect of training on an example on its scaled logit. Separation d: the shift "
            "in standard deviations of one model (Hedges' g). These two columns describe the bin and have no interval."
        ),
    )
