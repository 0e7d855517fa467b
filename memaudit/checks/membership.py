"""MIA…: can an adversary tell who was in the training set?"""

from __future__ import annotations

import numpy as np

from memaudit.attacks import STATISTICS
from memaudit.checks.enough import Enough, enough
from memaudit.checks.evidence import Attacked, Check, Evidence, Outcome, percent, share_of, with_interval
from memaudit.checks.text import TextEvidence
from memaudit.stats import auc, auc_interval, clopper_pearson, least_nonmembers, roc_points, tpr_interval
from memaudit.types import Curve, Estimate, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

_CURVES = 4  # in one figure; the table has all attacks
_IN_WORDS = {
    "MIA001": "With shadow models trained with and without each example",
    "MIA002": "With shadow models trained without each example",
    "MIA003": "By the model's confidence alone",
}
_SCORE_IN_WORDS = {
    "reference": "By a text's loss beside its loss in shadow models without it",
    "base": "By a text's loss beside its loss in the base model",
    "zlib": "By a text's loss beside its size when compressed",
    "min-k": "By the least likely fifth of a text's tokens",
    "min-k++": "By the least likely fifth of a text's tokens, each standardized",
}


def _online(evidence: Evidence) -> Outcome:
    """Membership inference by likelihood ratio, with shadow models that had the example and that lacked it (online).

    For each example the shadows give two laws of the scaled logit φ: with the example in training, and without. The
    score is the log of the ratio of the two at the target's φ,

        score = log p(φ | trained on it) − log p(φ | not trained on it),   φ = log p_y − log(1 − p_y).

    An example is accused when its score exceeds a threshold, which is set on the shadows so that they accuse the stated
    share of their own non-members.

    The number is the true-positive rate: the share of the target's members that are accused, with its
    Clopper–Pearson interval; beside it stands the share of non-members that were in fact accused. It describes this
    one training run. It is not the probability that a given person's membership can be found out, and other attacks
    may do better.

    The attack is also made with the first half of the shadows, with half of those, and so on. Whether the last doubling
    still found more is told on the same shadows as targets, with the interval of the difference.

    Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles", Algorithm 1; variance by
    empirical Bayes, Smyth 2004, section 3; thresholds from other models.
    """
    return _run(evidence, "MIA001", "lira-online")


def _offline(evidence: Evidence) -> Outcome:
    """Membership inference with shadow models that lacked the example (offline): the weaker adversary.

    The score is how many standard deviations the target's scaled logit lies above its law in models that were not
    trained on the example: large values are unusual for a non-member,

        score = (φ − μ_out) / σ_out.

    One-sided, as in the paper; its published code is two-sided and takes unusually low confidence for membership too.
    Read as MIA001.

    Source: Carlini et al. 2022, Equation 4.
    """
    return _run(evidence, "MIA002", "lira-offline")


def _global(evidence: Evidence) -> Outcome:
    """Membership inference by one threshold on the loss: the baseline that everyone knows.

    The score is the target's scaled logit. It knows nothing about how hard an example is, and so accuses easy
    examples, members or not; it is here for comparison, and a low value is no sign of safety. Read as MIA001.

    Source: Yeom et al. 2018, Adversary 2.
    """
    return _run(evidence, "MIA003", "global-threshold")


def _language(evidence: TextEvidence) -> Outcome:
    """Membership inference from a language model's loss, set against what the text would cost anyway.

    A text's loss says first how hard the text is. These scores take that out: `reference` subtracts the mean loss of
    shadow models without the text, `base` the loss of the model that training started from, `zlib` divides by the size
    of the compressed text; `min-k` looks at the least likely fifth of the tokens alone, and `min-k++` at the same after
    standardizing each token by the model's own distribution. Larger = more member-like. Read as MIA001.

    Source: Watson et al. 2022 (reference); Carlini et al. 2021 (zlib, and a reference model); Shi et al. 2024 (Min-K%
    Prob); Zhang et al. 2025 (Min-K%++).
    """
    return _run(evidence, "MIA004", *STATISTICS, "reference", "base")


online_check = Check("MIA001", "Membership inference, likelihood ratio, online", "tpr", _online)
offline_check = Check("MIA002", "Membership inference, likelihood ratio, offline", "tpr", _offline)
global_threshold_check = Check("MIA003", "Membership inference, one threshold on the loss", "tpr", _global)
language_check = Check("MIA004", "Membership inference, loss set against other losses", "tpr", _language, TextEvidence)


def _run(evidence: Evidence, code: str, *families: str) -> Outcome:
    findings: list[Finding] = []
    skipped: list[Skipped] = []
    for name in (name for name in evidence.attacks if name.startswith(families)):
        for fpr in evidence.fprs:
            title = f"Membership inference, {name}, at {percent(fpr)} false positives"
            if fpr not in evidence.resolved_fprs:
                skipped.append(Skipped(code=code, title=title, reason=_unresolved(evidence, fpr)))
                continue
            first = not any(f.attack == name for f in findings)
            findings.append(_finding(evidence, code, title, evidence.attacked(name), fpr, first))
    return tuple(findings), tuple(skipped)


