"""Small edits of how a network is trained. Each trains every model from the start."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe import DPSGD, SGD, AdamW, ClassifierRecipe, EstimatorRecipe, Recipe, flip, shift
from memaudit.whatif.base import Base, Comparable, Made
from memaudit.whatif.remedies.edited import Edited


class Retrained(Comparable):
    """A remedy that edits the recipe; a subclass says how."""

    __slots__ = ()

    @abstractmethod
    def recipe(self, base: Any) -> Recipe:
        """Return the edited recipe.

        Raises:
            RecipeError: This kind of recipe has nothing to edit; give a recipe of your own.
        """

    def make(self, base: Base, folder: Path) -> Made:
        """Return the bank that the edited recipe fills."""
        return Edited(self.recipe).make(base, folder)

    def require(self, recipe: Any, name: str) -> None:
        """Raise RecipeError unless a recipe has a field."""
        if not hasattr(recipe, name):
            raise RecipeError(
                f"{type(self).__name__} edits {name!r}, which {type(recipe).__name__} does not have; give this variant "
                "a recipe of your own (recipe = ...)"
            )


@dataclass(frozen=True, slots=True)
class EarlyStopping(Retrained):
    """Train for fewer epochs; a schedule of the learning rate ends with them.

    Args:
        epochs: So many.
    """

    epochs: int

    def recipe(self, base: Any) -> Recipe:
        """Return the recipe with fewer epochs."""
        self.require(base, "epochs")
        if not 0 < self.epochs < base.epochs:
            raise SettingsError(f"epochs = {self.epochs}: early stopping trains for fewer than {base.epochs}")
        return replace(base, epochs=self.epochs)


@dataclass(frozen=True, slots=True)
class WeightDecay(Retrained):
    """Train with another weight decay.

    Args:
        value: Of `SGD` or `AdamW`.
    """

    value: float

    def recipe(self, base: Any) -> Recipe:
        """Return the recipe whose optimizer has the weight decay."""
        self.require(base, "optimizer")
        if not isinstance(base.optimizer, SGD | AdamW):
            raise RecipeError(
                "the optimizer is a function of yours, and its weight decay cannot be edited; give this variant a "
                "recipe of your own (recipe = ...)"
            )
        return replace(base, optimizer=replace(base.optimizer, weight_decay=float(self.value)))


@dataclass(frozen=True, slots=True)
class LabelSmoothing(Retrained):
    """Train on smoothed labels.

    Args:
        value: Share of a label's weight that is spread over all classes.
    """

    value: float

    def recipe(self, base: Any) -> Recipe:
        """Return the recipe with label smoothing."""
        self.require(base, "label_smoothing")
        return replace(base, label_smoothing=float(self.value))


@dataclass(frozen=True, slots=True)
class Mixup(Retrained):
    """Train on mixtures of two examples.

    Args:
        alpha: Of Beta(α, α), from which their weight is drawn: 0.2 mixes little, 1 mixes all weights alike.

    Source: Zhang et al. 2018 (ICLR), mixup.
    """

    alpha: float = 0.2

    def recipe(self, base: Any) -> Recipe:
        """Return the recipe with mixup."""
        self.require(base, "mixup")
        if not self.alpha > 0:
            raise SettingsError(f"alpha = {self.alpha}: mixup needs α above 0")
        return replace(base, mixup=float(self.alpha))


@dataclass(frozen=True, slots=True)
class Augmented(Retrained):
    """Train on randomly moved, or mirrored, images.

    Args:
        by: "shift", "flip", or a function of (batch, generator).
        pixels: Of a shift, at most.
    """

    by: Literal["shift", "flip"] | Any = "shift"
    pixels: int = 2

    def recipe(self, base: Any) -> Recipe:
        """Return the recipe with augmentation."""
        self.require(base, "augment")
        known = {"shift": shift(self.pixels), "flip": flip}
        if isinstance(self.by, str) and self.by not in known:
            raise SettingsError(f"by = {self.by!r}: augment by one of {', '.join(known)}, or by a function")
        return replace(base, augment=known[self.by] if isinstance(self.by, str) else self.by)


@dataclass(frozen=True, slots=True)
class DifferentiallyPrivate(Retrained):
    """Train with DP-SGD, as `DPSGD` says; what it promises is for `memaudit audit` with [dp] to test.

    Args:
        noise_multiplier: Standard deviation of the noise, in units of `max_grad_norm`.
        max_grad_norm: Largest norm of one example's gradient.
    """

    noise_multiplier: float
    max_grad_norm: float = 1.0

    def recipe(self, base: Any) -> Recipe:
        """Return the recipe with DP-SGD."""
        self.require(base, "privacy")
        return replace(base, privacy=DPSGD(self.noise_multiplier, self.max_grad_norm))


@dataclass(frozen=True, slots=True)
class Dropout(Retrained):
    """Train with dropout after every ReLU or GELU of the network.

    Args:
        share: Of the activations that are dropped.
    """

    share: float

    def recipe(self, base: Any) -> Recipe:
        """Return the recipe whose network has dropout."""
        if isinstance(base, EstimatorRecipe) or not isinstance(base, ClassifierRecipe):
            raise RecipeError("Dropout is put into the network of a ClassifierRecipe; give a recipe of your own")
        if not 0 < self.share < 1:
            raise SettingsError(f"share = {self.share}: drop a share of the activations between 0 and 1")
        return replace(base, model=WithDropout(base.model, self.share))


@dataclass(frozen=True, slots=True)
class WithDropout:
    """Returns the network of a function with dropout after every activation."""

    model: Any
    share: float

    def __call__(self) -> Any:
        """Return an untrained network.

        Raises:
            RecipeError: It has no activation that is a module of its own.
        """
        from torch import nn

        network = self.model()
        places = [
            (parent, name)
            for parent in network.modules()
            for name, child in parent.named_children()
            if isinstance(child, nn.ReLU | nn.GELU | nn.SiLU | nn.Tanh)
        ]
        if not places:
            raise RecipeError("the network has no ReLU, GELU, SiLU or Tanh module to put dropout after; give a recipe")
        for parent, name in places:
            setattr(parent, name, nn.Sequential(getattr(parent, name), nn.Dropout(self.share)))
        return network
