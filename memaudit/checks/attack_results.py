"""How a membership attack's results look, with and without a bank: title, refusal, sentence, ROC curve and table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float

from memaudit.attack_names import ATTACKS_BY_METRIC
from memaudit.checks.evidence import TargetEvidence, between, with_interval
from memaudit.reports.text import percent, rate
from memaudit.stats import Reached, auc, auc_interval, least_nonmembers, own_tpr, own_tpr_interval, resolvable
from memaudit.types import Cell, Curve, Estimate, Figure, FigureKind, Table

Array = np.ndarray
Share = tuple[float, float, float]  # value and interval

POINTS = 24  # of a curve
CEILING = "most that "  # how the name of a curve begins that no attack made
_QUOTED = 0.01  # FPR of the numbers that a ROC figure's text quotes


def title_of(name: str) -> str:
    """Return what an attack is called in reports."""
    known = ATTACKS_BY_METRIC["tpr"].get(name)
    return name if known is None else known.title


def title_at(name: str, fpr: float) -> str:
    """Return the title of an attack's result at a false-positive rate; `policy.complete` reads it."""
    return f"Membership inference, {name}, at {rate(fpr)} FPR"


def unresolved(fpr: float, nonmembers: int) -> str:
    """Return why so many non-members cannot show a false-positive rate."""
    return (
        f"{nonmembers:,} non-members cannot resolve a {rate(fpr)} FPR: fewer than one false positive is expected. "
        f"At least {least_nonmembers(fpr):,} non-members are needed"
    )


def not_resolved(evidence: TargetEvidence, fpr: float) -> str:
    """Return why a rate is none of those that are resolved."""
    nonmembers = int((~evidence.members).sum())
    if not resolvable(fpr, nonmembers):
        return unresolved(fpr, nonmembers)
    return f"the shadow models are scored on a part of the examples, too few to resolve a {rate(fpr)} FPR"


def tied(fpr: float, beside: Reached) -> str:
    """Return why an attack with tied scores cannot have a false-positive rate."""
    return (
        f"a {rate(fpr)} FPR cannot be reached: the attack's scores are tied, and the nearest possible rates are "
        f"{percent(beside.below)} and {percent(beside.above)}"
    )


def sentence(name: str, fpr: float, found: Estimate, measured: Share) -> str:
    """Return an attack's true-positive rate, and the false-positive rate that was measured, in words."""
    value, low, high = measured
    return (
        f"{title_of(name)} identifies {percent(found.value)} of members at a {rate(fpr)} false-positive rate "
        f"(95% CI {between(found.low, found.high)}). Measured FPR on this model: {percent(value)} "
        f"({between(low, high)})."
    )


def own_rate_note(inside: Array, outside: Array, fpr: float) -> str:
    """Return in a sentence how many members the blind adversary identifies, from its scores."""
    value, (low, high) = own_tpr(inside, outside, fpr), own_tpr_interval(inside, outside, fpr)
    return (
        f"Blind baseline (data alone, no model): {percent(value)} (95% CI {between(low, high)}, bootstrap over "
        "examples)."
    )


def curve(
    name: str,
    rates: Float[Array, " rates"],
    tprs: Sequence[float],
    interval: Callable[[float], tuple[Array, Array]] | None = None,
) -> Curve:
    """Return an attack's ROC curve; with a band if there is a function from an FPR to the interval of the TPR."""
    ends: tuple[tuple[float, ...], ...] = ((), ())
    if interval is not None:
        ends = tuple(tuple(map(float, side)) for side in zip(*map(interval, rates.tolist()), strict=True))
    return Curve(x=tuple(rates.tolist()), y=tuple(tprs), label=title_of(name), low=ends[0], high=ends[1])


def roc(curves: tuple[Curve, ...], thresholds: str, nonmembers: int) -> Figure:
    """Return the figure of ROC curves over the same rates; `thresholds` says where the thresholds are from."""
    rates = curves[0].x
    quoted = max(0, int(np.searchsorted(rates, _QUOTED, side="right")) - 1)
    said = "; ".join(
        f"{curve.label}: {percent(curve.y[quoted])}"
        if curve.label.startswith(CEILING)
        else f"{curve.label} identifies {percent(curve.y[quoted])} of members"
        for curve in curves
    )
    return Figure(
        kind=FigureKind.ROC,
        title="ROC curves of all attacks",
        x_label=f"False-positive rate (thresholds set on {thresholds})",
        y_label="True-positive rate",
        curves=curves,
        alt=f"ROC curves on log-log axes. At a {percent(rates[quoted])} FPR: {said}.",
        unresolved=1 / nonmembers,
    )


def table(
    title: str,
    fprs: Sequence[float],
    attacks: Iterable[tuple[str, tuple[Array, Array], list[tuple[Cell, Cell]]]],
    note: str,
) -> Table:
    """Return every attack with its AUC, and TPR beside measured FPR at each rate that can be resolved.

    Args:
        title: Of the table.
        fprs: The rates.
        attacks: Of each its name, (scores of members, of non-members), and at each rate its `cells`.
        note: How the numbers were made.
    """
    rows = []
    for name, scores, rates in attacks:
        area = auc(*scores), *auc_interval(*scores)
        rows.append(
            (title_of(name), "{:.3f} ({:.3f}–{:.3f})".format(*area), *(cell for pair in rates for cell in pair))
        )
    columns = ["Attack", "AUC"]
    for fpr in fprs:
        columns += [f"TPR at {rate(fpr)} FPR", "Measured FPR"]
    return Table(title=title, columns=tuple(columns), rows=tuple(rows), note=note)


def cells(beside: Reached | None, rates: Callable[[], tuple[Share, Share]]) -> tuple[Cell, Cell]:
    """Return what a table shows of an attack at a rate: TPR and measured FPR, or that ties leave out the rate."""
    if beside is not None:
        return "not reachable (ties)", f"{percent(beside.below)} or {percent(beside.above)}"
    tpr, measured = rates()
    return with_interval(*tpr), with_interval(*measured)
