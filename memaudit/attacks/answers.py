"""The contract of an attack that needs no bank: it scores what one model, and perhaps a few references, answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from memaudit.attacks.interface import Signal
from memaudit.design import PairArrays
from memaudit.types import Rung

Array = np.ndarray

FOLDS = 5


@dataclass(frozen=True, slots=True)
class References:
    """Signals of reference models, averaged over queries, and which examples each was not trained on.

    Every example is outside at least one of them. `pairs` are the complementary pairs of shadow models among them.
    """

    phi: Float[Array, "models examples"]
    out: Bool[Array, "models examples"]
    pairs: PairArrays | None = None


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What is known of each example without a bank.

    Args:
        phi: Signal of the target, averaged over queries; larger = more confident.
        members: Whether the target was trained on it.
        signal: Unit of the signals.
        seed: Of the folds.
        x: Inputs, of a classifier.
        y: Labels: classes from 0, several labels `[examples, labels]`, or numbers.
        description: Of a text: what is known of it without the target.
        modified_entropy: Of the target's outputs, in nats, where it was recorded.
        statistics: Other scores of the target by name, such as those of a text's tokens; larger = more member-like.
        references: Other models' signals, if there are any.
    """

    phi: Float[Array, " examples"]
    members: Bool[Array, " examples"]
    signal: Signal = Signal.SCALED_LOGIT
    seed: int = 0
    x: Shaped[Array, "examples ..."] | None = None
    y: Shaped[Array, "examples ..."] | None = None
    description: Float[Array, "examples features"] | None = None
    modified_entropy: Float[Array, " examples"] | None = None
    statistics: dict[str, Float[Array, " examples"]] = field(default_factory=dict)
    references: References | None = None

    @property
    def has_classes(self) -> bool:
        """Whether every example has one class."""
        return self.y is not None and self.y.ndim == 1 and self.y.dtype.kind != "f"

    @cached_property
    def fold(self) -> Int[Array, " examples"]:
        """The fold of each example, from 0: members and non-members are dealt evenly, at random."""
        rng = np.random.default_rng(self.seed)
        fold = np.empty(len(self.members), np.int64)
        for side in (np.flatnonzero(self.members), np.flatnonzero(~self.members)):
            fold[rng.permutation(side)] = np.arange(len(side)) % FOLDS
        return fold

    def cross_fitted(self, fit: Callable[[Array], Callable[[Array], Any]]) -> Float[Array, " examples"]:
        """Return scores of each fold by what was fitted to the non-members of the other folds.

        Within a fold, members and non-members are then scored by one rule that has seen neither: where members are like
        non-members, their scores have one law.

        Args:
            fit: Maps rows of non-members to a function of rows that returns their scores.
        """
        scores = np.empty(len(self.members), np.float64)
        for fold in range(FOLDS):
            here = self.fold == fold
            scores[here] = fit(np.flatnonzero(~here & ~self.members))(np.flatnonzero(here))
        return scores


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAttack:
    """An attack without a bank: `score` maps answers to one score per example, larger = more likely a member.

    `rung` is the lowest that it can be made on. `fits` tells whether the answers have what it needs, and `needs` says
    in words what that is.
    """

    name: str
    source: str
    score: Callable[[Answers], Float[Array, " examples"]]
    rung: Rung = Rung.TARGET
    fits: Callable[[Answers], bool] = lambda answers: True
    needs: str = "it does not fit this kind of model, or its outputs"
