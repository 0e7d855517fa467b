"""MEM002 and MEM003: what training on a text changes, and how soon it is learned and forgotten."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from memaudit.checks.evidence import Check, Outcome, estimate, percent, points
from memaudit.checks.memorized import COLUMNS, MEAN_METHOD, TAILS, by_memorization, mean_memorization
from memaudit.checks.text import TextEvidence
from memaudit.memorization import cross_fitted_top, null_deviation
from memaudit.stats import cluster_difference_interval
from memaudit.types import Curve, Estimate, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

_BINS = ((-1.0, 0.02), (0.02, 0.05), (0.05, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 1.0))
_LEAST_PAIRS_OF_TOP = 4
_AGES = 4  # stretches of an epoch
_BY_EPOCH = "Exact memorization by epoch"


def _counterfactual(evidence: TextEvidence) -> Outcome:
    """Counterfactual memorization: how many more of a text's tokens does a model predict because it saw the text?

    For each unit (a document with its near-duplicates): the share of its tokens that are the likeliest, in shadow
    models that were trained on it, minus the same share in models that were not,

        mem(x) = E[share predicted | trained on x] − E[share predicted | not trained on x].

    Where the recipe's own function scores tokens, the mean probability of the tokens takes the place of that share.

    The number is the mean over all units. Its interval is Student's t over pairs of shadow models, widened because a
    few pairs may have a skewed law. It holds for this recipe at half of the documents, and is not what one model
    memorized. The highest scores are too high, as chance
    helped to make them the highest; the mean of the top is therefore selected on half of the pairs and measured on the
    other half.

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
    interval = f"({100 * mean.low:.2f} to {100 * mean.high:.2f})"
    if evidence.scores_alone:
        return (
            f"A model that was trained on a document gives its tokens a mean probability that is {points(mean.value)} "
            f"higher than one that was not, on average {interval}."
        )
    return (
        f"Of a document's tokens, a model that was trained on it predicts {points(mean.value)} more than one that was "
        f"not, on average {interval}."
    )


def _epochs(evidence: TextEvidence) -> Outcome:
    """Exact memorization by epoch: how soon is a text learned, and how soon forgotten?

    After every epoch the share of tokens that are predicted right is recorded for some documents, in models that train
    on them and in models that do not. The difference is what training on them did; the level alone would measure how
    good the model is. The number is that difference after the last epoch; its interval is Student's t over pairs,
    widened for skewness.

    Forgetting: in the first epoch every document was seen once, at a time drawn by lot. The difference by the number of
    steps since then is the forgetting curve.

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
            f"After the first epoch a model predicts {points(first.value)} "
            f"({100 * first.low:.2f} to {100 * first.high:.2f}) more of the tokens of what it was trained on than of "
            f"what it was not, after the last {points(last.value)} ({100 * last.low:.2f} to {100 * last.high:.2f})."
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
    """Returns why there is no accuracy by epoch; None if there is."""
    if "epoch_accuracy" not in evidence.bank.everything(0):
        return "the recipe's own train() trained the models, and records nothing by epoch; a LanguageModelRecipe does"
    return None if len(evidence.population.watched) else "no document was watched: Probes(watched=0)"


def _difference(accuracy: Array, inside: Array, outside: Array | None = None) -> Estimate:
    """Returns mean accuracy over inside cells minus that over outside cells, with its interval over pairs."""
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
            "Mean probability of its tokens that is due to training on it"
            if evidence.scores_alone
            else "Share of tokens predicted only because of training on it"
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
            "Rise of log p (nats a token)",
            "Separation d",
        ),
        rows=by_memorization(evidence, _BINS),
        note=(
            f"{TAILS.replace('examples', 'documents')} Separation d: the rise of the mean log-probability in standard "
            "deviations of one model (Hedges' g). The last two columns describe the bin and have no interval."
        ),
    )


def _notes(evidence: TextEvidence) -> tuple[str, ...]:
    inside, outside = evidence.correct_by_pair
    noise = null_deviation(inside, outside)
    rms = np.sqrt([(error**2).mean() for error in (noise, evidence.memorization.se)])
    notes = [
        f"If membership changed nothing, single scores would have a standard deviation of {rms[0]:.3f} about 0; their "
        f"root-mean-square standard error is {rms[1]:.3f}."
    ]
    top = max(1, len(noise) // 20)
    if len(inside) >= _LEAST_PAIRS_OF_TOP:
        found = cross_fitted_top(inside, outside, top)
        notes.append(
            f"The {top} most memorized documents, selected on other models than they are measured on: "
            f"{points(found.value)} ({100 * found.low:.2f} to {100 * found.high:.2f})."
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
        title="Tokens predicted right, epoch by epoch",
        x_label="Epochs",
        y_label="Share of tokens",
        curves=(inside, outside),
        ticks=tuple(str(epoch + 1) if epoch % step == 0 else "" for epoch in range(epochs)),
        alt=(
            f"Share of tokens predicted right after each of {epochs} epochs: at the end {percent(inside.y[-1])} of "
            f"what was trained on and {percent(outside.y[-1])} of what was not."
        ),
    )


def _forgetting(evidence: TextEvidence, first: Array, members: Array) -> Table:
    """Returns the difference after the first epoch by the time that has passed since the document was seen."""
    age = evidence.bank.stacked("epoch_age")[:, 0]
    edges = np.quantile(age[members], np.linspace(0, 1, _AGES + 1))
    rows = []
    for low, high in pairwise(edges):
        here = members & (age >= low) & ((age < high) | (high == edges[-1]))
        if here.any() and high > low:
            rise = _difference(first, here, ~members)
            rows.append(
                (
                    f"{low:.0f} to {high:.0f}",
                    int(here.sum()),
                    f"{100 * rise.value:.2f} ({100 * rise.low:.2f} to {100 * rise.high:.2f})",
                )
            )
    return Table(
        title="Forgetting: more tokens predicted right after the first epoch, by the steps since a document was seen",
        columns=("Steps since", "Documents × models", "Percentage points over documents never seen"),
        rows=tuple(rows),
        note="Each document was seen once by then, at a time drawn by lot. 95% intervals over pairs of models.",
    )
