"""One generator over all examples: its loss of every image, and how near its own images come to it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from memaudit.errors import ModelError
from memaudit.recipe import Examples, GeneratorRecipe
from memaudit.recipe.blame import blame
from memaudit.recipe.generator import planted_images
from memaudit.recipe.networks import is_network
from memaudit.signals.nearest import closeness, flat, scale_of
from memaudit.signals.steady import require_steady
from memaudit.signals.undisturbed import evaluating, undisturbed

Array = np.ndarray

_BATCH, _SAMPLES = 256, 1000  # images that are scored, or generated, at a time
_FEW = 8  # images that are generated again
_REPEATED = 0.1  # of the pixels' spread: rounding grows over the steps of a sampler; other noise differs by about 1
_LARGEST = float(np.finfo(np.float32).max)
_SCALE = 20  # times that generated pixels may spread more, or less, than those of the examples: bytes are 128 or more
Ask = Callable[[Array, Array], Float[Array, "images levels"]]


def measure_generator(model: Any, examples: Examples, recipe: GeneratorRecipe, device: str) -> dict[str, Array]:
    """Return everything that is recorded about one generator, by name.

    `phi` [examples, levels] is minus the loss at each level, larger = fitted better; without a loss it is minus
    `nearest`. `nearest` is the log of the distance to the nearest generated image, relative to half of that to other
    images of the population; see `closeness`. `correct` says whether an image is extracted: `nearest` is at most 0. Of
    image canaries there are `canary_costs` [canaries] and `reference_costs` [canaries, references], lower = fitted
    better.

    Raises:
        ModelError: Losses or images are not finite, of another shape, or random.
    """
    with undisturbed():
        if is_network(model):
            model = model.to(device)
        with evaluating(model) if is_network(model) else nullcontext():
            generated = _generated(model, examples.x.shape[1:], recipe)
            _require_scale(generated, examples.x)
            nearest = closeness(flat(examples.x), generated, scale_of(examples)).astype(np.float32)
            ask = None if recipe.loss is None else _asking(model, recipe, device)
            phi = -nearest[:, None] if ask is None else -_losses(ask, examples.x, _own_noise(recipe))
            found = {"phi": phi.astype(np.float32), "correct": nearest <= 0, "nearest": nearest}
            return found | _costs(ask, generated, examples, recipe)


def _generated(model: Any, shape: tuple[int, ...], recipe: GeneratorRecipe) -> Float[Array, "samples pixels"]:
    """Return generated images, flat; every model of a recipe starts from the same seeds."""

    def drawn(count: int, seed: int) -> Array:
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # the user's function may draw from it
        random.seed(seed)
        with blame("sample()"):
            images = _numbers("sample()", recipe.sample(model, count, seed))
        if images.shape != (count, *shape):
            raise ModelError(f"sample() returned shape {list(images.shape)}; expected {[count, *shape]}")
        return flat(images)

    starts = range(0, recipe.samples, _SAMPLES)
    found = np.concatenate([drawn(min(_SAMPLES, recipe.samples - start), n) for n, start in enumerate(starts)])
    if not np.isfinite(found).all():
        raise ModelError("sample() returned images that are NaN or infinite")
    if len(found) > 1 and (found == found[0]).all():
        raise ModelError("sample() returned the same image every time; it must use its seed")
    _require_seed(drawn)
    return found


def _require_seed(drawn: Callable[[int, int], Array]) -> None:
    """Raise ModelError unless a seed decides the generated images, and another seed gives others."""
    one, again, other = (drawn(_FEW, seed) for seed in (0, 0, 1))
    spread = float(one.std(dtype=np.float64))
    if not np.sqrt(np.square(one - again, dtype=np.float64).mean()) <= _REPEATED * spread:
        raise ModelError(
            "sample() returned other images for the same seed: an audit could not be repeated. Draw all noise from a "
            "generator with the seed: torch.Generator(device).manual_seed(seed)"
        )
    if (one == other).all():
        raise ModelError(
            "sample() returned the same images for two seeds; it must use its seed: images after the first "
            f"{_SAMPLES:,} would be copies"
        )


def _require_scale(generated: Float[Array, "samples pixels"], images: Array) -> None:
    """Refuse images of another scale: none would be near to any example, and nothing be found to leak."""
    made, given = (float(of.std(dtype=np.float64)) for of in (generated, images))
    if not given / _SCALE <= made <= given * _SCALE:
        raise ModelError(
            f"sample() returned pixels with a standard deviation of {made:.3g}; that of the examples is {given:.3g}. "
            "Return images in the scale of the examples; if sample() does, the training diverged"
        )


def measure_fit(model: Any, images: Array, recipe: GeneratorRecipe, device: str) -> Float[Array, " images"]:
    """Return minus the mean loss of images over the levels, larger = fitted better; the recipe has a loss."""
    return -_losses(_asking(model, recipe, device), images, _own_noise(recipe)).mean(axis=1)


def _asking(model: Any, recipe: GeneratorRecipe, device: str) -> Ask:
    """Return a function of images and noise [images, levels, draws, ...] that returns losses [images, levels]."""

    def ask(images: Array, noise: Array) -> Array:
        x, losses = torch.as_tensor(images).to(device), np.zeros((len(images), len(recipe.levels)))
        for column, level in enumerate(recipe.levels):
            for draw in range(recipe.draws):
                with blame("loss()"):
                    assert recipe.loss is not None
                    own = torch.from_numpy(noise[:, column, draw]).to(device)
                    found = _numbers("loss()", recipe.loss(model, x.clone(), own.clone(), level))
                if found.shape != (len(images),):
                    raise ModelError(
                        f"loss() returned shape {list(found.shape)} at level {level!r}; expected one number per image, "
                        f"[{len(images)}]"
                    )
                losses[:, column] += found / recipe.draws
        if not (losses >= 0).all() or (losses > _LARGEST).any():
            raise ModelError("loss() is NaN, infinite or below 0; return an error that is 0 at best")
        return losses

    return ask


def _losses(ask: Ask, images: Array, noise_of: Callable[[Array], Array]) -> Float[Array, "images levels"]:
    """Return the losses of images, after making sure that they are no random numbers."""

    def rows(at: slice) -> Array:
        return ask(images[at], noise_of(images[at]))

    parts = [rows(slice(start, start + _BATCH)) for start in range(0, len(images), _BATCH)]
    require_steady(rows, parts[0])
    return np.concatenate(parts)


def _own_noise(recipe: GeneratorRecipe) -> Callable[[Array], Array]:
    """Return a function that draws each image's noise from its content: the same for every model, in every batch."""
    size = (len(recipe.levels), recipe.draws)

    def noise(images: Array) -> Float[Array, "images levels draws ..."]:
        seeds = (hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()[:8] for image in images)
        return np.stack([_normal(int.from_bytes(seed, "little"), (*size, *images.shape[1:])) for seed in seeds])

    return noise


