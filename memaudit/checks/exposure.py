"""CAN…: how far are planted secrets exposed?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from memaudit.canaries import NULL_MEAN_BITS, P_EXPOSED_BITS, DoseCurve, dose_curve, fisher, mean_at_dose
from memaudit.checks.evidence import Check, ControlCheck, Outcome, between, estimate, share_of, with_interval
from memaudit.checks.exposure_shown import by_dose_figure, by_dose_table, of_target_table, times
from memaudit.checks.text import TextEvidence
from memaudit.errors import EvidenceError
from memaudit.reports.text import percent
from memaudit.types import Control, Estimate, Finding, Skipped, Table

Array = np.ndarray

_LEAST_CANARIES = 2
_ALARM = 0.001  # probability of a false alarm of the null check
_CALIBRATED, _RAW = "calibrated", "raw"
_SOURCE = "Carlini et al. 2019 (USENIX Security), exposure"


def _exposure(evidence: TextEvidence) -> Outcome:
    """Exposure: how many bits of a planted secret does a model reveal, by number of insertions?

    A canary is a random secret, drawn from a space R after the space was fixed. Its exposure is

        log₂ |R| − log₂ rank.

    The rank is the number of secrets in the space that the model finds at least as likely, the canary included. The
    maximum is log₂ |R|, where the model ranks the canary first. A canary that was never inserted has 1.443 bits on
    average, not 0, and reaches 6.64 bits with probability 1 %. "At least 6.64 bits" is therefore a membership test at a
    1 % false-positive rate.

    There are two threat models, with a finding for each. Raw exposure ranks by the model alone. Calibrated exposure
    first subtracts from every secret's cost its mean over models that were not trained on the canary. With many such
    models it is the stronger one; with few, their noise hides the canary. A limit on `exposure` applies to both. With
    `attack = "raw"` or `"calibrated"` it applies to that one.

    The result is the mean exposure of canaries inserted once (or the smallest number tried), over all shadow models.
    Its interval is Student's t on the log scale, over pairs of models and canaries. If no secret of a sample outranks a
    canary, its exposure may be as high as log₂ |R|; the upper end of the interval assumes so. The number of insertions
    is drawn independently for every model, so numbers are compared within a canary. The result does not apply to
    secrets of another form.

    Source: Carlini et al. 2019, "The Secret Sharer"; calibration and randomized doses: difference to models without.
    """
    kinds = (_CALIBRATED, _RAW)
    curves = {kind: _curve(evidence, kind) for kind in kinds}
    told = [curve for curve in curves.values() if not isinstance(curve, str)]
    if len(told) < len(kinds):
        reason = next(curve for curve in curves.values() if isinstance(curve, str))
        return (), (Skipped(code="CAN001", title="Exposure of planted canaries", reason=reason),)
    calibrated, raw = told
    pictures = ((by_dose_figure(evidence, calibrated),), (by_dose_table(raw, calibrated), of_target_table(evidence)))
    means = [_mean(evidence, kind, _least(curve)) for kind, curve in zip(kinds, told, strict=True)]
    findings = []
    for kind, curve, own, other in zip(kinds, told, means, means[::-1], strict=True):
        figures, tables = pictures if kind == _CALIBRATED else ((), ())
        findings.append(
            Finding(
                code="CAN001",
                title=f"{kind.capitalize()} exposure of canaries inserted {times(_least(curve))}",
                metric="exposure",
                attack=kind,
                estimate=own,
                sentence=_sentence(evidence, kind, curve, own, other),
                blind=NULL_MEAN_BITS,
                n=int(curve.cells[np.flatnonzero(curve.dose > 0)[0]]),
                counted=f"canaries in shadow models ({len(evidence.doses)} different canaries)",
                source=_SOURCE,
                figures=figures,
                tables=tables,
                notes=_notes(evidence, kind, _least(curve)),
            )
        )
    return tuple(findings), ()


def _sentence(evidence: TextEvidence, kind: str, curve: DoseCurve, own: Estimate, other: Estimate) -> str:
    dose, calibrated = times(_least(curve)), kind == _CALIBRATED
    how = f", calibrated with {_outside(evidence)} models without it," if calibrated else ""
    return (
        f"A canary inserted {dose}{how} has a mean {kind} exposure of {own.value:.1f} bits (95% CI "
        f"{own.low:.1f}–{own.high:.1f}). {'Raw' if calibrated else 'Calibrated'}: {other.value:.1f} bits "
        f"({other.low:.1f}–{other.high:.1f}). A canary that was never inserted has {NULL_MEAN_BITS:.2f}; the maximum "
        f"is {evidence.caps.max():.1f}. Each doubling of the insertions adds {curve.slope:.1f} bits "
        f"({curve.slope_low:.1f} to {curve.slope_high:.1f})."
    )


def _notes(evidence: TextEvidence, kind: str, dose: int) -> tuple[str, ...]:
    at_end = _at_end(evidence, kind)[evidence.shadow_doses == dose]
    covered = "A limit on `exposure` without `attack` covers raw and calibrated exposure."
    if not at_end.any():
        return (covered,)
    return (
        covered,
        f"{int(at_end.sum())} of {len(at_end)} reach the maximum that {evidence.population.probes.references:,} "
        "references can show, and may be exposed further. The upper end of the interval allows for that. More "
        "references (Probes(references=...)) narrow it.",
    )


def _detected(evidence: TextEvidence) -> Outcome:
    """Canary detection: which share of the canaries inserted in this model reaches 6.64 bits of exposure?

    Under the null hypothesis a canary reaches 6.64 bits with probability 1 %, exactly and for any model, because its
    secret was drawn uniformly. The share of inserted canaries that reach it is therefore a true-positive rate at a 1 %
    false-positive rate, comparable with MIA005. There is a finding for raw and one for calibrated exposure, as in
    CAN001. A limit on `canaries` without an attack applies to both. The interval is Clopper–Pearson's, conditional on
    the numbers of insertions in this model.

    Source: Carlini et al. 2019, exposure; as a p-value in bits, P[exposure ≥ e] ≤ 2^−e.
    """
    planted = evidence.doses > 0
    if not planted.any() or evidence.caps.min() < P_EXPOSED_BITS:
        why = (
            f"the canaries' spaces can show at most {evidence.caps.min():.2f} bits, and {P_EXPOSED_BITS:.2f} are needed"
            if len(planted) and evidence.caps.min() < P_EXPOSED_BITS
            else "no canary was inserted in this model"
        )
        return (), (Skipped(code="CAN002", title="Detection of canaries", reason=why),)
    return tuple(_detection(evidence, kind, planted) for kind in (_CALIBRATED, _RAW)), ()


def _detection(evidence: TextEvidence, kind: str, planted: Bool[Array, " canaries"]) -> Finding:
    flagged = _bits(evidence, kind)[1] >= P_EXPOSED_BITS
    value, low, high = share_of(flagged[planted])
    return Finding(
        code="CAN002",
        title=f"Canaries detected by {kind} exposure, at 1% FPR",
        metric="canaries",
        attack=kind,
        at_fpr=0.01,
        estimate=Estimate(value=value, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence=(
            f"{kind.capitalize()} exposure detects {_counted(flagged[planted], 'inserted canaries')} in this model at "
            f"a 1% false-positive rate (at least {P_EXPOSED_BITS:.2f} bits)."
            + ("" if planted.all() else f" Not inserted: {_counted(flagged[~planted], 'detected')}.")
        ),
        blind=0.01,
        n=int(planted.sum()),
        counted="inserted canaries",
        source=_SOURCE,
        tables=(_detected_table(flagged, planted),),
    )


def _detected_table(flagged: Bool[Array, " canaries"], planted: Bool[Array, " canaries"]) -> Table:
    sides = [("Inserted", flagged[planted]), ("Not inserted", flagged[~planted])]
    return Table(
        title=f"Canaries with an exposure of at least {P_EXPOSED_BITS:.2f} bits in this model",
        columns=("In this model", "Canaries", "Detected", "Share"),
        rows=tuple((name, len(of), int(of.sum()), with_interval(*share_of(of))) for name, of in sides if len(of)),
        note="Chance: 1%. 95% CIs: Clopper–Pearson.",
    )


def _counted(flags: Bool[Array, " canaries"], what: str) -> str:
    """Return a count in words, with the interval of the share: "3 of 20 inserted canaries (15%, 95% CI 3.2–38%)"."""
    value, low, high = share_of(flags)
    return f"{int(flags.sum())} of {len(flags)} {what} ({percent(value)}, 95% CI {between(low, high)})"


exposure_check = Check("CAN001", "Exposure of planted canaries", "exposure", _exposure, TextEvidence)
detection_check = Check("CAN002", "Detection of planted canaries", "canaries", _detected, TextEvidence)


def _null(evidence: TextEvidence) -> Control:
    """Canaries that were never inserted: do their exposures have the expected distribution?

    For each canary, one shadow model without it is drawn at random. Its rank among all secrets of the space is then
    uniform, and twice the sum of the exposures times ln 2 is χ²-distributed with two degrees of freedom per canary. If
    the sum is too large, secrets leak between canaries or were not drawn uniformly, and exposures are invalid.

    Source: Fisher 1925, the combination of p-values.
    """
    rng = np.random.default_rng(evidence.seed)
    exposures, doses = evidence.exposures[0], evidence.shadow_doses
    drawn = [rng.choice(np.flatnonzero(doses[:, canary] == 0)) for canary in range(doses.shape[1])]
    bits = exposures[drawn, np.arange(len(drawn))]
    p = float(fisher(bits)) if len(bits) else 1.0
    return Control(
        code="CTL006",
        title="Canaries never inserted: exposure at chance level",
        passed=p >= _ALARM if len(bits) else None,
        sentence=(
            f"In models without them, {len(bits)} canaries have a mean exposure of {bits.mean():.2f} bits (expected: "
            f"{NULL_MEAN_BITS:.2f}; p = {p:.2g})."
            if len(bits)
            else "The recipe has no canaries."
        ),
        source="Fisher 1925",
        overstates=("exposure", "canaries", "planted-exposure") if p < _ALARM else (),
    )


canary_null = ControlCheck("CTL006", "Canaries that were never planted", _null, TextEvidence)


def _mean(evidence: TextEvidence, kind: str, dose: int) -> Estimate:
    """Return the mean exposure at a dose over all shadow models; its upper end is that of the most it can be."""
    exposures, doses = _bits(evidence, kind)[0], evidence.shadow_doses
    sizes = np.log2([float(space.size) for space in evidence.population.spaces])
    furthest = np.where(_at_end(evidence, kind), sizes, exposures)

    def interval(level: Array) -> tuple[Array, Array]:
        low = mean_at_dose(exposures, doses, dose, level, float(evidence.caps.max()))[1]
        return low, mean_at_dose(furthest, doses, dose, level, float(sizes.max()))[2]

    method = "Student t on the log scale, jackknife over pairs of shadow models and canaries"
    return estimate(float(exposures[doses == dose].mean()), interval, "bits", method)


def _curve(evidence: TextEvidence, kind: str) -> DoseCurve | str:
    """Return exposure by dose, or why there is none."""
    exposures = _bits(evidence, kind)[0]
    if exposures.shape[1] < _LEAST_CANARIES:
        return f"the recipe has {exposures.shape[1]} canaries, and at least {_LEAST_CANARIES} are needed"
    try:
        return dose_curve(exposures, evidence.shadow_doses, float(evidence.caps.max()))
    except EvidenceError as error:
        return str(error)


def _bits(evidence: TextEvidence, kind: str) -> tuple[Array, Array]:
    return evidence.calibrated_exposures if kind == _CALIBRATED else evidence.exposures


def _at_end(evidence: TextEvidence, kind: str) -> Bool[Array, "models canaries"]:
    """Return where no secret of a sample outdoes the canary, whose exposure may then be larger than shown."""
    sampled = np.array([references is not None for references in evidence.population.references], bool)
    return np.asarray((_bits(evidence, kind)[0] >= evidence.caps) & sampled)


def _least(curve: DoseCurve) -> int:
    """Return the least dose above none."""
    return int(curve.dose[curve.dose > 0][0])


def _outside(evidence: TextEvidence) -> str:
    """Return how many shadow models the calibration of each canary takes the mean of: "3", or "5 to 7"."""
    counts = (evidence.shadow_doses == 0).sum(axis=0) - 1
    least, most = int(counts.min()), int(counts.max())
    return str(least) if least == most else f"{least} to {most}"
