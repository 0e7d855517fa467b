"""The baseline that everyone knows: one threshold on the model's confidence, the same for every example."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memaudit.attacks.interface import blocks, read, require_finite
from memaudit.design import Pairs

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class GlobalThreshold:
    """Members tend to have a lower loss. The scaled logit is a rising function of −loss, so both rank alike."""

    name: str = "global-threshold"
    source: str = "Yeom et al. 2018 (CSF), Adversary 2; scaled logit of Carlini et al. 2022"

    def scores(self, target: Float[Array, "examples queries"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the signal itself, averaged over queries, in float32; the bank plays no part."""
        require_finite(target)
        return target.mean(axis=1, dtype=np.float64).astype(np.float32)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) signals of every bank model, averaged over queries."""
        count, examples, _ = pairs.shape
        inside, outside = np.empty((2, count, examples), dtype=np.float32)
        for block in blocks(pairs):
            within, without = read(pairs, block)
            inside[:, block] = within.mean(axis=2, dtype=np.float64)
            outside[:, block] = without.mean(axis=2, dtype=np.float64)
        return inside, outside
