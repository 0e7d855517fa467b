"""MIA026: which records can be identified as members, with a bound on how many of them are identified wrongly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from memaudit.attacks import DEFAULT
from memaudit.checks.attack_results import title_of
from memaudit.checks.attacked import Attacked
from memaudit.checks.evidence import Check, Evidence, Outcome, between, estimate, share_of
from memaudit.reports.text import percent
from memaudit.stats import (
    Calibration,
    Couples,
    at_least,
    benjamini_hochberg,
    benjamini_yekutieli,
    korn_graubard,
    rank_p_values,
)
from memaudit.types import Cell, Finding, Skipped, Table

Array = np.ndarray

FDR = 0.05
_LEVELS = (0.01, FDR, 0.1)
_TITLE = f"Records identified at a {percent(FDR)} false-discovery rate"
_METHOD = "Korn–Graubard, with the variance between training runs"


@dataclass(frozen=True, slots=True)
class Risks:
    """What an adversary can say of each record: probability of membership, p-value and q-value.

    `probability` takes members to be as frequent as non-members. `q` is the least false-discovery rate at which the
    record is identified as a member.
    """

    probability: Float[Array, " examples"]
    p: Float[Array, " examples"]
    q: Float[Array, " examples"]

    @classmethod
    def of(cls, attacked: Attacked) -> Risks:
        """Return the risks by an attack's scores: of the target, beside those of the shadow models."""
        meaning = Calibration.of(attacked.inside, attacked.outside)
        p = rank_p_values(attacked.outside.ravel(), attacked.target)
        return cls(meaning.probability(attacked.target), p, benjamini_hochberg(p))


def risks(evidence: Evidence) -> Risks:
    """Return the risk of every record by the default attack."""
    return Risks.of(evidence.attacked(_attack(evidence)))


def _attack(evidence: Evidence) -> str:
    return next(iter(evidence.with_bank), DEFAULT.name)


def _risk(evidence: Evidence) -> Outcome:
    """Risk of each record: who can be identified as a member, with a bound on the share of wrong identifications.

    Each record has a p-value: the probability that a record which was not trained on gets such a high score. It is the
    rank of the record's score among the scores of all records in all shadow models without them,

        p = (1 + scores of non-members at or above it) / (1 + scores of non-members).

    The scores are those of the audit's first attack, which compares each record with itself in other models. The null
    scores of all records are pooled. The rank among the record's own null scores alone would be at least
    1 / (pairs + 1), which identifies nobody with fewer than 19 pairs. But a pooled p-value is that of a random
    non-member, not of one chosen person. The column `shadows_flagged…` of the evidence has each record's own rate.

    The procedure of Benjamini and Hochberg turns p-values into q-values. Among all records with q ≤ 5 %, at most 5 %
    are non-members, on average over models. The bound holds for independent p-values, and for ranks among the same null
    scores, which depend positively on each other. Scores of one model also share its training run. Simulated with the
    smallest bank, and with runs that differ, the bound holds (docs/people.md). The table also has how many records are
    identified by the procedure of Benjamini and Yekutieli, whose bound holds under any dependence. It fails if the
    audited model does not behave like its shadow models: the report shows how many of the identified records really are
    non-members.

    The evidence has `risk`, `p_value` and `q_value` of each record. `risk` is the probability of membership given the
    score, if half of the candidates are members: the share of members among shadow models' scores of the same size.

    The result is the share of members that are identified at 5 %. Its interval includes the variation between training
    runs: every shadow model serves as a target, with its own pair left out of the null scores.

    Source: Benjamini & Hochberg 1995; Benjamini & Yekutieli 2001 and Bates et al. 2023 for the dependence and pooled
    ranks; Song & Mittal 2021 (USENIX Security), section 5, for the risk as a probability.
    """
    if not evidence.with_bank:
        return (), (Skipped(code="MIA026", title=_TITLE, reason="no attack with shadow models was requested"),)
    name = _attack(evidence)
    attacked = evidence.attacked(name)
    found = Risks.of(attacked)
    identified = found.q <= FDR
    members = evidence.members
    hits, trials = int(identified[members].sum()), int(members.sum())
    spread = _Spread.of(attacked, evidence.couples, members, identified)
    interval = partial(spread.interval, hits, trials)
    share = estimate(hits / trials, interval, "share", _METHOD)
    return (
        Finding(
            code="MIA026",
            title=_TITLE,
            metric="risk",
            attack=name,
            estimate=share,
            sentence=(
                f"{title_of(name)} identifies {hits:,} of {trials:,} members ({percent(share.value)}; 95% CI "
                f"{between(share.low, share.high)}) at a false-discovery rate of {percent(FDR)}. "
                f"{_wrong(identified, members)}"
            ),
            n=trials,
            counted=f"training {evidence.unit}",
            source="Benjamini & Hochberg 1995; pooled null scores of the shadow models",
            tables=(_table(found, members),),
            notes=(
                "The false-discovery rate is the expected share of non-members among all who are identified. It is no "
                "error rate for one person.",
                *((attacked.sampled,) if attacked.sampled else ()),
            ),
        ),
    ), ()


