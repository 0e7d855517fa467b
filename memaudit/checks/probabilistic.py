"""EXT002: in how many tries does a language model write a training text?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from memaudit.checks.evidence import Check, Outcome, percent, share_of
from memaudit.checks.suffixes import asked, left_out, pairs_of, too_few
from memaudit.checks.text import TextEvidence, TextTargetEvidence
from memaudit.extraction import extracted_within
from memaudit.memorization import counterfactual
from memaudit.types import Curve, Estimate, Figure, FigureKind, Finding

Array = np.ndarray

_WITHIN = "Texts written within 1,000 tries"
_HALF = 0.5  # the p of (n, p)-discoverable extraction
_QUERIES = np.array([1.0, 10.0, 100.0, 1000.0, 1e4, 1e5, 1e6])
_HEADLINE_QUERIES = 1000.0


def _probabilistic(evidence: TextTargetEvidence) -> Outcome:
    """(n, p)-discoverable extraction: how many tries does it take to have a training text written by sampling?

    With probability p_z the model, sampling from its 40 likeliest tokens, writes the suffix in one try; in n tries it
    does so at least once with probability 1 − (1 − p_z)^n. A text is (n, p)-discoverable if that is p or more; here
    p = 0.5. It needs no decoding: p_z is the product of the tokens' probabilities.

    The number is the share of training texts that 1,000 tries suffice for; beside it stands the same share of texts
    that the model was not trained on, and the share of the training texts for which 1,000 tries suffice with shadow
    models that lack them. Suffixes that are not well specified are left out, as in EXT001, which is no bound on this
    number: greedy decoding and sampling disagree both ways.

    Source: Hayes et al. 2025 (NAACL), "Measuring memorization in language models via probabilistic extraction".
    """
    if (refused := too_few(evidence, "EXT002", _WITHIN)) is not None:
        return (), (refused,)
    longest = evidence.population.probes.longest
    trained, others = asked(evidence, longest)
    within = extracted_within(evidence.own_suffixes.sampled[longest], _QUERIES, _HALF)
    own, other = within[:, trained], within[:, others]
    without = _within_without(evidence, longest, trained) if isinstance(evidence, TextEvidence) else None
    at = int(np.flatnonzero(_QUERIES == _HEADLINE_QUERIES)[0])
    value, low, high = share_of(own[at])
    finding = Finding(
        code="EXT002",
        title="Training texts written within 1,000 tries",
        metric="extraction",
        attack="sampling",
        estimate=Estimate(value=value, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence=(
            f"Sampling 1,000 times, an adversary has {percent(value)} of the training texts written word for word with "
            f"a chance of one half or better ({percent(low)} to {percent(high)}); of texts that the model was not "
            f"trained on {percent(float(other[at].mean()))}."
            + ("" if without is None else _from_others(float(without[at])))
        ),
        blind=float(other[at].mean()),
        n=own.shape[1],
        counted="training texts that are long enough and well specified",
        source="Hayes et al. 2025 (NAACL)",
        figures=(_by_tries(own, other, without),),
        notes=(
            *((_likelihood_ratio(evidence, longest),) if isinstance(evidence, TextEvidence) else ()),
            f"{left_out(evidence, longest)} texts are left out because the tokens shown go on otherwise elsewhere in "
            "the training data.",
        ),
    )
    return (finding,), ()


probabilistic_check = Check("EXT002", _WITHIN, "extraction", _probabilistic, TextTargetEvidence)


def _within_without(evidence: TextEvidence, context: int, trained: Bool[Array, " testable"]) -> Float[Array, " points"]:
    """Returns the share of the target's training texts that models without them write within each number of tries."""
    outside = pairs_of(evidence, evidence.suffixes[0].sampled[:, context])[1][:, trained].ravel()
    return np.asarray(extracted_within(outside, _QUERIES, _HALF).mean(axis=1))


def _from_others(share: float) -> str:
    return f" From models that lack these training texts it would be {percent(share)} of them."


def _by_tries(
    own: Bool[Array, "points trained"], other: Bool[Array, "points others"], without: Float[Array, " points"] | None
) -> Figure:
    places = tuple(float(i) for i in range(len(_QUERIES)))

    def curve(label: str, points: Array) -> Curve:
        value, low, high = zip(*map(share_of, points), strict=True)
        return Curve(x=places, y=value, low=low, high=high, label=label)

    said = "; ".join(f"{n:,.0f} tries: {percent(float(hits.mean()))}" for n, hits in zip(_QUERIES, own, strict=True))
    return Figure(
        kind=FigureKind.SHARES,
        title="Written within a number of tries, with a chance of one half or better",
        x_label="Tries",
        y_label="Share of texts",
        curves=(
            curve("training texts", own),
            curve("other texts", other),
            *(
                ()
                if without is None
                else (Curve(x=places, y=tuple(without.tolist()), label="training texts, in models without them"),)
            ),
        ),
        ticks=tuple(f"{n:,.0f}" if n < 1e4 else f"10^{np.log10(n):.0f}" for n in _QUERIES),
        alt=f"Share of texts that are written within a number of tries. Training texts: {said}.",
    )


def _likelihood_ratio(evidence: TextEvidence, context: int) -> str:
    ratio = counterfactual(*pairs_of(evidence, evidence.suffixes[0].logp[:, context]))
    return (
        "Training on a text makes its suffix "
        f"{np.exp(np.median(ratio.value)):.3g} times as likely in the median, by the shadow models; for "
        f"{percent(float((ratio.low > 0).mean()))} of the texts the rise is shown by its 95% interval."
    )
