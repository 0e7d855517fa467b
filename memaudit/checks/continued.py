"""Tables about texts that a model continues: why, near-verbatim, and by number of copies."""

from __future__ import annotations

from collections import Counter

import numpy as np
from jaxtyping import Bool, Int

from memaudit.checks.evidence import share_of, with_interval
from memaudit.checks.suffixes import asked, outside_share, pairs_of
from memaudit.checks.text import TextEvidence, TextTargetEvidence
from memaudit.errors import EvidenceError
from memaudit.extraction import Kind, counterfactual_extraction, kinds, log_linear, near_verbatim
from memaudit.memorization import counterfactual
from memaudit.reports.text import percent, points
from memaudit.types import Table

Array = np.ndarray


def kinds_table(evidence: TextEvidence, context: int) -> Table:
    """Return why texts are continued: recited, predictable or memorized."""
    shadows, target = evidence.suffixes
    inside, outside = pairs_of(evidence, shadows.greedy[:, context])
    ratio = counterfactual(*pairs_of(evidence, shadows.logp[:, context]))
    found = kinds(counterfactual_extraction(inside, outside), evidence.documents_with, ratio.low)
    trained, others = asked(evidence, context)
    everywhere, here = (
        Counter(kind for kind, hit in zip(found, hits, strict=True) if hit)
        for hits in (trained | others, target.greedy[context] & trained)
    )
    why = {
        Kind.RECITED: "the text occurs in more than five documents",
        Kind.PREDICTABLE: "models without the text continue it too",
        Kind.MEMORIZED: "significantly less likely under models without the text",
        Kind.UNRESOLVED: "too few shadow models to decide",
        Kind.NOT_EXTRACTED: "no shadow model continues it",
    }
    return Table(
        title="Why texts are continued",
        columns=("Kind", "Reason", "Texts, by the shadow models", "Extracted from this model"),
        rows=tuple((str(kind), why[kind], everywhere[kind], here[kind]) for kind in why),
    )


def near_table(evidence: TextTargetEvidence) -> Table:
    """Return how many texts are continued near-verbatim, by this model and by models without them."""
    trained, others = asked(evidence, evidence.population.probes.longest)
    written = evidence.recorded["written"]
    columns = [
        [with_interval(*share_of(near)) for near in _near(evidence.aims[side], written[side])]
        for side in (trained, others)
    ]
    if isinstance(evidence, TextEvidence):
        _, outside = pairs_of(evidence, evidence.bank.stacked("written"))
        aims = np.tile(evidence.aims[trained], (len(outside), 1))
        columns.append([percent(float(n.mean())) for n in _near(aims, np.concatenate(outside[:, trained]))])
    rules = ("verbatim", "at most 10% of the tokens edited", "BLEU above 0.75")
    return Table(
        title="Near-verbatim continuation, by greedy decoding with the longest context",
        columns=("Criterion", "Training texts", "Other texts", "Training texts, models without them")[
            : 1 + len(columns)
        ],
        rows=tuple(zip(rules, *columns, strict=True)),
        note="Edits: Gemma Team 2024. BLEU on tokens: Ippolito et al. 2023. 95% CIs: Clopper–Pearson.",
    )


def _near(aims: Int[Array, "texts suffix"], written: Int[Array, "texts suffix"]) -> tuple[Bool[Array, " texts"], ...]:
    """Return whether each text is written word for word, within the edits, and above the BLEU."""
    near = near_verbatim(list(aims), list(written))
    return (written == aims).all(axis=1), near.within_edits, near.above_bleu


def copies_table(evidence: TextTargetEvidence) -> tuple[Table, ...]:
    """Return the extracted share by number of copies; nothing if every text occurs once."""
    longest = evidence.population.probes.longest
    trained, _ = asked(evidence, longest)
    copies = evidence.copies[trained]
    if not (copies > 1).any():
        return ()
    hits, without = evidence.own_suffixes.greedy[longest, trained], None
    if isinstance(evidence, TextEvidence):
        without = outside_share(evidence, evidence.suffixes[0].greedy[:, longest])[trained]
    bucket = np.floor(np.log2(copies)).astype(np.int64)
    rows = [
        (
            _range(2**b, 2 ** (b + 1) - 1),
            int((bucket == b).sum()),
            with_interval(*share_of(hits[bucket == b])),
            *(() if without is None else (percent(float(without[bucket == b].mean())),)),
        )
        for b in np.unique(bucket).tolist()
    ]
    return (
        Table(
            title="By number of copies",
            columns=(
                *("Copies", "Training texts", "This model"),
                *(() if without is None else ("Models without the text",)),
            ),
            rows=tuple(rows),
            note=(
                "A copy is a place in the training data where the longest context occurs with its suffix. Models "
                "without the text may have seen copies in documents that are not near-duplicates. 95% CIs: "
                "Clopper–Pearson."
            ),
        ),
    )


def copies_note(evidence: TextTargetEvidence) -> str:
    """Return what each doubling of the copies adds, or why that is not reported."""
    longest = evidence.population.probes.longest
    trained, _ = asked(evidence, longest)
    copies, hits = evidence.copies[trained], evidence.own_suffixes.greedy[longest, trained]
    if not (copies > 1).any():
        return "Every tested text occurs once in the training data: the effect of copies cannot be measured."
    same = np.unique(evidence.aims[trained], axis=0, return_inverse=True)[1].ravel()
    told = doubling("copies", copies, hits, same)
    return (
        told
        or "No slope over the copies is reported: all texts behave alike, or there are fewer than three copy counts."
    )


def doubling(
    what: str, x: Int[Array, " texts"], hits: Bool[Array, " texts"], groups: Int[Array, " texts"]
) -> str | None:
    """Return in a sentence what each doubling of x adds to the share of texts; None where no line can be fitted.

    If all texts behave alike, the fitted line is flat, and its interval would be misleadingly narrow.
    """
    if hits.all() or not hits.any():
        return None
    try:
        line = log_linear(x, hits.astype(np.int64), np.ones(len(hits), np.int64), groups)
    except EvidenceError:
        return None
    return (
        f"Each doubling of the {what} adds {points(line.slope)} percentage points of the training texts (95% CI "
        f"{points(line.low)} to {points(line.high)}; log-linear fit, Carlini et al. 2023)."
    )


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
