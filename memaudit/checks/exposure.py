"""CAN…: how far are planted secrets given away?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from memaudit.canaries import (
    NULL_MEAN_BITS,
    P_EXPOSED_BITS,
    DoseCurve,
    dose_curve,
    extrapolated_exposure,
    fisher,
    mean_at_dose,
    rank_exposure,
)
from memaudit.checks.evidence import Check, ControlCheck, Outcome, estimate, percent, share_of, with_interval
from memaudit.checks.text import TextEvidence
from memaudit.errors import EvidenceError
from memaudit.types import Control, Curve, Estimate, Figure, FigureKind, Finding, Mark, Skipped, Table

Array = np.ndarray

_LEAST_CANARIES = 2
_ALARM = 0.001  # probability of a false alarm of the null check
_SOURCE = "Carlini et al. 2019 (USENIX Security), exposure"


def _exposure(evidence: TextEvidence) -> Outcome:
    """Exposure: how many bits of a planted secret does a model give away, by how often it was planted?

    A canary is a made-up secret, drawn at random from a space R after the space was fixed. Its exposure is

        log₂ |R| − log₂ rank,

    the rank being the number of secrets of the space that the model finds at least as likely, the canary included. It
    ends at log₂ |R|, where the model prefers the canary to every other secret. A canary that was never planted has
    1.443 bits on average, not 0, and reaches 6.64 bits with probability 1 %: "at least 6.64 bits" is a membership test
    at 1 % false positives. Calibrated exposure first takes from every secret what models without the canary say of it.

    The number is the mean calibrated exposure of canaries that were planted once (or the least that was tried), over
    all shadow models; its interval is Student's t on the log scale, over pairs of models and canaries. How often a
    canary is planted is drawn anew for every model, so that doses are compared within a canary. It says nothing about
    secrets of another form.

    Source: Carlini et al. 2019, "The Secret Sharer"; calibration and randomized doses: difference to models without.
    """
    curve, refused = _curve(evidence, calibrated=True)
    if curve is None:
        return (), refused
    planted = int(np.flatnonzero(curve.dose > 0)[0])
    mean = _mean(evidence, int(curve.dose[planted]))
    dose = _times(int(curve.dose[planted]))
    finding = Finding(
        code="CAN001",
        title=f"Exposure of canaries planted {dose}",
        metric="exposure",
        estimate=mean,
        sentence=(
            f"A made-up secret that stands in the training data {dose} is given away by {mean.value:.2f} bits "
            f"on average ({mean.low:.2f} to {mean.high:.2f}); one that never stood there by {NULL_MEAN_BITS:.2f}, and "
            f"at most {evidence.caps.max():.2f} can be shown. Each doubling of the repetitions adds "
            f"{curve.slope:.2f} bits ({curve.slope_low:.2f} to {curve.slope_high:.2f})."
        ),
        blind=NULL_MEAN_BITS,
        n=int(curve.cells[planted]),
        counted=f"canaries in shadow models ({len(evidence.doses)} different canaries)",
        source=_SOURCE,
        figures=(_figure(evidence, curve),),
        tables=(_table(evidence, curve), _target_table(evidence)),
    )
    return (finding,), ()


def _detected(evidence: TextEvidence) -> Outcome:
    """Detection of canaries: which share of the secrets planted in this model reaches 6.64 bits of exposure?

    By accident a canary reaches 6.64 bits with probability 1 %, exactly and whatever the model, as its secret was drawn
    uniformly. The share of the planted ones that reach it is therefore a true-positive rate at 1 % false positives, and
    can be read beside MIA005. Exposures are calibrated as in CAN001. The interval is Clopper–Pearson's; it holds for
    the doses that this model happens to have.

    Source: Carlini et al. 2019, exposure; as a p-value in bits, P[exposure ≥ e] ≤ 2^−e.
    """
    planted = evidence.doses > 0
    if not planted.any() or evidence.caps.min() < P_EXPOSED_BITS:
        why = (
            f"the canaries' spaces show at most {evidence.caps.min():.2f} bits, and {P_EXPOSED_BITS:.2f} are needed"
            if len(planted) and evidence.caps.min() < P_EXPOSED_BITS
            else "no canary was planted in this model"
        )
        return (), (Skipped(code="CAN002", title="Detection of canaries", reason=why),)
    flagged = evidence.calibrated_exposures[1] >= P_EXPOSED_BITS
    value, low, high = share_of(flagged[planted])
    finding = Finding(
        code="CAN002",
        title="Planted canaries that are detected, at 1% false positives",
        metric="canaries",
        at_fpr=0.01,
        estimate=Estimate(value=value, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence=(
            f"In this model {_counted(flagged[planted], 'planted canaries')} have an exposure of at least "
            f"{P_EXPOSED_BITS:.2f} bits, which one in a hundred has by chance"
            + ("." if planted.all() else f"; so have {_counted(flagged[~planted], 'that were not planted')}.")
        ),
        blind=0.01,
        n=int(planted.sum()),
        counted="planted canaries",
        source=_SOURCE,
    )
    return (finding,), ()


def _counted(flags: Bool[Array, " canaries"], what: str) -> str:
    """Return a count in words, with the interval of the share: "3 of 20 planted canaries (15%, 95% CI 3.21–37.9%)"."""
    value, low, high = map(percent, share_of(flags))
    return f"{int(flags.sum())} of {len(flags)} {what} ({value}, 95% CI {low.removesuffix('%')}–{high})"


exposure_check = Check("CAN001", "Exposure of planted canaries", "exposure", _exposure, TextEvidence)
detection_check = Check("CAN002", "Detection of planted canaries", "canaries", _detected, TextEvidence)


def _null(evidence: TextEvidence) -> Control:
    """Canaries that were never planted: do their exposures follow the law that they must follow?

    For each canary one shadow model without it is drawn by lot. Its rank among all secrets of the space is then
    uniform, and twice the sum of the exposures times ln 2 has the χ² law with two degrees of freedom for each canary. A
    sum that is too large means that secrets leak between canaries, or were not drawn uniformly; exposures then mean
    nothing.

    Source: Fisher 1925, the combination of p-values.
    """
    rng = np.random.default_rng(evidence.seed)
    exposures, doses = evidence.exposures[0], evidence.shadow_doses
    drawn = [rng.choice(np.flatnonzero(doses[:, canary] == 0)) for canary in range(doses.shape[1])]
    bits = exposures[drawn, np.arange(len(drawn))]
    p = float(fisher(bits)) if len(bits) else 1.0
    return Control(
        code="CTL006",
        title="Canaries that were never planted: is nothing found?",
        passed=p >= _ALARM if len(bits) else None,
        sentence=(
            f"In models without them {len(bits)} canaries have an exposure of {bits.mean():.2f} bits on average, where "
            f"chance gives {NULL_MEAN_BITS:.2f} (p = {p:.2g})."
            if len(bits)
            else "The recipe has no canaries."
        ),
        source="Fisher 1925",
        overstates=("exposure", "canaries") if p < _ALARM else (),
    )


canary_null = ControlCheck("CTL006", "Canaries that were never planted", _null, TextEvidence)


def _mean(evidence: TextEvidence, dose: int) -> Estimate:
    """Returns the mean calibrated exposure at a dose over all shadow models."""
    exposures, doses = evidence.calibrated_exposures[0], evidence.shadow_doses

    def interval(level: Array) -> tuple[Array, Array]:
        return mean_at_dose(exposures, doses, dose, level, float(evidence.caps.max()))[1:]

    method = "Student t on the log scale, jackknife over pairs of shadow models and canaries"
    return estimate(float(exposures[doses == dose].mean()), interval, "bits", method)


def _curve(evidence: TextEvidence, calibrated: bool) -> tuple[DoseCurve | None, tuple[Skipped, ...]]:
    exposures = (evidence.calibrated_exposures if calibrated else evidence.exposures)[0]
    reason = f"the recipe has {exposures.shape[1]} canaries, and at least {_LEAST_CANARIES} are needed"
    if exposures.shape[1] >= _LEAST_CANARIES:
        try:
            return dose_curve(exposures, evidence.shadow_doses, float(evidence.caps.max())), ()
        except EvidenceError as error:
            reason = str(error)
    return None, (Skipped(code="CAN001", title="Exposure of planted canaries", reason=reason),)


def _figure(evidence: TextEvidence, curve: DoseCurve) -> Figure:
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
    said = "; ".join(f"{_times(int(d))}: {m:.2f} bits" for d, m in zip(curve.dose, curve.mean, strict=True))
    return Figure(
        kind=FigureKind.BITS,
        title="What repetition gives away",
        x_label="Times that the secret stands in the training data",
        y_label="Calibrated exposure (bits)",
        curves=(shadows, model) if means else (shadows,),
        ticks=tuple(str(int(dose)) for dose in curve.dose),
        marks=(
            Mark(y=float(evidence.caps.max()), label="the most that can be shown"),
            Mark(y=P_EXPOSED_BITS, label="1% of those never planted"),
            Mark(y=NULL_MEAN_BITS, label="mean of those never planted"),
        ),
        alt=f"Mean calibrated exposure in the shadow models by repetitions. {said}.",
    )


def _table(evidence: TextEvidence, curve: DoseCurve) -> Table:
    raw, _ = _curve(evidence, calibrated=False)
    assert raw is not None
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
            "Planted",
            "Canaries × models",
            "Raw exposure (bits)",
            "Calibrated exposure (bits)",
            "Raw at 6.64 bits or more",
            "Calibrated at 6.64 bits or more",
        ),
        rows=rows,
        note=(
            f"Raw exposure rises by {raw.slope:.2f} bits ({raw.slope_low:.2f} to {raw.slope_high:.2f}) for each unit "
            f"of log₂(1 + repetitions), calibrated exposure by {curve.slope:.2f} ({curve.slope_low:.2f} to "
            f"{curve.slope_high:.2f}), with canary and model effects taken out. 95% intervals over pairs of models "
            "and canaries."
        ),
    )


def _target_table(evidence: TextEvidence) -> Table:
    """Returns this model's canaries, which are nobody's secrets, by how often they were planted."""
    order = np.lexsort((np.arange(len(evidence.doses)), evidence.doses))
    calibrated = evidence.calibrated_exposures[1]
    return Table(
        title="Canaries in this model",
        columns=(
            "Canary",
            "Planted",
            "Raw, by ranking",
            "Raw, by search",
            "Raw, extrapolated",
            "Calibrated",
            "At most",
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
            "Exposure in bits. By ranking: among all secrets of the space, or among a sample of them; “≥” is a canary "
            "that no secret of the sample outdoes. By search: exact, or the bound that the search proves. "
            "Extrapolated: a skew-normal law fitted to the sample, with the p-value of the fit and how many standard "
            "deviations it reaches beyond the sample; secondary, and often wrong far out."
        ),
    )


def _ranked(evidence: TextEvidence, canary: int) -> str:
    bits = evidence.exposures[1][canary]
    sampled = evidence.population.references[canary] is not None
    return f"{'≥ ' if sampled and bits >= evidence.caps[canary] else ''}{bits:.2f}"


def _searched(evidence: TextEvidence, canary: int) -> str:
    """Returns the exact exposure that the search proves, or what it cannot exceed."""
    size, rank = evidence.population.spaces[canary].size, int(evidence.recorded["search_rank"][canary])
    if evidence.recorded["search_found"][canary]:
        return f"{float(rank_exposure(rank, size)):.2f}"
    return f"< {float(rank_exposure(max(rank, 1), size)):.2f}"


def _extrapolated(evidence: TextEvidence, canary: int) -> str:
    """Returns the extrapolated exposure where the sample of references is exhausted."""
    if not _ranked(evidence, canary).startswith("≥"):
        return "–"
    cost, references = evidence.target_costs(canary)
    found = extrapolated_exposure(cost, references, evidence.population.spaces[canary].size, seed=evidence.seed)
    return f"{found.bits:.2f} ({found.low:.2f}–{found.high:.2f}), p = {found.p_fit:.2g}, {found.distance:.1f} sd"


def _times(dose: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(dose, f"{dose} times")