def _costs(
    ask: Ask | None, generated: Float[Array, "samples pixels"], examples: Examples, recipe: GeneratorRecipe
) -> dict[str, Array]:
    """Return the costs of the canaries, and of their references under the same noise: losses, or distances."""
    if recipe.planted is None:
        return {}
    canaries = planted_images(recipe)
    costs = []
    for number, (image, others) in enumerate(zip(canaries.images, canaries.references, strict=True)):
        images = np.concatenate([image[None], others]).astype(examples.x.dtype)
        if ask is None:
            costs.append(closeness(flat(images), generated, np.ones(len(images))))
            continue
        size = (len(recipe.levels), recipe.draws, *image.shape)
        noise = _normal(number, size)[None]
        parts = [
            ask(images[rows], np.repeat(noise, len(images[rows]), axis=0)).mean(axis=1) for rows in _rows(len(images))
        ]
        costs.append(np.concatenate(parts))
    found = np.stack(costs)
    return {"canary_costs": found[:, 0], "reference_costs": found[:, 1:]}


def _rows(count: int) -> Iterator[slice]:
    return (slice(start, start + _BATCH) for start in range(0, count, _BATCH))


def _normal(seed: int, size: tuple[int, ...]) -> Float[Array, "..."]:
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def _numbers(what: str, found: Any) -> Array:
    if hasattr(found, "detach"):
        found = found.detach().cpu()
        found = found.float() if found.dtype in (torch.bfloat16, torch.float16) else found  # NumPy has no bfloat16
    array = np.asarray(found)
    if array.dtype.kind not in "fiub":
        raise ModelError(f"{what} returned {type(found).__name__} of {array.dtype}; return a tensor of real numbers")
    return array
