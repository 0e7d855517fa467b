"""MIA…: can an adversary tell who was in the training set?"""

from __future__ import annotations

import numpy as np
from scipy import stats

from memaudit.attacks import ATTACKS, STATISTICS
from memaudit.checks.enough import Enough, enough
from memaudit.checks.evidence import Attacked, Check, Evidence, Outcome, estimate, percent, share_of, with_interval
from memaudit.checks.text import TextEvidence
from memaudit.stats import (
    Reached,
    auc,
    auc_interval,
    least_nonmembers,
    own_tpr,
    own_tpr_interval,
    threshold,
)
from memaudit.types import Cell, Curve, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

METHOD = "Korn–Graubard, with the variance of the threshold and between training runs"
_COMPARED = ("lira-online-per-example", "lira-online-pooled", "rmia-offline")  # in the table of every report
_CURVES = 4  # in one figure; the table has all attacks
_POINTS = 24  # of a curve
_TITLES = {
    "slira": "SLiRA",
    "lira-online": "LiRA (online)",
    "lira-offline": "LiRA (offline)",
    "rmia": "RMIA (online)",
    "rmia-offline": "RMIA (offline)",
    "bavaria-t": "BaVarIA-t",
    "bavaria-n": "BaVarIA-n",
    "global-threshold": "One threshold on the loss",
    "reference": "The loss compared with that of shadow models without the example",
    "sablayrolles": "The loss with a threshold for each example",
    "attack-p": "Attack P",
    "attack-r": "Attack R",
    "base": "The loss compared with that of the base model",
    "zlib": "The loss per compressed byte",
    "min-k": "Min-K% Prob",
    "min-k++": "Min-K%++",
}


def _slira(evidence: Evidence) -> Outcome:
    """Membership inference by a likelihood ratio that is learned from the shadow models (SLiRA): the default attack.

    Every shadow model is taken as a target of the others. That gives labelled values of the signal beside the other
    models' statistics of the same example. A gradient booster and two Student-t regressions learn to tell members from
    non-members on them, cross-fitted by example; LiRA's and RMIA's scores are among their inputs. The docstring of
    `memaudit.attacks.Slira` has the details.

    An example is flagged when its score exceeds a threshold, which is set so that the shadows' non-members exceed it at
    the stated false-positive rate (FPR). The number is the true-positive rate (TPR): the share of the target's members
    that are flagged. The target is scored exactly as the shadows are, with one pair of them left out.

    The interval is one of the TPR at exactly the stated FPR, over examples and training runs of the recipe. Random in
    it are the members, this training run among others, and the threshold, which a few shadow models set. The measured
    FPR beside it describes this one model. Neither is the probability that a given person's membership is found out:
    the FPR is a mean over examples, and some have a much higher one, as the table of single examples shows.

    The attack is also made with the first half of the shadows, with half of those, and so on. Whether the last doubling
    still found more is told on the same shadows as targets, with the interval of the difference.

    Source: stacked generalization, Wolpert 1992; Carlini et al. 2022 (LiRA) and Zarifzadeh et al. 2024 (RMIA) as its
    inputs; thresholds from other models; interval of Korn & Graubard 1998; Jälkö et al. 2026 for single examples.
    """
    return _run(evidence, "MIA005", "slira")


def _online(evidence: Evidence) -> Outcome:
    """Membership inference by likelihood ratio, with shadow models that had the example and that lacked it (online).

    For each example the shadows give two laws of the scaled logit φ: with the example in training, and without. The
    score is the log of the ratio of the two at the target's φ,

        score = log p(φ | trained on it) − log p(φ | not trained on it),   φ = log p_y − log(1 − p_y).

    Each law is Student's t, its variance shrunken towards that of the other examples. Read as MIA005.

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
    Read as MIA005.

    Source: Carlini et al. 2022, Equation 4.
    """
    return _run(evidence, "MIA002", "lira-offline")


