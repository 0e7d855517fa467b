"""MEM005: is what the models memorized of use for other examples, and whose record decides whose prediction?"""

from __future__ import annotations

from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.evidence import Check, Outcome, estimate, points_between
from memaudit.checks.memorized import MEAN_METHOD
from memaudit.memorization import TAIL, TAIL_EDGES, USEFUL, Tail, tail
from memaudit.reports.text import percent, points
from memaudit.stats import cluster_mean_interval
from memaudit.types import Cell, Curve, Estimate, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

_TITLE = "Influence: use of what is memorized"
_LEAST_PAIRS = 6
Interval = tuple[float, float, float]  # value, low, high


def _tail(evidence: ClassifierEvidence) -> Outcome:
    """Influence of training examples on other examples: is what the models memorize of any use?

    The influence of example i on example j is a difference of accuracies on j: that of shadow models trained on i,
    minus that of models trained without it. Both are measured on models that were not trained on j,

        infl(i, j) = P[correct on j | i in training, j not] − P[correct on j | neither in training].

    A memorized example (memorization ≥ 0.25) with a large influence on some other example is rare but useful: models
    need it to predict its like. One without is memorized for nothing: a wrong label, an outlier. What it leaks could be
    avoided at no cost in accuracy.

    The result is the mean influence of a memorized example on the example that it influences most. The largest of many
    noisy numbers is too large. So one half of the pairs of shadow models selects the examples, and the other half
    measures. Then the halves are swapped. It is 0 if there is no influence, and never too large on average. The
    interval is over pairs of shadow models.

    Single influences are named only if they are beyond chance: p-values that are exact for pairs of models, at a false
    discovery rate of 5 %. A few shadow models cannot show any. Near-duplicates show up as influences on each other.

    Leave-one-out unfairness is the other reading of the same numbers: how much the prediction for one person depends on
    whether one other person's record is there.

    It describes this recipe with the shadow models' number of training examples. Beyond 10,000 examples, every nth is
    looked at.

    Source: Feldman & Zhang 2020, definition of influence, section 3 for the thresholds 0.25 and 0.15; Black &
    Fredrikson 2021 for leave-one-out unfairness; Benjamini & Yekutieli 2001; cross-fitting as in LNK001.
    """
    if (reason := lacking(evidence)) is not None:
        return (), (Skipped(code="MEM005", title=_TITLE, reason=reason),)
    rows, found = evidence.every, evidence.influences
    split = tail(evidence.bank.correct[:, rows], evidence.bank.members[:, rows])
    own, reach = split.means(split.memorized())
    if not np.isfinite(reach).all():
        reason = f"no example is memorized by {TAIL:g} or more in each half of the shadow models"
        return (), (Skipped(code="MEM005", title=_TITLE, reason=reason),)
    method = MEAN_METHOD if evidence.matched is None else MEAN_METHOD.replace("pairs of ", "")
    value = estimate(float(reach.mean()), partial(cluster_mean_interval, reach), "share", method)
    useful = np.unique(found.training[found.value >= USEFUL])
    memorized = evidence.memorization.value[rows] >= TAIL
    examples = split.examples[:, split.memorized()].sum(axis=1).mean()
    decided = _interval(split.decided)
    finding = Finding(
        code="MEM005",
        title=_TITLE,
        metric="useful-memorization",
        estimate=value,
        sentence=_sentence(value),
        n=max(1, round(float(examples))),
        counted=f"memorized {evidence.unit} of {len(rows):,}, in {len(evidence.bank.members)} shadow models",
        source="Feldman & Zhang 2020, influence; cross-fitted over pairs of shadow models",
        figures=(_figure(split),),
        tables=(_split(evidence, split, memorized, useful),),
        notes=(
            f"It raises the accuracy on the memorized example itself by {points(float(own.mean()))} percentage points.",
            f"{len(found.p):,} of {found.tests:,} influences of one example on another are beyond chance, at a 5% "
            "false discovery rate."
            + (
                f" The largest is {points(float(found.value.max()))} percentage points. evidence.csv names them."
                if len(found.p)
                else " More shadow models can show more."
            ),
            "Leave-one-out unfairness: the one other example with most effect on a prediction changes its accuracy by "
            f"{points(decided[0])} percentage points on average over all examples (95% CI "
            f"{points_between(*decided[1:])}).",
        ),
    )
    return (finding,), ()


