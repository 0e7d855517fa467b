"""LNK…: does the attack identify the memorized examples?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from memaudit.attacks import Attack, Lira
from memaudit.bank import Matched
from memaudit.bank.matching import LEAST_COUPLES
from memaudit.checks.attacked import Attacked
from memaudit.checks.dp import ceiling_curve
from memaudit.checks.evidence import Check, Evidence, between, estimate, share_of, with_interval
from memaudit.design import EveryNth, Pairs
from memaudit.memorization import EDGES, MEMORIZED, Half, Link, LinkBin, cross_fitted_link, link_of_halves
from memaudit.reports.text import percent, rate
from memaudit.stats import resolvable, threshold, transferred_thresholds
from memaudit.types import Curve, Estimate, Figure, FigureKind, Finding, Skipped, Table

Array = np.ndarray

_ATTACK = Lira()  # cheap enough to be made again on every part of the bank
_LEAST_PAIRS = 6
_LEAST_MODELS = 12  # independent ones, where they are no pairs
_LEAST_FALSE_POSITIVES = 10  # expected behind every threshold
Interval = tuple[float, float, float]


def flag_with(pairs: Pairs, some: Int[Array, " some"], fpr: float, attack: Attack = _ATTACK) -> tuple[Array, Array]:
    """Return (true positives, false positives) when some pairs are attacked with the others of them alone."""
    inside, outside = attack.leave_pair_out(pairs.take(some))
    cut = transferred_thresholds(outside, fpr)[:, None]
    return inside > cut, outside > cut


def link_rate(evidence: Evidence) -> float | None:
    """Return the lowest of the rates that half of the bank can set thresholds for; None if it can for none."""
    pairs, examples, _ = attackable(evidence).shape
    trials = examples * (pairs // 2) // 2  # half of the pairs, and of those the folds that set a threshold
    rates = [fpr for fpr in evidence.fprs if resolvable(fpr / _LEAST_FALSE_POSITIVES, trials)]
    return min(rates, default=None)


def attackable(evidence: Evidence) -> Pairs:
    """Return the bank's signals of the examples on which shadow models are scored."""
    return evidence.bank if evidence.step == 1 else EveryNth(evidence.bank, evidence.step)


@dataclass(frozen=True, slots=True)
class Linked:
    """The link at a false-positive rate, and (TPR, FPR) of the target in each bin, by the bin's lower edge."""

    link: Link
    fpr: float
    target: dict[float, tuple[str, str]]


def _of_pairs(evidence: Evidence) -> Linked | str:
    """Return the link over complementary pairs, or why there is none."""
    fpr = link_rate(evidence)
    if evidence.bank.shape[0] < _LEAST_PAIRS or fpr is None:
        return f"it needs at least {2 * _LEAST_PAIRS} shadow models and enough examples to set thresholds"
    bank = attackable(evidence)
    inside, outside = (side[:, :: evidence.step] for side in evidence.correct_by_pair)
    link = cross_fitted_link(inside, outside, lambda some: flag_with(bank, some, fpr))
    return Linked(link, fpr, _target_by_bin(evidence, fpr))


