"""An attack: how far the target's signal is above the median of shadow models without the example."""

from dataclasses import dataclass

import numpy as np

from memaudit.attacks.interface import references
from memaudit.checks import Check, Evidence, percent
from memaudit.checks.evidence import estimate
from memaudit.types import Finding, Skipped


@dataclass(frozen=True)
class MedianDifference:
    """Difficulty calibration with a median, which one unusual shadow model does not move."""

    name: str = "median-difference"
    source: str = "difficulty calibration of Watson et al. 2022, with a median"

    def scores(self, target, pairs):
        """Return a score per example, larger = more likely a member."""
        _, outside = _signals(references(pairs))  # all pairs but the last: as many as a shadow model is scored with
        return (target.mean(axis=1) - np.median(outside, axis=0)).astype(np.float32)

    def leave_pair_out(self, pairs):
        """Return (inside, outside): every shadow model as a target of the other pairs, [pairs, examples]."""
        inside, outside = _signals(pairs)
        others = [np.median(np.delete(outside, pair, axis=0), axis=0) for pair in range(len(outside))]
        return (inside - others).astype(np.float32), (outside - others).astype(np.float32)


def _signals(pairs):
    """Return the signals of the models with and without each example, averaged over queries."""
    return tuple(side.mean(axis=2, dtype=float) for side in pairs.block(slice(0, pairs.shape[1])))


def run(evidence: Evidence):
    """Membership inference by the difference from the median of shadow models without the example.

    score = φ − median φ_out, larger = more member-like. Read as MIA005.

    Source: Watson et al. 2022, difficulty calibration; the median is this example's own.
    """
    attacked = evidence.scored(MedianDifference())
    findings, skipped = [], []
    for fpr in evidence.fprs:
        title = f"Membership inference, median-difference, at {percent(fpr)} FPR"
        if fpr not in evidence.resolved_fprs or attacked.unreachable(fpr):
            skipped.append(Skipped(code="XAT001", title=title, reason="this rate cannot be measured on these examples"))
            continue
        rate = evidence.rate(attacked, fpr)
        found = estimate(rate.value, rate.interval, "share", "Korn–Graubard, as for the attacks of memaudit")
        findings.append(
            Finding(
                code="XAT001",
                title=title,
                metric="tpr",
                attack="median-difference",
                at_fpr=fpr,
                estimate=found,
                sentence=f"The median difference identifies {percent(found.value)} of members at {percent(fpr)} FPR "
                f"(95% CI {percent(found.low)} to {percent(found.high)}).",
                n=rate.trials,
                counted="training examples",
                source=attacked.attack.source,
            )
        )
    return tuple(findings), tuple(skipped)


check = Check("XAT001", "Membership inference, median difference", "tpr", run, Evidence)
