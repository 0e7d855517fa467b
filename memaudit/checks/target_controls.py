"""Controls of an audit without a bank: would it find a leak, and does it find nothing where there is nothing?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy import stats

from memaudit.attack_names import OF_REFERENCES
from memaudit.attacks import TARGET_ATTACKS
from memaudit.checks.evidence import ControlCheck, TargetEvidence
from memaudit.reports.text import percent, rate
from memaudit.stats import HeldOutRate, auc, auc_interval
from memaudit.types import Control, Rung, Table

Array = np.ndarray

PLANTED = 3  # standard deviations
_LEAST_AREA = 0.9
_LEAST_SHARE = 0.25  # of the TPR that known laws would give
_ALARM = 0.01  # probability of a false alarm over all reference models
_NULL_ERRORS = 4 * np.sqrt(2)  # standard errors; √2 because cross-fitted scores depend on each other


def _made(evidence: TargetEvidence) -> list[str]:
    return [name for name in evidence.without_bank if not evidence.lacks(name)] or ["global-threshold"]


def null_without_bank(evidence: TargetEvidence) -> Control:
    """Return the negative control: every attack made on permuted membership labels must find nothing."""
    members = np.random.default_rng((evidence.seed, 1)).permutation(evidence.members)
    answers = replace(evidence.answers, members=members)
    inside = int(members.sum())
    outside = len(members) - inside
    error = float(np.sqrt((inside + outside + 1) / (12 * inside * outside)))
    areas = {}
    for name in _made(evidence):
        scores = TARGET_ATTACKS[name].score(answers)
        areas[name] = auc(scores[members], scores[~members])
    worst = max(areas, key=lambda name: abs(areas[name] - 0.5))
    passed = abs(areas[worst] - 0.5) <= _NULL_ERRORS * error
    return Control(
        code="CTL002",
        title="Negative control: no leak with permuted labels",
        passed=bool(passed),
        sentence=(
            f"With randomly permuted membership labels, the AUC furthest from 0.5 is {areas[worst]:.4f} ({worst}; "
            f"expected: 0.5 ± {_NULL_ERRORS * error:.4f}). "
            + ("No leak is found, as expected." if passed else "The analysis is at fault: it finds a leak by itself.")
        ),
        source="label permutation",
    )


def planted_without_bank(evidence: TargetEvidence) -> Control:
    """Return the positive control: one threshold must find a leak that is planted into the model's confidence."""
    members, phi = evidence.members, evidence.answers.phi
    outside = phi[~members]
    inside = phi[members] + PLANTED * outside.std()
    found = {fpr: HeldOutRate(inside, outside, fpr).value for fpr in evidence.resolved_fprs}
    return planted_control(
        f"A planted leak of {PLANTED} standard deviations between examples",
        inside,
        outside,
        found,
        lambda missed: "One model's answers are too uneven to show a leak at these rates: use shadow models.",
    )


def planted_control(
    leak: str,
    inside: Float[Array, " members"],
    outside: Float[Array, " nonmembers"],
    found: Mapping[float, float],
    advice: Callable[[list[str]], str],
) -> Control:
    """Return the positive control from the scores of an attack on a planted leak.

    Args:
        leak: The planted leak in words, which begin a sentence.
        inside: Scores of members.
        outside: Scores of non-members.
        found: The TPR at each FPR.
        advice: Returns what can help, from the FPRs at which the leak is missed, in words.
    """
    area, (low, high) = auc(inside, outside), auc_interval(inside, outside)
    ideal = {fpr: float(stats.norm.cdf(stats.norm.ppf(fpr) + PLANTED)) for fpr in found}
    missed = [rate(fpr) for fpr, tpr in found.items() if tpr < _LEAST_SHARE * ideal[fpr]]
    passed = area >= _LEAST_AREA and not missed
    where = f" at {', '.join(missed)} FPR" if missed else ""
    return Control(
        code="CTL005",
        title="Positive control: a planted leak is found",
        passed=passed,
        sentence=(
            f"{leak} is {'found' if passed else f'missed{where}'} (AUC {area:.3f}, 95% CI {low:.3f}–{high:.3f})."
            + ("" if passed else f" {advice(missed)}")
        ),
        source="binormal model, Green & Swets 1966",
        tables=(
            Table(
                title="The planted leak",
                columns=("FPR", "TPR", "TPR with known distributions"),
                rows=tuple((rate(fpr), percent(tpr), percent(ideal[fpr])) for fpr, tpr in found.items()),
            ),
        ),
    )


def _references(evidence: TargetEvidence) -> Control:
    """Test whether the reference models tell members of the audited model from non-members.

    A reference model must be trained on neither. It is then as confident in members as in non-members: its area under
    the ROC curve is 0.5. A larger area means that it was trained on members, and that the attacks which compare with it
    find too little. A smaller one means that it was trained on non-members, and that they find too much. The control
    fails if the DeLong interval of one reference excludes 0.5; false alarms: at most 1 %, over all references.

    Source: DeLong, DeLong & Clarke-Pearson 1988; Bonferroni.
    """
    members, seen = evidence.members, _signals(evidence)
    level = 1 - _ALARM / len(seen)
    rows: list[tuple[int, int, int, str]] = []
    few: list[str] = []
    many: list[str] = []
    for number, (phi, out) in enumerate(seen, 1):
        inside, outside = phi[out & members], phi[out & ~members]
        area, (low, high) = auc(inside, outside), auc_interval(inside, outside, level)
        rows.append((number, len(inside), len(outside), f"{area:.3f} ({low:.3f} to {high:.3f})"))
        (few if low > 0.5 else many if high < 0.5 else []).append(str(number))
    said = [
        *([f"reference {', '.join(few)} knows members, and their leak is hidden"] if few else []),
        *([f"reference {', '.join(many)} knows non-members, and the true-positive rates are too high"] if many else []),
    ]
    return Control(
        code="CTL014",
        title="Reference models: were they trained on neither members nor non-members?",
        passed=not said,
        sentence=(
            f"{'; '.join(said).capitalize()}. Use models that were trained on other data."
            if said
            else "No reference model tells members from non-members."
        ),
        source="DeLong et al. 1988",
        tables=(Table(title="Reference models", columns=("Model", "Members", "Non-members", "AUC"), rows=tuple(rows)),),
        overstates=("tpr",) if many else (),
        attacks=OF_REFERENCES,
    )


def _signals(evidence: TargetEvidence) -> list[tuple[Array, Array]]:
    """Return each reference's signals, and which examples it was not trained on."""
    few = evidence.references
    found = [] if few is None else list(zip(few.phi, few.out, strict=True))
    base = evidence.answers.statistics.get("base")
    return found if base is None else [*found, (base, np.ones(len(base), bool))]


references_check = ControlCheck(
    "CTL014", "Reference models", _references, TargetEvidence, lambda evidence: evidence.rung is Rung.REFERENCES
)
