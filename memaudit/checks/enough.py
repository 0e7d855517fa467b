"""Power curve: attack performance as a function of the number of shadow models."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from memaudit.bank import Matched
from memaudit.bank.matching import LEAST_COUPLES
from memaudit.checks.attacked import Attacked
from memaudit.checks.evidence import Evidence, points_between, share_of, with_interval
from memaudit.design import EveryNth, step_of
from memaudit.reports.text import percent, points, rate
from memaudit.stats import percentiles, resolvable, tpr_draws, transferred_rate
from memaudit.types import Curve, Figure, FigureKind, Table

Interval = tuple[float, float, float]

_LEAST_REFERENCES = 3  # pairs: one is left out, and two have a variance
_LEAST_PAIRS = 2 * _LEAST_REFERENCES
_LEAST_FALSE_POSITIVES = 10  # expected behind the threshold of a part of models that are no pairs
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


class PowerCurve(NamedTuple):
    """The attack by number of shadow models, and what the last step adds; `examples` are those that are looked at."""

    sizes: list[Size]
    gain: Interval
    examples: int


def enough(evidence: Evidence, attacked: Attacked, fpr: float) -> Enough:
    """Return how what the attack finds has grown with the bank, and in words whether it still grows.

    Args:
        evidence: With the bank that `attacked` was scored with.
        attacked: The attack's scores with the whole bank.
        fpr: The false-positive rate that thresholds are set for.
    """
    curve = power_curve(evidence, attacked, fpr)
    if isinstance(curve, str):
        return Enough(notes=(curve,))
    units = "pairs of models" if evidence.matched is None else "models"
    return Enough((_figure(curve.sizes, fpr),), (_table(curve, fpr, units),), (_in_words(curve.gain, curve.sizes),))


def power_curve(evidence: Evidence, attacked: Attacked, fpr: float) -> PowerCurve | str:
    """Return the attack with parts of the bank and with all of it, or in words why there is no such curve."""
    if evidence.matched is not None:
        return _of_models(evidence, attacked, fpr)
    pairs = evidence.bank.shape[0]
    if pairs < _LEAST_PAIRS:
        return f"The power curve needs at least {2 * _LEAST_PAIRS} shadow models."
    counts = sizes(pairs)
    parts = [attacked_by(evidence, attacked, count) for count in counts]
    curve = [_size(evidence, part, fpr, 2 * count) for part, count in zip(parts, counts, strict=True)]
    return PowerCurve(curve, gain(parts[-2], parts[-1], fpr), parts[-1].inside.shape[1])


def _of_models(evidence: Evidence, attacked: Attacked, fpr: float) -> PowerCurve | str:
    """Return the curve over models that are no complementary pairs.

    Couples are drawn again: the first ones of each example are of a part of the models alone.
    """
    assert isinstance(evidence.bank, Matched)
    nested = [evidence.bank.nested(parts, evidence.seed) for parts in (_SIZES, 2)]
    most = len(evidence.members) / 2
    found = nested[0] if nested[0] is not None and len(nested[0].bank.kept) >= most else nested[1]
    if (
        evidence.couples.groups < 2 * _LEAST_PAIRS
        or found is None
        or not resolvable(fpr / _LEAST_FALSE_POSITIVES, found.couples[0] * len(found.bank.kept))
    ):
        return (
            f"The power curve needs at least {2 * _LEAST_PAIRS} shadow models, and enough examples that are in "
            f"{LEAST_COUPLES} models of their first half and not in {LEAST_COUPLES} others."
        )
    here = np.isin(evidence.bank.kept, found.bank.kept)
    some: Evidence = replace(
        evidence, bank=found.bank, matched=found.bank.couples, phi=evidence.phi[here], members=evidence.members[here]
    )
    whole = some.scored(attacked.attack)
    parts = [attacked_by(some, whole, count) for count in found.couples]
    curve = [_size(some, part, fpr, models) for part, models in zip(parts, found.models, strict=True)]
    return PowerCurve(curve, gain(parts[-2], parts[-1], fpr), parts[-1].inside.shape[1])


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
    matched = None if evidence.matched is None else evidence.matched.take(pairs, step)
    if pairs == len(attacked.inside) and attacked.step == 1:
        target, inside, outside = (s[..., ::step] for s in (attacked.target, attacked.inside, attacked.outside))
        return Attacked(attacked.attack, target, inside, outside, matched)
    bank = EveryNth(evidence.bank.take(np.arange(pairs)), step)
    return replace(Attacked.of(attacked.attack, evidence.phi[::step], bank), matched=matched)


def gain(part: Attacked, whole: Attacked, fpr: float) -> Interval:
    """Return how much larger a share of their members the attack finds with the whole bank than with a part of it.

    The targets are the shadows of the part both times, so that only the number of references differs; negative if fewer
    are found. Value, and the ends of the interval, which covers at least 95%: percentiles of paired `stats.tpr_draws`.
    """
    targets = len(part.inside)
    same = replace(whole, inside=whole.inside[:targets], outside=whole.outside[:targets], matched=part.matched)
    value = _found(same, fpr) - _found(part, fpr)
    draws = tpr_draws(*same.by_unit, fpr) - tpr_draws(*part.by_unit, fpr)
    return value, *percentiles(draws)


def _found(attacked: Attacked, fpr: float) -> float:
    return float(attacked.shadows_flagged(fpr)[0].mean())


def _size(evidence: Evidence, attacked: Attacked, fpr: float, models: int) -> Size:
    step, pairs = step_of(len(evidence.members)), len(attacked.inside)
    flagged, members = attacked.flagged(fpr), evidence.members[::step]
    couples = evidence.couples_of(slice(None, None, step)).take(pairs)
    tpr = transferred_rate(flagged[members], attacked.inside, attacked.outside, couples, fpr)
    low, high = map(float, tpr.interval())
    shadows = _found(attacked, fpr), *attacked.shadows_interval(fpr)
    return Size(models, shadows, (tpr.value, low, high), share_of(flagged[~members]))


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


def _table(curve: PowerCurve, fpr: float, units: str) -> Table:
    return Table(
        title="Attack by number of shadow models",
        columns=("Shadow models", "TPR, shadow models", "TPR, this model", "FPR, this model"),
        rows=tuple((size.models, *(with_interval(*share) for share in size[1:])) for size in curve.sizes),
        note=(
            f"At a {rate(fpr)} FPR, on {curve.examples:,} examples, with 95% CIs. Each row's models are among those of "
            "the next row. Shadow models: each is a target, with its pair left out; bootstrap over "
            f"{units} and examples. This model: TPR with the interval of the finding, FPR with Clopper–Pearson's."
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
