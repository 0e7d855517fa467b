"""MIA010: membership inference without shadow models, at thresholds that held-out examples set."""

from __future__ import annotations

from functools import partial

import numpy as np

from memaudit.attacks import TARGET_ATTACKS
from memaudit.checks.attack_results import (
    POINTS,
    Share,
    cells,
    curve,
    not_resolved,
    own_rate_note,
    roc,
    sentence,
    table,
    tied,
    title_at,
)
from memaudit.checks.dp import ceiling_curve
from memaudit.checks.evidence import Check, Outcome, TargetEvidence, estimate
from memaudit.reports.text import rate as written
from memaudit.stats import HeldOutRate, clopper_pearson, own_tpr, roc_points
from memaudit.types import Curve, Figure, Finding, Rung, Skipped, Table

Array = np.ndarray

METHOD = "order statistics of the non-members for the threshold, Clopper–Pearson for the members"


def _held_out(evidence: TargetEvidence) -> Outcome:
    """Membership inference without shadow models: thresholds on what the model answers.

    An example is flagged when its score exceeds a threshold. The scores see this model alone, or a few reference models
    beside it. `global-threshold` is the model's confidence. `class-threshold` and `modified-entropy` have a threshold
    for each class. `quantile-regression` predicts how confident the model is where it was not trained on the example:
    from input and label, or of a text from its length, its size when compressed, and the loss of base and references.
    For texts, `zlib`, `min-k` and `min-k++` adjust the loss. With reference models,
    `rmia-offline`, `reference` and `base` compare the model's confidence with theirs. From four shadow models of the
    recipe on, `slira` learns from them what a member's confidence looks like; see MIA005.

    The threshold is set by the model's own non-members, for the stated false-positive rate (FPR). What is fitted to
    non-members is fitted to four fifths of them and used on the last fifth. The number is the share of members above
    the threshold, the true-positive rate (TPR). Its interval holds for this model, over the examples: it includes the
    uncertainty of the threshold, and is exact at every number of examples. It does not describe other training runs.

    Members and non-members must be drawn from the same source: the blind baseline, CTL003, tests that, and where it
    fails no such figure is given. A low value shows that these attacks find little. Attacks with shadow models can find
    much more, so that a limit on the TPR of any attack cannot pass without a bank.

    Source: Yeom et al. 2018; Song & Mittal 2021 (classes, modified entropy); Bertran et al. 2023 (quantile regression);
    Zarifzadeh et al. 2024 (RMIA, offline); Watson et al. 2022 (reference); interval: Wilks 1941 with Clopper & Pearson
    1934.
    """
    findings: list[Finding] = []
    skipped: list[Skipped] = []
    for name in evidence.without_bank:
        for fpr in evidence.fprs:
            title = title_at(name, fpr)
            if reason := _not_measured(evidence, name, fpr):
                skipped.append(Skipped(code="MIA010", title=title, reason=reason))
                continue
            findings.append(_finding(evidence, title, name, fpr, first=not findings))
    return tuple(findings), tuple(skipped)


held_out_check = Check("MIA010", "Membership inference without shadow models", "tpr", _held_out, TargetEvidence)


def _not_measured(evidence: TargetEvidence, name: str, fpr: float) -> str:
    if reason := evidence.lacks(name):
        return reason
    if fpr not in evidence.resolved_fprs:
        return not_resolved(evidence, fpr)
    beside = evidence.held_out(name, fpr).unreachable()
    return "" if beside is None else tied(fpr, beside)


def _finding(evidence: TargetEvidence, title: str, name: str, fpr: float, first: bool) -> Finding:
    rate = evidence.held_out(name, fpr)
    found = estimate(rate.value, rate.interval, "share", METHOD)
    blind, members = evidence.blind
    return Finding(
        code="MIA010",
        title=title,
        metric="tpr",
        attack=name,
        at_fpr=fpr,
        estimate=found,
        sentence=sentence(name, fpr, found, _measured(rate)),
        blind=own_tpr(blind[members], blind[~members], fpr),
        n=len(rate.inside),
        counted=f"training {evidence.unit}",
        source=TARGET_ATTACKS[name].source,
        figures=(_roc(evidence),) if first else (),
        tables=(_comparison(evidence),) if first else (),
        notes=(own_rate_note(blind[members], blind[~members], fpr), *_too_few(rate)) if first else (),
    )


def _measured(rate: HeldOutRate) -> tuple[float, float, float]:
    """Return the measured false-positive rate with its Clopper–Pearson interval."""
    flagged, n = rate.measured
    low, high = clopper_pearson(flagged, n)
    return flagged / n, float(low), float(high)


def _too_few(rate: HeldOutRate) -> tuple[str, ...]:
    """Return what to know where no threshold has surely at most the stated rate, so that the lower end is 0."""
    least = int(np.ceil(np.log(0.0125) / np.log1p(-rate.fpr)))
    if len(rate.outside) >= least:
        return ()
    return (
        f"With {len(rate.outside):,} non-members, the lower end of the interval at a {written(rate.fpr)} FPR is always "
        f"0. A leak at this rate can be shown with {least:,} or more.",
    )


def _roc(evidence: TargetEvidence) -> Figure:
    """Return TPR by FPR at thresholds that the non-members set; the first attack with its interval."""
    nonmembers = int((~evidence.members).sum())
    rates = np.geomspace(1 / nonmembers, 1 - 1 / nonmembers, POINTS)
    names = _made(evidence)
    curves = tuple(_curve(evidence, name, rates, band=place == 0) for place, name in enumerate(names))
    return roc((*curves, *ceiling_curve(evidence, curves[0].x, rates)), "the model's non-members", nonmembers)


def _made(evidence: TargetEvidence) -> list[str]:
    return [name for name in evidence.without_bank if not evidence.lacks(name)]


def _curve(evidence: TargetEvidence, name: str, rates: Array, band: bool) -> Curve:
    if band:
        tprs = [evidence.held_out(name, rate).value for rate in rates]
        return curve(name, rates, tprs, lambda fpr: evidence.held_out(name, fpr).interval())
    scores, members = evidence.scores(name), evidence.members
    return curve(name, rates, roc_points(scores[members], scores[~members], rates)[0].tolist())


def _comparison(evidence: TargetEvidence) -> Table:
    """Return every attack with its AUC, and TPR beside measured FPR at each rate that can be resolved."""
    members, rows = evidence.members, []
    for name in _made(evidence):
        scores = evidence.scores(name)
        found = [evidence.held_out(name, fpr) for fpr in evidence.resolved_fprs]
        rates = [cells(rate.unreachable(), partial(_rates, rate)) for rate in found]
        rows.append((name, (scores[members], scores[~members]), rates))
    models = " No shadow models were used." if evidence.rung is Rung.TARGET else ""
    note = (
        "95% CIs. AUC: DeLong. TPR: includes the threshold. Measured FPR: Clopper–Pearson, each fifth of the "
        f"non-members at the threshold of the others.{models}"
    )
    return table("Attacks without shadow models", evidence.resolved_fprs, rows, note)


def _rates(rate: HeldOutRate) -> tuple[Share, Share]:
    """Return the TPR and the measured FPR, with intervals."""
    low, high = map(float, rate.interval())
    return (rate.value, low, high), _measured(rate)