influence_check = Check("MEM005", _TITLE, "useful-memorization", _tail, ClassifierEvidence)


def lacking(evidence: ClassifierEvidence) -> str | None:
    """Return why influences cannot be measured; None if they can."""
    if len(evidence.bank.members) < 2 * _LEAST_PAIRS:
        return f"it needs at least {2 * _LEAST_PAIRS} shadow models"
    if dependent(evidence):
        return "it needs shadow models that are complementary pairs, or that were all drawn independently"
    return None


def dependent(evidence: ClassifierEvidence) -> bool:
    """Return whether training sets depend on each other otherwise than in complementary pairs."""
    return evidence.matched is not None and evidence.couples.groups < len(evidence.bank.members)


def _sentence(value: Estimate) -> str:
    by = f"{points(value.value)} percentage points on average (95% CI {points_between(value.low, value.high)})"
    if value.low <= 0:
        return (
            "Memorized examples are not shown to be useful for others: training on one changes the accuracy on the "
            f"other example that it influences most by {by}."
        )
    return f"Training on a memorized example raises the accuracy on the other example that it influences most by {by}."


def _interval(values: Float[Array, " draws"]) -> Interval:
    low, high = cluster_mean_interval(values)
    return float(values.mean()), float(low), float(high)


def _bins(split: Tail) -> list[tuple[str, Interval, Interval, float]]:
    """Return name, memorization, influence and number of examples of each bin that has some in both halves."""
    edges = (None, *TAIL_EDGES, None)
    rows = []
    for b in range(split.own.shape[1]):
        here = np.arange(split.own.shape[1]) == b
        own, reach = split.means(here)
        if np.isfinite(reach).all():
            low, high = edges[b], edges[b + 1]
            name = f"< {high:g}" if low is None else f"≥ {low:g}" if high is None else f"{low:g}–{high:g}"
            rows.append((name, _interval(own), _interval(reach), float(split.examples[:, b].mean())))
    return rows


def _figure(split: Tail) -> Figure:
    rows = _bins(split)

    def curve(label: str, column: int) -> Curve:
        value, low, high = (tuple(ends) for ends in zip(*(row[column] for row in rows), strict=True))
        return Curve(x=tuple(map(float, range(len(rows)))), y=value, label=label, low=low, high=high)

    said = "; ".join(
        f"{name}: on itself {percent(own[0])}, on another {percent(reach[0])}" for name, own, reach, _ in rows
    )
    return Figure(
        kind=FigureKind.SHARES,
        title="Effect of training on an example, by its memorization",
        x_label="Memorization (measured on other models)",
        y_label="Rise in accuracy",
        curves=(curve("on itself (memorization)", 1), curve("on the example that it influences most", 2)),
        ticks=tuple(name for name, *_ in rows),
        alt=f"Rise in accuracy through training on an example, by memorization. {said}.",
    )


def _split(evidence: ClassifierEvidence, split: Tail, memorized: Bool[Array, " rows"], useful: Array) -> Table:
    """Return the split of the tail: how many of the memorized examples are shown to be of use to another one."""
    shown = np.isin(np.arange(len(memorized)), useful)
    groups = (
        ("Memorized, shown to be useful", memorized & shown),
        ("Memorized, no use shown", memorized & ~shown),
        ("Not memorized", ~memorized),
    )
    scores = evidence.memorization.value[evidence.every]
    rows: list[tuple[Cell, ...]] = [
        (name, int(here.sum()), percent(float(here.mean())), f"{scores[here].mean():.2f}" if here.any() else "–")
        for name, here in groups
    ]
    return Table(
        title="The tail: memorized and useful, or memorized for nothing",
        columns=(evidence.unit.capitalize(), "Number", "Share", "Mean estimated memorization"),
        rows=tuple(rows),
        note=(
            f"Memorized: estimated memorization of {TAIL:g} or more. Shown to be useful: an influence of {USEFUL:g} or "
            "more on another example that is beyond chance. “No use shown” does not mean useless: a few shadow models "
            "show the use of hardly any example."
        ),
    )
