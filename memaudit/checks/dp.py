"""DP…: is the claim of differential privacy refuted, and which ε does the training have at least?"""

from __future__ import annotations

import math

import numpy as np

from memaudit.checks.attack_results import CEILING
from memaudit.checks.evidence import CONFIDENCES, Check, Evidence, Outcome, TargetEvidence
from memaudit.checks.floors import Floor
from memaudit.privacy import Claim, exposure_ceiling, gaussian_ceiling, memorization_ceiling, tpr_ceiling
from memaudit.reports.text import number, percent, rate
from memaudit.types import UNBOUNDED_EPSILON, Bounds, Cell, Curve, Estimate, Finding, Skipped, Table

Array = np.ndarray

_TITLES = {
    "DP001": "Differential privacy: is the claim refuted?",
    "DP002": "Lower bound on ε, from this model",
    "DP003": "Lower bound on ε, from the shadow models",
}
_NAMES = {"DP002": "one-run", "DP003": "many-run"}
_STEINKE = "Steinke, Nasr & Jagielski 2023 (NeurIPS), Theorem 5.2"
_ALPHA, _STRICT = 0.05, 0.025
_SECRETS = 1e9  # of a form with nine random digits


def _claim(evidence: TargetEvidence) -> Outcome:
    """Differential privacy: do the lower bounds on ε refute the claim that is made of the training?

    (ε, δ)-differential privacy is a promise about the training: one record more or less makes no outcome more than e^ε
    times as likely, apart from δ. It bounds every attack, known or not. No audit can confirm it. An audit refutes it if
    a lower bound on ε is above the claimed ε.

    The number is the larger of the two lower bounds (DP002 and DP003), which share the probability of error. Its upper
    end is the claimed ε, which is stated and not measured. If the claim is refuted, or is larger than what the audit
    could show at the confidence if all guesses were right, nothing bounds ε from above: the upper end is 700. A limit
    on `epsilon` is broken if the lower bound exceeds it. It is kept if the claimed ε does not exceed it, and the audit
    could have refuted the claim and did not.

    The table has what the claim allows at most: the true-positive rate at each false-positive rate, memorization, and
    the exposure of a secret. The claim is about one record. A person with k records has kε. Where units have several
    records, the table has a row for the largest unit, and the ceilings in the figures are for it.

    Source: Dwork & Roth 2014; Kairouz, Oh & Viswanath 2015 (ICML) for the ceilings; Steinke et al. 2023 for the bounds;
    Bonferroni over the two; Vadhan 2017, Lemma 2.2 for groups.
    """
    claim = evidence.promise.claim
    assert claim is not None
    floors = [floor for floor in evidence.floors.values() if isinstance(floor, Floor)]
    if not floors:
        reason = "neither lower bound on ε could be measured (DP002, DP003)"
        return (), (Skipped(code="DP001", title=_TITLES["DP001"], reason=reason),)
    lows = [max(floor.at((1 - c) / len(floors)) for floor in floors) for c in CONFIDENCES]
    reaches = [max(floor.most((1 - c) / len(floors)) for floor in floors) for c in CONFIDENCES]
    tested = [lows[0] <= claim.epsilon < reach for reach in reaches]
    highs, reach = [claim.epsilon if kept else UNBOUNDED_EPSILON for kept in tested], reaches[0]
    found = _estimate(lows, highs, "lower end: one-run bounds, Bonferroni; upper end: the claimed ε, not measured")
    finding = Finding(
        code="DP001",
        title=_TITLES["DP001"],
        metric="epsilon",
        estimate=found,
        sentence=_said(claim, found, reach),
        n=sum(floor.m for floor in floors),
        counted="random memberships",
        source=f"{_STEINKE}; Kairouz, Oh & Viswanath 2015 for the ceilings",
        tables=(_ceilings(evidence, claim),),
        notes=(
            f"The claim is {claim.origin}.",
            "An audit can refute differential privacy, and cannot confirm it.",
            *_of_units(evidence, claim),
        ),
    )
    return (finding,), ()


def _said(claim: Claim, found: Estimate, reach: float) -> str:
    shown = f"the audit shows ε ≥ {number(found.value)} with 95% confidence (ε ≥ {number(found.low)} with 97.5%)"
    if found.value > claim.epsilon:
        return f"The claim {claim} is refuted: {shown}."
    if reach <= claim.epsilon:
        return f"The claim {claim} cannot be tested: {shown}, and could have shown {number(reach)} at most."
    return f"The claim {claim} is not refuted: {shown}. It could have shown up to {number(reach)}."


