"""What a check may look at when a model predicts several labels an example, or a number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from memaudit.attacks import Signal
from memaudit.checks.classifier import ClassifierEvidence, ClassifierTargetEvidence, memorization_of_shares
from memaudit.memorization import Counterfactual
from memaudit.recipe.labels import Task

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class MultilabelTargetEvidence(ClassifierTargetEvidence):
    """Of a model of several labels: its signal is that of a classifier of their combinations.

    `correct` is the share of an example's labels that is predicted right.
    """

    def label(self, example: int, full: bool) -> str:
        """Return the numbers of the labels that the example has."""
        return ", ".join(map(str, np.flatnonzero(self.y[example]))) or "none"


@dataclass(frozen=True, kw_only=True)
class MultilabelEvidence(MultilabelTargetEvidence, ClassifierEvidence):
    """Of a model of several labels, with a bank."""

    @cached_property
    def memorization(self) -> Counterfactual:
        """How many more of an example's labels are predicted right because of training on it, over the whole bank."""
        return memorization_of_shares(self)


@dataclass(frozen=True, kw_only=True)
class RegressionTargetEvidence(ClassifierTargetEvidence):
    """Of a model that predicts a number: its signal is minus the absolute error, a log-likelihood.

    `correct` is the explained share, 1 − min(1, squared error / variance of the labels).
    """

    signal: ClassVar[Signal] = Signal.LOG_PROBABILITY

    def loss(self, phi: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the absolute error in standard deviations of the labels, of which the signal is the negative."""
        return -phi

    def label(self, example: int, full: bool) -> str:
        """Return the number, which may tell who it is: only if full evidence was asked for."""
        return f"{self.y[example]:.6g}" if full else "not shown"


@dataclass(frozen=True, kw_only=True)
class RegressionEvidence(RegressionTargetEvidence, ClassifierEvidence):
    """Of a model that predicts a number, with a bank."""

    @cached_property
    def memorization(self) -> Counterfactual:
        """By how much training on an example raises the explained share, over the whole bank."""
        return memorization_of_shares(self)


TARGET_EVIDENCE: dict[Task, type[ClassifierTargetEvidence]] = {
    Task.CLASSIFICATION: ClassifierTargetEvidence,
    Task.MULTILABEL: MultilabelTargetEvidence,
    Task.REGRESSION: RegressionTargetEvidence,
}
BANK_EVIDENCE: dict[Task, type[ClassifierEvidence]] = {
    Task.CLASSIFICATION: ClassifierEvidence,
    Task.MULTILABEL: MultilabelEvidence,
    Task.REGRESSION: RegressionEvidence,
}
