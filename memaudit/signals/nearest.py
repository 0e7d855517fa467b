"""How near generated images come to given ones, relative to how near other images are."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from memaudit.recipe import Examples

Array = np.ndarray

NEIGHBOURS, ALPHA = 50, 0.5  # Carlini et al. 2023, section 5.1
_BLOCK = 512
_LEAST = 1e-6  # of a ratio: generated images that are exact copies


def nearest_distance(
    images: Float[Array, "images pixels"], generated: Float[Array, "samples pixels"]
) -> Float[Array, " images"]:
    """Return the ℓ₂ distance from each image to the nearest generated one.

    Source: Chen et al. 2020 (GAN-Leaks), full black-box attack; Carlini et al. 2023, generate and filter.
    """
    found = np.empty(len(images))
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK].astype(np.float64)
        nearest = generated[_squares(block, generated).argmin(axis=1)]
        found[start : start + _BLOCK] = np.linalg.norm(block - nearest, axis=1)  # exact, where squares cancel
    return found


def neighbour_distance(
    images: Float[Array, "images pixels"], unit_of: Int[Array, " images"], count: int = NEIGHBOURS
) -> Float[Array, " images"]:
    """Return the mean ℓ₂ distance from each image to its nearest neighbours, of other units than its own.

    Args:
        images: All images, flat.
        unit_of: Copies and members of a group have the same number.
        count: Of the neighbours; of fewer images, as many as there are.
    """
    found = np.empty(len(images))
    for start in range(0, len(images), _BLOCK):
        rows = slice(start, start + _BLOCK)
        squares = _squares(images[rows].astype(np.float64), images)
        squares[unit_of[rows, None] == unit_of] = np.inf
        near = np.sqrt(np.partition(squares, min(count, squares.shape[1]) - 1, axis=1)[:, :count])
        there = np.isfinite(near)
        found[rows] = np.where(there, near, 0).sum(axis=1) / there.sum(axis=1)
    return found


def closeness(
    images: Float[Array, "images pixels"], generated: Float[Array, "samples pixels"], scale: Float[Array, " images"]
) -> Float[Array, " images"]:
    """Return log(d / (α s)) of each image, in nats; smaller = nearer, and at most 0 = extracted.

    d is the distance to the nearest generated image, s the mean distance to the nearest 50 images of the population,
    α = 1/2. An image counts as extracted if a generated one is less than half as far from it as its neighbours are.

    Source: Carlini et al. 2023 (USENIX Security), section 5.1: ℓ(x̂, x; S) = ‖x̂ − x‖₂ / (α E_{y ∈ S} ‖x̂ − y‖₂), S the
    n = 50 training images nearest to the training image x̂, α = 0.5. Here S is taken from members and non-members, so
    that it is the same for every model.
    """
    return np.log(np.maximum(nearest_distance(images, generated) / (ALPHA * scale), _LEAST))


@lru_cache(maxsize=2)  # the same for all models of a bank
def scale_of(examples: Examples) -> Float[Array, " examples"]:
    """Return the mean distance of each example to its neighbours."""
    scale = neighbour_distance(flat(examples.x), examples.unit_of)
    return np.maximum(scale, np.finfo(np.float32).tiny)


def flat(images: Array) -> Float[Array, "images pixels"]:
    """Return images as rows of numbers."""
    return images.reshape(len(images), -1)


def _squares(block: Float[Array, "rows pixels"], others: Float[Array, "others pixels"]) -> Float[Array, "rows others"]:
    others = others.astype(np.float64)
    squares = (block**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * block @ others.T
    return np.maximum(squares, 0)