def _global(evidence: Evidence) -> Outcome:
    """Membership inference by one threshold on the loss: the baseline that everyone knows.

    The score is the target's scaled logit. It knows nothing about how hard an example is, and so accuses easy
    examples, members or not; it is here for comparison, and a low value is no sign of safety. Read as MIA005.

    Source: Yeom et al. 2018, Adversary 2.
    """
    return _run(evidence, "MIA003", "global-threshold")


def _language(evidence: TextEvidence) -> Outcome:
    """Membership inference from a language model's loss, set against what the text would cost anyway.

    A text's loss says first how hard the text is. These scores take that out: `reference` subtracts the mean loss of
    shadow models without the text, `base` the loss of the model that training started from, `zlib` divides by the size
    of the compressed text; `min-k` looks at the least likely fifth of the tokens alone, and `min-k++` at the same after
    standardizing each token by the model's own distribution. Larger = more member-like. Read as MIA005.

    Source: Watson et al. 2022 (reference); Carlini et al. 2021 (zlib, and a reference model); Shi et al. 2024 (Min-K%
    Prob); Zhang et al. 2025 (Min-K%++).
    """
    return _run(evidence, "MIA004", *STATISTICS, "reference", "base")


def _rmia(evidence: Evidence) -> Outcome:
    """Membership inference by the target's probability of the label relative to that of the shadows (RMIA).

    The score is log p(label | target) − log P, where P is the mean probability over shadows with and without the
    example (online), or what the shadows without it say of that mean (offline). Read as MIA005.

    Source: Zarifzadeh et al. 2024 (ICML), "Low-Cost High-Power Membership Inference Attacks"; the same score: Lassila
    et al. 2025, BASE.
    """
    return _run(evidence, "MIA006", "rmia")


def _published(evidence: Evidence) -> Outcome:
    """Membership inference by other published attacks, when they are asked for by name.

    BaVarIA is LiRA with normal-inverse-gamma priors; Sablayrolles' attack has a threshold midway between the means with
    and without the example; difficulty calibration subtracts the mean signal of shadows without the example; attack P
    ranks the signal among those of a population, attack R among those of the shadows without the example. Read as
    MIA005.

    Source: Brännvall 2026 (BaVarIA); Sablayrolles et al. 2019; Watson et al. 2022 (reference); Ye et al. 2022 (P, R).
    """
    calibrated = () if isinstance(evidence, TextEvidence) else ("reference",)
    return _run(evidence, "MIA007", "bavaria", "sablayrolles", "attack-", *calibrated)


slira_check = Check("MIA005", "Membership inference, SLiRA", "tpr", _slira)
online_check = Check("MIA001", "Membership inference, LiRA, online", "tpr", _online)
offline_check = Check("MIA002", "Membership inference, LiRA, offline", "tpr", _offline)
global_threshold_check = Check("MIA003", "Membership inference, one threshold on the loss", "tpr", _global)
language_check = Check("MIA004", "Membership inference, loss set against other losses", "tpr", _language, TextEvidence)
rmia_check = Check("MIA006", "Membership inference, RMIA", "tpr", _rmia)
published_check = Check("MIA007", "Membership inference, other published attacks", "tpr", _published)

MEMBERSHIP = (
    slira_check,
    online_check,
    offline_check,
    global_threshold_check,
    language_check,
    rmia_check,
    published_check,
)


def _run(evidence: Evidence, code: str, *families: str) -> Outcome:
    findings: list[Finding] = []
    skipped: list[Skipped] = []
    for name in (name for name in evidence.attacks if name.startswith(families)):
        for fpr in evidence.fprs:
            title = f"Membership inference, {name}, at {percent(fpr)} false positives"
            reason = _not_measured(evidence, name, fpr)
            if reason:
                skipped.append(Skipped(code=code, title=title, reason=reason))
                continue
            first = not any(f.attack == name for f in findings)
            findings.append(_finding(evidence, code, title, evidence.attacked(name), fpr, first))
    return tuple(findings), tuple(skipped)


