"""MEM004 on the page: proxies in one sentence, one picture and a few tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.memorization import Observations
from memaudit.memorization.proxies import Proxy
from memaudit.memorization.proxies.agreement import Agreement, Statistic
from memaudit.reports.text import ends, number, percent, rate
from memaudit.types import Cell, Curve, Estimate, Figure, FigureKind, Table

Array = np.ndarray

_SHOWN = 14  # rows of the picture; the tables have all
_LISTED = 12  # epochs that a note names one by one
_COLUMNS = {
    Statistic.SPEARMAN: "Spearman",
    Statistic.PEARSON: "Pearson",
    Statistic.CORRECTED: "Pearson, corrected for noise",
    Statistic.TOP: "Spearman, most memorized tenth",
    Statistic.FOUND: "AUROC, members found",
}
Agreements = Mapping[Proxy, Agreement]


@dataclass(frozen=True)
class Shown:
    """What there is to show: agreement by what the scores come from.

    `single` is of one training run, the target's if `seen` is there. `fpr` is that of the attack; None if it finds
    nobody. `watched` says whether the shadow models were observed while they trained. `memorized` is the share of the
    examples with memorization of 0.5 or more.
    """

    single: Agreements
    mean: Agreements
    others: Agreements
    blind: Agreements
    fpr: float | None
    observed: Observations
    seen: Observations | None
    watched: bool
    memorized: float

    @property
    def order(self) -> list[Proxy]:
        """The scores from one training run, the one that agrees best with memorization first."""
        return sorted(self.single, key=lambda proxy: -self.single[proxy].value[Statistic.SPEARMAN])

    @property
    def best(self) -> Agreement:
        """That of the score that agrees best."""
        return self.single[self.order[0]]

    def for_all(self, level: Float[Array, " levels"] | float) -> Float[Array, "..."]:
        """Return the level at which the intervals of all scores from one run hold together with a confidence."""
        return np.asarray(1 - (1 - np.asarray(level)) / len(self.single))

    @property
    def whose(self) -> str:
        """Whose training run the free scores come from."""
        who = "a shadow model's" if self.seen is None else "this model's"
        return f"{who} {'training' if self.observed.course is not None else 'outputs'}"


def sentence(shown: Shown, found: Estimate) -> str:
    """Return the finding in words."""
    proxy, scores = shown.order[0], len(shown.single)
    interval = f"95% CI {_ends(found.low, found.high)}, corrected for choosing the best of {scores}"
    if found.low <= 0:
        return (
            f"No score from {shown.whose} is shown to agree with memorization. The best of {scores}, {_name(proxy)}, "
            f"has a rank correlation of {_two(found.value)} (95% CI {_ends(found.low, found.high)})."
        )
    said = (
        f"Of {scores} scores from {shown.whose}, {_name(proxy)} agrees best with memorization: rank correlation "
        f"{_two(found.value)} ({interval})."
    )
    area = _cell(shown.best, Statistic.FOUND, float(shown.for_all(0.95)))
    if shown.fpr is None or area == "–":
        return said
    return f"{said} Its AUROC for members that LiRA finds at a {rate(shown.fpr)} FPR is {area}."


def _name(proxy: Proxy) -> str:
    return f"“{proxy.title}”"


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−").replace("−0.00", "0.00")


def _ends(low: float, high: float) -> str:
    return ends(_two(low), _two(high))


def _cell(agreement: Agreement | None, which: Statistic, level: float = 0.95) -> str:
    """Return a statistic with its interval; a dash where there is none."""
    if agreement is None or not agreement.variance[which] > 0:  # NaN too
        return "–"
    value, (low, high) = agreement.value[which], agreement.interval(which, level)
    if which is Statistic.FOUND:
        value, low, high = ((1 + part) / 2 for part in (value, low, high))
    return f"{_two(value)} ({_ends(float(low), float(high))})"


def tables(shown: Shown) -> tuple[Table, ...]:
    """Return a table for each thing that scores come from."""
    found = "" if shown.fpr is None else f" AUROC: for members that LiRA finds at a {rate(shown.fpr)} FPR."
    note = f"95% CIs of single scores, not corrected for their number. Larger scores: more memorized.{found}"
    runs = len(shown.observed.members) // 2
    kinds = (
        (f"Free scores, from {shown.whose}", shown.single, note),
        (f"The same scores, mean over {runs // 2} training runs", shown.mean, note),
        ("Scores from models without the example", shown.others, f"{note} These need shadow models."),
        ("Scores from the data alone (blind baseline)", shown.blind, note),
    )
    shown_in = [_table(title, rows, note) for title, rows, note in kinds if rows]
    return (*shown_in, _sources(dict.fromkeys((*shown.order, *shown.others, *shown.blind))))


def _table(title: str, rows: Agreements, note: str) -> Table:
    """Return the statistics of some scores; one that none of them has is named in the note instead."""
    order = sorted(rows, key=lambda proxy: -rows[proxy].value[Statistic.SPEARMAN])
    cells = {which: [_cell(rows[proxy], which) for proxy in order] for which in _COLUMNS}
    gone = [_COLUMNS[which] for which, column in cells.items() if set(column) == {"–"}]
    kept = [which for which in _COLUMNS if _COLUMNS[which] not in gone]
    columns = [[proxy.title for proxy in order], *(cells[which] for which in kept)]
    return Table(
        title=title,
        columns=("Score", *(_COLUMNS[which] for which in kept)),
        rows=tuple(zip(*columns, strict=True)),
        note=f"{note} Not estimable here: {'; '.join(gone)}." if gone else note,
    )


def _sources(proxies: Iterable[Proxy]) -> Table:
    rows: list[tuple[Cell, ...]] = [(proxy.title, proxy.formula or "–", proxy.source) for proxy in proxies]
    return Table(title="What the scores are", columns=("Score", "Formula", "Source"), rows=tuple(rows))


def figure(shown: Shown) -> Figure:
    """Return the rank correlations of the scores, the best at the top."""
    order = shown.order[:_SHOWN]

    def curve(label: str, agreed: Agreements) -> Curve:
        rows = [(float(row), agreed[proxy]) for row, proxy in enumerate(order) if proxy in agreed]
        lows, highs = zip(*(agreement.interval(Statistic.SPEARMAN) for _, agreement in rows), strict=True)
        return Curve(
            x=tuple(row for row, _ in rows),
            y=tuple(float(agreement.value[Statistic.SPEARMAN]) for _, agreement in rows),
            label=label,
            low=tuple(map(float, lows)),
            high=tuple(map(float, highs)),
        )

    said = "; ".join(f"{p.title} {shown.single[p].value[Statistic.SPEARMAN]:.2f}" for p in order)
    return Figure(
        kind=FigureKind.CORRELATIONS,
        title="Agreement of free scores with memorization",
        x_label="Rank correlation with memorization on other models",
        y_label="",
        curves=(curve("one training run", shown.single), curve("mean over training runs", shown.mean)),
        ticks=tuple(proxy.title for proxy in order),
        alt=f"Rank correlation with memorization, {shown.whose}: {said}.",
    )


def notes(shown: Shown, missing: Sequence[Proxy]) -> tuple[str, ...]:
    """Return what the figures rest on, and what is not in them."""
    said = [_looks(shown), *_fitted(shown), _best(shown)]
    if missing:
        titles = "; ".join(dict.fromkeys(proxy.title for proxy in missing))
        said.append(f"Not computed, because nothing that they need was recorded: {titles}.")
    return tuple(said)


def _looks(shown: Shown) -> str:
    """Return when the shadow models were looked at."""
    epochs = [number(float(epoch)) for epoch in shown.observed.epochs]
    if not shown.watched:
        return (
            "The shadow models were not observed while they trained, or not all at the same epochs: the scores are of "
            "trained models. Set observe=memaudit.Observe(...) in the recipe and fill a new bank for the others."
        )
    if len(epochs) == 1:
        return f"The shadow models were observed at the end of training alone, after {epochs[0]} epochs."
    listed = ", ".join(epochs) if len(epochs) <= _LISTED else f"{epochs[0]}, {epochs[1]}, … {epochs[-1]}"
    return f"The shadow models were observed {len(epochs)} times, after epochs {listed}."


def _best(shown: Shown) -> str:
    """Return the numbers of the sentence whose intervals, other than those of the tables, allow for the choice."""
    level = float(shown.for_all(0.95))
    found = "" if shown.fpr is None else f", AUROC {_cell(shown.best, Statistic.FOUND, level)}"
    return (
        f"{_name(shown.order[0])}, with intervals corrected for choosing the best of {len(shown.single)} scores: rank "
        f"correlation {_cell(shown.best, Statistic.SPEARMAN, level)}{found}."
    )


def _fitted(shown: Shown) -> tuple[str, ...]:
    """Return how many members are fitted, and a warning where those that are not outnumber the memorized ones."""
    right, members = shown.observed.classified, shown.observed.members > 0
    if right is None:
        return ()
    ever, end = (float(np.mean(flags, where=members)) for flags in (right.any(axis=1), right[:, -1]))
    some = f"at some look, {percent(end)} " if shown.observed.course is not None else ""
    told = (
        f"Fitted: {percent(ever)} of the members are classified correctly {some}at the end of training. "
        f"Memorization is 0.5 or more for {percent(shown.memorized)} of the examples."
    )
    if 1 - end <= shown.memorized:
        return (told,)
    return (
        told,
        "More members are not fitted than are memorized. A score that follows the loss ranks those first that the "
        "model never learned, and these are not memorized.",
    )
