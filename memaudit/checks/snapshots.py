"""MIA024: what two releases of one model reveal together about the records that changed between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from memaudit.attacks import releases
from memaudit.attacks.releases import Change, Holds, Signs, Simulated
from memaudit.checks.attack_results import tied
from memaudit.checks.evidence import (
    Check,
    Evidence,
    Outcome,
    between,
    estimate,
    points_between,
    share_of,
    with_interval,
)
from memaudit.checks.fidelity import fidelity_check
from memaudit.reports.text import percent, points, rate
from memaudit.stats import (
    Couples,
    TransferredRate,
    least_nonmembers,
    paired_change,
    rate_by_pair,
    resolvable,
    threshold,
    transferred_rate,
    transferred_thresholds,
    unreachable,
)
from memaudit.types import Finding, Skipped, Table

Array = np.ndarray

LEAST_CHANGED = 10
_SINGLE = (Holds.WITH, Holds.WITHOUT)
_METHOD = "Korn–Graubard, with the variance of the threshold and between simulated releases"


def _snapshots(evidence: Evidence) -> Outcome:
    """Two releases of one model: which records were added or removed between them?

    Someone who kept the old release and gets the new one can compare them. A record is *added* if only the new release
    was trained on it, and *removed* if only the old one was. The null hypothesis is that it is *unchanged*: a member of
    both releases, or of neither. One release alone tells members from non-members, but not an added record from one
    that was there before.

    The score is the log-likelihood ratio of changed against unchanged. With a and b the log-likelihood ratios of
    membership (LiRA, online) in the old and the new release, and π the share of non-members among the unchanged,

        score of added = b − log(π + (1 − π)·exp(a + b)),     of removed = a − log(π + (1 − π)·exp(a + b)).

    The threshold comes from simulated releases: a model of one pair of the bank as the old release, a model of another
    pair as the new one. Both pairs are left out of the references. The simulated releases were trained on independent
    halves of the examples, real ones mostly on the same records, so that their signals vary together. The threshold is
    then too strict, and the result too low: see the measured false-positive rate on the unchanged records. Of Gaussian
    signals that move by one standard deviation, a correlation of 0.2 between the releases turns 1 % into 0.5 %.

    The result is the true-positive rate: the share of the changed records that are identified. The table compares it
    with each release alone, and with the difference of the two signals. The comparison of both releases with the better
    single one is made on the simulated releases, with an interval over pairs of pairs.

    The new release is taken to be trained from scratch. Where it continues the training of the old one, the two depend
    on each other more than the simulated releases do, and these thresholds need not hold.

    Source: Jagielski et al. 2023 (PoPETs); Zanella-Béguelin et al. 2020 (CCS), differential score; Chen et al. 2021
    (CCS), removed records; Carlini et al. 2022 (LiRA).
    """
    compared = evidence.releases
    if isinstance(compared, str):
        return (), (Skipped(code="MIA024", title=_TITLE, reason=compared),)
    findings: list[Finding] = []
    skipped: list[Skipped] = []
    for change in Change:
        for fpr in evidence.fprs:
            if reason := _unmeasured(compared, change, fpr):
                skipped.append(Skipped(code="MIA024", title=_titled(change, fpr), reason=reason))
                continue
            findings.append(_finding(compared, change, fpr))
    return tuple(findings), tuple(skipped)


_TITLE = "Two releases compared"


def _titled(change: Change, fpr: float) -> str:
    return f"{_TITLE}, {change} records, at {rate(fpr)} FPR"


@dataclass(frozen=True)
class Compared:
    """Two releases and the simulated ones, for the tables and findings about them."""

    evidence: Evidence
    old: Signs
    new: Signs
    simulated: Simulated
    was: Bool[Array, " examples"]

    @classmethod
    def of(cls, evidence: Evidence) -> Compared:
        """Return what is needed of an evidence that has an earlier release."""
        assert evidence.before is not None
        bank = evidence.bank
        old, new = (releases.signs(phi, bank) for phi in (evidence.before.phi, evidence.phi))
        return cls(evidence, old, new, Simulated.of(bank), evidence.before.members)

    @property
    def unchanged(self) -> Bool[Array, " examples"]:
        """Which records are members of both releases, or of neither."""
        return self.was == self.evidence.members

    def changed(self, change: Change) -> Bool[Array, " examples"]:
        """Return which records were added, or removed."""
        now = self.evidence.members
        return now & ~self.was if change is Change.ADDED else self.was & ~now

    @property
    def never(self) -> float:
        """The share of the unchanged records that are members of neither release."""
        return float((~self.was[self.unchanged]).mean())

    @cached_property
    def kept(self) -> Bool[Array, "rows examples"]:
        """Which of the simulated unchanged records are members of both releases: as many as in the real ones."""
        rng = np.random.default_rng(self.evidence.seed)
        return rng.random(self.simulated.inside.ratio.shape) >= self.never

    @cached_property
    def couples(self) -> Couples:
        """Which simulated releases the scores come from."""
        return releases.couples(self.evidence.bank.members[0::2] > 0, self.kept)

    def scores(self, change: Change, holds: Holds) -> tuple[Array, Array, Array]:
        """Return the scores of the two releases, of simulated changed records, and of unchanged ones."""
        own = releases.change_score(change, holds, self.old, self.new, self.never)
        return own, *self.simulated.scores(change, holds, self.kept, self.never)

    def flagged(self, change: Change, holds: Holds, fpr: float) -> Bool[Array, " examples"]:
        """Return which records lie above the threshold that the simulated unchanged ones set."""
        own, _, unchanged = self.scores(change, holds)
        return own > threshold(unchanged.ravel(), fpr)

    def rate(self, change: Change, holds: Holds, fpr: float) -> TransferredRate:
        """Return the share of the changed records that is identified."""
        own, changed, unchanged = self.scores(change, holds)
        flagged = (own > threshold(unchanged.ravel(), fpr))[self.changed(change)]
        return transferred_rate(flagged, changed, unchanged, self.couples, fpr)

    def by_simulation(self, change: Change, holds: Holds, fpr: float) -> tuple[float, Float[Array, " simulations"]]:
        """Return the mean rate over the simulated releases, and the influence of each independent simulation on it."""
        rates, influence = rate_by_pair(*self.scores(change, holds)[1:], fpr)
        return float(rates.mean()), influence.reshape(-1, 2).mean(axis=1)

    def better(self, change: Change, fpr: float) -> Holds:
        """Return which single release identifies more in the simulated releases."""
        return max(_SINGLE, key=lambda holds: self.by_simulation(change, holds, fpr)[0])


def unchanged_flagged(evidence: Evidence) -> Iterator[tuple[Change, float, int, int, Array, Array]]:
    """Yield how many unchanged records are flagged, of how many, in the two releases and in each simulated one.

    For every change and rate that MIA024 has a finding about; the thresholds of simulated releases are set by others.
    """
    compared = evidence.releases
    if isinstance(compared, str):
        return
    for change in Change:
        for fpr in evidence.fprs:
            if _unmeasured(compared, change, fpr):
                continue
            flagged = compared.flagged(change, Holds.BOTH, fpr)[compared.unchanged]
            unchanged = compared.scores(change, Holds.BOTH)[2]
            simulated = unchanged.reshape(len(unchanged) // 2, -1)  # the two of a pair of pairs depend on each other
            hits = (simulated > transferred_thresholds(simulated, fpr)[:, None]).sum(axis=1)
            yield change, fpr, int(flagged.sum()), len(flagged), hits, np.full(len(hits), simulated.shape[1])


def releases_of(evidence: Evidence) -> Compared | str:
    """Return the two releases, compared; or why they cannot be."""
    return _unfit(evidence) or Compared.of(evidence)


def _unfit(evidence: Evidence) -> str:
    """Return why the two releases cannot be compared; empty if they can."""
    before = evidence.before
    assert before is not None
    if evidence.matched is not None:
        return "it needs shadow models that are complementary pairs, of which two releases can be simulated"
    if evidence.bank.shape[0] < releases.LEAST_PAIRS:
        return f"it needs at least {2 * releases.LEAST_PAIRS} shadow models, to simulate pairs of releases"
    if (before.members == evidence.members).all():
        return "both releases have the same members, so that no record was added or removed"
    earlier = replace(evidence, phi=before.phi, members=before.members, correct=before.correct, before=None)
    if fidelity_check.run(earlier).passed is False:
        return (
            "the earlier release does not look like the shadow models: it was trained with another recipe, or on other "
            "members than stated"
        )
    return ""


def _unmeasured(compared: Compared, change: Change, fpr: float) -> str:
    """Return why a change cannot be measured at a rate; empty if it can."""
    count, unchanged = int(compared.changed(change).sum()), int(compared.unchanged.sum())
    if count < LEAST_CHANGED:
        return f"{count} records were {change}, and at least {LEAST_CHANGED} are needed"
    if not resolvable(fpr, unchanged):
        return (
            f"{unchanged:,} unchanged records cannot resolve a {rate(fpr)} FPR: at least {least_nonmembers(fpr):,} are "
            "needed"
        )
    beside = unreachable(compared.scores(change, Holds.BOTH)[2], fpr)
    return "" if beside is None else tied(fpr, beside)


def _finding(compared: Compared, change: Change, fpr: float) -> Finding:
    found = compared.rate(change, Holds.BOTH, fpr)
    value = estimate(found.value, found.interval, "share", _METHOD)
    better = compared.better(change, fpr)
    single = compared.rate(change, better, fpr)
    wrong = share_of(compared.flagged(change, Holds.BOTH, fpr)[compared.unchanged])
    return Finding(
        code="MIA024",
        title=_titled(change, fpr),
        metric="snapshots",
        attack=str(change),
        at_fpr=fpr,
        estimate=value,
        sentence=(
            f"Both releases together identify {percent(value.value)} of the {change} records at a {rate(fpr)} "
            f"false-positive rate (95% CI {between(value.low, value.high)}); the better single release identifies "
            f"{percent(single.value)}. Measured FPR on the unchanged records: {percent(wrong[0])} "
            f"({between(*wrong[1:])})."
        ),
        n=found.trials,
        counted=f"{change} {compared.evidence.unit}",
        source=releases.SOURCE,
        tables=(_table(compared, change, fpr),),
        notes=(
            _beyond(compared, change, better, fpr),
            f"The better single release: {_named(change, better)}.",
            *([_too_strict(fpr)] if wrong[2] < fpr else []),
        ),
    )


def _too_strict(fpr: float) -> str:
    return (
        f"The measured FPR is below {rate(fpr)}: the threshold is too strict. The two releases share training records "
        f"and vary together, which the simulated ones do not. At a {rate(fpr)} FPR, more records would be identified."
    )


def _beyond(compared: Compared, change: Change, better: Holds, fpr: float) -> str:
    """Return how much more both releases identify than the better single one, on simulated releases."""
    (alone, own), (both, joint) = (compared.by_simulation(change, holds, fpr) for holds in (better, Holds.BOTH))
    more, low, high = paired_change(own, joint)
    return (
        f"In simulated releases of the bank, both together identify {percent(both)} and the better single release "
        f"{percent(alone)}: {points(more)} percentage points more (95% CI {points_between(low, high)}, Student t over "
        f"{len(own)} independent simulations)."
    )


def _named(change: Change, holds: Holds) -> str:
    """Return what an adversary holds, in terms of the old and the new release."""
    has, lacks = ("new", "old") if change is Change.ADDED else ("old", "new")
    names: dict[Holds, Callable[[], str]] = {
        Holds.WITH: lambda: f"the {has} release alone",
        Holds.WITHOUT: lambda: f"the {lacks} release alone",
    }
    return names.get(holds, lambda: str(holds))()


def _table(compared: Compared, change: Change, fpr: float) -> Table:
    """Return what each adversary identifies, and how often unchanged records of either kind are flagged."""
    kinds = {"kept": compared.unchanged & compared.was, "never members": compared.unchanged & ~compared.was}
    kinds = {name: rows for name, rows in kinds.items() if rows.any()}
    rows = []
    for holds in Holds:
        found, flagged = compared.rate(change, holds, fpr), compared.flagged(change, holds, fpr)
        low, high = map(float, found.interval())
        wrong = (with_interval(*share_of(flagged[of])) for of in (compared.unchanged, *kinds.values()))
        rows.append((_named(change, holds), with_interval(found.value, low, high), *wrong))
    counts = ", ".join(f"{int(of.sum()):,} {name}" for name, of in kinds.items())
    return Table(
        title=f"{str(change).capitalize()} records at a {rate(fpr)} FPR: what the releases reveal, together and alone",
        columns=("Held", "TPR", "Measured FPR, unchanged", *(f"FPR, {name}" for name in kinds)),
        rows=tuple(rows),
        note=(
            f"{int(compared.changed(change).sum()):,} {change}, {counts}. Thresholds are set on simulated unchanged "
            "records. 95% CIs; measured FPR: Clopper–Pearson."
        ),
    )


snapshots_check = Check(
    "MIA024",
    _TITLE,
    "snapshots",
    _snapshots,
    wanted=lambda evidence: getattr(evidence, "before", None) is not None,
)