def _one_run(evidence: TargetEvidence) -> Outcome:
    """Lower bound on ε from the audited model alone: how many guesses of random memberships are right?

    Every candidate became a member with probability 1/2, independently. The attack guesses the candidates with the
    highest scores to be members and those with the lowest to be non-members. Under (ε, δ)-differential privacy the
    number of right guesses is at most binomial, with probability e^ε/(1 + e^ε), apart from δ. So many right guesses
    that this is unlikely refute the ε.

    The bound holds for one training run, and for any attack. It assumes nothing but that draw. The audit verifies it:
    the members must be those that `memaudit.draw_members` draws with the stated seed. Eight numbers of guesses are
    tried, from all candidates down to 1 in 128, and share the probability of error. Units with several records are
    left out, as their ε is larger. From 30 canaries on (`memaudit.classifier_canaries`), only canaries are guessed.

    The scores are LiRA's with a bank, and the scaled logit without. The bound for a Gaussian trade-off is larger, and
    holds only for mechanisms that have one.

    Source: Steinke, Nasr & Jagielski 2023 (NeurIPS), Theorem 5.2; Mahloujifar, Melis & Chaudhuri 2024, Algorithm 3, for
    the Gaussian trade-off; Bonferroni.
    """
    return _floor(evidence, "DP002")


def _many_run(evidence: Evidence) -> Outcome:
    """Lower bound on ε from the shadow models, each of which is a training run of the recipe.

    Half of the pairs of shadow models are audited, one model of each; LiRA compares with the other half alone. All
    their memberships are drawn independently, each for one run. All runs together are therefore (ε, δ)-private in
    each of them, and the bound of DP002 holds for the guesses of all runs together. It is about the recipe, and holds
    for the audited model if that was trained alike.

    The table also has two bounds from one example, the one that the other half separates best: Clopper–Pearson bounds
    of its true- and false-positive rate over the audited pairs, at a threshold that the other half sets. They need many
    runs. The bounds for a Gaussian trade-off hold only for mechanisms that have one.

    Source: Steinke, Nasr & Jagielski 2023 (NeurIPS), Theorem 5.2, with parallel composition; Jagielski, Ullman & Oprea
    2020 (NeurIPS) and Nasr et al. 2023 (USENIX Security) for one example.
    """
    return _floor(evidence, "DP003")


def _floor(evidence: TargetEvidence, code: str) -> Outcome:
    floor = evidence.floors[_NAMES[code]]
    if isinstance(floor, str):
        return (), (Skipped(code=code, title=_TITLES[code], reason=floor),)
    unbounded = [UNBOUNDED_EPSILON] * len(CONFIDENCES)
    found = _estimate([floor.at(1 - c) for c in CONFIDENCES], unbounded, "one-run bound, Bonferroni")
    runs = len(floor.scores)
    what = "this model shows" if code == "DP002" else f"{runs} shadow model{'s show' if runs > 1 else ' shows'}"
    finding = Finding(
        code=code,
        title=_TITLES[code],
        metric="epsilon-floor",
        attack=floor.name,
        estimate=found,
        sentence=(
            f"The training has ε ≥ {number(found.value)} at δ = {floor.delta:g}, {what} with 95% confidence "
            f"(ε ≥ {number(found.low)} with 97.5%). Guesses that are all right would show "
            f"{number(floor.most(_ALPHA))}."
        ),
        n=floor.m,
        counted="random memberships",
        source=_STEINKE,
        tables=(_guesses(floor), _bounds(floor)),
        notes=(
            f"Candidates: {floor.scores.shape[1]:,} {floor.whom} in {runs:,} model{'s' if runs > 1 else ''}, compared "
            f"with {floor.references:,} others.",
        ),
    )
    return (finding,), ()


def _estimate(lows: list[float], highs: list[float], method: str) -> Estimate:
    """Return the lower bounds at rising confidence as an estimate: its value is the bound at 95 % confidence."""
    bounds = tuple(
        Bounds(confidence=c, low=low, high=high)
        for c, low, high in zip(CONFIDENCES, np.minimum.accumulate(lows).tolist(), highs, strict=True)
    )
    return Estimate(value=bounds[0].low, low=bounds[1].low, high=highs[1], unit="epsilon", method=method, bounds=bounds)


def _guesses(floor: Floor) -> Table:
    share = _ALPHA / len(floor.guesses)
    rows = tuple(
        (r, v, percent(v / r), number(_single(floor, r, v, share)), number(_single(floor, r, r, share)))
        for r, v in floor.guesses
    )
    return Table(
        title=f"Guesses of {floor.m:,} memberships",
        columns=("Guesses", "Right", "Share right", "Lower bound on ε", "If all were right"),
        rows=rows,
        note=f"95% confidence, shared by the {len(rows)} numbers of guesses. Half of the guesses are “member”.",
    )


