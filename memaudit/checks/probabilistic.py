"""EXT002: in how many samples does a language model write a training text?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from memaudit.checks.evidence import Check, Outcome, between, share_of
from memaudit.checks.suffixes import asked, left_out, pairs_of, too_few
from memaudit.checks.text import TextEvidence, TextTargetEvidence
from memaudit.extraction import extracted_within
from memaudit.memorization import counterfactual
from memaudit.reports.text import number, percent
from memaudit.types import Curve, Estimate, Figure, FigureKind, Finding

Array = np.ndarray

_WITHIN = "Texts extracted within 1,000 samples"
_HALF = 0.5  # the p of (n, p)-discoverable extraction
_QUERIES = np.array([1.0, 10.0, 100.0, 1000.0, 1e4, 1e5, 1e6])
_HEADLINE_QUERIES = 1000.0


def _probabilistic(evidence: TextTargetEvidence) -> Outcome:
    """(n, p)-discoverable extraction: how many samples does it take to extract a training text?

    With top-40 sampling, the model writes the suffix in one sample with probability p_z. In n samples it does so at
    least once with probability 1 − (1 − p_z)^n. A text is (n, p)-discoverable if that is at least p; here p = 0.5. No
    decoding is needed: p_z is the product of the tokens' probabilities.

    The result is the share of training texts that 1,000 samples suffice for. Two controls are reported: the same share
    of texts that the model was not trained on, and of the training texts in shadow models without them. Suffixes that
    are not well specified are left out, as in EXT001. EXT001 is no bound on this number: greedy decoding and sampling
    disagree both ways.

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
        title="Training texts extracted within 1,000 samples",
        metric="extraction",
        attack="sampling",
        estimate=Estimate(value=value, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence=(
            f"1,000 samples suffice to extract {percent(value)} of the training texts verbatim with probability 0.5 or "
            f"more (95% CI {between(low, high)}). Controls: {percent(float(other[at].mean()))} of texts not trained on"
            + ("." if without is None else _from_others(float(without[at])))
        ),
        blind=float(other[at].mean()),
        n=own.shape[1],
        counted="training texts that are long enough and well specified",
        source="Hayes et al. 2025 (NAACL)",
        figures=(_by_tries(own, other, without),),
        notes=(
            *((_likelihood_ratio(evidence, longest),) if isinstance(evidence, TextEvidence) else ()),
            f"{left_out(evidence, longest)} texts are left out: their prompt has another continuation in the training "
            "data.",
        ),
    )
    return (finding,), ()


probabilistic_check = Check("EXT002", _WITHIN, "extraction", _probabilistic, TextTargetEvidence)


def _within_without(evidence: TextEvidence, context: int, trained: Bool[Array, " testable"]) -> Float[Array, " points"]:
    """Return the share of the target's training texts that models without them write within each number of tries."""
    outside = pairs_of(evidence, evidence.suffixes[0].sampled[:, context])[1][:, trained].ravel()
    return np.asarray(extracted_within(outside, _QUERIES, _HALF).mean(axis=1))


def _from_others(share: float) -> str:
    return f", and {percent(share)} of these training texts in models without them."


def _by_tries(
    own: Bool[Array, "points trained"], other: Bool[Array, "points others"], without: Float[Array, " points"] | None
) -> Figure:
    places = tuple(float(i) for i in range(len(_QUERIES)))

    def curve(label: str, points: Array) -> Curve:
        value, low, high = zip(*map(share_of, points), strict=True)
        return Curve(x=places, y=value, low=low, high=high, label=label)

    said = "; ".join(f"{n:,.0f} samples: {percent(float(hits.mean()))}" for n, hits in zip(_QUERIES, own, strict=True))
    return Figure(
        kind=FigureKind.SHARES,
        title="Extracted with probability 0.5 or more, by number of samples",
        x_label="Samples",
        y_label="Share of texts",
        curves=(
            curve("training texts", own),
            curve("other texts", other),
            *(
                ()
                if without is None
                else (Curve(x=places, y=tuple(without.tolist()), label="training texts, models without them"),)
            ),
        ),
        ticks=tuple(f"{n:,.0f}" if n < 1e4 else f"10^{np.log10(n):.0f}" for n in _QUERIES),
        alt=f"Share of texts extracted, by number of samples. Training texts: {said}.",
    )


def _likelihood_ratio(evidence: TextEvidence, context: int) -> str:
    ratio = counterfactual(*pairs_of(evidence, evidence.suffixes[0].logp[:, context]))
    times = float(f"{np.exp(np.median(ratio.value)):.2g}")
    return (
        f"Training on a text makes its suffix {number(times)}× as likely (median, shadow models). "
        f"The increase is significant for {percent(float((ratio.low > 0).mean()))} of the texts (95% CI)."
    )
