"""MIA020 to MIA023: what an adversary achieves with less access to the model than its exact outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy import stats

from memaudit.attack_names import ATTACKS_BY_METRIC
from memaudit.attacks.access import ACCESS_ATTACKS, RECORDED, knowing, needs_pairs
from memaudit.checks.attack_results import POINTS, curve, not_resolved, roc
from memaudit.checks.attacked import Attacked
from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.evidence import Check, Outcome, between, estimate, points_between, share_of, with_interval
from memaudit.checks.membership import METHOD
from memaudit.checks.own_nonmembers import by_own_nonmembers
from memaudit.checks.tasks import MultilabelTargetEvidence, RegressionTargetEvidence
from memaudit.reports.text import percent, points, rate
from memaudit.stats import auc, auc_interval, percentiles, tpr_draws
from memaudit.types import Cell, Curve, Estimate, Figure, Finding, Level, Skipped, Table

Array = np.ndarray

_TABLE, _LABELS, _CONFIDENCES, _WEIGHTS = (
    "Access and leakage: what if only labels are returned?",
    "Membership inference from labels alone",
    "Membership inference from confidences",
    "Membership inference from weights",
)
_RISKS = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
_DOMINATED = 0.05  # two-sided, over all comparisons at one level
_MORE_FROM_LABELS = "Whoever sees exact outputs can make the attacks on labels, too."
_QUANTILE = "quantile-regression"
_NOT_ASKED = "only attacks at no cost were made; --access labels, confidences or all measures the others"


@dataclass(frozen=True, slots=True)
class Row:
    """One attack at one access level, with its scores and cost."""

    name: str
    title: str
    level: Level
    attacked: Attacked
    source: str
    queries: int
    seconds: float

    def on_shadows(self, fpr: float) -> float:
        """Return the mean true-positive rate on the shadow models, at the one threshold that `draws` resamples."""
        return self.attacked.mean_on_shadows(fpr)

    def draws(self, fpr: float) -> Float[Array, " resamples"]:
        """Return bootstrap draws of that rate over models and examples, the same resamples for all attacks."""
        return tpr_draws(*self.attacked.by_unit, fpr)


def _title(name: str) -> str:
    known = ATTACKS_BY_METRIC["access"].get(name) or ATTACKS_BY_METRIC["tpr"].get(name)
    return name if known is None else known.title


def _of_access(evidence: ClassifierEvidence) -> Iterator[Row]:
    """Yield the attacks by access that can be made with the views at hand."""
    for name, attack in ACCESS_ATTACKS.items():
        if evidence.matched is not None and needs_pairs(attack):
            continue
        if attack.view == RECORDED or attack.view in evidence.views:
            viewed = evidence.viewed(attack.view)
            found = evidence.by_access(name)
            yield Row(name, _title(name), attack.level, found, attack.source, viewed.queries, viewed.seconds)


def _rows(evidence: ClassifierEvidence) -> list[Row]:
    """Return every attack, from least access to most; the usual ones are made on exact log-odds.

    So is quantile regression, which needs no shadow models, where attacks on confidences were asked for.
    """
    queries = evidence.phi.shape[1]
    exact = {name: evidence.attacked(name) for name in evidence.with_bank}
    if evidence.access is not None and evidence.access.place >= Level.CONFIDENCES.place:
        found = by_own_nonmembers(evidence, _QUANTILE)
        exact |= {} if found is None else {_QUANTILE: found}
    usual = [
        Row(name, _title(name), Level.LOG_ODDS, of, of.attack.source, queries, 0.0)
        for name, of in exact.items()
        if all(of.unreachable(fpr) is None for fpr in evidence.resolved_fprs)
    ]
    return sorted([*_of_access(evidence), *usual], key=lambda row: row.level.place)


def _sampled(row: Row) -> tuple[str, ...]:
    return (row.attacked.sampled,) if row.attacked.sampled else ()


def _refused(evidence: ClassifierEvidence) -> str:
    """Return why no attack by access has a result; empty if there are some."""
    if isinstance(evidence, MultilabelTargetEvidence | RegressionTargetEvidence):
        return "attacks by access are for classifiers with one label per example"
    if not evidence.resolved_fprs:
        return not_resolved(evidence, max(evidence.fprs))
    return ""


def _compared(evidence: ClassifierEvidence) -> Outcome:
    """Leakage by access: what an adversary achieves who sees labels or confidences instead of exact outputs.

    Each attack has its own row: what it sees, how often it asks the model about each example, its AUC, and its
    true-positive rate (TPR) at each false-positive rate (FPR). Thresholds, intervals and the leave-pair-out scoring of
    shadow models are those of MIA005. Without `--access`, labels alone means the gap attack: predict "member" where
    the predicted label is right. It costs nothing, as the bank recorded it.

    Scores from labels have ties. Ties are broken at random, so that a threshold can have any FPR: of the examples at a
    tied score, a random share is flagged. The TPR is then a point on the line between two corners of the ROC curve.

    The result is how much lower the TPR is with labels alone than with exact log-odds. Each side is the strongest of
    its attacks, by the mean TPR on the shadow models. Both sides have the same targets: the difference is paired, and
    its interval is a bootstrap over pairs of models and examples that selects the strongest attack in each resample.

    An attack is *dominated* at an FPR if another one, with the same access or less, has a higher mean TPR on the shadow
    models. The difference must be shown by the paired bootstrap, at 5 % over all comparisons (Bonferroni).

    Source: Yeom et al. 2018; Choquette-Choo et al. 2021 (label-only membership inference); Lehmann & Romano 2005,
    section 3.2, for randomized tests.
    """
    if reason := _refused(evidence):
        return (), (Skipped(code="MIA020", title=_TABLE, reason=reason),)
    rows = _rows(evidence)
    exact = [row for row in rows if row.level is Level.LOG_ODDS]
    labels = [row for row in rows if row.level is Level.LABELS]
    if not exact:
        reason = "no attack with shadow models was requested, or none reaches the false-positive rates"
        return (), (Skipped(code="MIA020", title=_TABLE, reason=reason),)
    draws = {fpr: {row.name: row.draws(fpr) for row in rows} for fpr in evidence.resolved_fprs}
    fpr = max(evidence.resolved_fprs)
    found = _loss(exact, labels, draws[fpr], fpr)
    least, most = (max(row.on_shadows(fpr) for row in some) for some in (labels, exact))
    change = "fewer" if found.value >= 0 else "more"
    ends = (found.low, found.high) if found.value >= 0 else (-found.high, -found.low)
    finding = Finding(
        code="MIA020",
        title=_TABLE,
        metric="access-loss",
        at_fpr=fpr,
        estimate=found,
        sentence=(
            f"If the model returned labels alone, the strongest measured attack would identify {percent(least)} of "
            f"members at a {rate(fpr)} false-positive rate, not {percent(most)}: {points(abs(found.value))} percentage "
            f"points {change} (95% CI {points_between(*ends)}; mean over the shadow models)."
        ),
        n=evidence.bank.shape[1],
        counted=evidence.unit,
        source="Yeom et al. 2018; Choquette-Choo et al. 2021",
        figures=(_picture(evidence, rows, fpr),),
        tables=(_table(evidence, rows), *(_rates(evidence, rows, draws[at], at) for at in evidence.resolved_fprs)),
        notes=(*([_MORE_FROM_LABELS] if found.value < 0 else []), *_notes(evidence), *_sampled(rows[0])),
    )
    return (finding,), ()


def _loss(exact: list[Row], labels: list[Row], draws: dict[str, Array], fpr: float) -> Estimate:
    """Return by how much the strongest attack on exact outputs exceeds the strongest on labels."""
    value = max(row.on_shadows(fpr) for row in exact) - max(row.on_shadows(fpr) for row in labels)
    strongest = [np.max([draws[row.name] for row in some], axis=0) for some in (exact, labels)]
    return estimate(
        value,
        partial(_normal, value, float((strongest[0] - strongest[1]).std(ddof=1))),
        "share",
        "normal, standard error by a paired bootstrap over pairs of shadow models and examples",
    )


def _normal(value: float, error: float, level: Float[Array, " levels"]) -> tuple[Array, Array]:
    half = stats.norm.ppf((1 + level) / 2) * error
    return np.maximum(value - half, -1), np.minimum(value + half, 1)


def _dominated(row: Row, rows: list[Row], draws: dict[str, Array], fpr: float) -> str:
    """Return by which attack with no more access a row is dominated at a rate; empty if by none."""
    others = [other for other in rows if other.level.place <= row.level.place]
    best = max(others, key=lambda other: other.on_shadows(fpr))
    if best.name == row.name:
        return ""
    error = float((draws[best.name] - draws[row.name]).std(ddof=1))
    gap = best.on_shadows(fpr) - row.on_shadows(fpr)
    comparisons = max(1, sum(other.level is row.level for other in rows))
    return best.title if gap > stats.norm.ppf(1 - _DOMINATED / 2 / comparisons) * error else ""


def _table(evidence: ClassifierEvidence, rows: list[Row]) -> Table:
    members = evidence.members

    def cells(row: Row) -> tuple[Cell, ...]:
        inside, outside = row.attacked.target[members], row.attacked.target[~members]
        area = auc(inside, outside), *auc_interval(inside, outside)
        seconds = f"{row.seconds:.2g}" if row.seconds else "–"
        return str(row.level), row.title, row.queries, seconds, "{:.3f} ({:.3f}–{:.3f})".format(*area)

    return Table(
        title="Attacks by access to the model",
        columns=("Access", "Attack", "Queries per example", "Seconds per model", "AUC"),
        rows=tuple(map(cells, rows)),
        note=(
            "95% CIs, as in the table of all attacks. Queries of a search: at most. Seconds: to ask one shadow model "
            "about all examples; none where answers were kept."
        ),
    )


def _rates(evidence: ClassifierEvidence, rows: list[Row], draws: dict[str, Array], fpr: float) -> Table:
    def cells(row: Row) -> tuple[Cell, ...]:
        tpr = evidence.rate(row.attacked, fpr)
        low, high = map(float, tpr.interval())
        return (
            str(row.level),
            row.title,
            with_interval(tpr.value, low, high),
            with_interval(*share_of(row.attacked.flagged(fpr)[~evidence.members])),
            with_interval(row.on_shadows(fpr), *percentiles(draws[row.name])),
            _dominated(row, rows, draws, fpr) or "–",
        )

    return Table(
        title=f"Attacks by access, at a {rate(fpr)} FPR",
        columns=("Access", "Attack", "TPR", "Measured FPR", "TPR, shadow models", "Dominated by"),
        rows=tuple(map(cells, rows)),
        note=(
            "95% CIs. Ties are broken at random. Shadow models: mean TPR with each as a target. Dominated: an attack "
            "with no more access has a higher TPR on the shadow models (paired, 95% over all comparisons)."
        ),
    )


def _strongest(rows: list[Row], level: Level, fpr: float) -> Row | None:
    """Return the attack at a level with the highest mean rate on the shadow models; the target has no say in it."""
    return max((row for row in rows if row.level is level), key=lambda row: row.on_shadows(fpr), default=None)


def _picture(evidence: ClassifierEvidence, rows: list[Row], fpr: float) -> Figure:
    """Return the ROC curve of the strongest attack at each level."""
    nonmembers = int((~evidence.members).sum())
    best = [found for level in Level if (found := _strongest(rows, level, fpr)) is not None]
    least = max(1 / nonmembers, *(1 / row.attacked.outside.size for row in best))
    rates = np.geomspace(least, 1, POINTS)
    return replace(
        roc(tuple(_curve(evidence, row, rates) for row in best), "the shadow models", nonmembers),
        title="The strongest attack at each access level",
    )


def _curve(evidence: ClassifierEvidence, row: Row, rates: Array) -> Curve:
    members = row.attacked.target[evidence.members]
    tprs = [float((members > row.attacked.cut(fpr)).mean()) for fpr in rates.tolist()]
    return replace(curve(row.name, rates, tprs), label=f"{row.level}: {row.title}")


def _notes(evidence: ClassifierEvidence) -> Iterator[str]:
    if evidence.access is None:
        yield f"Of the attacks with less access, {_NOT_ASKED}."
    if evidence.matched is not None:
        yield "Attacks that learn from other examples were not made: the shadow models are no complementary pairs."
    for reason in dict.fromkeys(evidence.unseen.values()):
        views = [f"“{view}”" for view, why in evidence.unseen.items() if why == reason]
        yield f"Attacks on the view{'s' if len(views) > 1 else ''} {', '.join(views)} were not made: {reason}."


def _labels(evidence: ClassifierEvidence) -> Outcome:
    """Membership inference by an adversary who sees the predicted label alone.

    The strongest label-only attack of MIA020, chosen by its mean true-positive rate on the shadow models. The audited
    model has no say in the choice. Without `--access` it is the gap attack. See MIA005 for the TPR, its interval and
    its threshold, and MIA020 for ties.

    Source: Yeom et al. 2018 (gap); Choquette-Choo et al. 2021 (noise, augmentation, boundary); Li & Zhang 2021.
    """
    return _at_level(evidence, "MIA021", _LABELS, Level.LABELS)


def _confidences(evidence: ClassifierEvidence) -> Outcome:
    """Membership inference by an adversary who sees the probability of every class.

    The strongest attack on confidences of MIA020, chosen by its mean true-positive rate on the shadow models. The
    audited model has no say in the choice. See MIA005 for the TPR, its interval and its threshold.

    Source: Shokri et al. 2017; Salem et al. 2019; Long et al. 2020; Song & Mittal 2021; Jayaraman et al. 2021.
    """
    return _at_level(evidence, "MIA022", _CONFIDENCES, Level.CONFIDENCES)


def _at_level(evidence: ClassifierEvidence, code: str, title: str, level: Level) -> Outcome:
    rows = [] if _refused(evidence) else list(_of_access(evidence))
    if not any(row.level is level for row in rows):
        views = {attack.view for attack in ACCESS_ATTACKS.values() if attack.level is level}
        unseen = dict.fromkeys(reason for view, reason in evidence.unseen.items() if view in views)
        reason = _refused(evidence) or "; ".join(unseen) or _unasked(evidence, level)
        return (), (Skipped(code=code, title=title, reason=reason),)
    findings: list[Finding] = []
    skipped: list[Skipped] = []
    for fpr in evidence.fprs:
        here = f"{title}, at {rate(fpr)} FPR"
        if fpr not in evidence.resolved_fprs:
            reason = not_resolved(evidence, fpr)
            skipped.append(Skipped(code=code, title=here, reason=reason))
            continue
        best = _strongest(rows, level, fpr)
        assert best is not None
        tables = (
            (reliability(evidence),) if not findings and level is Level.CONFIDENCES and _calibrated(evidence) else ()
        )
        findings.append(_finding(evidence, code, here, best, fpr, tables))
    return tuple(findings), tuple(skipped)


def _unasked(evidence: ClassifierEvidence, level: Level) -> str:
    if evidence.access is None:
        return _NOT_ASKED
    return f"attacks were asked for up to {evidence.access}; --access {level} or all measures these"


def strongest_by_access(evidence: ClassifierEvidence) -> Iterator[tuple[str, float]]:
    """Yield the attack and the rate of every finding of MIA021 to MIA023."""
    rows = [] if _refused(evidence) else list(_of_access(evidence))
    for level in (Level.LABELS, Level.CONFIDENCES, Level.WEIGHTS):
        for fpr in evidence.resolved_fprs:
            if (best := _strongest(rows, level, fpr)) is not None:
                yield best.name, fpr


def _calibrated(evidence: ClassifierEvidence) -> bool:
    """Return whether there is a privacy risk score that can be compared with who is a member."""
    return "confidences" in evidence.views and evidence.matched is None


def reliability(evidence: ClassifierEvidence) -> Table:
    """Return how often examples of this model are members, by their privacy risk score.

    The scores are for members and non-members in equal number; here they are adjusted to the share of members.
    """
    viewed, attack = evidence.viewed("confidences"), knowing(ACCESS_ATTACKS["privacy-risk"], evidence.y)
    share = float(evidence.members.mean())
    odds = attack.scores(viewed.target, viewed.pairs).astype(np.float64)
    risk = share * odds / (share * odds + (1 - share) * (1 - odds))
    rows: list[tuple[Cell, ...]] = []
    for low, high in pairwise(_RISKS):
        here = (risk >= low) & ((risk < high) | (high == 1))
        if here.any():
            name = f"{percent(low)} to {percent(high)}"
            rows.append(
                (
                    name,
                    int(here.sum()),
                    percent(float(risk[here].mean())),
                    with_interval(*share_of(evidence.members[here])),
                )
            )
    return Table(
        title="Privacy risk score: is it a probability?",
        columns=("Risk score", "Examples", "Mean score", "Members among them"),
        rows=tuple(rows),
        note=(
            "P(member | class, modified entropy), from the shadow models. Members: on this model, with 95% CI "
            "(Clopper–Pearson). The two columns agree if the score is calibrated."
        ),
    )


def _finding(
    evidence: ClassifierEvidence, code: str, title: str, row: Row, fpr: float, tables: tuple[Table, ...]
) -> Finding:
    tpr = evidence.rate(row.attacked, fpr)
    found = estimate(tpr.value, tpr.interval, "share", METHOD)
    value, low, high = share_of(row.attacked.flagged(fpr)[~evidence.members])
    return Finding(
        code=code,
        title=title,
        metric="access",
        attack=row.name,
        at_fpr=fpr,
        estimate=found,
        sentence=(
            f"{row.title} identifies {percent(found.value)} of members at a {rate(fpr)} false-positive rate (95% CI "
            f"{between(found.low, found.high)}). Measured FPR on this model: {percent(value)} ({between(low, high)})."
        ),
        n=tpr.trials,
        counted=f"training {evidence.unit}",
        source=row.source,
        tables=tables,
        notes=(
            f"The strongest of the attacks at this access on the shadow models, where its mean TPR is "
            f"{percent(row.on_shadows(fpr))}. Measured FPR: {percent(value)} ({between(low, high)}).",
            *_sampled(row),
        ),
    )


def _weights(evidence: ClassifierEvidence) -> Outcome:
    """Membership inference by an adversary who has the weights.

    The strongest white-box attack of MIA020, chosen by its mean true-positive rate on the shadow models:

    - `gradient-norm` is LiRA on the norm of the loss's gradient.
    - `gradients` combines the log-odds with the gradients of the last layers, and `last-layer` with what a proxy of the
      last layer says: logistic regressions on the log-likelihood ratio of each number.
    - `stolen-memories` is the displacement of the last layer from its proxy, with one threshold for all examples.

    Whoever has the weights can also make every attack with less access. Where a white-box attack is dominated in the
    table of MIA020, the weights reveal no more to these attacks than exact outputs do. See MIA005 for the TPR, its
    interval and its threshold.

    Source: Nasr et al. 2019; Leino & Fredrikson 2020; Carlini et al. 2022 (LiRA). Sablayrolles et al. 2019 show that,
    under assumptions, exact outputs suffice.
    """
    return _at_level(evidence, "MIA023", _WEIGHTS, Level.WEIGHTS)


ACCESS = (
    Check("MIA020", _TABLE, "access-loss", _compared, ClassifierEvidence),
    Check("MIA021", _LABELS, "access", _labels, ClassifierEvidence),
    Check("MIA022", _CONFIDENCES, "access", _confidences, ClassifierEvidence),
    Check("MIA023", _WEIGHTS, "access", _weights, ClassifierEvidence),
)