def _not_measured(evidence: Evidence, name: str, fpr: float) -> str:
    """Return why an attack has no true-positive rate at a false-positive rate; empty if it has one."""
    if fpr not in evidence.resolved_fprs:
        nonmembers = int((~evidence.members).sum())
        return (
            f"{nonmembers:,} non-members cannot show a false-positive rate of {percent(fpr)}: not one false positive "
            f"is to be expected among them. At least {least_nonmembers(fpr):,} non-members are needed"
        )
    beside = evidence.attacked(name).unreachable(fpr)
    return "" if beside is None else f"a false-positive rate of {percent(fpr)} is not reached: {_ties(beside)}"


def _ties(beside: Reached) -> str:
    return (
        "the attack's scores are tied, and the nearest rates that a threshold can have are "
        f"{percent(beside.below)} and {percent(beside.above)}"
    )


def _finding(evidence: Evidence, code: str, title: str, attacked: Attacked, fpr: float, first: bool) -> Finding:
    name = attacked.attack.name
    tpr = evidence.tpr(name, fpr)
    found = estimate(tpr.value, tpr.interval, "share", METHOD)
    real, real_low, real_high = share_of(attacked.flagged(fpr)[~evidence.members])
    caught, _ = attacked.shadows_flagged(fpr)
    low, high = attacked.shadows_interval(fpr)
    main = first and name == evidence.attacks[0]
    more = enough(evidence, attacked, fpr) if main and name in ATTACKS else Enough()
    return Finding(
        code=code,
        title=title,
        metric="tpr",
        attack=name,
        at_fpr=fpr,
        estimate=found,
        sentence=(
            f"{_TITLES.get(name, name)} identifies {percent(found.value)} of the members at a false-positive rate of "
            f"{percent(fpr)} (95% CI {percent(found.low)} to {percent(found.high)}). Measured false-positive rate on "
            f"this model: {percent(real)} ({percent(real_low)} to {percent(real_high)})."
        ),
        blind=own_tpr(*_blind(evidence), fpr) if evidence.has_inputs else None,
        n=tpr.trials,
        counted="training examples",
        source=attacked.attack.source,
        figures=(_roc(evidence), *more.figures) if main else (),
        tables=(_comparison(evidence), _single(evidence, attacked, fpr), *more.tables) if main else (),
        notes=(
            f"Mean true-positive rate on the shadow models: {percent(float(caught.mean()))} ({percent(low)} to "
            f"{percent(high)}; bootstrap over {'' if attacked.matched else 'pairs of '}models and examples).",
            *((_variance_note(tpr.design_effect), *_blind_note(evidence, fpr), *more.notes) if main else ()),
        ),
    )


def _variance_note(design_effect: float) -> str:
    return (
        f"The variance of this rate is {design_effect:.1f} times that of independent members at a known threshold: the "
        "rest is the threshold's and that between training runs."
    )


def _blind(evidence: Evidence) -> tuple[Array, Array]:
    scores, members = evidence.blind
    return scores[members], scores[~members]


def _blind_note(evidence: Evidence, fpr: float) -> tuple[str, ...]:
    if not evidence.has_inputs:
        return ()
    value, (low, high) = own_tpr(*_blind(evidence), fpr), own_tpr_interval(*_blind(evidence), fpr)
    return (
        f"Without the model, from the data alone: {percent(value)} ({percent(low)} to {percent(high)}; bootstrap over "
        "examples).",
    )


def _single(evidence: Evidence, attacked: Attacked, fpr: float) -> Table:
    """Return how often single examples are flagged in shadow models without them, beside what equal rates would give.

    Source: Jälkö et al. 2026 (arXiv 2605.25819), per-example false-positive rates under one threshold.
    """
    times = attacked.shadows_flagged(fpr)[1].sum(axis=0)
    pairs, examples = attacked.outside.shape
    equal = stats.binom(pairs, fpr)
    bounds = [0, *(2**i for i in range(pairs.bit_length()) if 2**i <= pairs)]
    rows = []
    for low, after in zip(bounds, [*bounds[1:], pairs + 1], strict=True):
        here = int(((times >= low) & (times < after)).sum())
        expected = examples * float(equal.cdf(after - 1) - equal.cdf(low - 1))
        name = str(low) if after == low + 1 else f"{low} to {after - 1}"
        rows.append((name, here, round(expected, 1), f"{percent(low / pairs)} to {percent((after - 1) / pairs)}"))
    return Table(
        title=f"Single examples: how often each is a false positive at {percent(fpr)}",
        columns=(
            f"Flagged in … of the {pairs} shadow models without the example",
            "Examples",
            "Expected if all had the same rate",
            "Its own false-positive rate, estimated",
        ),
        rows=tuple(rows),
        note=(
            "One threshold serves all examples, so that the stated rate is a mean over them. A flag on one example "
            "does not have that error rate."
        ),
    )


