"""MIA011 and MIA012: how many members can be named, and how many bits of membership the model reveals."""

from __future__ import annotations

from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from memaudit.attacks import Lira
from memaudit.checks.attack_results import title_of
from memaudit.checks.attacked import Attacked
from memaudit.checks.evidence import Check, Evidence, Outcome, between, estimate
from memaudit.reports.text import number, percent, rate
from memaudit.stats import Calibration, MembershipBits, clopper_pearson, entropy
from memaudit.types import Cell, Estimate, Finding, Skipped, Table

Array = np.ndarray

_NAMED, _BITS = "Traceability: members that can be named", "Information about membership (CMI)"
_CONFIDENCE = 0.95  # one-sided, of the share of non-members that are wrongly named


def _traced(evidence: Evidence) -> Outcome:
    """Traceability: how many members an adversary can name while almost never naming a non-member.

    A model is (α, m)-traceable if some adversary names m members, and names a fresh example with probability at most α.
    The adversary here is the audit's main attack. Its threshold is set by other models, at the lowest false-positive
    rate that the non-members can resolve.

    m is a count on this model, and its share of the members has an exact interval (Clopper–Pearson). α is the upper
    95 % confidence bound of the share of this model's non-members that are named, exact too. So the result is a
    statement about this model at this one threshold. The true-positive rate (MIA005, MIA001) is another number. It is
    the rate at *exactly* the stated false-positive rate. Its interval includes the uncertainty of the threshold and of
    further training runs.

    The paper's adversary may name *no* fresh example at all, with probability 1 − ξ. The last row of the table is that
    adversary: its threshold is the highest score of any non-member in any shadow model. Suppose the audited model is
    made as the shadow models are. Then some non-member of it has a higher score with probability at most
    ξ = 1 / (pairs + 1). This needs complementary pairs that are scored on all examples; otherwise a note says why the
    row is missing.

    Source: Attias, Dziugaite, Haghifam, Livni & Roy 2024 (ICML), soundness and recall; Clopper & Pearson 1934;
    exchangeability of the target with the shadow models for ξ.
    """
    fprs = evidence.resolved_fprs
    found = evidence.attacked(evidence.with_bank[0]) if evidence.with_bank and fprs else None
    reachable = [] if found is None else [fpr for fpr in fprs if found.unreachable(fpr) is None]
    if found is None or not reachable:
        reason = (
            "no attack with shadow models was requested"
            if not evidence.with_bank
            else "the non-members cannot resolve any of the false-positive rates, or the attack cannot reach them"
        )
        return (), (Skipped(code="MIA011", title=_NAMED, reason=reason),)
    least = min(reachable)
    flagged = found.flagged(least)
    named, members = int(flagged[evidence.members].sum()), int(evidence.members.sum())
    share = estimate(
        named / members, partial(clopper_pearson, named, members), "share", "Clopper–Pearson, at a fixed threshold"
    )
    finding = Finding(
        code="MIA011",
        title=_NAMED,
        metric="traceability",
        attack=found.attack.name,
        at_fpr=least,
        estimate=share,
        sentence=(
            f"{title_of(found.attack.name)} names {named:,} of {members:,} members ({percent(share.value)}; "
            f"95% CI {between(share.low, share.high)}). At most "
            f"{percent(_wrongly(flagged, evidence)[2])} of non-members are wrongly named, with 95% confidence."
        ),
        n=members,
        counted=f"training {evidence.unit}",
        source="Attias et al. 2024, (α, m)-traceability",
        tables=(_adversaries(evidence, found, sorted(reachable, reverse=True)),),
        notes=(
            "Named: above the threshold that the shadow models' non-members set for the stated rate. The count is of "
            "this model; the true-positive rate is an estimate for the recipe.",
            *_without_bound(evidence, found),
        ),
    )
    return (finding,), ()


def _wrongly(flagged: Bool[Array, " examples"], evidence: Evidence) -> tuple[int, int, float]:
    """Return how many of the non-members are named, of how many, and the upper bound of their share."""
    others = flagged[~evidence.members]
    named = int(others.sum())
    return named, len(others), float(clopper_pearson(named, len(others), 2 * _CONFIDENCE - 1)[1])


def _without_bound(evidence: Evidence, found: Attacked) -> tuple[str, ...]:
    """Return why the highest score of shadow models bounds no chance; empty if it does: it is of as many scores."""
    if found.sampled:
        return (f"{found.sampled} An adversary who names no non-member at all would need scores of all examples.",)
    if evidence.matched is not None:
        return ("An adversary who names no non-member at all would need shadow models that are complementary pairs.",)
    return ()