def _unresolved(evidence: Evidence, fpr: float) -> str:
    nonmembers = int((~evidence.members).sum())
    return (
        f"{nonmembers:,} non-members cannot show a false-positive rate of {percent(fpr)}: not one accusation is to be "
        f"expected among them. At least {least_nonmembers(fpr):,} non-members are needed"
    )


def _finding(evidence: Evidence, code: str, title: str, attacked: Attacked, fpr: float, first: bool) -> Finding:
    members = evidence.members
    flagged = attacked.flagged(fpr)
    tpr, tpr_low, tpr_high = share_of(flagged[members])
    real, real_low, real_high = share_of(flagged[~members])
    caught, _ = attacked.shadows_flagged(fpr)
    low, high = tpr_interval(attacked.inside, attacked.outside, fpr)
    main = first and code == "MIA001"
    more = enough(evidence, attacked, fpr) if main else Enough()
    return Finding(
        code=code,
        title=title,
        metric="tpr",
        attack=attacked.attack.name,
        at_fpr=fpr,
        estimate=Estimate(value=tpr, low=tpr_low, high=tpr_high, unit="share", method="Clopper–Pearson"),
        sentence=(
            f"{_SCORE_IN_WORDS.get(attacked.attack.name) or _IN_WORDS[code]}, an adversary who is willing to accuse "
            f"{_one_in(fpr)} wrongly finds {percent(tpr)} of "
            f"the training examples ({percent(tpr_low)} to {percent(tpr_high)}). On this model {percent(real)} of the "
            f"non-members were accused ({percent(real_low)} to {percent(real_high)})."
        ),
        blind=_blind(evidence, fpr),
        n=int(members.sum()),
        counted="training examples",
        source=attacked.attack.source,
        figures=(_roc(evidence), *more.figures) if main else (),
        tables=(_comparison(evidence), *more.tables) if main else (),
        notes=(
            f"Attacked in the same way, the shadow models give up {percent(float(caught.mean()))} of their training "
            f"examples on average ({percent(low)} to {percent(high)}; bootstrap over pairs of models and examples).",
            *more.notes,
        ),
    )


def _one_in(fpr: float) -> str:
    return f"1 in {round(1 / fpr):,} non-members"


def _blind(evidence: Evidence, fpr: float) -> float:
    scores, members = evidence.blind
    tpr, _ = roc_points(scores[members], scores[~members], np.array([fpr]))
    return float(tpr[0])


def _roc(evidence: Evidence) -> Figure:
    members = evidence.members
    n, n_out = int(members.sum()), int((~members).sum())
    rates = np.unique(np.geomspace(1 / n_out, 1, 60))
    curves: list[Curve] = []
    for name in evidence.attacks[:_CURVES]:
        scores = evidence.attacked(name).target
        tpr, fpr = roc_points(scores[members], scores[~members], rates)
        low, high = clopper_pearson(np.round(tpr * n), n)
        # Only the first curve has a band: several would hide each other.
        band = {"low": tuple(low.tolist()), "high": tuple(high.tolist())} if not curves else {}
        curves.append(Curve(x=tuple(fpr.tolist()), y=tuple(tpr.tolist()), label=name, **band))
    best = {c.label: max((y for x, y in zip(c.x, c.y, strict=True) if x <= 0.01), default=0.0) for c in curves}
    said = "; ".join(f"{label} finds {percent(tpr)} of members at 1% false positives" for label, tpr in best.items())
    return Figure(
        kind=FigureKind.ROC,
        title="Who is found, at which price",
        x_label="False-positive rate (non-members wrongly accused)",
        y_label="True-positive rate (members found)",
        curves=tuple(curves),
        alt=f"Receiver operating characteristic on logarithmic axes. {said}.",
        unresolved=1 / n_out,
    )


def _comparison(evidence: Evidence) -> Table:
    """Returns every attack with its AUC, and TPR beside measured FPR at each rate that can be resolved."""
    members = evidence.members
    rows = []
    for name in evidence.attacks:
        attacked = evidence.attacked(name)
        inside, outside = attacked.target[members], attacked.target[~members]
        area = auc(inside, outside), *auc_interval(inside, outside)
        row = [name, "{:.3f} ({:.3f} to {:.3f})".format(*area)]
        for fpr in evidence.resolved_fprs:
            flagged = attacked.flagged(fpr)
            row += [with_interval(*share_of(flagged[who])) for who in (members, ~members)]
        rows.append(tuple(row))
    columns = ["Attack", "AUC"]
    for fpr in evidence.resolved_fprs:
        columns += [f"TPR at {percent(fpr)}", "measured FPR"]
    note = "AUC: DeLong. Rates: Clopper–Pearson, at thresholds set by the shadow models. All intervals cover 95%."
    return Table(title="All attacks", columns=tuple(columns), rows=tuple(rows), note=note)
