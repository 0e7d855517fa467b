"""Inputs that an adversary changes a little: noise of some strength, flipped bits, moved or mirrored images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped

from memaudit.recipe import Examples
from memaudit.recipe.inputs import Arrays

Array = np.ndarray

_LOOKED = 1000  # rows that say whether inputs are bits


def lacks_numbers(examples: Examples) -> str:
    """Return why noise cannot be added to inputs; empty if it can."""
    inputs = examples.inputs
    if not isinstance(inputs, Arrays) or inputs.x.ndim < 2:
        return "noise needs inputs that are one array of numbers [examples, …]"
    if inputs.x.dtype.kind in "iu" and inputs.x.ndim < 3 and not _are_bits(inputs.x):
        return "inputs are whole numbers, such as tokens: noise would give inputs that cannot occur"
    return ""


def lacks_images(examples: Examples) -> str:
    """Return why inputs cannot be moved and mirrored as images; empty if they can."""
    inputs = examples.inputs
    if not isinstance(inputs, Arrays) or inputs.x.ndim not in (3, 4) or min(inputs.x.shape[-2:]) < 4:
        return "inputs are no images [examples, channels, height, width]"
    return ""


def _are_bits(x: Shaped[Array, "rows ..."]) -> bool:
    some = x[:_LOOKED]
    return bool(((some == 0) | (some == 1)).all())


def noisy(examples: Examples, strength: float, times: int, seed: int) -> Iterator[Arrays]:
    """Yield the inputs with fresh noise, the same for every model: as often as was asked for.

    Of bits, each is flipped with probability `strength`. Other numbers get Gaussian noise, whose standard deviation is
    `strength` times that of all inputs; whole numbers are rounded and stay in their range.

    Source: Choquette-Choo et al. 2021 (ICML), section 4.3 and their published code (flips of binary features).
    """
    x = examples.inputs.x
    bits, spread = _are_bits(x), float(np.std(x[:_LOOKED], dtype=np.float64)) or 1.0
    rng = np.random.default_rng((seed, round(1e6 * strength)))
    for _ in range(times):
        if bits:
            flipped = rng.random(x.shape, np.float32) < strength
            yield Arrays(np.where(flipped, 1 - x, x).astype(x.dtype))
            continue
        noise = rng.standard_normal(x.shape, np.float32) * np.float32(strength * spread)
        if x.dtype.kind in "iu":
            whole = np.rint(x + noise)
            yield Arrays(np.clip(whole, x.min(), x.max()).astype(x.dtype))
        else:
            yield Arrays((x + noise).astype(x.dtype))


def moved(examples: Examples) -> Iterator[Arrays]:
    """Yield the images as they are, moved by one pixel in four directions, and mirrored left to right.

    The pixels at the border are repeated.

    Source: Choquette-Choo et al. 2021 (ICML), section 4.2, translations with d = 1: 4d + 1 queries.
    """
    x = examples.inputs.x
    margin = [(0, 0)] * (x.ndim - 2) + [(1, 1), (1, 1)]
    padded, (height, width) = np.pad(x, margin, mode="edge"), x.shape[-2:]
    for down, right in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        top, left = 1 - down, 1 - right
        yield Arrays(np.ascontiguousarray(padded[..., top : top + height, left : left + width]))
    yield Arrays(np.ascontiguousarray(x[..., ::-1]))
