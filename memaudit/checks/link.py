"""LNK…: does the attack identify the memorized examples?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from memaudit.attacks import Attack, Lira
from memaudit.checks.evidence import Check, Evidence, between, estimate, share_of, with_interval
from memaudit.design import Pairs
from memaudit.memorization import EDGES, MEMORIZED, Link, LinkBin, cross_fitted_link
from memaudit.reports.text import percent, rate
from memaudit.stats import resolvable, threshold, transferred_thresholds
from memaudit.types import Curve, Estimate, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

_ATTACK = Lira()  # cheap enough to be made again on every part of the bank
_LEAST_PAIRS = 6
_LEAST_FALSE_POSITIVES = 10  # expected behind every threshold
Interval = tuple[float, float, float]


def flag_with(pairs: Pairs, some: Int[Array, " some"], fpr: float, attack: Attack = _ATTACK) -> tuple[Array, Array]:
    """Return (true positives, false positives) when some pairs are attacked with the others of them alone."""
    inside, outside = attack.leave_pair_out(pairs.take(some))
    cut = transferred_thresholds(outside, fpr)[:, None]
    return inside > cut, outside > cut


def link_rate(evidence: Evidence) -> float | None:
    """Return the lowest of the rates that half of the bank can set thresholds for; None if it can for none."""
    pairs, examples, _ = evidence.bank.shape
    trials = examples * (pairs // 2) // 2  # half of the pairs, and of those the folds that set a threshold
    rates = [fpr for fpr in evidence.fprs if resolvable(fpr / _LEAST_FALSE_POSITIVES, trials)]
    return min(rates, default=None)


def _link(evidence: Evidence) -> tuple[tuple[Finding, ...], tuple[Skipped, ...]]:
    """How much of the attack's success at a low false-positive rate comes from memorized examples.

    Every shadow model is attacked with LiRA (online, MIA001) at one threshold. An example's true-positive rate is the
    share of the models trained on it in which it is identified. The result is Spearman's rank correlation of
    memorization with that rate, −1 to 1. TPR, FPR and the share of all true positives are shown by memorization.

    Memorization comes from one half of the pairs of models; attack, thresholds and targets come from the other half.
    Then the halves are swapped. On the same models, noise alone would correlate the two. The interval covers the choice
    of examples and of models. Estimation noise biases the correlation towards 0. Correlation is not causation: hard
    examples are both memorized and identified, as the partial correlation shows.

    Source: memorization as in MEM001; Spearman with Bonett & Wright 2000 and a jackknife over pairs; Kendall 1942 for
    the partial correlation; Korn & Graubard 1998 for the rates.
    """
    fpr = link_rate(evidence)
    if evidence.matched is not None:
        reason = "the interval of the link needs shadow models that are complementary pairs"
        return (), (Skipped(code="LNK001", title="Memorization and attack", reason=reason),)
    if evidence.bank.shape[0] < _LEAST_PAIRS or fpr is None:
        reason = f"it needs at least {2 * _LEAST_PAIRS} shadow models and enough examples to set thresholds"
        return (), (Skipped(code="LNK001", title="Memorization and attack", reason=reason),)
    link = cross_fitted_link(*evidence.correct_by_pair, lambda some: flag_with(evidence.bank, some, fpr))
    method = "Fisher z, Bonett–Wright for examples and jackknife over pairs of models"
    rho = estimate(link.rho, link.interval, "correlation", method)
    finding = Finding(
        code="LNK001",
        title="Memorization and attack",
        metric="link",
        attack=_ATTACK.name,
        at_fpr=fpr,
        estimate=rho,
        sentence=_sentence(link, rho, fpr),
        n=link.examples,
        counted=f"examples in {2 * evidence.bank.shape[0]} shadow models",
        source="cross-fitted over pairs; Spearman 1904, Bonett & Wright 2000",
        figures=(_figure(link, fpr),),
        tables=(_table(link, evidence, fpr),),
        notes=(
            "Nearly all training examples are classified correctly. Memorization then measures how hard an example is, "
            "and the two cannot be separated."
            if link.partial is None
            else "Partial rank correlation, controlling for the accuracy of models without the example: "
            "{:.2f} (95% CI {:.2f} to {:.2f}).".format(*link.partial),
        ),
    )
    return (finding,), ()


link_check = Check("LNK001", "Memorization and attack", "link", _link)


def _sentence(link: Link, rho: Estimate, fpr: float) -> str:
    """Return the link in words: the share of the true positives first, because it needs no statistics to be read."""
    correlation = f"{rho.value:.2f} (95% CI {rho.low:.2f} to {rho.high:.2f})"
    if rho.low <= 0:
        return f"Memorization and the attack's success are not shown to be related: rank correlation {correlation}."
    examples = sum(b.examples for b in link.bins if b.low >= MEMORIZED) / link.examples
    value, low, high = link.memorized
    share = (
        f"The {percent(examples)} of examples with estimated memorization ≥ {MEMORIZED:g} account for {percent(value)} "
        f"of the attack's true positives at a {rate(fpr)} FPR (95% CI {between(low, high)})."
        if examples
        else f"No example has an estimated memorization of {MEMORIZED:g} or more."
    )
    return f"{share} Memorized examples are identified more often: rank correlation {correlation}."


def bin_name(b: LinkBin) -> str:
    """Return a memorization bin in words."""
    return f"< {b.high:g}" if b.low == -1 else f"≥ {b.low:g}" if b.high == 1 else f"{b.low:g}–{b.high:g}"


def _figure(link: Link, fpr: float) -> Figure:
    def curve(label: str, rates: list[Interval]) -> Curve:
        value, low, high = (tuple(column) for column in zip(*rates, strict=True))
        return Curve(x=tuple(float(i) for i in range(len(rates))), y=value, label=label, low=low, high=high)

    said = "; ".join(
        f"{bin_name(b)}: TPR {percent(b.tpr[0])}, FPR {percent(b.fpr[0])}, {percent(b.share[0])} of all true positives"
        for b in link.bins
    )
    places, shares = tuple(float(i) for i in range(len(link.bins))), [b.examples / link.examples for b in link.bins]
    return Figure(
        kind=FigureKind.LINK,
        title=f"TPR at a {rate(fpr)} FPR, by memorization",
        x_label="Memorization (measured on other models)",
        y_label="Rate",
        curves=(
            curve("members (TPR)", [b.tpr for b in link.bins]),
            curve("non-members (FPR)", [b.fpr for b in link.bins]),
        ),
        ticks=tuple(bin_name(b) for b in link.bins),
        alt=f"TPR and FPR by memorization. {said}.",
        below=(
            Curve(x=places, y=tuple(shares), label="share of examples"),
            curve("share of true positives", [b.share for b in link.bins]),
        ),
    )


def _table(link: Link, evidence: Evidence, fpr: float) -> Table:
    target = _target_by_bin(evidence, fpr)
    rows = tuple(
        (
            bin_name(b),
            round(b.examples),
            with_interval(*b.tpr),
            with_interval(*b.fpr),
            with_interval(*b.share),
            *target.get(b.low, ("–", "–")),
        )
        for b in link.bins
    )
    return Table(
        title="Attack success by memorization",
        columns=(
            "Memorization",
            "Examples",
            "TPR, shadow models",
            "FPR, shadow models",
            "Share of true positives",
            "TPR, this model",
            "FPR, this model",
        ),
        rows=rows,
        note=(
            "95% CIs. Shadow models: each is a target, cross-fitted; Korn–Graubard over pairs of models, with the bins "
            "taken as given. This model: memorization from one half of the pairs, references and threshold from the "
            "other; Clopper–Pearson."
        ),
    )


def _target_by_bin(evidence: Evidence, fpr: float) -> dict[float, tuple[str, str]]:
    """Return (TPR, FPR) of the target for each bin, by the bin's lower edge."""
    inside, outside = evidence.correct_by_pair
    pairs = np.arange(len(inside))
    gain = inside[pairs % 2 == 0].mean(axis=0) - outside[pairs % 2 == 0].mean(axis=0)
    references = evidence.bank.take(pairs[pairs % 2 == 1])
    cut = threshold(_ATTACK.leave_pair_out(references)[1].ravel(), fpr)
    flagged = _ATTACK.scores(evidence.phi, references) > cut
    told = [_by_bin(gain, flagged, who) for who in (evidence.members, ~evidence.members)]
    return {low: (told[0].get(low, "–"), told[1].get(low, "–")) for low in told[0].keys() | told[1].keys()}


def _by_bin(gain: Array, flagged: Bool[Array, " examples"], who: Bool[Array, " examples"]) -> dict[float, str]:
    bins = np.digitize(gain, EDGES)
    told = {}
    for b, edge in enumerate((-1.0, *EDGES)):
        here = flagged[who & (bins == b)]
        if len(here):
            told[edge] = with_interval(*share_of(here))
    return told
