"""What an audit without a bank cannot say, check by check."""

from __future__ import annotations

from memaudit.attacks import BANK_ATTACKS, TARGET_ATTACKS
from memaudit.checks.attack_results import title_at
from memaudit.checks.classifier import ClassifierTargetEvidence
from memaudit.checks.evidence import Check, Evidence, TargetEvidence
from memaudit.checks.generator import GeneratorTargetEvidence
from memaudit.checks.text import TextTargetEvidence
from memaudit.policy import NEEDS_BANK
from memaudit.policy.plausible import MEASURES
from memaudit.types import Skipped

_KINDS = (ClassifierTargetEvidence, TextTargetEvidence, GeneratorTargetEvidence)


def out_of_reach(check: Check, evidence: TargetEvidence) -> list[Skipped]:
    """Return what a check cannot say because there is no bank; nothing if it is for another kind of model.

    A check on membership cannot make the attacks that were asked for, at each rate; the others cannot be run.
    """
    other = any(issubclass(check.needs, kind) and not isinstance(evidence, kind) for kind in _KINDS)
    if other or isinstance(evidence, Evidence):
        return []
    reason = f"it needs {NEEDS_BANK}"
    if check.metric != "tpr":
        return [Skipped(code=check.code, title=check.title, reason=reason)]
    families = MEASURES[check.code].attacks if check.code in MEASURES else ("",)
    asked = [n for n in evidence.attacks if n in BANK_ATTACKS and n not in TARGET_ATTACKS and n.startswith(families)]
    return [
        Skipped(
            code=check.code,
            title=title_at(name, fpr),
            reason=reason,
        )
        for name in asked
        for fpr in evidence.fprs
    ]
