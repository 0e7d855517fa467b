"""MIA010: membership inference without shadow models, at thresholds that held-out examples set."""

from __future__ import annotations

import numpy as np

from memaudit.attacks import TARGET_ATTACKS
from memaudit.checks.evidence import Check, Outcome, TargetEvidence, between, estimate, with_interval
from memaudit.checks.membership import own_rate_note, title_of
from memaudit.reports.text import percent
from memaudit.reports.text import rate as written
from memaudit.stats import HeldOutRate, auc, auc_interval, clopper_pearson, least_nonmembers, own_tpr, roc_points
from memaudit.types import Cell, Curve, Figure, FigureKind, Finding, Rung, Skipped, Table

Array = np.ndarray

METHOD = "order statistics of the non-members for the threshold, Clopper–Pearson for the members"
_CURVES, _POINTS = 4, 24
_REFERENCES = {
    "reference": "Loss calibrated by reference models",
    "rmia-offline": "RMIA (offline), with reference models",
}


def _held_out(evidence: TargetEvidence) -> Outcome:
    """Membership inference without shadow models: thresholds on what the model answers.

    An example is flagged when its score exceeds a threshold. The scores see this model alone, or a few reference models
    beside it. `global-threshold` is the model's confidence. `class-threshold` and `modified-entropy` have a threshold
    for each class. `quantile-regression` predicts from input and label how confident the model is where it was not
    trained on the example. For texts, `zlib`, `min-k` and `min-k++` adjust the loss. With reference models,
    `rmia-offline`, `reference` and `base` compare the model's confidence with theirs.

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
            title = f"Membership inference, {name}, at {percent(fpr)} false positives"
            if reason := _not_measured(evidence, name, fpr):
                skipped.append(Skipped(code="MIA010", title=title, reason=reason))
                continue
            findings.append(_finding(evidence, title, name, fpr, first=not findings))
    return tuple(findings), tuple(skipped)


held_out_check = Check("MIA010", "Membership inference without shadow models", "tpr", _held_out, TargetEvidence)


def _not_measured(evidence: TargetEvidence, name: str, fpr: float) -> str:
    if reason := evidence.lacks(name):
        return reason
    nonmembers = int((~evidence.members).sum())
    if fpr not in evidence.resolved_fprs:
        return (
            f"{nonmembers:,} non-members cannot show a false-positive rate of {percent(fpr)}. At least "
            f"{least_nonmembers(fpr):,} non-members are needed"
        )
    beside = evidence.held_out(name, fpr).unreachable()
    if beside is None:
        return ""
    return (
        f"a false-positive rate of {percent(fpr)} is not reached: the attack's scores are tied, and the nearest rates "
        f"that a threshold can have are {percent(beside.below)} and {percent(beside.above)}"
    )


def _finding(evidence: TargetEvidence, title: str, name: str, fpr: float, first: bool) -> Finding:
    rate = evidence.held_out(name, fpr)
    found = estimate(rate.value, rate.interval, "share", METHOD)
    measured = _measured(rate)
    blind, members = evidence.blind
    return Finding(
        code="MIA010",
        title=title,
        metric="tpr",
        attack=name,
        at_fpr=fpr,
        estimate=found,
        sentence=(
            f"{_REFERENCES.get(name, title_of(name))} identifies {percent(found.value)} of members at a {written(fpr)} "
            f"false-positive rate (95% CI {between(found.low, found.high)}). Measured FPR: {percent(measured[0])} "
            f"({between(measured[1], measured[2])})."
        ),
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
        f"With {len(rate.outside):,} non-members the lower end of the interval at {percent(rate.fpr)} is always 0: a "
        f"leak at this rate can be shown with {least:,} or more.",
    )


def _roc(evidence: TargetEvidence) -> Figure:
    """Return TPR by FPR at thresholds that the non-members set; the first attack with its interval."""
    nonmembers = int((~evidence.members).sum())
    rates = np.geomspace(1 / nonmembers, 1 - 1 / nonmembers, _POINTS)
    names = [name for name in evidence.without_bank if not evidence.lacks(name)][:_CURVES]
    curves = tuple(_curve(evidence, name, rates, band=place == 0) for place, name in enumerate(names))
    return Figure(
        kind=FigureKind.ROC,
        title="True-positive rate by false-positive rate",
        x_label="False-positive rate (thresholds set by the model's non-members)",
        y_label="True-positive rate",
        curves=curves,
        alt=f"Receiver operating characteristic on logarithmic axes, of {', '.join(names)}.",
        unresolved=1 / nonmembers,
    )


def _curve(evidence: TargetEvidence, name: str, rates: Array, band: bool) -> Curve:
    scores, members = evidence.scores(name), evidence.members
    ends: tuple[tuple[float, ...], ...] = ((), ())
    if band:
        intervals = [evidence.held_out(name, rate).interval() for rate in rates]
        ends = tuple(tuple(map(float, side)) for side in zip(*intervals, strict=True))
        y = tuple(evidence.held_out(name, rate).value for rate in rates)
    else:
        y = tuple(map(float, roc_points(scores[members], scores[~members], rates)[0]))
    return Curve(x=tuple(rates.tolist()), y=y, label=name, low=ends[0], high=ends[1])


def _comparison(evidence: TargetEvidence) -> Table:
    """Return every attack with its AUC, and TPR beside measured FPR at each rate that can be resolved."""
    members, rows = evidence.members, []
    for name in (name for name in evidence.without_bank if not evidence.lacks(name)):
        inside, outside = evidence.scores(name)[members], evidence.scores(name)[~members]
        area = auc(inside, outside), *auc_interval(inside, outside)
        cells = [part for fpr in evidence.resolved_fprs for part in _rates(evidence.held_out(name, fpr))]
        rows.append((name, "{:.3f} ({:.3f} to {:.3f})".format(*area), *cells))
    columns = ["Attack", "AUC"]
    for fpr in evidence.resolved_fprs:
        columns += [f"TPR at {percent(fpr)}", "measured FPR"]
    models = "" if evidence.rung is Rung.BANK else " No shadow models were used."
    note = (
        "AUC: DeLong. TPR: 95% interval with the uncertainty of the threshold. Measured FPR: each fifth of the "
        f"non-members at the threshold of the others, Clopper–Pearson.{models}"
    )
    return Table(title="Attacks without shadow models", columns=tuple(columns), rows=tuple(rows), note=note)


def _rates(rate: HeldOutRate) -> tuple[Cell, Cell]:
    if (beside := rate.unreachable()) is not None:
        return "not reached (ties)", f"{percent(beside.below)} or {percent(beside.above)}"
    low, high = map(float, rate.interval())
    return with_interval(rate.value, low, high), with_interval(*_measured(rate))
