"""The margin score: memorization that shows in the model's confidence, even where it flips no prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.design import Pairs
from memaudit.stats import floored

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Margin:
    """How far an example's scaled logit moves when it is trained on, in nats, and in standard deviations.

    `shift` = mean inside − mean outside, larger = more memorized; `shift_se` is its error over pairs, whose two models
    are not independent. `deviation`, of a single model, is pooled within the two groups, and kept from being tiny
    beside that of other examples; `separation` = shift / deviation, the d of a Gaussian attack on this one example: at
    a false-positive rate α it would find it with probability Φ(Φ⁻¹(α) + d).
    """

    shift: Float[Array, " examples"]
    shift_se: Float[Array, " examples"]
    deviation: Float[Array, " examples"]
    separation: Float[Array, " examples"]


def margin(pairs: Pairs, block: int = 4096) -> Margin:
    """Returns the margin score per example, from the bank's signals averaged over queries.

    Raises:
        ValueError: Fewer than two pairs.

    Source: the difference of class means and Cohen's d with a pooled deviation (Cohen 1988, section 2.2); as the shift
    of the scaled logit it is the quantity whose two laws LiRA compares.
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
    return Margin(shift, shift_se, spread, separation)
