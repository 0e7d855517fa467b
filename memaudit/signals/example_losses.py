"""The loss of each example by what a network returned for it, and what else its outputs say, in torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot, softplus

from memaudit.recipe import Examples
from memaudit.recipe.labels import Task
from memaudit.recipe.recipes import Outputs
from memaudit.signals.regression import spread_of

Array = np.ndarray

_TINY = torch.finfo(torch.float32).tiny
_SPAN = 2**19  # outputs at a time: their temporaries are several times as large
_SINGLE = 2.0**-24  # half the distance from 1 to the next smaller number in single precision


@dataclass(frozen=True, slots=True)
class ExampleLosses:
    """How outputs of a kind, on examples of a task, become losses; `spread` is the labels' standard deviation."""

    task: Task
    kind: Outputs | None
    spread: float

    @classmethod
    def of(cls, examples: Examples, kind: Outputs | None) -> ExampleLosses:
        """Return how a network's outputs for some examples become losses."""
        return cls(examples.task, kind, spread_of(examples) if examples.task is Task.REGRESSION else 1.0)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row in nats, differentiable: the cross-entropy; of several labels, their sum.

        Of one sigmoid for each class it is that of the true class's own. Of a regression it is half the squared error,
        in variances of the labels.

        Args:
            outputs: `[rows, columns]`.
            y: Labels of the rows.
        """
        if self.task is Task.REGRESSION:
            return ((outputs[:, 0] - y) / self.spread).square() / 2
        return self._cross_entropy(*self._logits(outputs), y)

    def read(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return what the outputs say of each row, by name; not of a regression.

        loss      as above
        correct   whether the largest output is the label's; of several labels, the share that is right
        entropy   of the probabilities, in nats; where each output is a question of its own, the sum of theirs
        el2n      Euclidean distance of the probabilities from the label

        Source: Paul et al. 2021 (NeurIPS), "Deep Learning on a Data Diet", the EL2N score.
        """
        z, alone = self._logits(outputs)
        several = self.task is Task.MULTILABEL
        p = z.sigmoid() if alone else z.softmax(dim=1)
        terms = torch.special.entr(p) + (torch.special.entr(1 - p) if alone else 0)
        return {
            "loss": self._cross_entropy(z, alone, y),
            "correct": ((z > 0) == (y == 1)).float().mean(dim=1) if several else z.argmax(dim=1) == y,
            "entropy": terms.sum(dim=1),
            "el2n": (p - (y if several else one_hot(y, z.shape[1]))).norm(dim=1),
        }

    def predicted(self, outputs: Tensor) -> Tensor:
        """Return the class with the largest output of each row, of examples with one class each."""
        return self._logits(outputs)[0].argmax(dim=1)

    def _cross_entropy(self, z: Tensor, alone: bool, y: Tensor) -> Tensor:
        if self.task is Task.MULTILABEL:
            return softplus(torch.where(y == 1, -z, z)).sum(dim=1)
        log_p = logsigmoid(z) if alone else z.log_softmax(dim=1)
        return -log_p.gather(1, y[:, None])[:, 0]

    def _logits(self, outputs: Tensor) -> tuple[Tensor, bool]:
        """Return logits, and whether each is of a question of its own; one column is the logit of class 1 of two."""
        several = outputs.shape[1] > 1
        alone = self.task is Task.MULTILABEL or (several and self.kind == "one-vs-rest")
        if self.kind in ("probabilities", "one-vs-rest"):
            single = alone or not several
            outputs = torch.logit(outputs, _SINGLE) if single else outputs.clamp(min=_TINY).log()
        return (outputs if alone or several else torch.cat([torch.zeros_like(outputs), outputs], dim=1)), alone


def read(
    answers: Float[Array, "rows columns"], examples: Examples, rows: slice, kind: Outputs | None
) -> dict[str, Shaped[Array, " rows"]]:
    """Return what `ExampleLosses.read` says of a network's outputs for some of the examples, few outputs at a time."""
    losses, step = ExampleLosses.of(examples, kind), max(1, _SPAN // answers.shape[1])
    outputs, y = torch.from_numpy(answers), torch.from_numpy(examples.y[rows])
    parts = [
        losses.read(some, labels) for some, labels in zip(torch.split(outputs, step), torch.split(y, step), strict=True)
    ]
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
