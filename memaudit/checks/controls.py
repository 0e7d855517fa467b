"""CTL…: checks on the audit itself. A failed one makes the verdict inconclusive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from memaudit.attacks import DEFAULT, attack, taught
from memaudit.checks.access import strongest_by_access
from memaudit.checks.attacked import Attacked
from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.copies import copies_check
from memaudit.checks.evidence import ControlCheck, Evidence, TargetEvidence
from memaudit.checks.exact import unplanted_check
from memaudit.checks.exposure import canary_null
from memaudit.checks.fidelity import fidelity_check
from memaudit.checks.link import attackable, bin_name, flag_with, link_rate
from memaudit.checks.planted import planted_check
from memaudit.checks.snapshots import unchanged_flagged
from memaudit.checks.target_controls import (
    PLANTED,
    null_without_bank,
    planted_control,
    planted_without_bank,
    references_check,
)
from memaudit.checks.training_set import training_set_check
from memaudit.design import EveryNth, NullPairs, Pairs, coins, step_of, swapped
from memaudit.memorization import cross_fitted_link
from memaudit.reports.text import percent, rate
from memaudit.stats import auc, auc_interval, predictive_share_p_value, resolvable, transferred_thresholds
from memaudit.types import Control, Table

Array = np.ndarray

BLIND = "CTL003"
_NULL_ERRORS = 4 * np.sqrt(2)  # standard errors; √2 because the folds of a learned attack depend on each other
_ALARM = 0.01  # probability of a false alarm of the calibration check


def _null(evidence: TargetEvidence) -> Control:
    """Negative control: with randomly permuted membership labels, does the analysis find nothing?

    For each example and each pair of shadow models, the labels "trained on it" and "not trained on it" are swapped with
    probability 1/2. Memorization, the default attack and the link are computed as usual. The AUC must then be 0.5, and
    at every false-positive rate as many "members" as "non-members" must be flagged, each within 4√2 standard errors.
    Standard errors are those of sums over examples, whose swaps are independent. The factor √2 allows for the folds of
    a learned attack, which depend on each other (the standard deviation of SLiRA's is up to 1.6). At most 10,000
    examples are attacked, evenly spaced.

    Without a bank, the membership labels of all examples are permuted, and every attack is made again with all that it
    fits. Its area must be 0.5 within 4√2 standard errors of a Mann–Whitney statistic.

    Source: randomization test of paired differences (Fisher 1935; Good 2005); Mann & Whitney 1947.
    """
    if not isinstance(evidence, Evidence):
        return null_without_bank(evidence)
    pairs, examples, _ = evidence.bank.shape
    heads = coins(evidence.seed, pairs, examples)
    step = step_of(examples)
    some = NullPairs(EveryNth(evidence.bank, step), heads[:, ::step])
    inside, outside = taught(attack(DEFAULT.name, evidence.signal), some).leave_pair_out(some)
    area, error = null_area(inside, outside)
    deviations = [(area - 0.5) / error if error > 0 else 0.0]
    for fpr in _resolved_by(outside, evidence):
        cut = transferred_thresholds(outside, fpr)[:, None]
        excess = (inside > cut).astype(int) - (outside > cut)
        by_example = excess.sum(axis=0)
        deviations.append(float(by_example.sum() / max(1.0, np.sqrt((by_example**2).sum()))))
    passed = bool(np.abs(deviations).max() <= _NULL_ERRORS)
    tables: tuple[Table, ...] = ()
    linked = link_rate(evidence)
    if pairs >= 6 and linked is not None:
        seen = slice(None, None, evidence.step)
        right, right_without = (side[:, seen] for side in evidence.correct_by_pair)
        null = NullPairs(attackable(evidence), heads[:, seen])
        link = cross_fitted_link(*swapped(right, right_without, null.heads), lambda some: flag_with(null, some, linked))
        rows = tuple((bin_name(b), round(b.examples), percent(b.tpr[0]), percent(b.fpr[0])) for b in link.bins)
        columns = ("“Memorization”", "Examples", "“Members” flagged", "“Non-members” flagged")
        tables = (Table(title=f"Permuted labels, at a {rate(linked)} FPR", columns=columns, rows=rows),)
    return Control(
        code="CTL002",
        title="Negative control: no leak with permuted labels",
        passed=passed,
        sentence=(
            f"With randomly permuted membership labels, the AUC is {area:.4f} (expected: 0.5 ± "
            f"{_NULL_ERRORS * error:.4f}). "
            + ("No leak is found, as expected." if passed else "The analysis is at fault: it finds a leak by itself.")
        ),
        source="label permutation",
        tables=tables,
    )


def _resolved_by(outside: Float[Array, "pairs examples"], evidence: Evidence) -> list[float]:
    """Return the rates that half of these non-members' scores can show, where not all examples are looked at."""
    return [fpr for fpr in evidence.resolved_fprs if resolvable(fpr, outside.size // 2)]


def null_area(inside: Float[Array, "pairs examples"], outside: Float[Array, "pairs examples"]) -> tuple[float, float]:
    """Return the mean area under the ROC curve over pairs, and its standard error if the sides are random.

    In each pair, the area is 1/2 + Σ (rank inside − rank outside)/(2 examples²). Swaps of different examples are
    independent, those of one example's pairs are not independent of its references: the error is taken over examples.
    """
    _pairs, examples = inside.shape
    ranks = stats.rankdata(np.concatenate([inside, outside], axis=1), axis=1)
    by_example = ((ranks[:, :examples] - ranks[:, examples:]) / (2 * examples**2)).mean(axis=0)
    return 0.5 + float(by_example.sum()), float(np.sqrt((by_example**2).sum()))


@dataclass(frozen=True, slots=True)
class _Planted:
    """A bank whose models leak their members by a given shift of the signal."""

    pairs: Pairs
    shift: Float[Array, " examples"]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.pairs.shape

    def block(self, examples: slice) -> tuple[Array, Array]:
        inside, outside = self.pairs.block(examples)
        return inside + self.shift[examples, None], outside

    def take(self, pairs: Int[Array, " some"]) -> _Planted:
        return _Planted(self.pairs.take(pairs), self.shift)


def _planted(evidence: TargetEvidence) -> Control:
    """Positive control: would a leak be found with this bank?

    A leak is added to the signals: in the target and in every shadow model, the signals of members rise by three
    standard deviations. The default attack must find it. With known distributions, the AUC would be Φ(3/√2) = 0.983 and
    the TPR at a false-positive rate α would be Φ(Φ⁻¹(α) + 3). The control fails if the AUC is below 0.9, or if at one
    of the rates the TPR is less than a quarter of that. A low TPR of the audit then means nothing. At most 10,000
    examples are attacked, evenly spaced.

    Without a bank, the confidence in every member is raised by three standard deviations of the confidence over
    non-members, and one threshold on the confidence must find that. It says nothing about smaller leaks: the
    differences between examples hide them. It fails at the lowest rates of small sets where some examples are far
    easier than the others, as boilerplate among texts: the threshold is then at one of these. With 100 non-members it
    fails at a 1 % FPR in 0.2 % of audits if signals are normal, in 38 % if they have 3 degrees of freedom, and in 93 %
    if 3 % of the texts are boilerplate; at a 10 % FPR never (1,000 simulated audits each).

    Source: the binormal model (Green & Swets 1966).
    """
    if not isinstance(evidence, Evidence):
        return planted_without_bank(evidence)
    step = step_of(len(evidence.members))
    shift, members = PLANTED * evidence.margin.deviation, evidence.members[::step]
    phi = (evidence.phi + (shift * evidence.members)[:, None].astype(evidence.phi.dtype))[::step]
    bank = _Planted(EveryNth(evidence.bank, step), shift[::step])
    attacked = Attacked.of(attack(DEFAULT.name, evidence.signal), phi, bank)
    return planted_control(
        f"A planted leak of {PLANTED} standard deviations",
        attacked.target[members],
        attacked.target[~members],
        {fpr: float(attacked.flagged(fpr)[members].mean()) for fpr in _resolved_by(attacked.outside, evidence)},
        lambda missed: _advice(evidence, missed),
    )


def _advice(evidence: Evidence, missed: list[str]) -> str:
    """Return what can help where a planted leak is missed."""
    models = evidence.couples.models
    if missed and len(missed) < len(evidence.resolved_fprs):
        return f"Train more than {models} shadow models, or measure at the higher rates only."
    return f"Train more than {models} shadow models, or use an attack whose scores are not tied."


def _blind(evidence: TargetEvidence) -> Control:
    """Blind baseline: predict membership from the data alone, without the model.

    A classifier sees features and labels but not the model, and predicts membership, cross-fitted. If it succeeds, the
    two groups were collected differently. A membership attack may then measure that difference instead of a leak.

    The interval is √2 times as wide as that of independent scores: scores from the same folds are not independent, and
    under the null hypothesis the AUC of cross-fitted scores varies by that much more (simulated).

    Source: Das, Zhang & Tramèr 2024, "Blind Baselines Beat Membership Inference Attacks for Foundation Models".
    """
    if not evidence.has_inputs and not evidence.has_labels:
        return _not_blind("Neither inputs nor labels were given")
    scores, members = evidence.blind
    area = auc(scores[members], scores[~members])
    ends = auc_interval(scores[members], scores[~members], level=0.999)
    low, high = (min(max(area + np.sqrt(2) * (end - area), 0.0), 1.0) for end in ends)
    passed = bool(low <= 0.5)
    if passed and not evidence.has_inputs:
        return _not_blind(f"Inputs were not given. By their labels alone they cannot (area under the curve {area:.3f})")
    return Control(
        code=BLIND,
        title="Blind baseline: members and non-members look alike",
        passed=passed,
        sentence=(
            f"Without the model, members and non-members cannot be distinguished (AUC {area:.3f}, 99.9% CI "
            f"{low:.3f}–{high:.3f})."
            if passed
            else f"Members can be distinguished from non-members without the model (AUC {area:.3f}, 99.9% CI "
            f"{low:.3f}–{high:.3f}). Membership results may measure how the data were collected instead of a leak. "
            "Draw the training set at random from the examples."
        ),
        source="Das, Zhang & Tramèr 2024",
    )


def _not_blind(why: str) -> Control:
    return Control(
        code=BLIND,
        title="Blind baseline: are members and non-members alike?",
        passed=None,
        sentence=f"Whether members can be told from non-members without the model was not checked. {why}.",
        source="Das, Zhang & Tramèr 2024",
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """How many non-members an attack flags at a rate: of the target, and of each model that is like it."""

    metric: str
    name: str
    fpr: float
    flagged: int
    trials: int
    by_model: Int[Array, " models"]
    of: Int[Array, " models"]

    @classmethod
    def of_attack(cls, evidence: Evidence, metric: str, attacked: Attacked, name: str, fpr: float) -> _Kept:
        """Return those of one attack."""
        outside = ~evidence.members
        flagged = int((attacked.flagged(fpr) & outside).sum())
        return cls(metric, name, fpr, flagged, int(outside.sum()), *evidence.by_model(attacked.shadows_flagged(fpr)[1]))


def _thresholds(evidence: Evidence) -> Iterator[_Kept]:
    """Yield what is flagged at every threshold that a finding with a true-positive rate rests on."""
    for name in evidence.with_bank:
        for fpr in evidence.resolved_fprs:
            if evidence.attacked(name).unreachable(fpr) is None:
                yield _Kept.of_attack(evidence, "tpr", evidence.attacked(name), name, fpr)
    if isinstance(evidence, ClassifierEvidence):
        for name, fpr in strongest_by_access(evidence):
            yield _Kept.of_attack(evidence, "access", evidence.by_access(name), name, fpr)
    if evidence.before is not None:
        for change, fpr, flagged, trials, by_model, of in unchanged_flagged(evidence):
            yield _Kept("snapshots", str(change), fpr, flagged, trials, by_model, of)


def _calibration(evidence: Evidence) -> Control:
    """Calibration: does the threshold from the shadow models keep its false-positive rate (FPR) on the target?

    For every attack and rate, the share of the target's non-members that are flagged is compared with the same share in
    every shadow model. If it is too large, the TPR is too high, and no limit counts as broken by it. If it is too
    small, the TPR is too low, which makes the model look better than it is; a limit that is broken nevertheless stays
    broken. In neither case does a limit on that attack pass. Of attacks with other access, it is the strongest at each
    level; of two releases, the records that did not change, beside those of simulated releases.

    A false alarm has a probability of at most 1 % over all attacks and rates; of 2 to 4 % where the shadows' own rates
    scatter by half or more. Where fewer than about six flagged non-members are expected, none at all is not too few.

    Source: Student-t prediction interval (Hahn & Meeker 1991, chapter 4); exact test of equal shares (Fisher 1935).
    """
    asked = list(_thresholds(evidence))
    rows: list[tuple[str, ...]] = []
    many: list[_Kept] = []
    few: list[_Kept] = []
    for kept in asked:
        p, shadows = (
            predictive_share_p_value(kept.flagged, kept.trials, kept.by_model, kept.of),
            kept.by_model / kept.of,
        )
        if p < _ALARM / len(asked):
            (many if kept.flagged / kept.trials > shadows.mean() else few).append(kept)
        spread = f"{percent(float(shadows.mean()))} ± {percent(float(shadows.std()))}"
        rows.append((kept.name, rate(kept.fpr), percent(kept.flagged / kept.trials), spread, f"{p:.2g}"))
    columns = ("Attack", "Stated FPR", "This model", "Shadow models (mean ± sd)", "p")
    return Control(
        code="CTL004",
        title="Calibration: thresholds keep their FPR",
        passed=not (many or few) if asked else None,
        sentence=_calibrated_in_words([kept.name for kept in many], [kept.name for kept in few], bool(asked)),
        source="Student-t prediction interval; Fisher 1935",
        tables=(Table(title="Measured false-positive rates", columns=columns, rows=tuple(rows)),),
        overstates=tuple(dict.fromkeys(kept.metric for kept in many)),
        attacks=tuple(dict.fromkeys(kept.name for kept in many + few)),
    )


def _calibrated_in_words(many: list[str], few: list[str], asked: bool) -> str:
    if not asked:
        return "There are too few non-members to measure a false-positive rate."
    if many:
        return f"The measured FPR is above the stated FPR ({_listed(many)}): the true-positive rates are too high."
    if few:
        return f"The measured FPR is below the stated FPR ({_listed(few)}): the true-positive rates are too low."
    return "On this model, every threshold keeps its stated FPR."


def _listed(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names))


CONTROLS: tuple[ControlCheck, ...] = (
    fidelity_check,
    ControlCheck("CTL002", "Negative control", _null, TargetEvidence),
    ControlCheck("CTL005", "Positive control", _planted, TargetEvidence),
    references_check,
    ControlCheck(BLIND, "Blind baseline", _blind, TargetEvidence),
    ControlCheck("CTL004", "Calibration", _calibration),
    copies_check,
    training_set_check,
    canary_null,
    unplanted_check,
    planted_check,
)
