"""CTL…: checks on the audit itself. A failed one makes the verdict inconclusive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from memaudit.attacks import DEFAULT
from memaudit.checks.evidence import ControlCheck, Evidence, percent
from memaudit.checks.exposure import canary_null
from memaudit.checks.fidelity import fidelity_check
from memaudit.checks.link import bin_name, flag_with, link_rate
from memaudit.design import NullPairs, Pairs, coins, swapped
from memaudit.memorization import cross_fitted_link
from memaudit.stats import auc, auc_interval, predictive_share_p_value
from memaudit.types import Control, Table

Array = np.ndarray

BLIND = "CTL003"
_PLANTED = 3  # standard deviations
_LEAST_AREA = 0.9
_ALARM = 0.01  # probability of a false alarm of the calibration check


def _null(evidence: Evidence) -> Control:
    """Negative control: the whole analysis under a membership drawn by coins, where there is nothing to find.

    Within each pair of shadows and for each example, a coin says which of the two models is called the trained one.
    Memorization, attack and link are computed as always. The area under the ROC must be 0.5 within four standard
    errors over pairs; in every memorization bin, as many "members" as "non-members" should be accused.

    Source: permutation of the labels before any computation (Good 2005, Permutation, Parametric and Bootstrap Tests).
    """
    pairs, examples, _ = evidence.bank.shape
    heads = coins(evidence.seed, pairs, examples)
    null = NullPairs(evidence.bank, heads)
    inside, outside = DEFAULT.leave_pair_out(null)
    areas = np.array([auc(i, o) for i, o in zip(inside, outside, strict=True)])
    error = areas.std(ddof=1) / np.sqrt(pairs)
    passed = bool(abs(areas.mean() - 0.5) <= stats.t.isf(stats.norm.sf(4), pairs - 1) * error)
    tables: tuple[Table, ...] = ()
    fpr = link_rate(evidence)
    if pairs >= 6 and fpr is not None:
        link = cross_fitted_link(*swapped(*evidence.correct_by_pair, heads), lambda some: flag_with(null, some, fpr))
        rows = tuple((bin_name(b), round(b.examples), percent(b.tpr[0]), percent(b.fpr[0])) for b in link.bins)
        columns = ("“Memorization”", "Examples", "“Members” found", "“Non-members” accused")
        tables = (Table(title=f"Null run at {percent(fpr)} false positives", columns=columns, rows=rows),)
    return Control(
        code="CTL002",
        title="Negative control: is nothing found where there is nothing?",
        passed=passed,
        sentence=(
            f"Under a membership drawn by coins the attack's area under the curve is {areas.mean():.4f} ± {error:.4f}, "
            + ("as chance has it." if passed else "which chance does not explain: the analysis is at fault.")
        ),
        source="label permutation",
        tables=tables,
    )


@dataclass(frozen=True, slots=True)
class _Planted:
    """A bank whose models betray their members by a given shift of the signal."""

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


def _planted(evidence: Evidence) -> Control:
    """Positive control: would a leak be found with this bank?

    A leak is planted into the signals: every model, the target and the shadows alike, is made surer of its members by
    three standard deviations more than it is. The attack must find it: with known laws the area under the ROC would be
    Φ(3/√2) = 0.983, and below 0.9 the bank is too small, or something is broken, and nothing found means nothing.

    Source: the binormal model, area = Φ(d/√2) (Green & Swets 1966).
    """
    shift = _PLANTED * evidence.margin.deviation
    phi = evidence.phi + (shift * evidence.members)[:, None]
    scores = DEFAULT.scores(phi, _Planted(evidence.bank, shift))
    inside, outside = scores[evidence.members], scores[~evidence.members]
    area = auc(inside, outside)
    low, high = auc_interval(inside, outside)
    passed = area >= _LEAST_AREA
    return Control(
        code="CTL005",
        title="Positive control: would a leak be found?",
        passed=passed,
        sentence=(
            f"A leak of {_PLANTED} standard deviations, planted into the signals, is "
            + ("found" if passed else "missed; train more shadow models")
            + f" (area under the curve {area:.3f}, {low:.3f} to {high:.3f})."
        ),
        source="binormal model, Green & Swets 1966",
    )


def _blind(evidence: Evidence) -> Control:
    """Blind baseline: can members be told from non-members by the data alone, without the model?

    A classifier sees features and labels but not the model, and guesses membership, cross-fitted. If it succeeds, the
    two groups were collected differently, and a membership attack may be reading that instead of the model.

    The interval is √2 times as wide as that of independent scores: scores from the same folds are not independent, and
    where there is nothing to find the area of cross-fitted scores scatters by that much more (simulated).

    Source: Das, Zhang & Tramèr 2024, "Blind Baselines Beat Membership Inference Attacks for Foundation Models".
    """
    scores, members = evidence.blind
    area = auc(scores[members], scores[~members])
    ends = auc_interval(scores[members], scores[~members], level=0.999)
    low, high = (min(max(area + np.sqrt(2) * (end - area), 0.0), 1.0) for end in ends)
    passed = bool(low <= 0.5)
    return Control(
        code=BLIND,
        title="Blind baseline: are members and non-members alike?",
        passed=passed,
        sentence=(
            f"Without the model, members and non-members cannot be told apart (area under the curve {area:.3f}, 99.9% "
            f"interval {low:.3f} to {high:.3f})."
            if passed
            else f"Members can be told from non-members without the model (area under the curve {area:.3f}, 99.9% "
            f"interval {low:.3f} to {high:.3f}): membership figures may say how the data were collected, not what the "
            "model gives away. Draw the training set at random from the examples."
        ),
        source="Das, Zhang & Tramèr 2024",
    )


def _calibration(evidence: Evidence) -> Control:
    """Calibration: does the threshold from the shadows keep its false-positive rate on the target?

    The share of the target's non-members that is accused is compared with the same share in every shadow. With too many
    accusations the rate that is stated flatters the attack: the true-positive rate is too high, and no limit counts as
    broken by it. With too few the threshold is too strict for this model: the true-positive rate is too low, which
    flatters the model, and a limit that is broken all the same stays broken. In neither case is a limit kept.

    A false alarm has a probability of at most 1 % over all rates; of 2 to 4 % where the shadows' own rates scatter by
    half or more. Where fewer than about six accusations are to be expected, none at all is not yet too few.

    Source: Student-t prediction interval (Hahn & Meeker 1991, chapter 4); exact test of equal shares (Fisher 1935).
    """
    rates = evidence.resolved_fprs
    trials = int((~evidence.members).sum())
    attacked = evidence.attacked(DEFAULT.name)
    rows, many, few = [], False, False
    for fpr in rates:
        accused = int((attacked.flagged(fpr) & ~evidence.members).sum())
        by_model, of = evidence.by_model(attacked.shadows_flagged(fpr)[1])
        p, shadows = predictive_share_p_value(accused, trials, by_model, of), by_model / of
        alarm, more = p < _ALARM / len(rates), accused / trials > shadows.mean()
        many, few = many or (alarm and more), few or (alarm and not more)
        spread = f"{percent(float(shadows.mean()))} ± {percent(float(shadows.std()))}"
        rows.append((percent(fpr), percent(accused / trials), spread, f"{p:.2g}"))
    return Control(
        code="CTL004",
        title="Calibration: are false-positive rates kept?",
        passed=not (many or few) if rates else None,
        sentence=(
            "None of the false-positive rates can be resolved with so few non-members."
            if not rates
            else "More non-members are accused than the thresholds promise; true-positive rates are too high."
            if many
            else "Fewer non-members are accused than the thresholds promise; true-positive rates are too low."
            if few
            else "The thresholds keep their false-positive rates on this model."
        ),
        source="Student-t prediction interval; Fisher 1935",
        tables=(Table(title="Accused non-members", columns=("Asked for", "Model", "Shadows", "p"), rows=tuple(rows)),),
        overstates=("tpr",) if many else (),
    )


CONTROLS: tuple[ControlCheck, ...] = (
    fidelity_check,
    ControlCheck("CTL002", "Negative control", _null),
    ControlCheck("CTL005", "Positive control", _planted),
    ControlCheck(BLIND, "Blind baseline", _blind),
    ControlCheck("CTL004", "Calibration", _calibration),
    canary_null,
)
