"""MEM009: when are examples learned for good, and which are forgotten on the way?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Shaped

from memaudit.checks.evidence import Check, Evidence, Outcome, between, estimate, with_interval
from memaudit.checks.generator import GeneratorEvidence
from memaudit.checks.memorized import MEAN_METHOD
from memaudit.design import by_pair
from memaudit.memorization import EDGES, Observations
from memaudit.memorization.proxies import forgetting, learned_for_good
from memaudit.reports.text import number, percent
from memaudit.stats import cluster_interval, cluster_mean_interval
from memaudit.types import Cell, Curve, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

_CODE, _TITLE = "MEM009", "Learning and forgetting of examples"
_LEAST_PAIRS = 4
_DRAWN = 8  # looks, at most


@dataclass(frozen=True, slots=True)
class _Side:
    """What was seen of members, or of non-members, by independent unit: a pair of models, or a single model.

    `here` says which examples are members, or non-members, of the unit: of a pair all are both, each of another model.
    """

    right: Bool[Array, "units times examples"]
    learned: Float[Array, "units examples"]
    forgotten: Bool[Array, "units examples"]
    here: Bool[Array, "units examples"]

    @classmethod
    def both(cls, observed: Observations, paired: bool) -> tuple[_Side, _Side]:
        """Return those of members and of non-members."""
        right, members = observed["classified"], observed.members
        learned, forgotten = learned_for_good(observed.epochs, right), forgetting(right) > 0
        if not paired:
            return cls(right, learned, forgotten, members > 0), cls(right, learned, forgotten, members == 0)
        looks = by_pair(np.moveaxis(right, 1, 2), members)
        parts = zip(looks, by_pair(learned, members), by_pair(forgotten, members), strict=True)
        first, second = (
            cls(np.moveaxis(look, 2, 1), known, lost, np.ones(lost.shape, bool)) for look, known, lost in parts
        )
        return first, second

    def shares(self, flags: Bool[Array, "units examples"]) -> Float[Array, " units"]:
        """Return the share of the flagged in each unit."""
        return np.asarray(flags.mean(axis=1, dtype=np.float64, where=self.here))


def _learning(evidence: Evidence) -> Outcome:
    """Learning and forgetting: when are examples learned for good, and which are forgotten on the way?

    At chosen epochs each shadow model is evaluated on all examples, members and non-members. An example is *learned for
    good* at the first look from which on it is always classified correctly. It is *forgotten* if it is right at one
    look and wrong at the next one. Looks are few, so that more is forgotten than is seen.

    The result is the share of members that are forgotten at least once. Its interval is Student's t over pairs of
    shadow models, widened because few pairs may be skewed. The table shows members and non-members by memorization,
    which is measured on other models. What non-members show is not due to training on them.

    Source: Toneva et al. 2019, forgetting events; Maini et al. 2022, first-split learning time.
    """
    if (reason := _lacking(evidence)) is not None:
        return (), (Skipped(code=_CODE, title=_TITLE, reason=reason),)
    observed = evidence.observed
    assert observed is not None
    sides = _Side.both(observed, evidence.matched is None)
    shares, others = (side.shares(side.forgotten) for side in sides)
    method = MEAN_METHOD if evidence.matched is None else MEAN_METHOD.replace("pairs of ", "")
    found = estimate(float(shares.mean()), partial(cluster_mean_interval, shares), "share", method)
    low, high = map(float, cluster_mean_interval(others))
    at_end = [float(side.shares(np.isfinite(side.learned)).mean()) for side in sides]
    finding = Finding(
        code=_CODE,
        title=_TITLE,
        metric="forgetting",
        estimate=found,
        sentence=(
            f"{percent(found.value)} of members are forgotten at least once during training (95% CI "
            f"{between(found.low, found.high)}): right at one look and wrong at the next. Of non-members: "
            f"{percent(float(others.mean()))}."
        ),
        blind=float(others.mean()),
        n=observed.members.shape[1],
        counted=f"examples in {len(observed.members)} shadow models",
        source="Toneva et al. 2019; Maini et al. 2022",
        figures=(_figure(observed.epochs, sides),),
        tables=(_table(evidence, sides, float(observed.epochs[-1])),),
        notes=(
            f"95% CI of the share of non-members that are forgotten: {between(float(low), float(high))}.",
            f"{percent(at_end[0])} of members and {percent(at_end[1])} of non-members are classified correctly at the "
            f"end of training. Looks: {len(observed.epochs)}.",
        ),
    )
    return (finding,), ()


learning_check = Check(_CODE, _TITLE, "forgetting", _learning)


def _lacking(evidence: Evidence) -> str | None:
    """Return why there is nothing to say; None if there is."""
    if isinstance(evidence, GeneratorEvidence):
        return "generators are not observed while they train"
    if evidence.matched is not None and evidence.matched.groups < len(evidence.bank.members):
        return "it needs shadow models that are complementary pairs, or that were all drawn independently"
    if len(evidence.bank.members) < 2 * _LEAST_PAIRS:
        return f"it needs at least {2 * _LEAST_PAIRS} shadow models"
    observed = evidence.observed
    if observed is None or len(observed.epochs) < 2:
        return (
            "the shadow models were not observed at two epochs or more while they trained. Set "
            "observe=memaudit.Observe(...) in the recipe and fill a new bank"
        )
    return None if observed.classified is not None else "it needs examples that are classified correctly or not"


def _figure(epochs: Float[Array, " times"], sides: tuple[_Side, _Side]) -> Figure:
    shown = np.unique(np.linspace(0, len(epochs) - 1, _DRAWN).round().astype(int))

    def curve(label: str, side: _Side) -> Curve:
        hits = (side.right[:, shown] & side.here[:, None]).sum(axis=2, dtype=np.float64)
        trials = np.broadcast_to(side.here.sum(axis=1, dtype=np.float64)[:, None], hits.shape)
        low, high = cluster_interval(hits, trials)
        return Curve(
            x=tuple(float(place) for place in range(len(shown))),
            y=tuple((hits.sum(axis=0) / trials.sum(axis=0)).tolist()),
            label=label,
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
        )

    curves = curve("members", sides[0]), curve("non-members", sides[1])
    ends = " and ".join(f"{percent(c.y[-1])} of {c.label}" for c in curves)
    return Figure(
        kind=FigureKind.SHARES,
        title="Share of examples that are classified correctly, by epoch",
        x_label="Epochs of training",
        y_label="Classified correctly",
        curves=curves,
        ticks=tuple(number(float(epoch)) for epoch in epochs[shown]),
        alt=f"Share classified correctly by epoch, of members and of non-members. At the end: {ends}.",
    )


def _table(evidence: Evidence, sides: tuple[_Side, _Side], end: float) -> Table:
    gain = _memorized_elsewhere(evidence)
    bins = np.where(np.isnan(gain), -1, np.digitize(gain, EDGES))
    edges = (-1.0, *EDGES, 1.0)
    rows: list[tuple[Cell, ...]] = []
    for place in np.unique(bins[bins >= 0]):
        here = bins == place
        if not all((side.here & here).any() for side in sides):
            continue
        low, high = edges[place], edges[place + 1]
        name = f"< {high:g}" if low == -1 else f"≥ {low:g}" if high == 1 else f"{low:g}–{high:g}"
        cells = [cell for side in sides for cell in _cells(side, side.here & here, end)]
        rows.append((name, round(float(here.sum(axis=1).mean())), *cells))
    units, halves = ("pairs of ", "pairs") if evidence.matched is None else ("", "models")
    what = ("learned by the end", "half of them learned by epoch", "forgotten at least once")
    return Table(
        title="Learning and forgetting by memorization",
        columns=("Memorization", "Examples", *(f"{who}: {w}" for who in ("Members", "Non-members") for w in what)),
        rows=tuple(rows),
        note=(
            f"95% CIs, Korn–Graubard over {units}models. Memorization is measured on the other half of the {halves}. "
            "Epochs are those of looks, describe the bin and have no interval."
        ),
    )


def _cells(side: _Side, here: Bool[Array, "units examples"], end: float) -> tuple[str, str, str]:
    median = float(np.median(side.learned[here]))
    shown = number(median) if median <= end else "not by the end"
    return _share(np.isfinite(side.learned), here), shown, _share(side.forgotten, here)


def _share(flags: Shaped[Array, "units examples"], here: Bool[Array, "units examples"]) -> str:
    """Return the share of the flagged among some examples of each unit."""
    hits, trials = ((of & here).sum(axis=1, keepdims=True).astype(float) for of in (flags, here))
    low, high = cluster_interval(hits, trials)
    return with_interval(float(hits.sum() / trials.sum()), float(low[0]), float(high[0]))


def _memorized_elsewhere(evidence: Evidence) -> Float[Array, "units examples"]:
    """Return for each pair, or model, the memorization that the other half of them shows; NaN where it shows none."""
    if evidence.matched is not None:
        correct, members = (of[:, evidence.every] for of in (evidence.bank.correct, evidence.bank.members))
        halves = [_gain(correct[half::2], members[half::2] > 0) for half in (1, 0)]
        return np.stack([halves[model % 2] for model in range(len(members))])
    inside, outside = (side[:, evidence.every].astype(np.float64) for side in evidence.correct_by_pair)
    gain = inside - outside
    found = np.empty_like(gain)
    found[0::2], found[1::2] = gain[1::2].mean(axis=0), gain[0::2].mean(axis=0)
    return found


def _gain(
    correct: Shaped[Array, "models examples"], inside: Bool[Array, "models examples"]
) -> Float[Array, " examples"]:
    """Return the mean over models with each example less that over models without it; NaN where one side has none."""
    counts = inside.sum(axis=0), (~inside).sum(axis=0)
    sums = (correct * inside).sum(axis=0, dtype=np.float64), (correct * ~inside).sum(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums[0] / counts[0] - sums[1] / counts[1])
