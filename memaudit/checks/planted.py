"""CTL009: do the planted canaries reach the training, as the documents do?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

from memaudit.checks.evidence import ControlCheck
from memaudit.checks.text import TextEvidence
from memaudit.design import by_pair
from memaudit.types import Control

Array = np.ndarray

_ALARM = 0.001  # probability that the documents' effect is no more than chance
_SURE = 0.99  # one-sided, of the canaries' effect
_SHARE = 0.5  # of the documents' effect on a token
_TITLE = "Planted canaries: they reach the training"


def _planted(evidence: TextEvidence) -> Control:
    """Planted canaries: do they reach the training, as the documents do?

    A training loop that filters, de-duplicates or truncates its texts may drop the canaries. Their exposure then stays
    at the level of secrets that were never inserted, however much the model memorizes. In every pair of shadow models,
    one was trained on the document or canary and the other was not. The gain in log-probability per token is compared
    between documents and the canaries' secrets, which are inserted at least as often. The control fails if documents
    gain (p < 0.001) and the secrets gain significantly less than half as much (99 % Student-t bounds over pairs).
    Training that memorizes nothing, such as with differential privacy, passes.

    Source: Student 1908; pairs of models with and without, as in `memaudit.design`.
    """
    costs, doses = evidence.bank.stacked("canary_cost"), evidence.shadow_doses
    passed, sentence = None, "The recipe has no canaries."
    if doses.shape[1]:
        steps = np.array([len(space.alphabets) for space in evidence.population.spaces])
        planted, without = by_pair(-costs / steps, doses)
        inside, outside = by_pair(evidence.bank.stacked("phi")[:, :, 0], evidence.bank.members)
        secrets, documents = (side.mean(axis=1, dtype=float) for side in (planted - without, inside - outside))
        lost = _low(documents, 1 - _ALARM) > 0 and -_low(-secrets, _SURE) < _SHARE * _low(documents, _SURE)
        passed = not lost
        gains = f"{documents.mean():.2g} nats per token for documents and {secrets.mean():.2g} for planted secrets"
        sentence = f"Training raises the log-probability by {gains}." + (
            " The canaries do not reach the training, or less often than planned. Check train() for filters, "
            "de-duplication and truncation."
            if lost
            else ""
        )
    return Control(
        code="CTL009",
        title=_TITLE,
        passed=passed,
        sentence=sentence,
        source="Student 1908",
        attacks=("calibrated", "raw", "search"),
    )


planted_check = ControlCheck("CTL009", "Canaries that were planted", _planted, TextEvidence)


def _low(gains: Float[Array, " pairs"], sure: float) -> float:
    """Return the one-sided lower bound of the mean gain over pairs."""
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return float(gains.mean() - stats.t.ppf(sure, len(gains) - 1) * error)
