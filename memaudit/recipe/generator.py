"""A generator of images: trained, sampled and scored by the user's own functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from memaudit.errors import RecipeError
from memaudit.recipe.blame import blame

if TYPE_CHECKING:
    from torch.nn import Module

    from memaudit.canaries.images import ImageCanaries
    from memaudit.recipe.examples import Examples

Array = np.ndarray

COSTS = ("canary_costs", "reference_costs")  # recordings that are of canaries, not of examples
_IF_GIVEN = {"omitted": (None,)}
_LEAST_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class GeneratorRecipe:
    """A model that generates images, such as a diffusion model or a GAN.

    Args:
        examples: Returns the population: `Examples(images, task="generation")`, with class labels as `y` if there are
            any.
        train: `train(dataset, *, seed, device)` returns a trained model. The dataset is the `Examples` of the training
            set, with all images at hand as `.x` and the class labels as `.y`.
        sample: `sample(model, n, seed)` returns n generated images, in the shape and scale of the examples.
        loss: `loss(model, images, noise, level)` returns one number per image, larger = the model fits the image worse.
            `images` are tensors on the model's device, and `noise` is standard normal, of the same shape. Every model
            gets the same noise for an image. See `memaudit.denoising_error` and `memaudit.step_error`. Without it,
            membership is attacked by the distance to the nearest generated image.
        levels: What `loss` is called with, once each: noise levels or time steps, for instance.
        draws: Noises per image and level, whose losses are averaged.
        samples: How many images each model generates. More find more.
        load: `load(path)` returns the model that the file holds; its safety is the user's responsibility.
        model: Returns an untrained network; with it, model files are loaded by memaudit, and `load` is not needed.
        planted: Returns the `ImageCanaries` that are among the examples.
    """

    examples: Callable[[], Examples]
    train: Callable[..., Any]
    sample: Callable[..., Any]
    loss: Callable[..., Any] | None = field(default=None, metadata=_IF_GIVEN)
    levels: tuple[Any, ...] = (0,)
    draws: int = 1
    samples: int = 1000
    load: Callable[[str], Any] | None = None
    model: Callable[[], Module] | None = None
    planted: Callable[[], ImageCanaries] | None = field(default=None, metadata=_IF_GIVEN)

    def __post_init__(self) -> None:
        if not isinstance(self.levels, tuple | list) or not self.levels:
            raise RecipeError(f"levels={self.levels!r}: give a tuple of one noise level or more, such as (10,)")
        for name in ("draws", "samples"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise RecipeError(f"{name}={value!r}: give a whole number from 1")
        if self.samples < _LEAST_SAMPLES:
            raise RecipeError(f"samples={self.samples}: a model generates at least {_LEAST_SAMPLES} images")


def planted_images(recipe: GeneratorRecipe) -> ImageCanaries:
    """Return the image canaries of a recipe that has some.

    Raises:
        RecipeError: The user's function failed or returned something else.
    """
    from memaudit.canaries.images import ImageCanaries

    assert recipe.planted is not None
    with blame("planted()"):
        found = recipe.planted()
    if not isinstance(found, ImageCanaries):
        raise RecipeError(f"planted() returned {type(found).__name__}; return what memaudit.image_canaries returns")
    return found


def canary_rows(examples: Examples, recipe: GeneratorRecipe) -> Int[Array, " canaries"]:
    """Return the row of each image canary among the examples; −1 if it is not among them."""
    if recipe.planted is None:
        return np.empty(0, np.int64)
    rows = {np.ascontiguousarray(image).tobytes(): row for row, image in enumerate(examples.x)}
    images = np.ascontiguousarray(planted_images(recipe).images.astype(examples.x.dtype))
    return np.array([rows.get(image.tobytes(), -1) for image in images])
