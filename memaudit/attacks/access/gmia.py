"""How unusual is this confidence for models that were not trained on the example? A test for each example."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.attacks.access.columns import one_column, reduced_target
from memaudit.attacks.access.lira import confidence_logit
from memaudit.design import Pairs
from memaudit.types import Level

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Gmia:
    """Minus the p-value of "the model was not trained on it", from reference models without the example.

    The p-value is the share of the references with a higher confidence in the label, interpolated between neighbours:
    the i-th of n references in falling order has p = i/(n + 1), so that
    p is uniform without a leak. Beyond the most confident one, p falls
    exponentially with the distance in standard deviations of the references.

    The paper interpolates by a monotone cubic, on the loss, and tests only records that have few neighbours. Here every
    example is tested, as the audit is about all of them.
    """

    name: str = "gmia"
    source: str = "Long et al. 2020 (EuroS&P), direct inference of the pragmatic attack, section 4.4"
    level: Level = Level.CONFIDENCES
    view: str = "confidences"

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return minus log p of a target; the last pair is no reference."""
        known = one_column(confidence_logit, pairs).outside[:-1, :, 0]
        return -np.log(p_value(reduced_target(confidence_logit, target), known))

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside): minus log p of every bank model, its own pair left out."""
        signals = one_column(confidence_logit, pairs)
        inside, outside = signals.inside[..., 0], signals.outside[..., 0]
        found = np.empty((2, *inside.shape))
        for t in range(len(outside)):
            known = np.delete(outside, t, axis=0)
            found[0, t], found[1, t] = (-np.log(p_value(side[t], known)) for side in (inside, outside))
        return found[0], found[1]


def p_value(
    signals: Float[Array, " examples"], references: Float[Array, "references examples"]
) -> Float[Array, " examples"]:
    """Return how often a reference model without the example is more confident, between 0 and 1."""
    n, falling = len(references), -np.sort(-references, axis=0)
    above = (falling > signals).sum(axis=0)
    spread = np.maximum(references.std(axis=0), 1e-6)
    upper, lower = (np.take_along_axis(falling, at[None], axis=0)[0] for at in (above - 1, np.minimum(above, n - 1)))
    width = np.where(upper > lower, upper - lower, 1)
    inner = (above + np.clip((upper - signals) / width, 0, 1)) / (n + 1)
    steps = np.clip((signals - falling[0]) / spread, 0, 600), np.clip((falling[-1] - signals) / spread, 0, 600)
    beyond, below = (np.exp(-step) / (n + 1) for step in steps)
    return np.asarray(np.where(above == 0, beyond, np.where(above == n, 1 - below, inner)))
