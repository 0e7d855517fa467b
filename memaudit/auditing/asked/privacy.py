"""The differential privacy that is claimed of a model, and the canaries that it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memaudit.auditing.asked.interface import Options, Question
from memaudit.auditing.ground import Ground
from memaudit.auditing.promised import Dp, promise_of
from memaudit.auditing.target import Target
from memaudit.checks import TargetEvidence
from memaudit.types import CLASSIFIER_CANARIES, DP_CLAIM


@dataclass(frozen=True)
class Promised(Question):
    """Whether a claim of differential privacy is refuted; without a claim, which units are canaries."""

    dp: Dp | None
    target: Target

    def facts(self, base: Ground) -> dict[str, Any]:
        """Return what is claimed, and what the bounds on ε have to know of the units."""
        return {"promise": promise_of(self.dp, self.target, base)}

    def provenance(self, evidence: TargetEvidence) -> dict[str, str]:
        """Return the claim, and how many canaries the examples have; nothing where there is neither."""
        canaries, claim = int(evidence.promise.canaries.sum()), evidence.promise.claim
        return {
            **({DP_CLAIM: f"{claim}, {claim.origin}"} if claim is not None else {}),
            **({CLASSIFIER_CANARIES: str(canaries)} if canaries else {}),
        }


def asked(target: Target, options: Options) -> Promised:
    """Return the question, which is always asked: canaries are found by their names.

    Raises:
        MemauditError: As for `Dp.claim`.
    """
    if options.dp is not None:
        options.dp.claim(target.model)
    return Promised(options.dp, target)
