"""Showing less of a model's outputs: labels alone, the likeliest classes, rounded or flattened probabilities.

No model is trained, and predictions stay as they are. The base's models are attacked by what they then show, by an
adversary who knows how it was made. An adversary who asks more cleverly may find more.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from memaudit.attacks.access.lira import TopLogit, confidence_logit, noise_logit, vote_logit
from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe import Examples
from memaudit.signals.views import AugmentationVotes, Confidences, NoiseVotes, View
from memaudit.training.asking import cannot_ask, view_bank
from memaudit.whatif.base import Base, Comparable, Made

Array = np.ndarray

Reduce = Callable[[Float[Array, "... columns"]], Float[Array, "..."]]
_EVERY = slice(None)


class Restricted(Comparable):
    """A remedy that shows less; a subclass says what the adversary sees, and which signal he takes from it."""

    __slots__ = ()

    @abstractmethod
    def view(self, examples: Examples) -> View:
        """Return what is asked of each model."""

    @abstractmethod
    def signal(self, columns: Float[Array, "... columns"]) -> Float[Array, "..."]:
        """Return the signal; larger = more member-like."""

    def make(self, base: Base, folder: Path) -> Made:
        """Return the base's bank, seen through the interface.

        Raises:
            RecipeError: The models cannot be asked so.
        """
        examples = base.examples
        if not isinstance(examples, Examples):
            raise RecipeError(f"{type(self).__name__} is about the class probabilities of a classifier")
        view = self.view(examples)
        models = range(base.shadows)
        if reason := view.lacks(base.recipe, examples) or cannot_ask(base.bank, base.recipe, models):
            raise RecipeError(f"{type(self).__name__}: {reason}")
        device = base.training.get("device", "auto")

        def shown(models: Sequence[int]) -> Array:
            columns, _ = view_bank(base.bank, models, base.recipe, examples, view, device=device)
            return np.asarray(self.signal(columns.astype(np.float64)))

        return Made(bank=base.bank, shown=shown)


@dataclass(frozen=True, slots=True)
class LabelsOnly(Restricted):
    """Show the predicted label alone. The adversary asks about changed copies, too, and counts the right labels.

    Args:
        copies: "noise": 48 noisy copies; "moved": images moved by a pixel and mirrored.

    Source: Choquette-Choo et al. 2021 (ICML), section 4; as the signal of LiRA.
    """

    copies: Literal["noise", "moved"] = "noise"

    def view(self, examples: Examples) -> View:
        """Return the votes."""
        if self.copies not in ("noise", "moved"):
            raise SettingsError(f'copies = {self.copies!r}: choose "noise" or "moved"')
        return NoiseVotes() if self.copies == "noise" else AugmentationVotes()

    def signal(self, columns: Float[Array, "... columns"]) -> Float[Array, "..."]:
        """Return the empirical logit of the votes."""
        return (noise_logit if self.copies == "noise" else vote_logit)(columns, _EVERY)


@dataclass(frozen=True, slots=True)
class TopClasses(Restricted):
    """Show the probabilities of the likeliest classes alone; another label's is taken for a share of the rest.

    Args:
        most: How many classes.
    """

    most: int = 1

    def view(self, examples: Examples) -> View:
        """Return the probabilities of all classes."""
        if not 1 <= self.most < examples.classes:
            raise SettingsError(f"most = {self.most}: show at least 1 of the {examples.classes} classes, and not all")
        return Confidences(most=examples.classes)

    def signal(self, columns: Float[Array, "... columns"]) -> Float[Array, "..."]:
        """Return the logit of the label's probability, as far as it is shown."""
        return TopLogit(self.most)(columns, _EVERY)


@dataclass(frozen=True, slots=True)
class Flattened(Restricted):
    """Show probabilities at a temperature, rounded or not. The adversary knows the temperature and undoes it.

    Temperature alone hides nothing from him: each logarithm of a ratio of two probabilities is divided by it. Rounding
    removes what is small, and more of it at a low temperature.

    Args:
        temperature: Logits are divided by it.
        decimals: To which probabilities are rounded; None: they are shown in single precision.
    """

    temperature: float = 1.0
    decimals: int | None = None

    def view(self, examples: Examples) -> View:
        """Return the probabilities of all classes."""
        if not self.temperature > 0:
            raise SettingsError(f"temperature = {self.temperature}: give a number above 0")
        if self.temperature == 1 and self.decimals is None:
            raise SettingsError("a temperature of 1 without rounding changes nothing; give temperature or decimals")
        if self.decimals is not None and self.decimals < 1:
            raise SettingsError(f"decimals = {self.decimals}: give at least 1")
        return Confidences(most=examples.classes)

    def signal(self, columns: Float[Array, "... columns"]) -> Float[Array, "..."]:
        """Return the logit of the label's probability after the temperature is undone.

        A probability that is rounded to 0 is taken for a quarter of the last decimal.
        """
        shown = _normalized(columns / self.temperature)
        least = np.log(np.finfo(np.float32).tiny)
        if self.decimals is None:
            shown = shown.astype(np.float32).astype(np.float64)
        else:
            least = np.log(10.0**-self.decimals / 4)
            with np.errstate(divide="ignore"):
                shown = np.log(np.round(np.exp(shown), self.decimals))
        return confidence_logit(_normalized(np.maximum(shown, least) * self.temperature), _EVERY)


def _normalized(logits: Any) -> Float[Array, "... columns"]:
    return np.asarray(logits - logsumexp(logits, axis=-1, keepdims=True))
