"""MIA…: can an adversary tell who was in the training set?"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import stats

from memaudit.attacks import ATTACKS, STATISTICS
from memaudit.checks.attack_results import (
    POINTS,
    Share,
    cells,
    curve,
    not_resolved,
    own_rate_note,
    roc,
    sentence,
    table,
    tied,
    title_at,
)
from memaudit.checks.attacked import Attacked
from memaudit.checks.dp import ceiling_curve
from memaudit.checks.enough import Enough, enough
from memaudit.checks.evidence import Check, Evidence, Outcome, between, estimate, share_of
from memaudit.checks.text import TextEvidence
from memaudit.reports.text import percent, rate
from memaudit.stats import columns, own_tpr
from memaudit.types import Curve, Figure, Finding, Skipped, Table

Array = np.ndarray

METHOD = "Korn–Graubard, with the variance of the threshold and between training runs"
_COMPARED = ("lira-online-per-example", "lira-online-pooled", "rmia-offline")  # in the table of every report


def _slira(evidence: Evidence) -> Outcome:
    """Membership inference by a likelihood ratio learned from the shadow models (SLiRA): the default attack.

    Each shadow model serves as a target of the others. This gives labelled signals with the other models' statistics of
    the same example. A gradient booster and two Student-t regressions learn to separate members from non-members,
    cross-fitted by example. The scores of LiRA and RMIA are among their inputs. See `memaudit.attacks.Slira`.

    An example is flagged when its score exceeds a threshold. The threshold is set so that the shadow models'
    non-members exceed it at the stated false-positive rate (FPR). The result is the true-positive rate (TPR): the share
    of the target's members that are flagged. The target is scored exactly as the shadow models are, with one pair of
    them left out.

    The interval covers the TPR at exactly the stated FPR. It includes the variance between members, between training
    runs of the recipe, and of the threshold. The measured FPR describes this one model. Neither rate is the probability
    that one person's membership is found: the FPR is a mean over examples, and some examples have a much higher one, as
    the table of single examples shows.

    Of more than 8,388,608 pairs of shadow models × examples, the shadow models are scored on evenly spaced examples, so
    many that there are about as many scores. The audited model is scored on all.

    The attack is repeated with half of the shadow models, a quarter, and so on. The last doubling is compared on the
    same targets, with the interval of the difference.

    Source: stacked generalization, Wolpert 1992; Carlini et al. 2022 (LiRA) and Zarifzadeh et al. 2024 (RMIA) as its
    inputs; thresholds from other models; interval of Korn & Graubard 1998; Jälkö et al. 2026 for single examples.
    """
    return _run(evidence, "MIA005", "slira")


def _online(evidence: Evidence) -> Outcome:
    """Membership inference by likelihood ratio, with shadow models trained with and without each example (online).

    For each example the shadow models give two distributions of the scaled logit φ: with the example in training, and
    without. The score is the log-likelihood ratio at the target's φ,

        score = log p(φ | trained on it) − log p(φ | not trained on it),   φ = log p_y − log(1 − p_y).

    Each distribution is Student's t, its variance shrunken towards that of the other examples. See MIA005 for the TPR,
    its interval and its threshold.

    Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles", Algorithm 1; variance by
    empirical Bayes, Smyth 2004, section 3; thresholds from other models.
    """
    return _run(evidence, "MIA001", "lira-online")


def _offline(evidence: Evidence) -> Outcome:
    """Membership inference with shadow models trained without the example (offline): a weaker adversary.

    The score is the standardized distance of the target's scaled logit from its mean in models that were not trained on
    the example. Large values are unusual for a non-member,

        score = (φ − μ_out) / σ_out.

    One-sided, as in the paper. Its published code is two-sided and also flags unusually low confidence. See MIA005 for
    the TPR, its interval and its threshold.

    Source: Carlini et al. 2022, Equation 4.
    """
    return _run(evidence, "MIA002", "lira-offline")


def _global(evidence: Evidence) -> Outcome:
    """Membership inference by one threshold on the loss: the standard baseline.

    The score is the target's scaled logit. It ignores how hard an example is, so it flags easy examples, members or
    not. It is a baseline: a low value is no sign of safety. See MIA005 for the TPR, its interval and its threshold.

    Source: Yeom et al. 2018, Adversary 2.
    """
    return _run(evidence, "MIA003", "global-threshold")


def _language(evidence: TextEvidence) -> Outcome:
    """Membership inference from a language model's loss, calibrated for how hard the text is.

    A text's loss mostly reflects how hard the text is. These scores correct for that. `reference` subtracts the mean
    loss of shadow models without the text. `base` subtracts the loss of the base model. `zlib` divides by the size of
    the compressed text. `min-k` uses the least likely fifth of the tokens. `min-k++` does the same after standardizing
    each token by the model's own distribution. Larger is more member-like. See MIA005 for the TPR, its interval and its
    threshold.

    Source: Watson et al. 2022 (reference); Carlini et al. 2021 (zlib, and a reference model); Shi et al. 2024 (Min-K%
    Prob); Zhang et al. 2025 (Min-K%++).
    """
    return _run(evidence, "MIA004", *STATISTICS, "reference", "base")


def _rmia(evidence: Evidence) -> Outcome:
    """Membership inference by the target's probability of the label, relative to the shadow models (RMIA).

    The score is log p(label | target) − log P. P is the mean probability over shadow models with and without the
    example (online), or an estimate of that mean from those without it (offline). See MIA005 for the TPR, its interval
    and its threshold.

    Source: Zarifzadeh et al. 2024 (ICML), "Low-Cost High-Power Membership Inference Attacks"; the same score: Lassila
    et al. 2025, BASE.
    """
    return _run(evidence, "MIA006", "rmia")


def _published(evidence: Evidence) -> Outcome:
    """Membership inference by other published attacks, if requested by name.

    BaVarIA is LiRA with normal-inverse-gamma priors. Sablayrolles' attack has a threshold midway between the means with
    and without the example. Difficulty calibration subtracts the mean signal of shadow models without the example.
    Attack P ranks the signal within a population, attack R within the shadow models without the example. See MIA005 for
    the TPR, its interval and its threshold.

    Source: Brännvall 2026 (BaVarIA); Sablayrolles et al. 2019; Watson et al. 2022 (reference); Ye et al. 2022 (P, R).
    """
    calibrated = () if isinstance(evidence, TextEvidence) else ("reference",)
    return _run(evidence, "MIA007", "bavaria", "sablayrolles", "attack-", *calibrated)


slira_check = Check("MIA005", "Membership inference, SLiRA", "tpr", _slira)
online_check = Check("MIA001", "Membership inference, LiRA, online", "tpr", _online)
offline_check = Check("MIA002", "Membership inference, LiRA, offline", "tpr", _offline)
global_threshold_check = Check("MIA003", "Membership inference, loss threshold", "tpr", _global)
language_check = Check("MIA004", "Membership inference, calibrated loss", "tpr", _language, TextEvidence)
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
    made = (name for name in evidence.with_bank if name.startswith(families))
    for name in made:
        for fpr in evidence.fprs:
            title = title_at(name, fpr)
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
        return not_resolved(evidence, fpr)
    beside = evidence.attacked(name).unreachable(fpr)
    return "" if beside is None else tied(fpr, beside)


def _shown(evidence: Evidence) -> str:
    """Return the attack whose first result has the tables and figures: the first that could be measured."""
    return next(name for name in evidence.with_bank if not all(_not_measured(evidence, name, f) for f in evidence.fprs))


def _finding(evidence: Evidence, code: str, title: str, attacked: Attacked, fpr: float, first: bool) -> Finding:
    name = attacked.attack.name
    tpr = evidence.tpr(name, fpr)
    found = estimate(tpr.value, tpr.interval, "share", METHOD)
    caught, _ = attacked.shadows_flagged(fpr)
    ends = attacked.shadows_interval(fpr)
    main = first and name == _shown(evidence)
    more = enough(evidence, attacked, fpr) if main and name in ATTACKS else Enough()
    return Finding(
        code=code,
        title=title,
        metric="tpr",
        attack=name,
        at_fpr=fpr,
        estimate=found,
        sentence=sentence(name, fpr, found, share_of(attacked.flagged(fpr)[~evidence.members])),
        blind=own_tpr(*_blind(evidence), fpr) if evidence.has_inputs else None,
        n=tpr.trials,
        counted=f"training {evidence.unit}",
        source=attacked.attack.source,
        figures=(_roc(evidence), *more.figures) if main else (),
        tables=(_comparison(evidence), _single(evidence, attacked, fpr), *more.tables) if main else (),
        notes=(
            f"Mean TPR on the shadow models at a {rate(fpr)} FPR: {percent(float(caught.mean()))} (95% CI "
            f"{between(*ends)}, bootstrap over {'' if attacked.matched else 'pairs of '}models and examples).",
            *((attacked.sampled,) if attacked.sampled else ()),
            *((_variance_note(tpr.design_effect), *_blind_note(evidence, fpr), *more.notes) if main else ()),
        ),
    )


def _variance_note(design_effect: float) -> str:
    return (
        f"The design effect is {design_effect:.1f}: the variance of this TPR, relative to independent members at a "
        "known threshold. The threshold and the variation between training runs add the rest."
    )


def _blind(evidence: Evidence) -> tuple[Array, Array]:
    scores, members = evidence.blind
    return scores[members], scores[~members]


def _blind_note(evidence: Evidence, fpr: float) -> tuple[str, ...]:
    return (own_rate_note(*_blind(evidence), fpr),) if evidence.has_inputs else ()


def _single(evidence: Evidence, attacked: Attacked, fpr: float) -> Table:
    """Return how often single examples are flagged in shadow models without them, beside what equal rates would give.

    Source: Jälkö et al. 2026 (arXiv 2605.25819), per-example false-positive rates under one threshold.
    """
    times = columns(attacked.shadows_flagged(fpr)[1])
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
        title=f"False positives per example, at a {rate(fpr)} FPR",
        columns=(
            f"Times flagged, in {pairs} shadow models without the example",
            "Examples",
            "Expected at equal rates",
            "Estimated FPR per example",
        ),
        rows=tuple(rows),
        note=(
            "One threshold serves all examples, so the stated FPR is a mean over them. It is not the error rate for a "
            f"single flagged example. {attacked.sampled}".rstrip()
        ),
    )


def _roc(evidence: Evidence) -> Figure:
    """Return TPR by FPR at thresholds that the shadows set; the first attack with the band of its interval."""
    n_out = int((~evidence.members).sum())
    names = evidence.with_bank
    least = max(1 / n_out, *(1 / evidence.attacked(name).outside.size for name in names))
    rates = np.geomspace(least, 1, POINTS)
    curves = tuple(_curve(evidence, name, rates, band=place == 0) for place, name in enumerate(names))
    return roc((*curves, *ceiling_curve(evidence, curves[0].x, rates)), "the shadow models", n_out)


def _curve(evidence: Evidence, name: str, rates: Array, band: bool) -> Curve:
    attacked = evidence.attacked(name)
    members = attacked.target[evidence.members]
    tprs = [float((members > attacked.cut(rate)).mean()) for rate in rates.tolist()]
    # bands of several would hide each other
    return curve(name, rates, tprs, (lambda fpr: evidence.tpr(name, fpr).interval()) if band else None)


def _comparison(evidence: Evidence) -> Table:
    """Return every attack with its AUC, and TPR beside measured FPR at each rate that can be resolved."""
    members, rows = evidence.members, []
    for name in dict.fromkeys([*evidence.with_bank, *_COMPARED]):
        attacked = evidence.attacked(name)
        rates = [
            cells(attacked.unreachable(fpr), partial(_rates, evidence, attacked, fpr)) for fpr in evidence.resolved_fprs
        ]
        rows.append((name, (attacked.target[members], attacked.target[~members]), rates))
    note = (
        "95% CIs. AUC: DeLong, over examples only. TPR: includes the threshold and the variation between training "
        "runs. Measured FPR: Clopper–Pearson. Thresholds are set on the shadow models."
    )
    return table("All attacks", evidence.resolved_fprs, rows, note)


def _rates(evidence: Evidence, attacked: Attacked, fpr: float) -> tuple[Share, Share]:
    """Return the TPR and the measured FPR, with intervals."""
    tpr = evidence.tpr(attacked.attack.name, fpr)
    low, high = map(float, tpr.interval())
    return (tpr.value, low, high), share_of(attacked.flagged(fpr)[~evidence.members])
