"""LNK002: are the extracted texts the memorized ones?"""

from __future__ import annotations

from functools import partial

import numpy as np

from memaudit.checks.evidence import Check, Outcome, estimate, with_interval
from memaudit.checks.suffixes import silent
from memaudit.checks.text import TextEvidence
from memaudit.design import by_pair
from memaudit.memorization import cross_fitted_spearman
from memaudit.reports.text import interval, percent, quantity
from memaudit.stats import cluster_interval, spearman_interval
from memaudit.types import Curve, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

_LEAST_PAIRS, _LEAST_TEXTS = 6, 20
_BINS = 4
_TITLE = "Memorization and extraction"
_UNRELATED = "Memorization and extraction are not shown to be related"


def _link(evidence: TextEvidence) -> Outcome:
    """Memorization and extraction: are memorized texts extracted more often?

    Counterfactual memorization (MEM002) is measured on one half of the pairs of shadow models. The increase of the
    suffix's log-probability through training on the text, after the longest context, is measured on the other half.
    Then the halves are swapped. The result is Spearman's rank correlation of the two, −1 to 1. Texts are also grouped
    by memorization: the share that greedy decoding continues verbatim, in models with the text and in models without.

    Correlation is not causation: texts that are hard to predict have more room for memorization.

    Source: cross-fitted as LNK001; Spearman with Bonett & Wright 2000 and a jackknife over pairs.
    """
    if (reason := silent(evidence)) is not None:
        return (), (Skipped(code="LNK002", title=_TITLE, reason=reason),)
    testable = evidence.population.testable
    pairs = evidence.bank.shape[0]
    if pairs < _LEAST_PAIRS or len(testable) < _LEAST_TEXTS:
        reason = f"it needs at least {2 * _LEAST_PAIRS} shadow models and {_LEAST_TEXTS} documents that are long enough"
        return (), (Skipped(code="LNK002", title=_TITLE, reason=reason),)
    inside, outside = (side[:, testable] for side in evidence.correct_by_pair)
    gain = inside - outside
    longest = evidence.population.probes.longest
    members = evidence.bank.members[:, testable]
    with_text, without = by_pair(evidence.suffixes[0].logp[:, longest], members)
    rise = with_text - without
    halves = np.arange(0, pairs, 2), np.arange(1, pairs, 2)
    value, without_each = cross_fitted_spearman(gain, rise)
    ends = partial(spearman_interval, value, len(testable), without_each)
    rho = estimate(value, ends, "correlation", "Fisher z, Bonett–Wright for texts and jackknife over pairs of models")
    rows = _by_bin(gain, by_pair(evidence.suffixes[0].greedy[:, longest], members), halves)
    finding = Finding(
        code="LNK002",
        title=_TITLE,
        metric="extraction-link",
        estimate=rho,
        sentence=(
            ("Memorized texts are more likely to be extracted" if rho.low > 0 else _UNRELATED)
            + f": rank correlation {quantity(rho.value, rho.unit)} (95% CI {interval(rho)})."
        ),
        n=len(testable),
        counted=f"documents in {2 * pairs} shadow models",
        source="cross-fitted over pairs; Spearman 1904, Bonett & Wright 2000",
        figures=(_figure(rows),),
        tables=(_table(rows),),
    )
    return (finding,), ()


extraction_link_check = Check("LNK002", _TITLE, "extraction-link", _link, TextEvidence)

_Row = tuple[str, int, tuple[float, float, float], tuple[float, float, float]]


def _by_bin(gain: Array, greedy: tuple[Array, Array], halves: tuple[Array, Array]) -> list[_Row]:
    """Return how many texts are continued, by quarter of memorization on the other half of the pairs."""
    bins = np.empty(gain.shape, int)
    for own, other in (halves, halves[::-1]):
        order = gain[other].mean(axis=0).argsort(kind="stable").argsort()
        bins[own] = order * _BINS // gain.shape[1]
    rows = []
    for b, name in enumerate(("least", "second", "third", "most")):
        here = bins == b
        trials = here.sum(axis=1).astype(float)
        inside, outside = (_rate((side & here).sum(axis=1).astype(float), trials) for side in greedy)
        rows.append((name, round(float(trials.mean())), inside, outside))
    return rows


def _rate(hits: Array, trials: Array) -> tuple[float, float, float]:
    low, high = cluster_interval(hits, trials)
    return float(hits.sum() / trials.sum()), float(low), float(high)


def _figure(rows: list[_Row]) -> Figure:
    def curve(label: str, column: int) -> Curve:
        value, low, high = zip(*(row[column] for row in rows), strict=True)
        return Curve(x=tuple(float(i) for i in range(len(rows))), y=value, low=low, high=high, label=label)

    said = "; ".join(f"{name}: {percent(i[0])} with the text, {percent(o[0])} without" for name, _, i, o in rows)
    return Figure(
        kind=FigureKind.SHARES,
        title="Verbatim continuation, by memorization",
        x_label="Memorization (quarters of the documents, measured on other models)",
        y_label="Share of texts",
        curves=(curve("models with the text", 2), curve("models without it", 3)),
        ticks=tuple(name for name, *_ in rows),
        alt=f"Share of texts continued verbatim, by quarters of memorization. {said}.",
    )


def _table(rows: list[_Row]) -> Table:
    return Table(
        title="Verbatim continuation, by memorization",
        columns=("Memorization", "Documents", "Models with the text", "Models without it"),
        rows=tuple(
            (name, count, with_interval(*inside), with_interval(*outside)) for name, count, inside, outside in rows
        ),
        note=(
            "All shadow models are targets. 95% CIs: Korn–Graubard over pairs of models; Clopper–Pearson with each "
            "pair as one trial where all pairs agree."
        ),
    )
