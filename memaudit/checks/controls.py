"""CTL…: checks on the audit itself. A failed one makes the verdict inconclusive."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from memaudit.attacks import DEFAULT
from memaudit.checks.evidence import ControlCheck, Evidence, percent
from memaudit.checks.link import bin_name, flag_with, link_rate
from memaudit.design import NullPairs, coins, swapped
from memaudit.memorization import cross_fitted_link
from memaudit.signals import cross_entropy
from memaudit.stats import auc, auc_interval, predictive_p_value, resolvable
from memaudit.types import Control, Table

Array = np.ndarray

FIDELITY = "CTL001"
_BLOCK = 4096
_LEAST_LOSS = 1e-12
_ALARM = 0.01  # family-wise probability of a false alarm of the fidelity check


def _fidelity(evidence: Evidence) -> Control:
    """Fidelity: does the target look like one of its shadows?

    Shadows stand in for the target only if they were made alike. Compared are the mean scaled logit and the log of the
    mean loss, on members and on non-members, each by a prediction interval from the shadows, with Holm's correction
    over the four. A small p-value means another recipe, another training set, or other members than stated; figures
    about the target are then withheld.

    Source: Student-t prediction (Hahn & Meeker 1991, 4.7); Holm 1979.
    """
    target = _summary(evidence.phi[:, :1].T, evidence.members[None])[0]
    shadows = _shadow_summaries(evidence)
    p = np.array([predictive_p_value(t, s) for t, s in zip(target, shadows.T, strict=True)])
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    names = ("Mean scaled logit, members", "… non-members", "Log of mean loss, members", "… non-members")
    rows = tuple(
        (name, f"{t:.3f}", f"{s.mean():.3f} ± {s.std(ddof=1):.3f}", f"{q:.3g}")
        for name, t, s, q in zip(names, target, shadows.T, adjusted, strict=True)
    )
    passed = bool(adjusted.min() >= _ALARM)
    return Control(
        code=FIDELITY,
        title="Fidelity: does the model look like its shadows?",
        passed=passed,
        sentence=(
            f"The model is like its shadow models (p = {adjusted.min():.2g})."
            if passed
            else f"The model does not look like its shadow models (p = {adjusted.min():.2g}): it was made by another "
            "recipe, on another share of the examples, or with other members than stated. Its figures are withheld."
        ),
        source="Student-t prediction interval; Holm 1979",
        tables=(Table(title="Model and shadows", columns=("", "Model", "Shadows (mean ± sd)", "p (Holm)"), rows=rows),),
    )


def _null(evidence: Evidence) -> Control:
    """Negative control: the whole analysis under a membership drawn by coins, where there is nothing to find.

    Within each pair of shadows and for each example, a coin says which of the two models is called the trained one.
    Memorization, attack and link are computed as always. The area under the ROC must be 0.5 within four standard
    errors over pairs, and no memorization bin may show more true than false positives.

    Source: permutation of the labels before any computation (Good 2005, chapter 3).
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


def _blind(evidence: Evidence) -> Control:
    """Blind baseline: can members be told from non-members by the data alone, without the model?

    A classifier sees features and labels but not the model, and guesses membership, cross-fitted. If it succeeds, the
    two groups were collected differently, and a membership attack may be reading that instead of the model.

    Source: Das, Zhang & Tramèr 2024, "Blind Baselines Beat Membership Inference Attacks for Foundation Models".
    """
    scores, members = evidence.blind
    area = auc(scores[members], scores[~members])
    low, high = auc_interval(scores[members], scores[~members], level=0.999)
    passed = bool(low <= 0.5)
    return Control(
        code="CTL003",
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

    The share of the target's non-members that is accused is compared with the same share in every shadow, by a
    prediction interval. Only too many accusations fail: the stated rate would then flatter the attack.

    Source: Student-t prediction (Hahn & Meeker 1991, 4.7).
    """
    nonmembers = ~evidence.members
    rates = [fpr for fpr in evidence.fprs if resolvable(fpr, int(nonmembers.sum()))]
    rows, passed = [], True
    for fpr in rates:
        attacked = evidence.attacked(DEFAULT.name)
        real = float(attacked.flagged(fpr)[nonmembers].mean())
        shadows = evidence.by_model(attacked.shadows_flagged(fpr)[1])
        p = predictive_p_value(real, shadows)
        passed &= not (real > shadows.mean() and p < _ALARM / len(rates))
        rows.append(
            (
                percent(fpr),
                percent(real),
                f"{percent(float(shadows.mean()))} ± {percent(float(shadows.std()))}",
                f"{p:.2g}",
            )
        )
    return Control(
        code="CTL004",
        title="Calibration: are false-positive rates kept?",
        passed=passed if rates else None,
        sentence=(
            "None of the false-positive rates can be resolved with so few non-members."
            if not rates
            else "The thresholds keep their false-positive rates on this model."
            if passed
            else "More non-members are accused than the thresholds promise; true-positive rates are flattered."
        ),
        source="Student-t prediction interval",
        tables=(Table(title="Accused non-members", columns=("Asked for", "Model", "Shadows", "p"), rows=tuple(rows)),),
    )


CONTROLS: tuple[ControlCheck, ...] = (
    ControlCheck(FIDELITY, "Fidelity", _fidelity),
    ControlCheck("CTL002", "Negative control", _null),
    ControlCheck("CTL003", "Blind baseline", _blind),
    ControlCheck("CTL004", "Calibration", _calibration),
)


def _sums(phi: Array, members: Array) -> Array:
    """Returns Σφ, Σloss over members and over non-members, and their numbers, of each row: `[models, 6]`."""
    loss = cross_entropy(phi.astype(np.float64))
    sides = (members, ~members)
    return np.stack(
        [
            *(np.where(k, values, 0).sum(axis=1) for values in (phi, loss) for k in sides),
            *(k.sum(axis=1) for k in sides),
        ],
        axis=1,
    )


def _means(sums: Array) -> Float[Array, "models four"]:
    phi_in, phi_out, loss_in, loss_out, n_in, n_out = sums.T
    logs = (np.log(np.maximum(loss / n, _LEAST_LOSS)) for loss, n in ((loss_in, n_in), (loss_out, n_out)))
    return np.stack([phi_in / n_in, phi_out / n_out, *logs], axis=1)


def _summary(
    phi: Float[Array, "models examples"], members: Bool[Array, "models examples"]
) -> Float[Array, "models four"]:
    """Returns mean φ of members and non-members, then the log of their mean losses, for each model."""
    return _means(_sums(phi, members))


def _shadow_summaries(evidence: Evidence) -> Float[Array, "models four"]:
    """Returns the same for every shadow, read by blocks."""
    pairs, examples, _ = evidence.bank.shape
    sums = np.zeros((2, pairs, 6))
    for start in range(0, examples, _BLOCK):
        at = slice(start, min(start + _BLOCK, examples))
        inside, outside = (side[:, :, 0] for side in evidence.bank.block(at))
        first = evidence.first_inside[:, at]
        sums[0] += _sums(np.where(first, inside, outside), first)
        sums[1] += _sums(np.where(first, outside, inside), ~first)
    return _means(sums.reshape(-1, 6))
