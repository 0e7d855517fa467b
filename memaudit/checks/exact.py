"""CAN010: planted secrets in this model, by an exact test that needs no shadow model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import stats

from memaudit.canaries.exact import exact_p, mean_interval, null_mean, planted_p, rank_share
from memaudit.checks.evidence import Check, ControlCheck, Outcome, estimate, share_of, with_interval
from memaudit.checks.text import TextTargetEvidence
from memaudit.recipe import TextPopulation
from memaudit.reports.text import percent, rate
from memaudit.types import Cell, Control, Curve, Estimate, Figure, FigureKind, Finding, Rung, Skipped, Table

Array = np.ndarray

_TITLE = "Planted canaries in this model, exact test"
_BUDGETS = (1, 10, 100, 1000, 10_000)
_RANKS = 8  # shown
_FIRSTS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5)  # shares of the secrets, in the model's order
_ALARM = 0.001  # probability of a false alarm of the control


class Questioned(Protocol):
    """What the exact test reads: the canaries, what each was ranked among, and how often it was planted."""

    @property
    def population(self) -> TextPopulation:
        """The documents and the canaries."""
        ...

    @property
    def recorded(self) -> dict[str, Array]:
        """What the audited model answered, by name."""
        ...

    @property
    def doses(self) -> UInt8[Array, " canaries"]:
        """How often each canary was planted in it."""
        ...

    @property
    def seed(self) -> int:
        """Of the permutation test."""
        ...


@dataclass(frozen=True, slots=True)
class Ranked:
    """The canaries' ranks in the audited model.

    `rank` counts the secrets that cost no more than the canary, itself included, among `of`. Where `whole`, these are
    all secrets of the space; else a uniform sample and the canary.
    """

    rank: Int[Array, " canaries"]
    of: Int[Array, " canaries"]
    whole: Bool[Array, " canaries"]

    @classmethod
    def of_model(cls, evidence: Questioned) -> Ranked:
        """Return the ranks; ties count against the canary."""
        population, others = evidence.population, evidence.recorded["reference_cost"]
        rank, of, at = [], [], 0
        for own, space, references in zip(
            evidence.recorded["canary_cost"], population.spaces, population.references, strict=True
        ):
            count = space.size if references is None else len(references)
            sampled = references is not None
            rank.append(max(1, int((others[at : at + count] <= own).sum()) + sampled))
            of.append(count + sampled)
            at += count
        whole = np.array([references is None for references in population.references], bool)
        return cls(np.array(rank, np.int64), np.array(of, np.int64), whole)

    def take(self, some: Bool[Array, " canaries"]) -> Ranked:
        """Return the ranks of some of the canaries."""
        return Ranked(self.rank[some], self.of[some], self.whole[some])

    @property
    def bits(self) -> Float[Array, " canaries"]:
        """Exposure in bits: log₂(of / rank)."""
        return np.log2(self.of / self.rank)


def _exact(evidence: Questioned) -> Outcome:
    """Planted canaries in this model: has the model seen them? An exact test without shadow models.

    The secret of a canary was drawn uniformly from its space. In a model that has not seen it, its rank among other
    secrets drawn in the same way is therefore uniform, whatever the model prefers. The p-value is exact: Fisher's sum
    of the exposures log₂(n/rank), with its distribution under uniform ranks computed by convolution. Ties count against
    the finding, which makes the p-value larger.

    The number is the mean exposure of the canaries planted in this model, in bits, by the model alone. One that the
    model has not seen has 1.443 bits on average. The interval is nonasymptotic: it takes the canaries for independent
    draws and assumes nothing else. It is about this model and secrets of this form. CAN001 is about the recipe: it
    averages over shadow models.

    The p-value needs secrets that were drawn before training, after the space was fixed (`memaudit canary make`). A
    secret that somebody chose has no such null distribution. That the canaries were trained on is what the members file
    says; `memaudit canary check --train` looks for them in the training data.

    Source: Carlini et al. 2019 (USENIX Security), exposure; Fisher 1925; Waudby-Smith & Ramdas 2024 for the interval.
    """
    planted = evidence.doses > 0
    if not planted.any():
        reason = "no canary was planted in this model" if len(planted) else "the recipe has no canaries"
        return (), (Skipped(code="CAN010", title=_TITLE, reason=reason),)
    ranked = Ranked.of_model(evidence)
    own = ranked.take(planted)
    mean, p, null = _mean(evidence, own, planted), exact_p(own.rank, own.of), null_mean(own.of)
    finding = Finding(
        code="CAN010",
        title=_TITLE,
        metric="planted-exposure",
        attack="raw",
        estimate=mean,
        sentence=(
            f"The {len(own.rank)} canaries planted in this model have a mean exposure of {mean.value:.2f} bits (95% CI "
            f"{mean.low:.2f} to {mean.high:.2f}); secrets that the model has not seen have {null:.2f}. Exact p-value "
            f"of “the model has seen none of them”: {p:.2g}."
        ),
        blind=null,
        n=len(own.rank),
        counted="planted canaries",
        source="Carlini et al. 2019 (USENIX Security), exposure; Fisher 1925",
        figures=(_figure(ranked, planted, p),) if ranked.of.min() * _FIRSTS[-1] >= 1 else (),
        tables=(_by_dose(evidence, ranked), *_budgets(evidence, own, planted)),
        notes=_notes(evidence, ranked, planted),
    )
    return (finding,), ()


def _figure(ranked: Ranked, planted: Bool[Array, " canaries"], p: float) -> Figure:
    """Return the share of the canaries among the model's first guesses, beside chance: ranks against uniform ranks."""
    firsts = [first for first in _FIRSTS if first * ranked.of.min() >= 1]
    places = tuple(float(place) for place in range(len(firsts)))

    def curve(label: str, here: Bool[Array, " canaries"]) -> Curve:
        own = ranked.take(here)
        found = [share_of(own.rank <= first * own.of) for first in firsts]
        value, low, high = (tuple(column) for column in zip(*found, strict=True))
        return Curve(x=places, y=value, label=label, low=low, high=high)

    curves = [curve("planted canaries", planted)]
    if not planted.all():
        curves.append(curve("canaries that were not planted", ~planted))
    said = "; ".join(
        f"{percent(y)} among the first {rate(first)} of the guesses"
        for first, y in zip(firsts, curves[0].y, strict=True)
    )
    return Figure(
        kind=FigureKind.SHARES,
        title="How early does the model guess the planted canaries?",
        x_label="Among the model's first guesses (share of all secrets of the form)",
        y_label="Share of canaries guessed",
        curves=(*curves, Curve(x=places, y=tuple(firsts), label="chance: a model that has not seen them")),
        ticks=tuple(rate(first) for first in firsts),
        alt=f"Share of the canaries that the model guesses early. Planted: {said}. Exact p-value: {p:.2g}.",
    )


