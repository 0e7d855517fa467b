"""Did a reconstruction succeed? How near reconstructed images come to the training images, and to images held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from memaudit.stats import auc, auc_interval

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Success:
    """What a reconstruction shows of the training images beyond images of the same kind.

    `members` and `others` are the best correlation of each training image, and of each image that was held out, with
    any reconstruction. `auc` is the probability that a training image has the higher one, with its 95 % interval: 0.5
    for a reconstruction that shows nothing of the training set. `blind` is the best correlation of each training image
    with as many images that were held out as there are reconstructions: what somebody reaches who has no model.
    """

    members: Float[Array, " members"]
    others: Float[Array, " others"]
    blind: Float[Array, " members"]
    auc: float
    low: float
    high: float


def correlations(images: Float[Array, "images pixels"], others: Float[Array, "others pixels"]) -> Float[Array, "..."]:
    """Return the correlation of each image with each other one over pixels `[images, others]`, −1 to 1.

    It is the normalized cross-correlation, blind to brightness and contrast. That with a constant image is 0.

    Source: Lewis 1995, normalized cross-correlation, without a shift.
    """
    return _standardized(images) @ _standardized(others).T


def success(
    reconstructed: Float[Array, "made pixels"],
    members: Float[Array, "members pixels"],
    others: Float[Array, "others pixels"],
    substitutes: Float[Array, "substitutes pixels"],
) -> Success:
    """Return how near reconstructed images come to training images, beside two baselines without the training set.

    Args:
        reconstructed: Flat images that an attack made.
        members: The training images.
        others: Images of the same source that were not trained on: reconstructions come as near to them by chance.
        substitutes: As many further images of the source as were reconstructed, in their place.

    Raises:
        ValueError: There are more or fewer substitutes than reconstructions: more images come nearer by chance.

    Source: best match of Haim et al. 2022 (NeurIPS); DeLong et al. 1988 for the interval.
    """
    if len(substitutes) != len(reconstructed):
        raise ValueError(f"{len(substitutes)} substitutes cannot be compared with {len(reconstructed)} reconstructions")
    best, chance = (correlations(of, reconstructed).max(axis=1) for of in (members, others))
    blind = correlations(members, substitutes).max(axis=1)
    low, high = auc_interval(best, chance)
    return Success(best, chance, blind, float(auc(best, chance)), float(low), float(high))


def best_matches(
    reconstructed: Float[Array, "made pixels"], members: Float[Array, "members pixels"], count: int
) -> tuple[Int[Array, " count"], Int[Array, " count"]]:
    """Return (members, reconstructions) of the best matches, each training image once, best first."""
    found = correlations(members, reconstructed)
    order = np.argsort(-found.max(axis=1), kind="stable")[:count]
    return order, found[order].argmax(axis=1)


def _standardized(images: Float[Array, "images pixels"]) -> Float[Array, "images pixels"]:
    centred = images.astype(np.float64) - images.mean(axis=1, keepdims=True, dtype=np.float64)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
