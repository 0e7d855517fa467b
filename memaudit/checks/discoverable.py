"""EXT001: does a language model continue training texts verbatim, and would it do so without them?"""

from __future__ import annotations

import numpy as np

from memaudit.checks.continued import copies_note, copies_table, doubling, kinds_table, near_table
from memaudit.checks.evidence import Check, Outcome, between, share_of, with_interval
from memaudit.checks.suffixes import asked, left_out, outside_share, pairs_of, too_few, usable
from memaudit.checks.text import TextEvidence, TextTargetEvidence
from memaudit.reports.text import percent
from memaudit.types import Cell, Curve, Estimate, Figure, FigureKind, Finding, Table

Array = np.ndarray

_CONTINUED = "Texts continued verbatim"


def _discoverable(evidence: TextTargetEvidence) -> Outcome:
    """Discoverable extraction: does the model continue training texts verbatim?

    The model is prompted with the tokens before a suffix. The suffix is extracted if greedy decoding reproduces it
    exactly. One forward pass decides: each token must rank first given the tokens before it. Near ties are decided by
    real decoding. A suffix contains only tokens that the loss counts: in a conversation, the assistant's. With the
    longest context, the whole prompt is given.

    A suffix is well specified if the prompt has no other continuation in the training data. Others have no single right
    answer and are left out. Held-out texts are treated as if they were in that data.

    The result is the share of the model's training texts that are extracted with the longest context. Predictable text
    is extracted too, and is no leak. Two controls are reported: the share of texts that the model was never trained on,
    and the share that shadow models extract without having been trained on the text. Without
    shadow models, the texts that the model was not trained on are the only control.

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
        title=f"Training texts continued verbatim, {contexts[longest]}-token prompt",
        metric="extraction",
        attack="greedy",
        estimate=Estimate(value=value, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence=(
            f"With {_shown(evidence)} as the prompt, greedy decoding reproduces the next "
            f"{evidence.population.probes.suffix} tokens of {percent(value)} of the training texts (95% CI "
            f"{between(low, high)}). Controls: {percent(float(other.mean()))} of texts not trained on"
            f"{_without(evidence, longest)}."
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
            f"{max(contexts)}. With the longest prompt, near ties are decided by real decoding; with shorter ones, by "
            "one forward pass.",
        ),
    )
    return (finding,), ()


discoverable_check = Check("EXT001", _CONTINUED, "extraction", _discoverable, TextTargetEvidence)


def _shown(evidence: TextTargetEvidence) -> str:
    """Return what the model is shown with the longest context, in words."""
    tokens = f"{max(evidence.population.probes.contexts)} tokens"
    return f"the input, or {tokens} if these are more" if evidence.population.objective == "seq2seq" else tokens


def _slope(evidence: TextTargetEvidence) -> tuple[str, ...]:
    """Return what each doubling of the context adds; nothing where no line can be drawn."""
    contexts = np.array(evidence.population.probes.contexts)
    at, texts = np.nonzero([asked(evidence, c)[0] for c in range(len(contexts))])
    told = doubling("prompt tokens", contexts[at], evidence.own_suffixes.greedy[at, texts], texts)
    return () if told is None else (told,)


def _without(evidence: TextTargetEvidence, context: int) -> str:
    """Return how often models that lack the training texts write them, if there are any."""
    if not isinstance(evidence, TextEvidence):
        return ""
    share = outside_share(evidence, evidence.suffixes[0].greedy[:, context])[asked(evidence, context)[0]].mean()
    return f", and {percent(float(share))} of these training texts in models without them"


def _context_table(evidence: TextTargetEvidence) -> Table:
    target = evidence.own_suffixes
    columns = ("Prompt tokens", "Texts left out", "Training texts, this model", "Other texts, this model")
    rows: list[tuple[Cell, ...]] = []
    for c in usable(evidence):
        trained, others = asked(evidence, c)
        own = with_interval(*share_of(target.greedy[c, trained])), with_interval(*share_of(target.greedy[c, others]))
        rows.append((evidence.population.probes.contexts[c], left_out(evidence, c), *own, *_in_shadows(evidence, c)))
    return Table(
        title="Verbatim continuation by prompt length",
        columns=(
            *columns,
            *(
                ("Shadow models with the text", "Shadow models without it")
                if isinstance(evidence, TextEvidence)
                else ()
            ),
        ),
        rows=tuple(rows),
        note=(
            "All prompts end where the same suffix begins. A text is left out if its prompt has another continuation "
            "in the training data; a prompt length, if that leaves too few texts. 95% CIs: Clopper–Pearson."
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
        curves = (*curves, Curve(x=places, y=without, label="training texts, models without them"))
    said = "; ".join(f"{contexts[c]} tokens: {percent(y)}" for c, y in zip(order, curves[0].y, strict=True))
    return Figure(
        kind=FigureKind.SHARES,
        title="Verbatim continuation by prompt length",
        x_label="Prompt tokens",
        y_label="Share of texts",
        curves=curves,
        ticks=tuple(str(contexts[c]) for c in order),
        alt=f"Share of texts continued verbatim, by prompt length. Training texts: {said}.",
    )