def _mean(evidence: Questioned, own: Ranked, planted: Bool[Array, " canaries"]) -> Estimate:
    """Return the mean exposure of the planted canaries; its upper end is that of the most it can be."""
    sizes = np.log2([float(s.size) for s, here in zip(evidence.population.spaces, planted, strict=True) if here])
    furthest = np.where((own.rank == 1) & ~own.whole, np.maximum(sizes, own.bits), own.bits)
    most = float(max(sizes.max(), own.bits.max()))

    def interval(level: Float[Array, " levels"]) -> tuple[Array, Array]:
        low = mean_interval(own.bits, own.bits, float(np.log2(own.of).max()), level)[0]
        return low, mean_interval(furthest, furthest, most, level)[1]

    return estimate(float(own.bits.mean()), interval, "bits", "nonasymptotic, by betting (Waudby-Smith & Ramdas 2024)")


def _notes(evidence: Questioned, ranked: Ranked, planted: Bool[Array, " canaries"]) -> tuple[str, ...]:
    notes = [
        "The p-value needs no shadow model and no law of what the model prefers: each secret was drawn at random from "
        "its space. It is void for secrets that somebody chose.",
        "That these canaries were trained on is taken from the members file. `memaudit canary check --train` looks for "
        "them in the training data.",
    ]
    p = planted_p(ranked.rank, ranked.of, planted, evidence.seed)
    if p is not None:
        notes.append(
            f"Compared with the {int((~planted).sum())} canaries that were not planted: p = {p:.2g} (permutation test, "
            "valid if chance decided which were planted)."
        )
    if (at_end := int(((ranked.rank == 1) & ~ranked.whole & planted).sum())) > 0:
        notes.append(
            f"{at_end} of {int(planted.sum())} canaries rank before every reference and may be exposed further; the "
            "upper end of the interval allows for that. More references (Probes(references=...)) narrow it."
        )
    return tuple(notes)


