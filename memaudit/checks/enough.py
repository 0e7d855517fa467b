"""Power curve: attack performance as a function of the number of shadow models."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from memaudit.checks.evidence import Attacked, Evidence, points_between, share_of, with_interval
from memaudit.design import EveryNth, step_of
from memaudit.reports.text import percent, points, rate
from memaudit.stats import percentiles, tpr_draws, tpr_interval, transferred_rate
from memaudit.types import Curve, Figure, FigureKind, Table

Interval = tuple[float, float, float]

_LEAST_REFERENCES = 3  # pairs: one is left out, and two have a variance
_LEAST_PAIRS = 2 * _LEAST_REFERENCES
_SIZES = 3  # each costs an attack that learns


class Enough(NamedTuple):
    """What a finding says about the number of shadow models."""

    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


class Size(NamedTuple):
    """What the attack finds with so many shadow models: in them on average, and in the target."""

    models: int
    shadows: Interval
    members: Interval
    nonmembers: Interval


def enough(evidence: Evidence, attacked: Attacked, fpr: float) -> Enough:
    """Return how what the attack finds has grown with the bank, and in words whether it still grows.

    Args:
        evidence: With the bank that `attacked` was scored with.
        attacked: The attack's scores with the whole bank.
        fpr: The false-positive rate that thresholds are set for.
    """
    pairs = evidence.bank.shape[0]
    if evidence.matched is not None:
        return Enough(
            notes=("Whether more shadow models would find more can only be measured on complementary pairs.",)
        )
    if pairs < _LEAST_PAIRS:
        return Enough(notes=(f"The power curve needs at least {2 * _LEAST_PAIRS} shadow models.",))
    parts = [attacked_by(evidence, attacked, count) for count in sizes(pairs)]
    curve = [_size(evidence, part, fpr) for part in parts]
    return Enough((_figure(curve, fpr),), (_table(curve, fpr),), (_in_words(gain(parts[-2], parts[-1], fpr), curve),))


def sizes(pairs: int) -> list[int]:
    """Return the numbers of pairs that the attack is made with: a quarter of the bank, half of it, all; rising."""
    halved = [pairs]
    while len(halved) < _SIZES and halved[0] // 2 >= _LEAST_REFERENCES:
        halved.insert(0, halved[0] // 2)
    return halved


def attacked_by(evidence: Evidence, attacked: Attacked, pairs: int) -> Attacked:
    """Return the scores of the same attack with the bank's first pairs alone: those of a bank that is still small.

    Of more than 10,000 examples, so many are looked at, evenly spaced.
    """
    step = step_of(len(evidence.members))
    if pairs == len(attacked.inside):
        target, inside, outside = (s[..., ::step] for s in (attacked.target, attacked.inside, attacked.outside))
        return Attacked(attacked.attack, target, inside, outside)
    return Attacked.of(attacked.attack, evidence.phi[::step], EveryNth(evidence.bank.take(np.arange(pairs)), step))


def gain(part: Attacked, whole: Attacked, fpr: float) -> Interval:
    """Return how much larger a share of their members the attack finds with the whole bank than with a part of it.

    The targets are the shadows of the part both times, so that only the number of references differs; negative if fewer
    are found. Value, and the ends of the interval, which covers at least 95%: percentiles of paired `stats.tpr_draws`.
    """
    targets = len(part.inside)
    same = replace(whole, inside=whole.inside[:targets], outside=whole.outside[:targets])
    value = _found(same, fpr) - _found(part, fpr)
    draws = tpr_draws(same.inside, same.outside, fpr) - tpr_draws(part.inside, part.outside, fpr)
    return value, *percentiles(draws)


def _found(attacked: Attacked, fpr: float) -> float:
    return float(attacked.shadows_flagged(fpr)[0].mean())


def _size(evidence: Evidence, attacked: Attacked, fpr: float) -> Size:
    step, pairs = step_of(len(evidence.members)), len(attacked.inside)
    flagged, members = attacked.flagged(fpr), evidence.members[::step]
    couples = evidence.couples.take(pairs, step)
    tpr = transferred_rate(flagged[members], attacked.inside, attacked.outside, couples, fpr)
    low, high = map(float, tpr.interval())
    shadows = _found(attacked, fpr), *tpr_interval(attacked.inside, attacked.outside, fpr)
    return Size(2 * pairs, shadows, (tpr.value, low, high), share_of(flagged[~members]))


def _in_words(gain: Interval, curve: list[Size]) -> str:
    """Return one or two sentences on half of the bank against all of it."""
    value, low, high = gain
    some, all_ = curve[-2].models, curve[-1].models
    change = f"{points(value)} percentage points (95% CI {points_between(low, high)})"
    if low > 0:
        return (
            f"Doubling the shadow models from {some} to {all_} raises the TPR by {change}, on the same target models. "
            "More shadow models can be expected to identify more members than reported here."
        )
    return (
        f"Doubling the shadow models from {some} to {all_} is not shown to raise the TPR: the difference is {change}, "
        "on the same target models."
    )


def _table(curve: list[Size], fpr: float) -> Table:
    return Table(
        title="Attack by number of shadow models",
        columns=("Shadow models", "TPR, shadow models", "TPR, this model", "FPR, this model"),
        rows=tuple((size.models, *(with_interval(*share) for share in size[1:])) for size in curve),
        note=(
            f"At a {rate(fpr)} FPR, with 95% CIs. Each row's models are among those of the next row. Shadow models: "
            "each is a target, with its pair left out; bootstrap over pairs of models and examples. This model: TPR "
            "with the interval of the finding, FPR with Clopper–Pearson's. At most 10,000 examples, evenly spaced."
        ),
    )


def _figure(curve: list[Size], fpr: float) -> Figure:
    def line(label: str, shares: list[Interval]) -> Curve:
        value, low, high = (tuple(column) for column in zip(*shares, strict=True))
        return Curve(x=tuple(float(i) for i in range(len(shares))), y=value, label=label, low=low, high=high)

    said = "; ".join(f"with {size.models}: {percent(size.shadows[0])} on average" for size in curve)
    return Figure(
        kind=FigureKind.SHARES,
        title=f"TPR at a {rate(fpr)} FPR, by number of shadow models",
        x_label="Shadow models used by the attack",
        y_label="True-positive rate",
        curves=(
            line("shadow models, mean", [size.shadows for size in curve]),
            line("this model", [size.members for size in curve]),
        ),
        ticks=tuple(str(size.models) for size in curve),
        alt=f"True-positive rate by the number of shadow models. On the shadow models, {said}.",
    )
