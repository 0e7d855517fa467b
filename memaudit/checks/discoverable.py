"""EXT001: does a language model continue training texts word for word, and would it do so without them?"""

from __future__ import annotations

import numpy as np

from memaudit.checks.continued import copies_note, copies_table, doubling, kinds_table, near_table
from memaudit.checks.evidence import Check, Outcome, percent, share_of, with_interval
from memaudit.checks.suffixes import asked, left_out, outside_share, pairs_of, too_few, usable
from memaudit.checks.text import TextEvidence, TextTargetEvidence
from memaudit.types import Cell, Curve, Estimate, Figure, FigureKind, Finding, Table

Array = np.ndarray

_CONTINUED = "Texts continued word for word"


def _discoverable(evidence: TextTargetEvidence) -> Outcome:
    """Discoverable extraction: does the model continue training texts word for word?

    The tokens that stand before a suffix in training are shown to the model; the suffix is extracted if greedy decoding
    writes it without a single mistake. One forward pass decides that: each token must be the likeliest one given those
    before it. Where two tokens are nearly tied, the text is really decoded. A suffix holds only tokens that the loss
    counts: of a conversation, what the assistant says, and with the longest context the whole prompt is shown.

    A suffix is well specified if nothing else follows the tokens shown anywhere in the training data; of the others no
    single answer would be right, and they are left out. Held-out texts are judged as if they stood in that data.

    The number is the share of the model's own training texts that are extracted with the longest context. Predictable
    text is extracted too, and is nobody's secret: beside it stands the share that is extracted of texts that the model
    was never trained on, and the share that shadow models extract that were not trained on the text in question.
    Without shadow models, the texts that the model was not trained on are the only control.

    Source: Carlini et al. 2023 (ICLR), "Quantifying Memorization Across Neural Language Models"; well-specified
    suffixes: Training Data Extraction Challenge 2022; the counterfactual: the same test on models without the text.
    """
    if (refused := too_few(evidence, "EXT001", _CONTINUED)) is not None:
        return (), (refused,)
    target = evidence.own_suffixes
    contexts, longest = evidence.population.probes.contexts, evidence.population.probes.longest
    trained, others = asked(evidence, longest)
    own, other = target.greedy[longest, trained], target.greedy[longest, others]
    value, low, high = share_of(own)
    finding = Finding(
        code="EXT001",
        title=f"Training texts continued word for word, {contexts[longest]} tokens shown",
        metric="extraction",
        attack="greedy",
        estimate=Estimate(value=value, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence=(
            f"Shown {_shown(evidence)}, the model writes the next {evidence.population.probes.suffix} of "
            f"{percent(value)} of its training texts without a mistake ({percent(low)} to {percent(high)}), of texts "
            f"that it was not trained on of {percent(float(other.mean()))}{_without(evidence, longest)}."
        ),
        blind=float(other.mean()),
        n=len(own),
        counted="training texts that are long enough and well specified",
        source="Carlini et al. 2023 (ICLR)",
        figures=(_by_context(evidence),),
        tables=(
            _context_table(evidence),
            *((kinds_table(evidence, longest),) if isinstance(evidence, TextEvidence) else ()),
            near_table(evidence),
            *copies_table(evidence),
        ),
        notes=(
            *_slope(evidence),
            copies_note(evidence),
            f"{len(trained)} documents are long enough: {evidence.population.probes.suffix} tokens after "
            f"{max(contexts)}. After these, near ties are decided by real decoding; after fewer, by one forward pass.",
        ),
    )
    return (finding,), ()


discoverable_check = Check("EXT001", _CONTINUED, "extraction", _discoverable, TextTargetEvidence)


def _shown(evidence: TextTargetEvidence) -> str:
    """Returns what the model is shown with the longest context, in words."""
    tokens = f"{max(evidence.population.probes.contexts)} tokens"
    return f"the input, or {tokens} if these are more" if evidence.population.objective == "seq2seq" else tokens


def _slope(evidence: TextTargetEvidence) -> tuple[str, ...]:
    """Returns what each doubling of the context adds; nothing where no line can be drawn."""
    contexts = np.array(evidence.population.probes.contexts)
    at, texts = np.nonzero([asked(evidence, c)[0] for c in range(len(contexts))])
    told = doubling("tokens shown", contexts[at], evidence.own_suffixes.greedy[at, texts], texts)
    return () if told is None else (told,)


def _without(evidence: TextTargetEvidence, context: int) -> str:
    """Returns how often models that lack the training texts write them, if there are any."""
    if not isinstance(evidence, TextEvidence):
        return ""
    share = outside_share(evidence, evidence.suffixes[0].greedy[:, context])[asked(evidence, context)[0]].mean()
    return f"; models that lack these training texts write them in {percent(float(share))} of the cases"


def _context_table(evidence: TextTargetEvidence) -> Table:
    target = evidence.own_suffixes
    columns = ("Tokens shown", "Texts left out", "This model: training texts", "This model: other texts")
    rows: list[tuple[Cell, ...]] = []
    for c in usable(evidence):
        trained, others = asked(evidence, c)
        own = with_interval(*share_of(target.greedy[c, trained])), with_interval(*share_of(target.greedy[c, others]))
        rows.append((evidence.population.probes.contexts[c], left_out(evidence, c), *own, *_in_shadows(evidence, c)))
    return Table(
        title="Continued word for word",
        columns=(
            *columns,
            *(("Shadows with the text", "Shadows without it") if isinstance(evidence, TextEvidence) else ()),
        ),
        rows=tuple(rows),
        note=(
            "All contexts end where the same suffix begins. A text is left out where the tokens shown go on otherwise "
            "elsewhere in the training data; a context, where that leaves too few texts. Intervals: Clopper–Pearson, "
            "95%."
        ),
    )


def _in_shadows(evidence: TextTargetEvidence, context: int) -> tuple[str, ...]:
    if not isinstance(evidence, TextEvidence):
        return ()
    clear = evidence.well_specified[context]
    sides = pairs_of(evidence, evidence.suffixes[0].greedy[:, context])
    return tuple(percent(float(side[:, clear].mean())) for side in sides)


def _by_context(evidence: TextTargetEvidence) -> Figure:
    target = evidence.own_suffixes
    contexts, order = evidence.population.probes.contexts, usable(evidence)
    places = tuple(float(i) for i in range(len(order)))
    texts = {c: asked(evidence, c) for c in order}

    def curve(label: str, others: bool) -> Curve:
        value, low, high = zip(*(share_of(target.greedy[c, texts[c][others]]) for c in order), strict=True)
        return Curve(x=places, y=value, low=low, high=high, label=label)

    curves: tuple[Curve, ...] = (curve("training texts", False), curve("other texts", True))
    if isinstance(evidence, TextEvidence):
        shadows = evidence.suffixes[0]
        without = tuple(float(outside_share(evidence, shadows.greedy[:, c])[texts[c][0]].mean()) for c in order)
        curves = (*curves, Curve(x=places, y=without, label="training texts, in models without them"))
    said = "; ".join(f"{contexts[c]} tokens: {percent(y)}" for c, y in zip(order, curves[0].y, strict=True))
    return Figure(
        kind=FigureKind.SHARES,
        title="Continued word for word",
        x_label="Tokens shown",
        y_label="Share of texts",
        curves=curves,
        ticks=tuple(str(contexts[c]) for c in order),
        alt=f"Share of texts that are continued word for word by the tokens shown. Training texts: {said}.",
    )
