"""MEM009: when are examples learned for good, and which are forgotten on the way?"""

from __future__ import annotations

from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Shaped

from memaudit.checks.evidence import Check, Evidence, Outcome, between, estimate, with_interval
from memaudit.checks.generator import GeneratorEvidence
from memaudit.checks.memorized import MEAN_METHOD
from memaudit.design import by_pair
from memaudit.memorization import EDGES
from memaudit.memorization.proxies import forgetting, learned_for_good
from memaudit.reports.text import number, percent
from memaudit.stats import cluster_interval, cluster_mean_interval
from memaudit.types import Cell, Curve, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

_CODE, _TITLE = "MEM009", "Learning and forgetting of examples"
_LEAST_PAIRS = 4
_DRAWN = 8  # looks, at most
Sides = tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]


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
    assert observed is not None and observed.classified is not None
    right = observed.classified
    learned = by_pair(learned_for_good(observed.epochs, right), observed.members)
    forgotten = by_pair(forgetting(right) > 0, observed.members)
    shares = forgotten[0].mean(axis=1, dtype=np.float64)
    found = estimate(float(shares.mean()), partial(cluster_mean_interval, shares), "share", MEAN_METHOD)
    others = forgotten[1].mean(axis=1, dtype=np.float64)
    low, high = map(float, cluster_mean_interval(others))
    at_end = [float(np.isfinite(side).mean()) for side in learned]
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
        n=right.shape[2],
        counted=f"examples in {len(right)} shadow models",
        source="Toneva et al. 2019; Maini et al. 2022",
        figures=(_figure(observed.epochs, by_pair(np.moveaxis(right, 1, 2), observed.members)),),
        tables=(_table(evidence, learned, forgotten, float(observed.epochs[-1])),),
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
    if evidence.matched is not None:
        return "it needs shadow models that are complementary pairs"
    if evidence.bank.shape[0] < _LEAST_PAIRS:
        return f"it needs at least {2 * _LEAST_PAIRS} shadow models"
    observed = evidence.observed
    if observed is None or len(observed.epochs) < 2:
        return (
            "the shadow models were not observed at two epochs or more while they trained. Set "
            "observe=memaudit.Observe(...) in the recipe and fill a new bank"
        )
    return None if observed.classified is not None else "it needs examples that are classified correctly or not"


def _figure(epochs: Float[Array, " times"], right: tuple[Bool[Array, "pairs examples times"], ...]) -> Figure:
    shown = np.unique(np.linspace(0, len(epochs) - 1, _DRAWN).round().astype(int))

    def curve(label: str, side: Bool[Array, "pairs examples times"]) -> Curve:
        hits = side[..., shown].sum(axis=1, dtype=np.float64)
        low, high = cluster_interval(hits, np.full(hits.shape, side.shape[1], float))
        return Curve(
            x=tuple(float(place) for place in range(len(shown))),
            y=tuple(side[..., shown].mean(axis=(0, 1), dtype=np.float64).tolist()),
            label=label,
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
        )

    curves = curve("members", right[0]), curve("non-members", right[1])
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


def _table(evidence: Evidence, learned: Sides, forgotten: Sides, end: float) -> Table:
    bins = np.digitize(_memorized_elsewhere(evidence), EDGES)
    edges = (-1.0, *EDGES, 1.0)
    rows: list[tuple[Cell, ...]] = []
    for place in np.unique(bins):
        here = bins == place
        low, high = edges[place], edges[place + 1]
        name = f"< {high:g}" if low == -1 else f"≥ {low:g}" if high == 1 else f"{low:g}–{high:g}"
        cells = [cell for side in (0, 1) for cell in _cells(learned[side], forgotten[side], here, end)]
        rows.append((name, round(float(here.sum(axis=1).mean())), *cells))
    what = ("learned by the end", "half of them learned by epoch", "forgotten at least once")
    return Table(
        title="Learning and forgetting by memorization",
        columns=("Memorization", "Examples", *(f"{who}: {w}" for who in ("Members", "Non-members") for w in what)),
        rows=tuple(rows),
        note=(
            "95% CIs, Korn–Graubard over pairs of models. Memorization is measured on the other half of the pairs. "
            "Epochs are those of looks, describe the bin and have no interval."
        ),
    )


def _cells(learned: Array, forgotten: Array, here: Bool[Array, "pairs examples"], end: float) -> tuple[str, str, str]:
    median = float(np.median(learned[here]))
    shown = number(median) if median <= end else "not by the end"
    return _share(np.isfinite(learned), here), shown, _share(forgotten, here)


def _share(flags: Shaped[Array, "pairs examples"], here: Bool[Array, "pairs examples"]) -> str:
    """Return the share of the flagged among some examples of each pair."""
    hits, trials = ((of & here).sum(axis=1, keepdims=True).astype(float) for of in (flags, here))
    low, high = cluster_interval(hits, trials)
    return with_interval(float(hits.sum() / trials.sum()), float(low[0]), float(high[0]))


def _memorized_elsewhere(evidence: Evidence) -> Float[Array, "pairs examples"]:
    """Return for each pair the memorization that the other half of the pairs shows."""
    inside, outside = (side[:, evidence.every].astype(np.float64) for side in evidence.correct_by_pair)
    gain = inside - outside
    found = np.empty_like(gain)
    found[0::2], found[1::2] = gain[1::2].mean(axis=0), gain[0::2].mean(axis=0)
    return found
