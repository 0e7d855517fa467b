"""The margin score: memorization that shows in the model's confidence, even where it flips no prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from memaudit.design import Pairs
from memaudit.stats import floored

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Margin:
    """How far an example's scaled logit moves when it is trained on, in nats, and in standard deviations.

    `shift` = mean inside − mean outside, larger = more memorized; `shift_se` is its error over pairs, whose two models
    are not independent. `deviation`, of a single model, is pooled within the two groups, and kept from being tiny
    beside that of other examples; `separation` is the shift in deviations, without the bias that shift / deviation has
    for a few pairs. If the two laws were Gaussian with one variance, an attack on this example alone would have a TPR
    of Φ(Φ⁻¹(FPR) + separation).
    """

    shift: Float[Array, " examples"]
    shift_se: Float[Array, " examples"]
    deviation: Float[Array, " examples"]
    separation: Float[Array, " examples"]


def margin(pairs: Pairs, block: int = 4096) -> Margin:
    """Return the margin score per example, from the bank's signals averaged over queries.

    Raises:
        ValueError: Fewer than two pairs.

    Source: the difference of class means, and Hedges 1981 (Journal of Educational Statistics 6:107), the exact
    correction of the standardized difference; as the shift of the scaled logit it is the quantity whose two laws LiRA
    compares.
    """
    count, examples, _ = pairs.shape
    if count < 2:
        raise ValueError(f"the margin score needs at least 2 pairs of models, got {count}")
    shift, shift_se, variance = np.empty((3, examples))
    for start in range(0, examples, block):
        at = slice(start, min(start + block, examples))
        inside, outside = (side.mean(axis=2, dtype=np.float64) for side in pairs.block(at))
        gain = inside - outside
        shift[at], shift_se[at] = gain.mean(axis=0), gain.std(axis=0, ddof=1) / np.sqrt(count)
        variance[at] = (inside.var(axis=0, ddof=1) + outside.var(axis=0, ddof=1)) / 2
    spread = np.sqrt(floored(variance, variance.mean()))
    separation = np.divide(shift, spread, out=np.zeros_like(shift), where=spread > 0)
    return Margin(shift, shift_se, spread, _unbiased(2 * (count - 1)) * separation)


def _unbiased(freedom: int) -> float:
    """Return Hedges' factor Γ(ν/2) / (√(ν/2) Γ((ν − 1)/2)), about 1 − 3/(4ν − 1)."""
    return float(np.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2))
