"""The figure and the tables of exposure: by dose in the shadow models, and canary by canary in the target."""

from __future__ import annotations

import numpy as np

from memaudit.canaries import NULL_MEAN_BITS, P_EXPOSED_BITS, DoseCurve, extrapolated_exposure, rank_exposure
from memaudit.checks.evidence import with_interval
from memaudit.checks.text import TextEvidence
from memaudit.types import Curve, Figure, FigureKind, Mark, Table


def by_dose_figure(evidence: TextEvidence, curve: DoseCurve) -> Figure:
    """Return calibrated exposure by dose, in the shadow models and in the target."""
    places = tuple(float(i) for i in range(len(curve.dose)))
    target = evidence.calibrated_exposures[1]
    at = {int(dose): place for place, dose in enumerate(curve.dose)}
    known = [
        (float(at[int(dose)]), float(bits))
        for dose, bits in zip(evidence.doses, target, strict=True)
        if int(dose) in at
    ]
    shadows = Curve(
        x=places,
        y=tuple(curve.mean.tolist()),
        low=tuple(curve.mean_low.tolist()),
        high=tuple(curve.mean_high.tolist()),
        label="shadow models, mean",
    )
    means = {x: float(np.mean([bits for place, bits in known if place == x])) for x in sorted({x for x, _ in known})}
    model = Curve(x=tuple(means), y=tuple(means.values()), label="this model, mean")
    said = "; ".join(f"{times(int(d))}: {m:.2f} bits" for d, m in zip(curve.dose, curve.mean, strict=True))
    return Figure(
        kind=FigureKind.BITS,
        title="Exposure by number of insertions",
        x_label="Times that the secret occurs in the training data",
        y_label="Calibrated exposure (bits)",
        curves=(shadows, model) if means else (shadows,),
        ticks=tuple(str(int(dose)) for dose in curve.dose),
        marks=(
            Mark(y=float(evidence.caps.max()), label="maximum"),
            Mark(y=P_EXPOSED_BITS, label="never inserted: 1%"),
            Mark(y=NULL_MEAN_BITS, label="never inserted: mean"),
        ),
        alt=f"Mean calibrated exposure in the shadow models, by number of insertions. {said}.",
    )


def by_dose_table(raw: DoseCurve, curve: DoseCurve) -> Table:
    """Return raw and calibrated exposure by dose."""
    rows = tuple(
        (
            int(curve.dose[i]),
            int(curve.cells[i]),
            f"{raw.mean[i]:.2f} ({raw.mean_low[i]:.2f}–{raw.mean_high[i]:.2f})",
            f"{curve.mean[i]:.2f} ({curve.mean_low[i]:.2f}–{curve.mean_high[i]:.2f})",
            with_interval(float(raw.share[i]), float(raw.share_low[i]), float(raw.share_high[i])),
            with_interval(float(curve.share[i]), float(curve.share_low[i]), float(curve.share_high[i])),
        )
        for i in range(len(curve.dose))
    )
    return Table(
        title="Exposure in the shadow models",
        columns=(
            "Inserted",
            "Canaries × models",
            "Raw exposure (bits)",
            "Calibrated exposure (bits)",
            "Raw ≥ 6.64 bits",
            "Calibrated ≥ 6.64 bits",
        ),
        rows=rows,
        note=(
            f"Per unit of log₂(1 + insertions), raw exposure increases by {raw.slope:.2f} bits ({raw.slope_low:.2f} to "
            f"{raw.slope_high:.2f}) and calibrated exposure by {curve.slope:.2f} ({curve.slope_low:.2f} to "
            f"{curve.slope_high:.2f}), adjusted for canary and model effects. 95% CIs over pairs of models and "
            "canaries."
        ),
    )


def of_target_table(evidence: TextEvidence) -> Table:
    """Return this model's canaries, which are nobody's secrets, by number of insertions."""
    order = np.lexsort((np.arange(len(evidence.doses)), evidence.doses))
    calibrated = evidence.calibrated_exposures[1]
    return Table(
        title="Canaries in this model",
        columns=(
            "Canary",
            "Inserted",
            "Raw, by ranking",
            "Raw, by search",
            "Raw, extrapolated",
            "Calibrated",
            "Maximum",
        ),
        rows=tuple(
            (
                evidence.population.canaries[i].name,
                int(evidence.doses[i]),
                _ranked(evidence, i),
                _searched(evidence, i),
                _extrapolated(evidence, i),
                f"{calibrated[i]:.2f}",
                f"{evidence.caps[i]:.2f}",
            )
            for i in order
        ),
        note=(
            "Exposure in bits. By ranking: among all secrets of the space or a sample; “≥” marks a canary that no "
            "secret of the sample outranks. By search: exact, or the bound that the search proves. Extrapolated: from "
            "a skew-normal distribution fitted to the sample, with the p-value of the fit and the distance beyond the "
            "sample in standard deviations. Extrapolation is secondary, and often wrong far from the sample."
        ),
    )


def _ranked(evidence: TextEvidence, canary: int) -> str:
    bits = evidence.exposures[1][canary]
    sampled = evidence.population.references[canary] is not None
    return f"{'≥ ' if sampled and bits >= evidence.caps[canary] else ''}{bits:.2f}"


def _searched(evidence: TextEvidence, canary: int) -> str:
    """Return the exact exposure that the search proves, or what it cannot exceed."""
    if "search_rank" not in evidence.recorded:
        return "–"
    size, rank = evidence.population.spaces[canary].size, int(evidence.recorded["search_rank"][canary])
    if evidence.recorded["search_found"][canary]:
        return f"{float(rank_exposure(rank, size)):.2f}"
    return f"< {float(rank_exposure(max(rank, 1), size)):.2f}"


def _extrapolated(evidence: TextEvidence, canary: int) -> str:
    """Return the extrapolated exposure where the sample of references is exhausted."""
    if not _ranked(evidence, canary).startswith("≥"):
        return "–"
    cost, references = evidence.target_costs(canary)
    found = extrapolated_exposure(cost, references, evidence.population.spaces[canary].size, seed=evidence.seed)
    return f"{found.bits:.2f} ({found.low:.2f}–{found.high:.2f}), p = {found.p_fit:.2g}, {found.distance:.1f} sd"


def times(dose: int) -> str:
    """Return a number of repetitions in words."""
    return {0: "never", 1: "once", 2: "twice"}.get(dose, f"{dose} times")
