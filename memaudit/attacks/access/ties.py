"""Ties broken at random: an attack with few different scores then has every false-positive rate."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Array = np.ndarray

_STREAM = 0x71E5


def untied(
    target: Float[Array, " examples"],
    inside: Float[Array, "pairs examples"],
    outside: Float[Array, "pairs examples"],
    seed: int,
) -> tuple[Float[Array, " examples"], Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
    """Return scores in the same order, with equal ones ordered by independent uniform draws; as given without ties.

    Every score becomes its dense rank among all different scores plus a draw from [0, 1). A threshold between two
    scores is then a randomized test (Neyman & Pearson): of the examples at a tied score, a random share is flagged. Its
    ROC curve is the line between the two corners of the attack's own.

    Source: Lehmann & Romano 2005, "Testing Statistical Hypotheses", section 3.2; Fawcett 2006, section 6.
    """
    parts = (target, inside, outside)
    different = np.unique(np.concatenate([np.unique(part) for part in parts]))
    if len(different) == sum(part.size for part in parts):
        return target, inside, outside
    rng = np.random.default_rng((seed, _STREAM))
    found = [np.searchsorted(different, part) + rng.random(part.shape) for part in parts]
    return found[0], found[1], found[2]