def link_of_models(evidence: Evidence) -> Linked | str:
    """Return the link over models that are no complementary pairs, or why there is none."""
    bank = evidence.bank
    assert isinstance(bank, Matched)
    halves = bank.halves(evidence.seed) if evidence.couples.groups >= _LEAST_MODELS else None
    if halves is None:
        return (
            f"it splits the shadow models into two halves, and needs at least {LEAST_COUPLES} with and without the "
            f"same examples in each; train more than these {bank.couples.models} shadow models"
        )
    couples, examples, _ = halves[0].shape
    rates = [fpr for fpr in evidence.fprs if resolvable(fpr / _LEAST_FALSE_POSITIVES, couples * examples // 2)]
    if not rates:
        return (
            f"only {examples:,} examples have {LEAST_COUPLES} shadow models with and without them in each half; train "
            "more shadow models"
        )
    fpr = min(rates)
    made = [_attacked_half(half, fpr) for half in halves]
    link = link_of_halves(made[0][0], made[1][0])
    here = np.isin(bank.kept, halves[0].kept)
    cut = threshold(made[1][1], fpr)
    flagged = _ATTACK.scores(evidence.phi[here], halves[1]) > cut
    return Linked(link, fpr, _target(made[0][0].measured()[0], flagged, evidence.members[here]))


def _attacked_half(half: Matched, fpr: float) -> tuple[Half, Array]:
    """Return half of the models with what LiRA flags within it, and the scores of its non-members."""
    couples = half.couples
    inside, outside = _ATTACK.leave_pair_out(half)
    within, without = (couples.clusters[side] for side in (couples.inside, couples.outside))
    cut = transferred_thresholds(outside, fpr, cluster=without, clusters=couples.groups)
    flags = inside > cut[within], outside > cut[without]
    return Half(half.correct, half.members > 0, couples, *flags), outside.ravel()


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
    linked = _of_pairs(evidence) if evidence.matched is None else link_of_models(evidence)
    if isinstance(linked, str):
        return (), (Skipped(code="LNK001", title="Memorization and attack", reason=linked),)
    link, fpr, units = linked.link, linked.fpr, "pairs of models" if evidence.matched is None else "models"
    method = f"Fisher z, Bonett–Wright for examples and jackknife over {units}"
    rho = estimate(link.rho, link.interval, "correlation", method)
    finding = Finding(
        code="LNK001",
        title="Memorization and attack",
        metric="link",
        attack=_ATTACK.name,
        at_fpr=fpr,
        estimate=rho,
        sentence=_sentence(link, rho, fpr, evidence.unit),
        n=link.examples,
        counted=f"{evidence.unit} in {evidence.couples.models} shadow models",
        source=f"cross-fitted over {units.removesuffix(' of models')}; Spearman 1904, Bonett & Wright 2000",
        figures=(_figure(link, fpr, evidence),),
        tables=(_table(linked, units),),
        notes=(
            "Nearly all training examples are classified correctly. Memorization then measures how hard an example is, "
            "and the two cannot be separated."
            if link.partial is None
            else "Partial rank correlation, controlling for the accuracy of models without the example: "
            "{:.2f} (95% CI {:.2f} to {:.2f}).".format(*link.partial),
            *((_sampled(evidence, link),) if evidence.step > 1 else ()),
        ),
    )
    return (finding,), ()


def _sampled(evidence: Evidence, link: Link) -> str:
    return (
        f"Shadow models are compared on {link.examples:,} of the {len(evidence.members):,} examples, evenly spaced; "
        "this model on all."
    )


link_check = Check("LNK001", "Memorization and attack", "link", _link)


def _sentence(link: Link, rho: Estimate, fpr: float, unit: str) -> str:
    """Return the link in words: the share of the true positives first, because it needs no statistics to be read."""
    correlation = f"{rho.value:.2f} (95% CI {rho.low:.2f} to {rho.high:.2f})"
    if rho.low <= 0:
        return f"Memorization and the attack's success are not shown to be related: rank correlation {correlation}."
    examples = sum(b.examples for b in link.bins if b.low >= MEMORIZED) / link.examples
    value, low, high = link.memorized
    share = (
        f"The {percent(examples)} of {unit} with estimated memorization ≥ {MEMORIZED:g} account for {percent(value)} "
        f"of the attack's true positives at a {rate(fpr)} FPR (95% CI {between(low, high)})."
        if examples
        else f"No example has an estimated memorization of {MEMORIZED:g} or more."
    )
    return f"{share} Memorized examples are identified more often: rank correlation {correlation}."


def bin_name(b: LinkBin) -> str:
    """Return a memorization bin in words."""
    return f"< {b.high:g}" if b.low == -1 else f"≥ {b.low:g}" if b.high == 1 else f"{b.low:g}–{b.high:g}"


def _figure(link: Link, fpr: float, evidence: Evidence) -> Figure:
    def curve(label: str, rates: list[Interval]) -> Curve:
        value, low, high = (tuple(column) for column in zip(*rates, strict=True))
        return Curve(x=tuple(float(i) for i in range(len(rates))), y=value, label=label, low=low, high=high)

    said = "; ".join(
        f"{bin_name(b)}: TPR {percent(b.tpr[0])}, FPR {percent(b.fpr[0])}, {percent(b.share[0])} of all true positives"
        for b in link.bins
    )
    unit = evidence.unit
    places, shares = tuple(float(i) for i in range(len(link.bins))), [b.examples / link.examples for b in link.bins]
    return Figure(
        kind=FigureKind.LINK,
        title=f"TPR at a {rate(fpr)} FPR, by memorization",
        x_label="Memorization (measured on other models)",
        y_label="Rate",
        curves=(
            curve("members (TPR)", [b.tpr for b in link.bins]),
            curve("non-members (FPR)", [b.fpr for b in link.bins]),
            *ceiling_curve(evidence, places, np.array([b.fpr[2] for b in link.bins])),  # at the surest FPR
        ),
        ticks=tuple(bin_name(b) for b in link.bins),
        alt=f"TPR and FPR by memorization. {said}.",
        below=(
            Curve(x=places, y=tuple(shares), label=f"share of {unit}"),
            curve("share of true positives", [b.share for b in link.bins]),
        ),
    )


def _table(linked: Linked, units: str) -> Table:
    rows = tuple(
        (
            bin_name(b),
            round(b.examples),
            with_interval(*b.tpr),
            with_interval(*b.fpr),
            with_interval(*b.share),
            *linked.target.get(b.low, ("–", "–")),
        )
        for b in linked.link.bins
    )
    found = linked.link.memorized
    all_ = round(sum(b.examples for b in linked.link.bins if b.low >= MEMORIZED))
    share = percent(sum(b.examples for b in linked.link.bins if b.low >= MEMORIZED) / linked.link.examples)
    total = (f"≥ {MEMORIZED:g}, all ({share} of examples)", all_, "–", "–", with_interval(*found), "–", "–")
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
        rows=(*rows, total),
        note=(
            f"95% CIs. Shadow models: each is a target, cross-fitted; Korn–Graubard over {units}, with the bins taken "
            f"as given. This model: memorization from one half of the {units.removesuffix(' of models')}, references "
            "and threshold from the other; Clopper–Pearson."
        ),
    )


def _target_by_bin(evidence: Evidence, fpr: float) -> dict[float, tuple[str, str]]:
    """Return (TPR, FPR) of the target for each bin, by the bin's lower edge."""
    inside, outside = evidence.correct_by_pair
    pairs = np.arange(len(inside))
    gain = inside[pairs % 2 == 0].mean(axis=0) - outside[pairs % 2 == 0].mean(axis=0)
    references = evidence.bank.take(pairs[pairs % 2 == 1])
    flagged = Attacked.of(_ATTACK, evidence.phi, references, evidence.step).flagged(fpr)
    return _target(gain, flagged, evidence.members)


def _target(
    gain: Float[Array, " examples"], flagged: Bool[Array, " examples"], members: Bool[Array, " examples"]
) -> dict[float, tuple[str, str]]:
    told = [_by_bin(gain, flagged, who) for who in (members, ~members)]
    return {low: (told[0].get(low, "–"), told[1].get(low, "–")) for low in told[0].keys() | told[1].keys()}


def _by_bin(gain: Array, flagged: Bool[Array, " examples"], who: Bool[Array, " examples"]) -> dict[float, str]:
    bins = np.digitize(gain, EDGES)
    told = {}
    for b, edge in enumerate((-1.0, *EDGES)):
        here = flagged[who & (bins == b)]
        if len(here):
            told[edge] = with_interval(*share_of(here))
    return told