def _adversaries(evidence: Evidence, found: Attacked, fprs: list[float]) -> Table:
    members = int(evidence.members.sum())

    def row(name: str, flagged: Bool[Array, " examples"]) -> tuple[Cell, ...]:
        wrong, others, most = _wrongly(flagged, evidence)
        named = int(flagged[evidence.members].sum())
        return name, f"{named:,} of {members:,}", f"{wrong:,} of {others:,}", percent(most)

    rows = [row(f"{rate(fpr)} FPR", found.flagged(fpr)) for fpr in fprs]
    if not _without_bound(evidence, found):
        chance = percent(1 / (len(found.outside) + 1))
        rows.append(row(f"names no non-member, except with probability {chance}", found.target > found.outside.max()))
    return Table(
        title="Members named, by how strict the adversary is",
        columns=(
            "Threshold",
            "Members named",
            "Non-members named",
            "At most this share of non-members (95% confidence)",
        ),
        rows=tuple(rows),
    )


def _information(evidence: Evidence) -> Outcome:
    """How many bits about each example's membership the model's outputs contain: a lower bound of CMI.

    Each example is a member with probability 1/2, independently of others: H = 1 bit. Where the shadow models' training
    sets are drawn with another probability, H is less. Conditional mutual information (CMI) is how many of these bits
    the trained model reveals to someone who has all examples,

        CMI = I(model; memberships | examples) ≥ Σ I(model; membership of i | examples) ≥ Σ (H − CE_i) bits,

    where CE is the cross-entropy of any prediction of memberships, in bits. The prediction here is LiRA's score
    (online, MIA001), turned into a probability by what such scores meant on other shadow models. 0 is no information, 1
    means that all memberships can be read off the model. A better attack can only raise the bound. It is a mean over
    examples: a few who are exposed add little to it.

    The result is the mean over the shadow models, each as a target, because CMI is an expectation over training. Its
    interval is over pairs of shadow models, or over models that are no pairs, and over examples. Simulated coverage at
    95 %, 4 and 16 pairs: .93 to 1. Estimates below 0 are reported as 0, since information is never negative.

    In the paper's definition, one example of each of n pairs is trained on. Here each example is trained on or not,
    independently of the others, as in the shadow models.

    Source: Steinke & Zakynthinou 2020 (COLT), the definition of CMI; Barber & Agakov 2003 (NIPS), the variational
    bound; Attias et al. 2024 (ICML) on its relation to memorization.
    """
    if evidence.matched is not None and evidence.matched.groups < len(evidence.bank.members):
        reason = "it needs shadow models that are complementary pairs, or that were all drawn independently"
        return (), (Skipped(code="MIA012", title=_BITS, reason=reason),)
    attacked = evidence.attacked(Lira().name)
    inside, outside = (side.astype(np.float64) for side in attacked.by_unit)
    share = 0.5 if evidence.matched is None else np.count_nonzero(evidence.bank.members) / evidence.bank.members.size
    most, fair = entropy(share), evidence.matched is None
    bits = MembershipBits.of(inside, outside, share)
    found = _not_negative(bits, "pairs of shadow models" if fair else "shadow models")
    examples = inside.shape[1]
    told = Calibration.of(inside, outside, share).log2(attacked.target, evidence.members)
    finding = Finding(
        code="MIA012",
        title=_BITS,
        metric="membership-information",
        estimate=found,
        sentence=_revealed(found, "1 bit" if fair else f"{number(most, 2)} bits"),
        n=examples,
        counted=f"examples in {len(evidence.bank.members)} shadow models",
        source="Steinke & Zakynthinou 2020; lower bound by a cross-fitted prediction",
        notes=(
            f"Of all {len(evidence.members):,} examples together: {number(found.value * len(evidence.members))} bits.",
            *((attacked.sampled,) if attacked.sampled else ()),
            f"On this model: {number(max(float(told) + most, 0.0), 2)} bits per example.",
            *(() if fair else (f"A membership with probability {percent(share)} has {number(most, 2)} bits.",)),
        ),
    )
    return (finding,), ()


def _revealed(found: Estimate, most: str) -> str:
    between = f"(95% CI {number(found.low, 2)} to {number(found.high, 2)})"
    if found.high == 0:
        return (
            "The model's outputs are not shown to reveal anything about membership: the lower bound is "
            f"{number(found.value, 2)} of {most} per example {between}."
        )
    return (
        f"The model's outputs reveal at least {number(found.value, 2)} of {most} about the membership of an average "
        f"example {between}."
    )


def _not_negative(bits: MembershipBits, over: str) -> Estimate:
    """Return the mean with its interval, no end below 0."""

    def interval(level: Float[Array, " levels"]) -> tuple[Array, Array]:
        low, high = bits.interval(level)
        return np.maximum(low, 0), np.maximum(high, 0)

    value = max(float(bits.by_cluster.mean()), 0.0)
    method = f"Student t over {over}, widened for skewness, and normal over examples; at least 0"
    return estimate(value, interval, "bits", method)


traceability_check = Check("MIA011", _NAMED, "traceability", _traced)
information_check = Check("MIA012", _BITS, "membership-information", _information)
