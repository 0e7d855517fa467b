"""MEM002 and MEM003: the effect of training on a text, and how fast it is learned and forgotten."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from memaudit.checks.evidence import Check, Outcome, estimate, points_between
from memaudit.checks.memorized import COLUMNS, MEAN_METHOD, TAILS, by_memorization, mean_memorization
from memaudit.checks.text import TextEvidence
from memaudit.memorization import cross_fitted_top, null_deviation
from memaudit.reports.text import percent, points
from memaudit.stats import cluster_difference_interval
from memaudit.types import Curve, Estimate, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

_BINS = ((-1.0, 0.02), (0.02, 0.05), (0.05, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 1.0))
_LEAST_PAIRS_OF_TOP = 4
_AGES = 4  # stretches of an epoch
_BY_EPOCH = "Exact memorization by epoch"


def _counterfactual(evidence: TextEvidence) -> Outcome:
    """Counterfactual memorization: how many more of a text's tokens does a model predict because it saw the text?

    For each unit (a document with its near-duplicates): the share of its tokens that the model ranks first, in shadow
    models that were trained on it, minus the same share in models that were not,

        mem(x) = E[share predicted | trained on x] − E[share predicted | not trained on x].

    Where the recipe's own function scores tokens, the mean probability of the tokens takes the place of that share.

    The result is the mean over all units. Its interval is Student's t over pairs of shadow models, widened because few
    pairs may be skewed. It describes this recipe with half of the documents as training set, and is not a property of
    one model. The highest scores are biased upwards by selection. The mean of the top is therefore selected on half of
    the pairs and measured on the other half.

    Source: Zhang et al. 2021, "Counterfactual Memorization in Neural Language Models".
    """
    mean = mean_memorization(evidence)
    finding = Finding(
        code="MEM002",
        title="Counterfactual memorization of documents",
        metric="memorization",
        estimate=mean,
        sentence=_rise(evidence, mean),
        n=len(evidence.memorization.value),
        counted=f"documents in {len(evidence.bank.members)} shadow models",
        source="Zhang et al. 2021",
        figures=(_histogram(evidence),),
        tables=(_distribution(evidence),),
        notes=_notes(evidence),
    )
    return (finding,), ()


def _rise(evidence: TextEvidence, mean: Estimate) -> str:
    """Return what training on a document adds, in words: to the share of predicted tokens, or to their probability."""
    raised = (
        "the mean probability of its tokens" if evidence.scores_alone else "the share of its tokens that is predicted"
    )
    return (
        f"Training on a document raises {raised} by {points(mean.value)} percentage points on average "
        f"(95% CI {points_between(mean.low, mean.high)})."
    )


def _epochs(evidence: TextEvidence) -> Outcome:
    """Exact memorization by epoch: how fast is a text learned and forgotten?

    After every epoch, the share of correctly predicted tokens is recorded for some documents, in models that train on
    them and in models that do not. The difference is the effect of training; the level alone would measure how good the
    model is. The result is the difference after the last epoch. Its interval is Student's t over pairs, widened for
    skewness.

    Forgetting: in the first epoch every document was seen once, at a random time. The difference by the number of steps
    since then is the forgetting curve.

    Source: Tirumala et al. 2022 (NeurIPS), "Memorization Without Overfitting", exact memorization and its forgetting
    curve; here beside a batch that was never trained on.
    """
    if (reason := _unwatched(evidence)) is not None:
        return (), (Skipped(code="MEM003", title=_BY_EPOCH, reason=reason),)
    accuracy = evidence.bank.stacked("epoch_accuracy")
    members = evidence.bank.members[:, evidence.population.watched] > 0
    by_epoch = [_difference(accuracy[:, epoch], members) for epoch in range(accuracy.shape[1])]
    first, last = by_epoch[0], by_epoch[-1]
    finding = Finding(
        code="MEM003",
        title="Exact memorization after the last epoch",
        metric="exact-memorization",
        estimate=last,
        sentence=(
            f"Training on a document raises the share of its tokens predicted correctly by {points(last.value)} "
            f"percentage points after the last epoch (95% CI {points_between(last.low, last.high)}). After the first "
            f"epoch: {points(first.value)} ({points_between(first.low, first.high)})."
        ),
        n=members.shape[1],
        counted=f"documents in {len(members)} shadow models",
        source="Tirumala et al. 2022 (NeurIPS)",
        figures=(_epoch_figure(accuracy, members),),
        tables=(_forgetting(evidence, accuracy[:, 0], members),),
    )
    return (finding,), ()


counterfactual_check = Check(
    "MEM002", "Counterfactual memorization of documents", "memorization", _counterfactual, TextEvidence
)
epoch_check = Check("MEM003", _BY_EPOCH, "exact-memorization", _epochs, TextEvidence)


def _unwatched(evidence: TextEvidence) -> str | None:
    """Return why there is no accuracy by epoch; None if there is."""
    if "epoch_accuracy" not in evidence.bank.everything(0):
        return "the recipe's own train() records nothing by epoch; a LanguageModelRecipe does"
    return None if len(evidence.population.watched) else "no document is recorded by epoch: Probes(watched=0)"


def _difference(accuracy: Array, inside: Array, outside: Array | None = None) -> Estimate:
    """Return mean accuracy over inside cells minus that over outside cells, with its interval over pairs."""
    outside = ~inside if outside is None else outside
    sums = [
        np.where(cells, v, 0).reshape(len(accuracy) // 2, -1).sum(axis=1, dtype=float)
        for cells in (inside, outside)
        for v in (accuracy, np.ones_like(accuracy))
    ]
    hits, trials, others, of = (side.sum() for side in sums)
    interval = partial(cluster_difference_interval, *sums)
    return estimate(float(hits / trials - others / of), interval, "share", MEAN_METHOD)


def _histogram(evidence: TextEvidence) -> Figure:
    values = evidence.memorization.value
    edges = np.arange(np.floor(values.min() * 40), np.ceil(values.max() * 40) + 1) / 40
    counts, _ = np.histogram(values, edges)
    return Figure(
        kind=FigureKind.HISTOGRAM,
        title="Estimated counterfactual memorization of each document",
        x_label=(
            "Mean probability of its tokens that is due to training on the document"
            if evidence.scores_alone
            else "Share of tokens predicted only because of training on the document"
        ),
        y_label="Documents",
        curves=(Curve(x=tuple(edges.tolist()), y=tuple(counts.astype(float).tolist()), label="documents"),),
        alt=(
            f"Histogram of estimated counterfactual memorization over {len(values):,} documents. "
            f"Estimated below 0.02: {percent(float((values < 0.02).mean()))}; above 0.1: "
            f"{percent(float((values > 0.1).mean()))}."
        ),
    )


def _distribution(evidence: TextEvidence) -> Table:
    return Table(
        title="Distribution of estimated counterfactual memorization",
        columns=(
            *(c.replace("Examples", "Documents") for c in COLUMNS),
            "Increase of log p (nats per token)",
            "Separation d",
        ),
        rows=by_memorization(evidence, _BINS),
        note=(
            f"{TAILS.replace('examples', 'documents')} Separation d: the increase of the mean log-probability in "
            "standard deviations of one model (Hedges' g). The last two columns describe the bin and have no interval."
        ),
    )


def _notes(evidence: TextEvidence) -> tuple[str, ...]:
    inside, outside = evidence.correct_by_pair
    noise = null_deviation(inside, outside)
    rms = np.sqrt([(error**2).mean() for error in (noise, evidence.memorization.se)])
    notes = [
        f"Under the null hypothesis, per-document scores have a standard deviation of {rms[0]:.3f} around 0; their "
        f"root-mean-square standard error is {rms[1]:.3f}."
    ]
    top = max(1, len(noise) // 20)
    if len(inside) >= _LEAST_PAIRS_OF_TOP:
        found = cross_fitted_top(inside, outside, top)
        notes.append(
            f"The {top} most memorized documents, selected and measured on different models: {points(found.value)} "
            f"percentage points (95% CI {points_between(found.low, found.high)})."
        )
    return tuple(notes)


def _epoch_figure(accuracy: Array, members: Array) -> Figure:
    epochs = accuracy.shape[1]
    places = tuple(float(epoch) for epoch in range(epochs))

    def curve(label: str, who: Array) -> Curve:
        means = [float(accuracy[:, epoch][who].mean()) for epoch in range(epochs)]
        return Curve(x=places, y=tuple(means), label=label)

    inside, outside = curve("trained on", members), curve("never trained on", ~members)
    step = max(1, epochs // 8)
    return Figure(
        kind=FigureKind.SHARES,
        title="Tokens predicted correctly, by epoch",
        x_label="Epochs",
        y_label="Share of tokens",
        curves=(inside, outside),
        ticks=tuple(str(epoch + 1) if epoch % step == 0 else "" for epoch in range(epochs)),
        alt=(
            f"Share of tokens predicted correctly after each of {epochs} epochs. At the end: {percent(inside.y[-1])} "
            f"of documents trained on and {percent(outside.y[-1])} of others."
        ),
    )


def _forgetting(evidence: TextEvidence, first: Array, members: Array) -> Table:
    """Return the difference after the first epoch by the time that has passed since the document was seen."""
    age = evidence.bank.stacked("epoch_age")[:, 0]
    edges = np.quantile(age[members], np.linspace(0, 1, _AGES + 1))
    rows = []
    for low, high in pairwise(edges):
        here = members & (age >= low) & ((age < high) | (high == edges[-1]))
        if here.any() and high > low:
            rise = _difference(first, here, ~members)
            rows.append(
                (
                    f"{low:.0f}–{high:.0f}",
                    int(here.sum()),
                    f"{points(rise.value)} ({points_between(rise.low, rise.high)})",
                )
            )
    whole = _difference(first, members)
    rows.append(("all", int(members.sum()), f"{points(whole.value)} ({points_between(whole.low, whole.high)})"))
    return Table(
        title="Forgetting: gain in tokens predicted after the first epoch, by steps since the document was seen",
        columns=("Steps since", "Documents × models", "Percentage points above unseen documents"),
        rows=tuple(rows),
        note="Each document was seen once by then, at a random time. 95% CIs over pairs of models.",
    )
