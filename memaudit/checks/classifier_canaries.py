"""CAN004: canaries of a classifier, such as mislabeled examples: are they recognized?"""

from __future__ import annotations

from functools import partial

import numpy as np

from memaudit.checks.attack_results import title_of
from memaudit.checks.evidence import (
    Check,
    Evidence,
    Outcome,
    between,
    estimate,
    share_of,
    with_interval,
)
from memaudit.reports.text import percent, rate
from memaudit.stats import clopper_pearson, resolvable, threshold
from memaudit.types import Cell, Finding, Skipped, Table

Array = np.ndarray

_TITLE = "Canaries of the classifier"


def _canaries(evidence: Evidence) -> Outcome:
    """Canaries of a classifier: how many of those in the training set are recognized?

    `memaudit.classifier_canaries` adds examples that no model gets right unless it was trained on them: mislabeled,
    blank, or noise. Their memberships are drawn like all others. The attack is the first with shadow models. Its
    threshold is set so that the shadow models without a canary flag it at the stated false-positive rate, over canaries
    alone.

    The result is a count on this model, with an exact interval. Canaries are a worst case on purpose: other examples
    are recognized less often (MIA005). The table has the kinds, and how often each canary is in the training set.

    Source: Jagielski, Ullman & Oprea 2020 (NeurIPS) and Nasr et al. 2021 (IEEE S&P), the canaries; thresholds from
    other models; Clopper & Pearson 1934.
    """
    canary = evidence.promise.canaries
    here, fpr = canary & evidence.members, _rate(evidence, canary)
    if not evidence.with_bank or fpr is None or not here.any():
        reason = "it needs an attack with shadow models, canaries among the members, and a reachable FPR"
        return (), (Skipped(code="CAN004", title=_TITLE, reason=reason),)
    found = evidence.attacked(evidence.with_bank[0])
    if found.step > 1:  # the canaries' own scores set the threshold
        return (), (Skipped(code="CAN004", title=_TITLE, reason=found.sampled.rstrip(".")),)
    flagged = found.target > threshold(found.outside[:, canary].ravel(), fpr)
    hits, members = int(flagged[here].sum()), int(here.sum())
    method = "Clopper–Pearson, at a fixed threshold"
    tpr = estimate(hits / members, partial(clopper_pearson, hits, members), "share", method)
    others = canary & ~evidence.members
    measured = with_interval(*share_of(flagged[others])) if others.any() else "no canary was left out"
    finding = Finding(
        code="CAN004",
        title=_TITLE,
        metric="canary-tpr",
        attack=found.attack.name,
        at_fpr=fpr,
        estimate=tpr,
        sentence=(
            f"{title_of(found.attack.name)} recognizes {percent(tpr.value)} of the canaries in the training set at a "
            f"{rate(fpr)} false-positive rate (95% CI {between(tpr.low, tpr.high)}). Measured FPR on canaries of this "
            f"model: {measured}."
        ),
        n=members,
        counted="planted canaries",
        source="Jagielski, Ullman & Oprea 2020 (NeurIPS); Nasr et al. 2021 (IEEE S&P)",
        tables=(_by_kind(evidence, flagged),),
    )
    return (finding,), ()


def _rate(evidence: Evidence, canary: Array) -> float | None:
    """Return the first of the rates that the canaries can show; None if they can show none."""
    trials = int(canary.sum()) * evidence.bank.shape[0]
    return next((fpr for fpr in evidence.fprs if resolvable(fpr, trials)), None)


def _by_kind(evidence: Evidence, flagged: Array) -> Table:
    promise = evidence.promise
    kinds = np.array(promise.kinds)

    def row(kind: str, dose: Cell, own: Array) -> tuple[Cell, ...]:
        sides = (own & evidence.members, own & ~evidence.members)
        return (
            kind,
            dose,
            int(sides[0].sum()),
            *(with_interval(*share_of(flagged[s])) if s.any() else "–" for s in sides),
        )

    groups = sorted({(kind, int(dose)) for kind, dose in zip(promise.kinds, promise.records, strict=True) if kind})
    rows = [row(kind, dose, (kinds == kind) & (promise.records == dose)) for kind, dose in groups]
    return Table(
        title="Canaries recognized, by kind",
        columns=("Kind", "Times in the training set", "In this model", "TPR", "FPR"),
        rows=(*rows, row("all", None, promise.canaries)),
        note="95% CIs, Clopper–Pearson. FPR: canaries that are not in this model.",
    )


classifier_canaries_check = Check(
    "CAN004",
    _TITLE,
    "canary-tpr",
    _canaries,
    Evidence,
    wanted=lambda evidence: bool(evidence.promise.canaries.any()),
)