@dataclass(frozen=True, slots=True)
class _Spread:
    """What varies in the share of members that are identified: `runs` has that of every shadow model as a target.

    `null` is the variance that comes from the finite number of shadow models whose scores are the null, by jackknife.
    """

    runs: Float[Array, " models"]
    null: float
    freedom: int

    @classmethod
    def of(
        cls,
        attacked: Attacked,
        couples: Couples,
        members: Bool[Array, " examples"],
        identified: Bool[Array, " examples"],
    ) -> _Spread:
        """Return the spread; of models that are no pairs, `runs` are at the threshold of the target."""
        null, groups = np.sort(attacked.outside, axis=None), couples.groups
        cluster = couples.clusters[couples.outside]
        parts = [np.sort(attacked.outside[cluster == own]) for own in range(groups)]
        jackknifed = np.array([(attacked.target >= _cut(null, own, attacked.target))[members].mean() for own in parts])
        if attacked.matched is None:
            runs = _by_shadow(attacked, couples, null, parts)
        else:
            cut = attacked.target[identified].min() if identified.any() else np.inf
            found = couples.totals(couples.inside, attacked.inside >= cut)
            runs = found / np.maximum(couples.numbers(couples.inside), 1)
        return cls(runs, float((groups - 1) * jackknifed.var()), groups - 1)

    def interval(self, hits: int, trials: int, level: Float[Array, " levels"] | float = 0.95) -> tuple[Array, Array]:
        """Return the interval of the expected share: the target's, with the variance of members, runs and null scores.

        Source: Korn & Graubard 1998; Satterthwaite 1946 for the degrees of freedom, as in `transferred_rate`.
        """
        smooth, mean = (hits + 0.5) / (trials + 1), float(self.runs.mean())
        binomial = smooth * (1 - smooth) / trials
        within = float((self.runs * (1 - self.runs)).mean()) / trials
        scale = max(1.0, smooth / mean) ** 2 if mean > 0 else 1.0
        apart = max(0.0, float(self.runs.var(ddof=1)) - within) * scale
        variance, estimated = binomial + apart + self.null, (apart**2 + self.null**2) / self.freedom
        dof = min(variance**2 / estimated, 1e9) if estimated > 0 else 1e9
        return korn_graubard(hits / trials, trials * binomial / variance, dof, float(trials), level)


def _cut(null: Float[Array, " null"], without: Float[Array, " some"], scores: Float[Array, " examples"]) -> float:
    """Return the score from which on records are identified by null scores of which some are left out.

    Both are sorted. Equal p-values are rejected together, so that a score tells who is. It is infinite if nobody is.
    """
    falling = np.sort(scores)[::-1]
    above = at_least(null, falling) - at_least(without, falling)
    stepped = (1 + above) / (1 + len(null) - len(without)) * len(scores) / np.arange(1, len(scores) + 1)
    rejected = np.flatnonzero(stepped <= FDR)
    return float(falling[rejected[-1]]) if len(rejected) else np.inf


def _by_shadow(
    attacked: Attacked, couples: Couples, null: Float[Array, " null"], parts: list[Float[Array, " examples"]]
) -> Float[Array, " models"]:
    """Return the share of its members that is identified for each model of complementary pairs, by the other pairs."""
    first = couples.inside % 2 == 0
    rows = zip(attacked.inside, attacked.outside, first, parts, strict=True)
    return np.array(
        [
            (inside[side] >= _cut(null, own, np.where(side, inside, outside))).mean()
            for inside, outside, has, own in rows
            for side in (has, ~has)
        ]
    )


def _wrong(identified: Bool[Array, " examples"], members: Bool[Array, " examples"]) -> str:
    """Return how many of the identified records are non-members, in a sentence."""
    if not identified.any():
        return "Nobody is identified wrongly."
    value, low, high = share_of(~members[identified])
    wrong = int((identified & ~members).sum())
    return (
        f"Of the {int(identified.sum()):,} identified records, {wrong:,} are non-members ({percent(value)}; "
        f"{between(low, high)})."
    )


def _table(found: Risks, members: Bool[Array, " examples"]) -> Table:
    strict = benjamini_yekutieli(found.p)

    def row(level: float) -> tuple[Cell, ...]:
        identified = found.q <= level
        false: Cell = "–"
        if identified.any():
            value, low, high = share_of(~members[identified])
            false = f"{percent(value)} ({between(low, high)})"
        return (
            percent(level),
            int(identified.sum()),
            int((identified & members).sum()),
            int((identified & ~members).sum()),
            false,
            int((strict <= level).sum()),
        )

    return Table(
        title="Records identified, by false-discovery rate",
        columns=(
            "False-discovery rate",
            "Identified",
            "Of these members",
            "Of these non-members",
            "Measured share of non-members (95% CI)",
            "Identified under any dependence",
        ),
        rows=tuple(map(row, _LEVELS)),
        note="Measured share: Clopper–Pearson, for this model. The false-discovery rate bounds its mean over models. "
        "Any dependence: the records that remain if nothing is assumed of how their p-values depend on each other "
        "(Benjamini & Yekutieli).",
    )


risk_check = Check("MIA026", _TITLE, "risk", _risk)
