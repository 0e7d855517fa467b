"""What a check may look at when a model generates images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from memaudit.attacks import Signal, blind_scores
from memaudit.checks.classifier import memorization_of
from memaudit.checks.evidence import Evidence, TargetEvidence
from memaudit.design import PairArrays
from memaudit.memorization import Counterfactual, Memorization

Array = np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """Image canaries under some models: costs, lower = fitted better, and who was trained on which.

    `forms` is the number of patterns that there are.
    """

    costs: Float[Array, "models canaries"]
    references: Float[Array, "models canaries references"]
    inside: Bool[Array, "models canaries"]
    forms: int


@dataclass(frozen=True, kw_only=True)
class GeneratorTargetEvidence(TargetEvidence):
    """Of a generator of images.

    `phi` is minus the loss at each level, or minus `nearest` if there is no loss. `correct` says whether an image is
    extracted. `nearest` is the log of the relative distance to the nearest of so many `samples`. `levels` are the names
    of the columns of `phi`.
    """

    x: Shaped[Array, "examples ..."]
    y: Int[Array, " examples"]
    nearest: Float[Array, " examples"]
    samples: int
    levels: tuple[str, ...] = ()
    planted: Planted | None = None
    signal: ClassVar[Signal] = Signal.LOG_PROBABILITY

    def loss(self, phi: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the loss, of which the signal is the negative; of a log distance, the distance."""
        return -phi if self.levels else np.exp(-phi)

    @property
    def has_labels(self) -> bool:
        """Whether there are two classes at least."""
        return bool(self.y.any())

    def label(self, example: int, full: bool) -> str:
        """Return the class."""
        return str(self.y[example]) if self.has_labels else "image"

    def blind_scores(self, rows: Int[Array, " rows"]) -> Float[Array, " rows"]:
        """Return the cross-fitted log-odds of membership from images and labels."""
        return blind_scores(self.x[rows], self.y[rows], self.members[rows], self.seed)


@dataclass(frozen=True, kw_only=True)
class GeneratorEvidence(GeneratorTargetEvidence, Evidence):
    """Of a generator of images, with a bank; `shadows_nearest` and `shadows_planted` are of its models."""

    shadows_nearest: Float[Array, "models examples"]
    shadows_planted: Planted | None = None

    @cached_property
    def memorization(self) -> Memorization | Counterfactual:
        """How much more often an image is extracted from models that were trained on it, over the whole bank."""
        return memorization_of(self)

    @cached_property
    def near_pairs(self) -> PairArrays:
        """The signal from generated images alone: minus `nearest`, of the bank's models in pair form."""
        columns, couples = np.arange(self.shadows_nearest.shape[1]), self.couples_of(slice(None))
        sides = (-self.shadows_nearest[side, columns][..., None] for side in (couples.inside, couples.outside))
        return PairArrays(*sides)
