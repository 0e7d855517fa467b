"""MEM008: do models predict labels that were redrawn at random? Only memorizing them makes that possible."""

from __future__ import annotations

from functools import partial

import numpy as np

from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.evidence import Check, Outcome, between, estimate, points_between
from memaudit.memorization import known_memorization
from memaudit.reports.text import percent, points
from memaudit.stats import cluster_mean_interval
from memaudit.types import Finding, Skipped, Table

_TITLE = "Known memorization of redrawn labels"


def _known(evidence: ClassifierEvidence) -> Outcome:
    """Known memorization: how often models predict labels that were redrawn at random.

    In a bank with label noise, a share of the labels is replaced by another class, independently in each shadow model.
    Nothing but training on it leads to such a label. For each shadow model,

        known memorization = share predicted of the redrawn labels that it was trained on
                             − share predicted of labels redrawn in the same way that it was not trained on.

    The second share is what a guess, or a similar example, explains. 1 means that every random label is memorized; 0
    means that none is. The result is the mean over shadow models. Its interval is Student's t over pairs of models, or
    over models that are drawn independently, widened because few may be skewed.

    It describes the recipe at this share of noise. Models that generalize less memorize more, and noise makes them
    generalize less. Estimates can be compared with it: MEM001 is an estimate for examples with their own labels.

    Source: Zhang et al. 2017, "Understanding deep learning requires rethinking generalization", section 2.1; Feldman
    2020, mem(A, S, i), of an example whose label is random.
    """
    labels = evidence.labels
    assert labels is not None
    clusters = evidence.couples.clusters.astype(np.int64)
    try:
        found = known_memorization(labels.fitted, labels.redrawn, evidence.bank.members, clusters)
    except ValueError as error:
        return (), (Skipped(code="MEM008", title=_TITLE, reason=str(error)),)
    unit = "models" if evidence.matched is not None else "pairs of shadow models"
    method = f"Student t over {unit}, widened for skewness"
    gain = estimate(float(found.gains.mean()), partial(cluster_mean_interval, found.gains), "share", method)
    inside, outside = float(found.inside.mean()), float(found.outside.mean())
    sides = ((inside, found.inside), (outside, found.outside))
    rows = tuple(
        (name, percent(mean), between(float(values.min()), float(values.max())))
        for name, (mean, values) in zip(("Trained on with that label", "Not trained on"), sides, strict=True)
    )
    finding = Finding(
        code="MEM008",
        title=_TITLE,
        metric="known-memorization",
        estimate=gain,
        sentence=(
            f"Shadow models predict {percent(inside)} of the random labels that they were trained on, and "
            f"{percent(outside)} of those that they were not: known memorization is {points(gain.value)} percentage "
            f"points (95% CI {points_between(gain.low, gain.high)})."
        ),
        n=len(found.inside),
        counted="shadow models",
        source="Zhang et al. 2017; Feldman 2020, mem(A, S, i)",
        tables=(
            Table(
                title="Redrawn labels that are predicted",
                columns=("Examples with a redrawn label", "Mean over shadow models", "Lowest and highest"),
                rows=rows,
                note=f"{percent(float(labels.redrawn.mean()))} of the labels are redrawn.",
            ),
        ),
    )
    return (finding,), ()


known_check = Check(
    "MEM008",
    _TITLE,
    "known-memorization",
    _known,
    ClassifierEvidence,
    wanted=lambda evidence: getattr(evidence, "labels", None) is not None,
)
