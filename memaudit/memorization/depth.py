"""Prediction depth: the layer from which on the representation already gives the network's prediction."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

Array = np.ndarray


def prediction_depth(
    probed: Int[Array, "layers examples"], predicted: Int[Array, " examples"]
) -> Int[Array, " examples"]:
    """Return the number of the last layer whose probe disagrees with the network, counted from 1; 0 if none does.

    Larger = decided later, harder. From the next layer on, all probes give the network's prediction, be it right or
    wrong. The largest value, the number of layers, says that even the last probe disagrees.

    Args:
        probed: What a nearest-neighbour probe predicts at each layer, in the order in which they run.
        predicted: What the network predicts.

    Source: Baldock, Maennel & Neyshabur 2021 (NeurIPS), "Deep learning through the lens of example difficulty",
    section 2; probes of 30 neighbours.
    """
    disagrees = probed != predicted
    return np.where(disagrees.any(axis=0), len(probed) - disagrees[::-1].argmax(axis=0), 0)