def _single(floor: Floor, guesses: int, right: int, alpha: float) -> float:
    from memaudit.privacy import epsilon_bound

    return epsilon_bound(floor.m, guesses, right, alpha, floor.delta)


def _bounds(floor: Floor) -> Table:
    def gaussian(bound: float) -> Cell:
        return number(bound) if floor.delta > 0 else "–"

    rows: list[tuple[Cell, ...]] = [
        ("All guesses", "none", number(floor.at(_ALPHA))),
        ("All guesses", "Gaussian trade-off", gaussian(floor.gaussian(_ALPHA))),
    ]
    if (single := floor.single(_ALPHA)) is not None and floor.chosen is not None:
        hits, inside, alarms, outside = floor.chosen
        told = f"One example: flagged in {hits} of {inside} with it, {alarms} of {outside} without"
        rows += [(told, "none", number(single[0])), (told, "Gaussian trade-off", gaussian(single[1]))]
    unbounded = "" if floor.delta > 0 else " With δ = 0 no Gaussian trade-off has any ε."
    return Table(
        title="Lower bounds on ε, by what they assume of the mechanism",
        columns=("From", "Assumption", f"ε at δ = {floor.delta:g}"),
        rows=tuple(rows),
        note="95% confidence, each by itself. Only the first is compared with the claim." + unbounded,
    )


def _ceilings(evidence: TargetEvidence, claim: Claim) -> Table:
    largest = records_of(evidence, claim)
    rows = tuple(_ceiling_row(evidence, claim, k) for k in dict.fromkeys([1, largest]))
    return Table(
        title="What the claim allows at most",
        columns=(
            "Records of a unit",
            "ε",
            "δ",
            *(f"TPR at {rate(fpr)} FPR" for fpr in evidence.fprs),
            "Memorization",
            "Mean exposure of a 9-digit secret (bits)",
        ),
        rows=rows,
        note="For any attack, with any knowledge of the data. Without differential privacy there is no such ceiling.",
    )


def _ceiling_row(evidence: TargetEvidence, claim: Claim, records: int) -> tuple[Cell, ...]:
    epsilon, delta = claim.of(records)
    if delta >= 1:
        return records, number(epsilon), "1", *("100%" for _ in evidence.fprs), "100%", number(math.log2(_SECRETS))
    tprs = (percent(float(ceiling(claim, fpr, records))) for fpr in evidence.fprs)
    mem, bits = memorization_ceiling(epsilon, delta), exposure_ceiling(epsilon, delta, _SECRETS)
    return records, number(epsilon), f"{delta:.3g}", *tprs, percent(mem), number(bits)


def records_of(evidence: TargetEvidence, claim: Claim) -> int:
    """Return the number of records of the largest unit, which the ceilings in figures are for."""
    return 1 if claim.per_unit else int(evidence.promise.records.max(initial=1))


def ceiling(claim: Claim, fpr: Array | float, records: int) -> Array:
    """Return the largest true-positive rate on units of so many records: the lower of all ceilings that are known."""
    epsilon, delta = claim.of(records)
    if delta >= 1:
        return np.ones_like(np.asarray(fpr, float))
    found = tpr_ceiling(fpr, epsilon, delta)
    if (mu := claim.gaussian) is not None:  # a Gaussian mechanism without sampling has its exact trade-off
        found = np.minimum(found, gaussian_ceiling(fpr, mu * records))
    return found


def ceiling_curve(evidence: TargetEvidence, x: tuple[float, ...], fprs: Array) -> tuple[Curve, ...]:
    """Return the ceiling that is drawn beside true-positive rates; nothing without a claim."""
    claim = evidence.promise.claim
    if claim is None:
        return ()
    records = records_of(evidence, claim)
    whose = f", up to {records} records a unit" if records > 1 else ""
    tprs = tuple(ceiling(claim, np.clip(fprs, 0, 1), records).tolist())
    return (Curve(x=x, y=tprs, label=f"{CEILING}{claim} allows{whose}"),)


def _of_units(evidence: TargetEvidence, claim: Claim) -> tuple[str, ...]:
    largest = records_of(evidence, claim)
    if largest == 1:
        return ()
    several = int((evidence.promise.records > 1).sum())
    return (
        f"The claim is about one record, and {several:,} {evidence.unit} have several, up to {largest}: their ε is up "
        f"to {largest} times as large. They are left out of the lower bounds.",
    )


def _claimed(evidence: TargetEvidence) -> bool:
    return evidence.promise.claim is not None


DP = (
    Check("DP001", _TITLES["DP001"], "epsilon", _claim, TargetEvidence, _claimed),
    Check("DP002", _TITLES["DP002"], "epsilon-floor", _one_run, TargetEvidence, _claimed),
    Check("DP003", _TITLES["DP003"], "epsilon-floor", _many_run, Evidence, _claimed),
)
