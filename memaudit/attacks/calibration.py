"""Per-example thresholds from the mean signals of inside and outside models.

The other calibration of this kind, by the outside models alone (Watson et al. 2022), is `Calibrated`, "reference". It
subtracts signals, so that it serves classifiers and language models alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.attacks.blockwise import Scorer, mean_of_references, pair_scores, target_scores
from memaudit.design import Pairs

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Sablayrolles:
    """Score by φ − ½(mean of φ over inside references + mean of φ over outside references).

    The threshold of an example is midway between what models with it and models without it give. The paper compares
    losses; this class compares signals, which for classifiers are scaled logits. If both laws are normal with the same
    variance, the likelihood ratio (LiRA) has the same threshold, but also weights an example by mean_in − mean_out.

    References:
        Sablayrolles et al. 2019 (ICML), "White-box vs Black-box: Bayes Optimal Strategies for Membership Inference":
        the loss with a threshold per sample. The estimate by the two means is as described by Carlini et al. 2022,
        who also replace the loss by the scaled logit. The full text of the 2019 paper could not be checked.
    """

    name: str = "sablayrolles"
    source: str = "Sablayrolles et al. 2019 (ICML), threshold per sample; scaled logit of Carlini et al. 2022"

    def scores(self, target: Float[Array, "examples queries"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the signal above the threshold, in nats, averaged over queries; larger = member-like.

        The last pair is not a reference, so that the target has as many references as a bank model.

        Raises:
            ValueError: Fewer than 2 pairs, signals of another shape than the bank's, or one that is not finite.
        """
        return target_scores(_fit, target, pairs, least=2)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside): signals of every bank model above the threshold, its own pair left out.

        Raises:
            ValueError: Fewer than 2 pairs, or a signal that is not finite.
        """
        return pair_scores(_fit, pairs, least=2)


def _fit(within: Array, without: Array, left_out: bool) -> Scorer:
    threshold = mean_of_references((within + without) / 2, left_out)
    return lambda x: x - threshold