def _by_dose(evidence: Questioned, ranked: Ranked) -> Table:
    """Return exposure, rank share and p-value at each dose, that of the canaries that were not planted among them."""
    rows: list[tuple[Cell, ...]] = []
    for dose in np.unique(evidence.doses).tolist():
        here = ranked.take(evidence.doses == dose)
        ranks = np.sort(here.rank).tolist()
        rows.append(
            (
                dose,
                len(ranks),
                ", ".join(f"{rank:,}" for rank in ranks[:_RANKS]) + (", …" if len(ranks) > _RANKS else ""),
                f"{here.bits.mean():.2f}",
                _share(here),
                f"{exact_p(here.rank, here.of):.2g}",
            )
        )
    planted = ranked.take(evidence.doses > 0)
    exact = f"{exact_p(planted.rank, planted.of):.2g}"
    rows.append(("all planted", len(planted.rank), "–", f"{planted.bits.mean():.2f}", _share(planted), exact))
    among = ", ".join(f"{of:,}" for of in np.unique(ranked.of).tolist())
    return Table(
        title="Canaries in this model by how often they were planted",
        columns=("Planted", "Canaries", f"Ranks among {among}", "Mean exposure (bits)", "Mean rank share", "Exact p"),
        rows=tuple(rows),
        note=(
            "Rank share: the share of the space that the model finds at least as likely as the canary; 50% on average "
            "if the model has not seen it. Its 95% interval (Clopper–Pearson) is about these canaries in this model; "
            "where the whole space was ranked, the share is exact."
        ),
    )


def _share(ranked: Ranked) -> str:
    if ranked.whole.all():
        return f"{100 * float((ranked.rank - 1).sum() / (ranked.of - 1).sum()):.3g}% (exact)"
    return with_interval(*rank_share(ranked.rank - 1, ranked.of - 1))


def _budgets(evidence: Questioned, own: Ranked, planted: Bool[Array, " canaries"]) -> Sequence[Table]:
    """Return how many planted canaries are guessed within a budget, where ranks in the whole space are known."""
    sizes = np.array([space.size for space in evidence.population.spaces], float)[planted]
    rank, known = _ranks_in_space(evidence, own, planted)
    rows = []
    for budget in _BUDGETS:
        if budget > sizes.min() / 2 or not (known | (rank >= budget)).all():
            break
        hits, chance = int((known & (rank <= budget)).sum()), budget / float(sizes.min())
        p = float(stats.binom.sf(hits - 1, len(rank), chance))
        rows.append(
            (budget, hits, with_interval(*share_of(known & (rank <= budget))), f"{100 * chance:.2g}%", f"{p:.2g}")
        )
    if not rows:
        return ()
    return (
        Table(
            title="Guessing the planted secrets in the model's order",
            columns=("Guesses", "Canaries guessed", "Share", "Chance at most", "Exact p"),
            rows=tuple(rows),
            note=(
                f"Of {len(rank)} planted canaries in spaces of {int(sizes.min()):,} secrets or more. The adversary "
                "knows the text before the secret and the form of the secret. Shares: Clopper–Pearson; p: binomial."
            ),
        ),
    )


def _ranks_in_space(
    evidence: Questioned, own: Ranked, planted: Bool[Array, " canaries"]
) -> tuple[Int[Array, " planted"], Bool[Array, " planted"]]:
    """Return each planted canary's rank in its whole space and whether it is known; else the rank is larger."""
    recorded = evidence.recorded
    if "search_rank" not in recorded:
        return np.where(own.whole, own.rank, 0), own.whole
    found, rank = recorded["search_found"][planted], recorded["search_rank"][planted]
    return np.where(own.whole, own.rank, rank), own.whole | found


exact_check = Check("CAN010", _TITLE, "planted-exposure", _exact, TextTargetEvidence)


def unplanted(evidence: Questioned) -> Control:
    """Canaries that were not planted in this model: are their ranks uniform, as they must be?

    The exact test of CAN010, on the canaries that the model was not trained on. A small p-value means that the secrets
    were not drawn at random, that they reached the model in another way, or that the members file is wrong about which
    were planted. Exposures then mean nothing.

    Source: Fisher 1925, with the exact distribution of discrete ranks.
    """
    ranked = Ranked.of_model(evidence).take(evidence.doses == 0)
    count = len(ranked.rank)
    p = exact_p(ranked.rank, ranked.of)
    return Control(
        code="CTL006",
        title="Canaries that were never planted: is nothing found?",
        passed=p >= _ALARM if count else None,
        sentence=(
            f"The {count} canaries that were not planted in this model have a mean exposure of "
            f"{ranked.bits.mean():.2f} bits, where chance gives {null_mean(ranked.of):.2f} (exact p = {p:.2g})."
            if count
            else "Every canary was planted in this model, or the recipe has none."
        ),
        source="Fisher 1925",
        overstates=("exposure", "canaries", "planted-exposure") if p < _ALARM else (),
    )


unplanted_check = ControlCheck(
    "CTL006",
    "Canaries that were never planted",
    unplanted,
    TextTargetEvidence,
    lambda evidence: evidence.rung < Rung.BANK,
)
