"""Which numbers a finding can have: those of its kind, in agreement with its counts and with each other."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from memaudit.attack_names import ATTACKS_BY_METRIC
from memaudit.metrics import METRICS, RANGES
from memaudit.types import Bounds, Edition, Estimate, Finding, Report, Rung, Subject

MOST_UNITS = 10**9
ROUNDING = 1e-6  # relative
PUBLIC_ROUNDING = 0.006  # the public edition keeps three digits
_TINY = 1e-9
_HELD_OUT = "MIA010"
_OWN = re.compile(r"(MIA|ATT|MEM|LNK|CAN|EXT|GEN|CTL|DP)\d+")


@dataclass(frozen=True, slots=True)
class Measure:
    """What a check measures: its metric, the unit, and how the names of its attacks begin.

    `rung` is the lowest on which it can be measured. `counted` says how `n` relates to the subject: it is the number of
    its members, at most that, at most the number of its examples, or not known from it.
    """

    metric: str
    unit: str
    attacks: tuple[str, ...] = ()
    counted: str = ""
    rung: Rung = Rung.BANK


MEASURES = {
    "MIA001": Measure("tpr", "share", ("lira-online",), "members"),
    "MIA002": Measure("tpr", "share", ("lira-offline",), "members"),
    "MIA003": Measure("tpr", "share", ("global-threshold",), "members"),
    "MIA004": Measure("tpr", "share", ("zlib", "min-k", "reference", "base"), "members"),
    "MIA005": Measure("tpr", "share", ("slira",), "members"),
    "MIA006": Measure("tpr", "share", ("rmia",), "members"),
    "MIA007": Measure("tpr", "share", ("bavaria", "sablayrolles", "attack-", "reference"), "members"),
    "MIA010": Measure(
        "tpr",
        "share",
        (
            *("global-threshold", "class-threshold", "modified-entropy", "quantile-regression", "zlib", "min-k"),
            *("slira", "rmia-offline", "reference", "base"),
        ),
        "members",
        Rung.TARGET,
    ),
    "MIA011": Measure("traceability", "share", ("",), "members"),
    "MIA012": Measure("membership-information", "bits", counted="up to all"),
    "MIA020": Measure("access-loss", "share", counted="up to all"),
    "MIA021": Measure("access", "share", ("gap", "label-lira", "noise-", "augmentation-", "boundary-"), "members"),
    "MIA022": Measure(
        "access",
        "share",
        ("confidence-", "privacy-risk", "shokri", "gmia", "merlin", "morgan", "salem", "top"),
        "members",
    ),
    "MIA023": Measure("access", "share", ("gradient", "stolen-memories", "last-layer"), "members"),
    "MIA024": Measure("snapshots", "share", ("added", "removed"), "up to all"),
    "MIA025": Measure("poisoning", "share", ("lira-online",), "up to all"),
    "MIA026": Measure("risk", "share", ("",), "members"),
    "MIA027": Measure("subgroup", "share", ("",), "members"),
    "ATT001": Measure("attribute", "share", counted="up to members"),
    "MEM001": Measure("memorization", "share", counted="up to all"),
    "MEM002": Measure("memorization", "share", counted="up to all"),
    "MEM003": Measure("exact-memorization", "share", counted="up to all"),
    "MEM004": Measure("proxy", "correlation", counted="up to all"),
    "MEM005": Measure("useful-memorization", "share", counted="up to all"),
    "MEM006": Measure("contradicted-labels", "share", counted="up to all"),
    "MEM008": Measure("known-memorization", "share"),
    "MEM009": Measure("forgetting", "share", counted="up to all"),
    "LNK001": Measure("link", "correlation", ("lira-online",), "up to all"),
    "LNK002": Measure("extraction-link", "correlation", counted="up to all"),
    "CAN001": Measure("exposure", "bits", ("calibrated", "raw")),
    "CAN002": Measure("canaries", "share", ("calibrated", "raw")),
    "CAN003": Measure("secrets", "share", rung=Rung.TARGET),
    "CAN004": Measure("canary-tpr", "share", ("",)),
    "CAN010": Measure("planted-exposure", "bits", ("raw",), rung=Rung.TARGET),
    "DP001": Measure("epsilon", "epsilon", rung=Rung.TARGET),
    "DP002": Measure("epsilon-floor", "epsilon", ("one-run",), rung=Rung.TARGET),
    "DP003": Measure("epsilon-floor", "epsilon", ("many-run",)),
    "EXT001": Measure("extraction", "share", ("greedy",), "up to members", rung=Rung.TARGET),
    "EXT002": Measure("extraction", "share", ("sampling",), "up to members", rung=Rung.TARGET),
    "EXT003": Measure("extraction", "share", ("search",), rung=Rung.TARGET),
    "EXT004": Measure("extraction", "share", ("untargeted",), rung=Rung.TARGET),
    "GEN001": Measure("image-extraction", "share", counted="members", rung=Rung.TARGET),
    "GEN002": Measure("samples", "share", ("slira",), "members"),
    "GEN003": Measure("image-exposure", "bits", counted="up to members", rung=Rung.TARGET),
}
"""What each check measures. Checks of other packages have codes of their own."""


_ONCE_UNNAMED = ("exposure", "canaries")  # of memaudit 0.1.0, which measured these in one way


def of_finding(finding: Finding, report: Report) -> Iterator[str]:
    """Yield what is wrong with a finding of a report: kind, interval, and counts."""
    estimate = finding.estimate
    slack = PUBLIC_ROUNDING if report.edition is Edition.PUBLIC else ROUNDING
    yield from _of_kind(finding, report.rung)
    yield from of_estimate(estimate, slack)
    if not 1 <= finding.n <= MOST_UNITS:
        yield f"the number of {finding.counted} is {finding.n}"
        return
    yield from _of_counted(finding, report.subject)
    if (metric := METRICS.get(finding.metric)) is not None and metric.counted:
        numbers = [estimate.value, estimate.low, estimate.high, *([] if finding.blind is None else [finding.blind])]
        if any(not 0 <= number <= 1 for number in numbers):
            yield "a share is not between 0 and 1"
        elif 0 < estimate.level < 1 and not metric.part:
            yield from _of_count(finding, slack)


def _of_kind(finding: Finding, rung: Rung) -> Iterator[str]:
    measure = MEASURES.get(finding.code)
    if measure is not None and measure.rung > rung:
        yield f"{finding.code} needs rung {measure.rung}, and the report is of rung {rung}"
    measure = _measure(finding)
    if _OWN.fullmatch(finding.code) and finding.code not in MEASURES:
        yield f"there is no check {finding.code!r}"
    if measure is None:
        return
    if (measure.metric, measure.unit) != (finding.metric, finding.estimate.unit):
        yield f"{finding.code} measures {measure.metric} as a {measure.unit}, not {finding.metric!r}"
    known = ATTACKS_BY_METRIC.get(measure.metric)
    own = measure.attacks
    if finding.code not in MEASURES:  # a check of another package names its own attacks
        known, own = None, ("",)
    named = finding.attack is not None and finding.attack.startswith(own)
    if finding.attack is None and measure.metric in _ONCE_UNNAMED:
        known = None
    if (known is not None and not (named and finding.attack in known)) or (finding.attack and not named):
        yield f"{finding.code} makes no attack {finding.attack!r}"
    rate = finding.at_fpr
    if measure.metric == "tpr" if rate is None else not 0 < rate < 1:
        yield f"its false-positive rate is {rate}"


def _measure(finding: Finding) -> Measure | None:
    """Return what the check measures, of one of another package what its metric asks for; None if that is unknown."""
    of_metric = (measure for measure in MEASURES.values() if measure.metric == finding.metric)
    return MEASURES.get(finding.code) or next(of_metric, None)


def _of_counted(finding: Finding, subject: Subject) -> Iterator[str]:
    measure = _measure(finding)
    everybody = subject.members + subject.nonmembers
    if measure is None:
        return
    if measure.counted == "members" and finding.n != subject.members:
        yield f"it is about {finding.n:,} members, the report about {subject.members:,}"
    most = {"up to members": subject.members, "up to all": everybody}.get(measure.counted)
    if most is not None and finding.n > most:
        yield f"it is about {finding.n:,} {finding.counted}, and there are {most:,}"


def of_estimate(estimate: Estimate, slack: float = ROUNDING) -> Iterator[str]:
    """Yield what is wrong with a number: its interval must contain it, and bounds must be nested by confidence.

    `slack` is by how much, relatively, it may have been rounded.
    """
    least, most = RANGES.get(estimate.unit, (-math.inf, math.inf))
    ends = Bounds(confidence=(1 + estimate.level) / 2, low=estimate.low, high=estimate.high)
    bounds = sorted([*estimate.bounds, ends], key=lambda each: each.confidence)
    numbers = [estimate.value, *(end for each in bounds for end in (each.low, each.high))]
    if any(not least - _TINY <= number <= most + _TINY for number in numbers):
        yield f"{min(numbers):.4g} to {max(numbers):.4g} is no {estimate.unit}"
    if any(not 0.5 < each.confidence < 1 for each in bounds):
        yield "a confidence is not between 0 and 1"
    if any(not _within(estimate.value, each.low, each.high, slack) for each in bounds):
        yield f"the interval, {estimate.low:.4g} to {estimate.high:.4g}, does not hold the value, {estimate.value:.4g}"
    for less, surer in pairwise(bounds):
        same = surer.confidence - less.confidence <= _TINY
        equal = _near(surer.low, less.low, slack) and _near(surer.high, less.high, slack)
        if not (_at_most(surer.low, less.low, slack) and _at_most(less.high, surer.high, slack)) or (
            same and not equal
        ):
            yield f"the bounds at {less.confidence:.4g} and {surer.confidence:.4g} confidence contradict each other"


def _near(a: float, b: float, slack: float) -> bool:
    return math.isclose(a, b, rel_tol=slack, abs_tol=_TINY)


def _at_most(a: float, b: float, slack: float) -> bool:
    return a <= b or _near(a, b, slack)


def _within(value: float, low: float, high: float, slack: float) -> bool:
    return _at_most(low, value, slack) and _at_most(value, high, slack)


def _of_count(finding: Finding, slack: float) -> Iterator[str]:
    """Yield what is wrong with a share of n units: it is a whole number of them, and no interval can be narrower.

    Those of true-positive rates are Clopper–Pearson's for fewer, effective units, and so wider; where non-members set
    the threshold, half of each error is the threshold's. All others are Clopper–Pearson's themselves.
    """
    from memaudit.stats import clopper_pearson

    estimate, n = finding.estimate, finding.n
    hits = round(estimate.value * n)
    if not _near(hits / n, estimate.value, slack):
        yield f"{estimate.value:.6g} is no share of {n:,} {finding.counted}"
        return
    exact = METRICS[finding.metric].exact or estimate.method.startswith("Clopper")
    ends = [(estimate.level, estimate.low, estimate.high)]
    ends += [(2 * b.confidence - 1, b.low, b.high) for b in estimate.bounds]
    for level, low, high in ends:
        least, most = map(float, clopper_pearson(hits, n, (1 + level) / 2 if finding.code == _HELD_OUT else level))
        wide = _at_most(low, least, slack) and _at_most(most, high, slack)
        if not wide or (exact and not (_near(low, least, slack) and _near(high, most, slack))):
            yield f"{low:.4g} to {high:.4g} is no {level:.4g} interval of {hits:,} among {n:,} ({finding.counted})"