def _roc(evidence: Evidence) -> Figure:
    """Return TPR by FPR at thresholds that the shadows set; the first attack with the band of its interval."""
    n_out = int((~evidence.members).sum())
    names = evidence.attacks[:_CURVES]
    least = max(1 / n_out, *(1 / evidence.attacked(name).outside.size for name in names))
    rates = np.geomspace(least, 1, _POINTS)
    curves = tuple(_curve(evidence, name, rates, band=place == 0) for place, name in enumerate(names))
    said = "; ".join(
        f"{name} identifies {percent(curve.y[int(np.searchsorted(rates, 0.01, side='right')) - 1])} of members"
        for name, curve in zip(names, curves, strict=True)
    )
    return Figure(
        kind=FigureKind.ROC,
        title="True-positive rate by false-positive rate",
        x_label="False-positive rate (thresholds set on the shadow models)",
        y_label="True-positive rate",
        curves=curves,
        alt=f"Receiver operating characteristic on logarithmic axes. At about 1%: {said}.",
        unresolved=1 / n_out,
    )


def _curve(evidence: Evidence, name: str, rates: Array, band: bool) -> Curve:
    attacked = evidence.attacked(name)
    members = attacked.target[evidence.members]
    y = tuple(float((members > threshold(attacked.outside.ravel(), rate)).mean()) for rate in rates)
    ends: tuple[tuple[float, ...], ...] = ((), ())
    if band:  # several would hide each other
        intervals = [evidence.tpr(name, rate).interval() for rate in rates]
        ends = tuple(tuple(map(float, side)) for side in zip(*intervals, strict=True))
    return Curve(x=tuple(rates.tolist()), y=y, label=name, low=ends[0], high=ends[1])


def _comparison(evidence: Evidence) -> Table:
    """Return every attack with its AUC, and TPR beside measured FPR at each rate that can be resolved."""
    members = evidence.members
    rows = []
    for name in dict.fromkeys([*evidence.attacks, *_COMPARED]):
        attacked = evidence.attacked(name)
        inside, outside = attacked.target[members], attacked.target[~members]
        area = auc(inside, outside), *auc_interval(inside, outside)
        cells = [part for fpr in evidence.resolved_fprs for part in _rates(evidence, attacked, fpr)]
        rows.append((name, "{:.3f} ({:.3f} to {:.3f})".format(*area), *cells))
    columns = ["Attack", "AUC"]
    for fpr in evidence.resolved_fprs:
        columns += [f"TPR at {percent(fpr)}", "measured FPR"]
    note = (
        "AUC: DeLong, examples alone. TPR: 95% interval with the variance of the threshold and between training runs. "
        "Measured FPR: Clopper–Pearson. Thresholds are set on the shadow models."
    )
    return Table(title="All attacks", columns=tuple(columns), rows=tuple(rows), note=note)


def _rates(evidence: Evidence, attacked: Attacked, fpr: float) -> tuple[Cell, Cell]:
    if (beside := attacked.unreachable(fpr)) is not None:
        return "not reached (ties)", f"{percent(beside.below)} or {percent(beside.above)}"
    tpr = evidence.tpr(attacked.attack.name, fpr)
    low, high = map(float, tpr.interval())
    measured = share_of(attacked.flagged(fpr)[~evidence.members])
    return with_interval(tpr.value, low, high), with_interval(*measured)
