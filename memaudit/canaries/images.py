"""Image canaries: images with a random pattern, whose rank among all other patterns shows what a model memorized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

Array = np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class ImageCanaries:
    """Canaries `[canaries, ...]`, and of each the same image with other patterns `[canaries, references, ...]`.

    `forms` is the number of patterns that there are.
    """

    images: Float[Array, "canaries ..."]
    references: Float[Array, "canaries references ..."]
    forms: int


def image_canaries(
    bases: Shaped[Array, "canaries ..."], references: int = 255, size: int = 4, seed: int = 0
) -> ImageCanaries:
    """Return canaries to put among the examples: each base with a random black-and-white pattern at a random place.

    The pattern is the secret. A canary and its references differ in nothing else, and their patterns are drawn alike.
    The rank of a canary that was never trained on is therefore uniform, whatever the model prefers.

    Args:
        bases: Images `[canaries, height, width]`, or with channels first or last. They are copied.
        references: Other patterns per canary. The largest exposure is log₂(references + 1) bits.
        size: Pixels along a side of the square pattern, which has 2^(size²) forms.
        seed: Of the patterns and places.

    Raises:
        ValueError: The pattern does not fit into the images, or has too few forms.

    Source: Hartley & Tsaftaris 2022 (arXiv 2202.08099), unique features in images; Carlini et al. 2019, exposure.
    """
    bases = np.asarray(bases)
    rows, columns = _sides(bases.shape[1:])
    if size > min(bases.shape[rows], bases.shape[columns]):
        raise ValueError(f"a pattern of {size} × {size} does not fit into images of shape {bases.shape[1:]}")
    if 2 ** (size * size) < 4 * (references + 1):
        raise ValueError(f"a pattern of {size} × {size} has too few forms for {references} references; enlarge it")
    rng = np.random.default_rng(seed)
    dark, light = float(bases.min()), float(bases.max())
    found = np.repeat(bases[:, None], references + 1, axis=1)
    for images in found:
        top, left = (int(rng.integers(bases.shape[axis] - size + 1)) for axis in (rows, columns))
        place = [slice(None)] * images.ndim
        place[rows], place[columns] = slice(top, top + size), slice(left, left + size)
        patterns = np.where(rng.integers(0, 2, (references + 1, size, size)) > 0, light, dark)
        extra = tuple(axis for axis in range(1, images.ndim) if axis not in (rows, columns))
        images[tuple(place)] = np.expand_dims(patterns, extra)
    return ImageCanaries(found[:, 0], found[:, 1:], 2 ** (size * size))


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the axes of height and width in a batch of images."""
    if len(shape) == 2 or (len(shape) == 3 and shape[-1] <= 4 < shape[0]):
        return 1, 2
    if len(shape) == 3:
        return 2, 3
    raise ValueError(f"images of shape {shape} have no height and width")
