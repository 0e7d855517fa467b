"""MEM006: which labels look wrong to models that were not trained on the example? A ranking, not a finding."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from memaudit.checks.evidence import Evidence
from memaudit.errors import EvidenceError
from memaudit.memorization.noisy_labels import outside_margin

Array = np.ndarray


def suspected_labels(evidence: Evidence) -> tuple[Int[Array, " examples"], Float[Array, " examples"]]:
    """Return (order, score): the examples with the most suspicious labels first, and a score that is larger for them.

    The score is minus the mean signal of shadow models without the example: of a classifier, log-odds against its
    label. It ranks. It has no error rate: rare and ambiguous examples rank high as well, so that people should look at
    the first ones.

    Args:
        evidence: Of a model with labels, with a bank; any design.

    Raises:
        EvidenceError: The examples have no labels, or only one class.

    Source: as in `memorization.noisy_labels`.
    """
    if not evidence.has_labels:
        raise EvidenceError("the examples have no labels, or all have the same one, so that none can be suspected")
    score = outside_margin(evidence.bank)
    return np.argsort(-score, kind="stable"), score
