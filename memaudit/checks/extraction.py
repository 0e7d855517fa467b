"""EXT…: what can be pulled out of a language model word for word, and would models without it say the same?"""

from __future__ import annotations

from collections import Counter

import numpy as np
from jaxtyping import Bool, Float

from memaudit.checks.evidence import Check, Outcome, percent, share_of, with_interval
from memaudit.checks.text import TextEvidence
from memaudit.design import by_pair
from memaudit.errors import EvidenceError
from memaudit.extraction import (
    Kind,
    counterfactual_extraction,
    extracted_within,
    kinds,
    log_linear,
    near_verbatim,
)
from memaudit.memorization import counterfactual
from memaudit.types import Curve, Estimate, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

_LEAST_TESTABLE = 10  # of members, and of non-members
_HALF = 0.5  # the p of (n, p)-discoverable extraction
_QUERIES = np.array([1.0, 10.0, 100.0, 1000.0, 1e4, 1e5, 1e6])
_HEADLINE_QUERIES = 1000.0


def _discoverable(evidence: TextEvidence) -> Outcome:
    """Discoverable extraction: does the model continue training texts word for word?

    The tokens that stand before a suffix in training are shown to the model; the suffix is extracted if greedy decoding
    writes it without a single mistake. One forward pass decides that: each token must be the likeliest one given those
    before it. Where two tokens are nearly tied, the text is really decoded.

    The number is the share of the model's own training texts that are extracted with the longest context. Predictable
    text is extracted too, and is nobody's secret: beside it stands the share that is extracted of texts that the model
    was never trained on, and the share that shadow models extract that were not trained on the text in question.

    Source: Carlini et al. 2023 (ICLR), "Quantifying Memorization Across Neural Language Models"; the counterfactual:
    the same test on models without the text.
    """
    if (refused := _too_few(evidence, "EXT001", "Texts continued word for word")) is not None:
        return (), (refused,)
    shadows, target = evidence.suffixes
    members = _testable_members(evidence)
    contexts = evidence.population.probes.contexts
    longest = evidence.population.probes.longest
    own, other = target.greedy[longest, members], target.greedy[longest, ~members]
    without = _outside_share(evidence, shadows.greedy[:, longest])
    value, low, high = share_of(own)
    finding = Finding(
        code="EXT001",
        title=f"Training texts continued word for word, {contexts[longest]} tokens shown",
        metric="extraction",
        attack="greedy",
        estimate=Estimate(value=value, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence=(
            f"Shown {contexts[longest]} tokens, the model writes the next {evidence.population.probes.suffix} of "
            f"{percent(value)} of its training texts without a mistake ({percent(low)} to {percent(high)}), of texts "
            "that "
            f"it was not trained on of {percent(float(other.mean()))}; models that lack these training texts write "
            "them "
            f"in {percent(float(without[members].mean()))} of the cases."
        ),
        blind=float(other.mean()),
        n=len(own),
        counted="training texts that are long enough",
        source="Carlini et al. 2023 (ICLR)",
        figures=(_by_context(evidence),),
        tables=(_context_table(evidence), _kinds_table(evidence, longest), _near_table(evidence)),
        notes=(
            *_slope(evidence, target.greedy[:, members]),
            f"{len(members)} documents are long enough: {evidence.population.probes.suffix} tokens after "
            f"{max(contexts)}. Near ties are decided by real decoding in this model, by one forward pass in the "
            "shadows.",
        ),
    )
    return (finding,), ()


def _probabilistic(evidence: TextEvidence) -> Outcome:
    """(n, p)-discoverable extraction: how many tries does it take to have a training text written by sampling?

    With probability p_z the model, sampling from its 40 likeliest tokens, writes the suffix in one try; in n tries it
    does so at least once with probability 1 − (1 − p_z)^n. A text is (n, p)-discoverable if that is p or more; here
    p = 0.5. It needs no decoding: p_z is the product of the tokens' probabilities.

    The number is the share of training texts that 1,000 tries suffice for; beside it stands the same share of texts
    that the model was not trained on, and the share of the training texts for which 1,000 tries suffice with shadow
    models that lack them. Greedy decoding and sampling disagree both ways, so EXT001 does not bound it.

    Source: Hayes et al. 2025 (NAACL), "Measuring memorization in language models via probabilistic extraction".
    """
    if (refused := _too_few(evidence, "EXT002", "Texts written within 1,000 tries")) is not None:
        return (), (refused,)
    shadows, target = evidence.suffixes
    members = _testable_members(evidence)
    longest = evidence.population.probes.longest
    within = extracted_within(target.sampled[longest], _QUERIES, _HALF)
    without = _within_without(evidence, shadows.sampled[:, longest], members)
    at = int(np.flatnonzero(_QUERIES == _HEADLINE_QUERIES)[0])
    value, low, high = share_of(within[at, members])
    other = float(within[at, ~members].mean())
    finding = Finding(
        code="EXT002",
        title="Training texts written within 1,000 tries",
        metric="extraction",
        attack="sampling",
        estimate=Estimate(value=value, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence=(
            f"Sampling 1,000 times, an adversary has {percent(value)} of the training texts written word for word with "
            f"a chance of one half or better ({percent(low)} to {percent(high)}); of texts that the model was not "
            f"trained on {percent(other)}. From models that lack these training texts it would be "
            f"{percent(float(without[at]))} of them."
        ),
        blind=other,
        n=int(members.sum()),
        counted="training texts that are long enough",
        source="Hayes et al. 2025 (NAACL)",
        figures=(_by_tries(within, without, members),),
        notes=(_likelihood_ratio(evidence, longest),),
    )
    return (finding,), ()


discoverable_check = Check("EXT001", "Texts continued word for word", "extraction", _discoverable, TextEvidence)
probabilistic_check = Check("EXT002", "Texts written within 1,000 tries", "extraction", _probabilistic, TextEvidence)


def _slope(evidence: TextEvidence, greedy: Bool[Array, "contexts members"]) -> tuple[str, ...]:
    """Returns what each doubling of the context adds; nothing where no line can be drawn."""
    contexts, texts = np.array(evidence.population.probes.contexts), greedy.shape[1]
    try:
        line = log_linear(
            np.repeat(contexts, texts),
            greedy.ravel().astype(np.int64),
            np.ones(greedy.size, np.int64),
            np.tile(np.arange(texts), len(contexts)),
        )
    except EvidenceError:
        return ()
    told = ", ".join(f"{100 * value:.2f}" for value in (line.low, line.high))
    return (
        f"Each doubling of the tokens shown adds {100 * line.slope:.2f} percentage points of the training texts "
        f"(95% interval {told}; straight line over the logarithm, Carlini et al. 2023).",
    )


def _too_few(evidence: TextEvidence, code: str, title: str) -> Skipped | None:
    members = _testable_members(evidence)
    fewest = min(int(members.sum()), int((~members).sum()))
    if fewest >= _LEAST_TESTABLE:
        return None
    probes = evidence.population.probes
    return Skipped(
        code=code,
        title=title,
        reason=(
            f"{int(members.sum())} of the members and {int((~members).sum())} of the non-members have a row of "
            f"{max(probes.contexts) + probes.suffix} tokens, and {_LEAST_TESTABLE} of each are needed; choose a "
            "shorter "
            "suffix or shorter contexts (Probes(suffix=..., contexts=...))"
        ),
    )


def _testable_members(evidence: TextEvidence) -> Bool[Array, " testable"]:
    return evidence.members[evidence.population.testable]


def _pairs(evidence: TextEvidence, values: Array) -> tuple[Array, Array]:
    """Returns values [models, testable] as (inside, outside) of each pair."""
    return by_pair(values, evidence.bank.members[:, evidence.population.testable])


def _outside_share(evidence: TextEvidence, greedy: Bool[Array, "models testable"]) -> Array:
    """Returns, for each testable unit, the share of the models without it that continue it."""
    return _pairs(evidence, greedy)[1].mean(axis=0)


def _context_table(evidence: TextEvidence) -> Table:
    shadows, target = evidence.suffixes
    members = _testable_members(evidence)
    rows = []
    for c, context in enumerate(evidence.population.probes.contexts):
        inside, outside = _pairs(evidence, shadows.greedy[:, c])
        rows.append(
            (
                context,
                with_interval(*share_of(target.greedy[c, members])),
                with_interval(*share_of(target.greedy[c, ~members])),
                percent(float(inside.mean())),
                percent(float(outside.mean())),
            )
        )
    return Table(
        title="Continued word for word",
        columns=(
            "Tokens shown",
            "This model: training texts",
            "This model: other texts",
            "Shadows with the text",
            "Shadows without it",
        ),
        rows=tuple(rows),
        note="All contexts end where the same suffix begins. Intervals: Clopper–Pearson, 95%.",
    )


def _kinds_table(evidence: TextEvidence, context: int) -> Table:
    """Returns why texts are continued: recited, predictable or truly memorized."""
    shadows, target = evidence.suffixes
    inside, outside = _pairs(evidence, shadows.greedy[:, context])
    ratio = counterfactual(*_pairs(evidence, shadows.logp[:, context]))
    copies = evidence.population.documents.copies[evidence.population.testable]
    found = kinds(counterfactual_extraction(inside, outside), copies, ratio.low)
    members = _testable_members(evidence)
    everywhere = Counter(found)
    here = Counter(kind for kind, hit in zip(found, target.greedy[context] & members, strict=True) if hit)
    why = {
        Kind.RECITED: "the text stands in the documents more than five times",
        Kind.PREDICTABLE: "models without the text write it too",
        Kind.MEMORIZED: "models without the text write it demonstrably less",
        Kind.UNRESOLVED: "too few shadow models to tell",
        Kind.NOT_EXTRACTED: "no shadow model writes it",
    }
    return Table(
        title="Why texts are continued",
        columns=("Kind", "Because", "Texts, by the shadows", "Of these: extracted here"),
        rows=tuple((str(kind), why[kind], everywhere[kind], here[kind]) for kind in why),
    )


def _near_table(evidence: TextEvidence) -> Table:
    members = _testable_members(evidence)
    written = evidence.recorded["written"]
    longest = evidence.population.probes.longest
    aims = [row.ids[-written.shape[1] :] for row in evidence.population.windows[longest]]
    near = near_verbatim(aims, list(written))
    exact = (written == np.array(aims)).all(axis=1)
    rules = (
        ("word for word", exact),
        ("at most 10% of the tokens edited", near.within_edits),
        ("BLEU above 0.75", near.above_bleu),
    )
    return Table(
        title="Nearly word for word, by greedy decoding with the longest context",
        columns=("Rule", "Training texts", "Other texts"),
        rows=tuple((name, *(with_interval(*share_of(hit[who])) for who in (members, ~members))) for name, hit in rules),
        note="Edits: Gemma Team 2024. BLEU on tokens: Ippolito et al. 2023.",
    )


def _by_context(evidence: TextEvidence) -> Figure:
    shadows, target = evidence.suffixes
    members = _testable_members(evidence)
    contexts = evidence.population.probes.contexts
    order = np.argsort(contexts)
    places = tuple(float(i) for i in range(len(order)))

    def curve(label: str, who: Array) -> Curve:
        value, low, high = zip(*(share_of(target.greedy[c, who]) for c in order), strict=True)
        return Curve(x=places, y=value, low=low, high=high, label=label)

    without = tuple(float(_outside_share(evidence, shadows.greedy[:, c])[members].mean()) for c in order)
    curves = (
        curve("training texts", members),
        curve("other texts", ~members),
        Curve(x=places, y=without, label="training texts, in models without them"),
    )
    said = "; ".join(f"{contexts[c]} tokens: {percent(float(target.greedy[c, members].mean()))}" for c in order)
    return Figure(
        kind=FigureKind.SHARES,
        title="Continued word for word",
        x_label="Tokens shown",
        y_label="Share of texts",
        curves=curves,
        ticks=tuple(str(contexts[c]) for c in order),
        alt=f"Share of texts that are continued word for word by the tokens shown. Training texts: {said}.",
    )


def _within_without(
    evidence: TextEvidence, sampled: Float[Array, "models testable"], members: Bool[Array, " testable"]
) -> Float[Array, " points"]:
    """Returns the share of the target's training texts that models without them write within each number of tries."""
    outside = _pairs(evidence, sampled)[1][:, members].ravel()
    return np.asarray(extracted_within(outside, _QUERIES, _HALF).mean(axis=1))


def _by_tries(
    within: Bool[Array, "points testable"], without: Float[Array, " points"], members: Bool[Array, " testable"]
) -> Figure:
    places = tuple(float(i) for i in range(len(_QUERIES)))

    def curve(label: str, who: Array) -> Curve:
        value, low, high = zip(*(share_of(hits[who]) for hits in within), strict=True)
        return Curve(x=places, y=value, low=low, high=high, label=label)

    said = "; ".join(
        f"{n:,.0f} tries: {percent(float(hits[members].mean()))}" for n, hits in zip(_QUERIES, within, strict=True)
    )
    return Figure(
        kind=FigureKind.SHARES,
        title="Written within a number of tries, with a chance of one half or better",
        x_label="Tries",
        y_label="Share of texts",
        curves=(
            curve("training texts", members),
            curve("other texts", ~members),
            Curve(x=places, y=tuple(without.tolist()), label="training texts, in models without them"),
        ),
        ticks=tuple(f"{n:,.0f}" if n < 1e4 else f"10^{np.log10(n):.0f}" for n in _QUERIES),
        alt=f"Share of texts that are written within a number of tries. Training texts: {said}.",
    )


def _likelihood_ratio(evidence: TextEvidence, context: int) -> str:
    ratio = counterfactual(*_pairs(evidence, evidence.suffixes[0].logp[:, context]))
    return (
        "Training on a text makes its suffix "
        f"{np.exp(np.median(ratio.value)):.3g} times as likely in the median, by the shadow models; for "
        f"{percent(float((ratio.low > 0).mean()))} of the texts the rise is shown by its 95% interval."
    )
