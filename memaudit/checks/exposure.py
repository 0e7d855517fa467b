"""CAN…: how far are planted secrets given away?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from memaudit.canaries import NULL_MEAN_BITS, P_EXPOSED_BITS, DoseCurve, dose_curve, fisher, mean_at_dose
from memaudit.checks.evidence import Check, ControlCheck, Outcome, estimate, percent, share_of
from memaudit.checks.exposure_shown import by_dose_figure, by_dose_table, of_target_table, times
from memaudit.checks.text import TextEvidence
from memaudit.errors import EvidenceError
from memaudit.types import Control, Estimate, Finding, Skipped

Array = np.ndarray

_LEAST_CANARIES = 2
_ALARM = 0.001  # probability of a false alarm of the null check
_CALIBRATED, _RAW = "calibrated", "raw"
_SOURCE = "Carlini et al. 2019 (USENIX Security), exposure"


def _exposure(evidence: TextEvidence) -> Outcome:
    """Exposure: how many bits of a planted secret does a model give away, by how often it was planted?

    A canary is a made-up secret, drawn at random from a space R after the space was fixed. Its exposure is

        log₂ |R| − log₂ rank,

    the rank being the number of secrets of the space that the model finds at least as likely, the canary included. It
    ends at log₂ |R|, where the model prefers the canary to every other secret. A canary that was never planted has
    1.443 bits on average, not 0, and reaches 6.64 bits with probability 1 %: "at least 6.64 bits" is a membership test
    at 1 % false positives.

    There are two adversaries, and a finding for each. Raw exposure ranks by the model alone. Calibrated exposure first
    subtracts from every secret's cost its mean over models that were not trained on the canary: with many of them it
    is the stronger one, with a few their noise hides the canary. A limit on `exposure` holds for both; one with
    `attack = "raw"` or `"calibrated"` for that one alone.

    The number is the mean exposure of canaries that were planted once (or the least that was tried), over all shadow
    models; its interval is Student's t on the log scale, over pairs of models and canaries. A canary that no secret of
    a sample outdoes may be exposed as far as log₂ |R|; the upper end takes it to be. How often a canary is planted is
    drawn anew for every model, so that doses are compared within a canary. It says nothing about secrets of another
    form.

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
                title=f"{kind.capitalize()} exposure of canaries planted {times(_least(curve))}",
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
    dose = times(_least(curve))
    if kind == _CALIBRATED:
        how, beside = f"compared with {_outside(evidence)} models without it", "by the model alone"
    else:
        how, beside = "by the model alone", "after calibration"
    return (
        f"A canary planted {dose} has a mean {kind} exposure of {own.value:.2f} bits, {how} (95% CI {own.low:.2f} to "
        f"{own.high:.2f}); {beside}, it is {other.value:.2f} bits ({other.low:.2f} to {other.high:.2f}). One that was "
        f"never planted has {NULL_MEAN_BITS:.2f} bits, and at most {evidence.caps.max():.2f} can be shown. Each "
        f"doubling of the repetitions adds {curve.slope:.2f} bits ({curve.slope_low:.2f} to {curve.slope_high:.2f})."
    )


def _notes(evidence: TextEvidence, kind: str, dose: int) -> tuple[str, ...]:
    at_end = _at_end(evidence, kind)[evidence.shadow_doses == dose]
    covered = "A limit on `exposure` that names no `attack` covers raw and calibrated exposure."
    if not at_end.any():
        return (covered,)
    return (
        covered,
        f"{int(at_end.sum())} of {len(at_end)} reach the most that {evidence.population.probes.references:,} "
        "references can show and may be exposed further; the upper end of the interval allows for that. More "
        "references (Probes(references=...)) narrow it.",
    )


def _detected(evidence: TextEvidence) -> Outcome:
    """Detection of canaries: which share of the secrets planted in this model reaches 6.64 bits of exposure?

    By accident a canary reaches 6.64 bits with probability 1 %, exactly and whatever the model, as its secret was drawn
    uniformly. The share of the planted ones that reach it is therefore a true-positive rate at 1 % false positives, and
    can be read beside MIA005. There is a finding for raw and one for calibrated exposure, as in CAN001, and a limit on
    `canaries` without an attack holds for both. The interval is Clopper–Pearson's; it holds for the doses that this
    model happens to have.

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
    return tuple(_detection(evidence, kind, planted) for kind in (_CALIBRATED, _RAW)), ()


def _detection(evidence: TextEvidence, kind: str, planted: Bool[Array, " canaries"]) -> Finding:
    flagged = _bits(evidence, kind)[1] >= P_EXPOSED_BITS
    value, low, high = share_of(flagged[planted])
    return Finding(
        code="CAN002",
        title=f"Planted canaries that are detected by {kind} exposure, at 1% false positives",
        metric="canaries",
        attack=kind,
        at_fpr=0.01,
        estimate=Estimate(value=value, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence=(
            f"In this model {_counted(flagged[planted], 'planted canaries')} have a {kind} exposure of at least "
            f"{P_EXPOSED_BITS:.2f} bits, which one in a hundred has by chance"
            + ("." if planted.all() else f"; so have {_counted(flagged[~planted], 'that were not planted')}.")
        ),
        blind=0.01,
        n=int(planted.sum()),
        counted="planted canaries",
        source=_SOURCE,
    )


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
        overstates=("exposure", "canaries", "planted-exposure") if p < _ALARM else (),
    )


canary_null = ControlCheck("CTL006", "Canaries that were never planted", _null, TextEvidence)


def _mean(evidence: TextEvidence, kind: str, dose: int) -> Estimate:
    """Returns the mean exposure at a dose over all shadow models; its upper end is that of the most it can be."""
    exposures, doses = _bits(evidence, kind)[0], evidence.shadow_doses
    sizes = np.log2([float(space.size) for space in evidence.population.spaces])
    furthest = np.where(_at_end(evidence, kind), sizes, exposures)

    def interval(level: Array) -> tuple[Array, Array]:
        low = mean_at_dose(exposures, doses, dose, level, float(evidence.caps.max()))[1]
        return low, mean_at_dose(furthest, doses, dose, level, float(sizes.max()))[2]

    method = "Student t on the log scale, jackknife over pairs of shadow models and canaries"
    return estimate(float(exposures[doses == dose].mean()), interval, "bits", method)


def _curve(evidence: TextEvidence, kind: str) -> DoseCurve | str:
    """Returns exposure by dose, or why there is none."""
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
    """Returns where no secret of a sample outdoes the canary, whose exposure may then be larger than shown."""
    sampled = np.array([references is not None for references in evidence.population.references], bool)
    return np.asarray((_bits(evidence, kind)[0] >= evidence.caps) & sampled)


def _least(curve: DoseCurve) -> int:
    """Returns the least dose above none."""
    return int(curve.dose[curve.dose > 0][0])


def _outside(evidence: TextEvidence) -> str:
    """Returns how many shadow models the calibration of each canary takes the mean of: "3", or "5 to 7"."""
    counts = (evidence.shadow_doses == 0).sum(axis=0) - 1
    least, most = int(counts.min()), int(counts.max())
    return str(least) if least == most else f"{least} to {most}"
