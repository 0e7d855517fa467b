"""A function of inputs in the form of an estimator, so that it is evaluated as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from memaudit.errors import SettingsError
from memaudit.recipe import Examples
from memaudit.recipe.inputs.arrays import array_of
from memaudit.recipe.labels import Task
from memaudit.recipe.networks import is_network
from memaudit.recipe.recipes import Outputs

Array = np.ndarray


@dataclass(frozen=True)
class _Function:
    """A function of inputs, asked as an estimator is: for scores, or for probabilities, of each class.

    `count` is the number of all examples: outputs are looked at where they are those of all.
    """

    function: Callable[[Any], Any]
    count: int

    def _outputs(self, x: Any) -> Array:
        return np.asarray(array_of(self.function(x)))


class _OfScores(_Function):
    def decision_function(self, x: Any) -> Array:
        """Return the scores of the classes."""
        scores = self._outputs(x)
        if len(scores) == self.count and scores.size and 0 <= scores.min() < scores.max() <= 1:
            rows = scores.ndim == 2 and scores.shape[1] > 1 and np.allclose(scores.sum(axis=1), 1, 0, 0.01)
            raise SettingsError(
                f"the model returns probabilities: every {'row sums to 1' if rows else 'number is between 0 and 1'}. "
                'Say so with outputs="probabilities"; if they are scores all the same, with outputs="logits"'
            )
        return scores


class _OfLogits(_Function):
    def decision_function(self, x: Any) -> Array:
        """Return the logits of the classes."""
        return self._outputs(x)


class _OfProbabilities(_Function):
    def predict_proba(self, x: Any) -> Array:
        """Return the probabilities of the classes."""
        return self._outputs(x)


class _LabelLogits(_OfLogits):
    def predict(self, x: Any) -> Array:
        """Return which labels are likelier than not."""
        return self._outputs(x) > 0


class _LabelProbabilities(_OfProbabilities):
    def predict(self, x: Any) -> Array:
        """Return which labels are likelier than not."""
        return self._outputs(x) > 0.5


class _OfNumbers(_Function):
    def predict(self, x: Any) -> Array:
        """Return the predicted numbers."""
        return self._outputs(x)


_ASKED_AS: dict[Task, dict[str | None, type[_Function]]] = {
    Task.CLASSIFICATION: {
        None: _OfScores,
        "logits": _OfLogits,
        "log-probabilities": _OfLogits,
        "probabilities": _OfProbabilities,
    },
    Task.MULTILABEL: {"logits": _LabelLogits, "probabilities": _LabelProbabilities},
    Task.REGRESSION: {None: _OfNumbers},
}


def predictor(model: Any, outputs: Outputs | None, examples: Examples) -> Any:
    """Return what can be evaluated: the model, or a function in the form of an estimator."""
    if is_network(model) or hasattr(model, "predict_proba") or hasattr(model, "decision_function"):
        return model
    if hasattr(model, "predict") and (examples.task is Task.REGRESSION or not callable(model)):
        return model
    if not callable(model):
        raise SettingsError(
            f"a {type(model).__name__} does not predict: give a torch network, an estimator with predict_proba or "
            "decision_function, or a function that returns one score for each class"
        )
    ways = _ASKED_AS[examples.task]
    if outputs not in ways:
        known = " or ".join(f'"{way}"' for way in ways if way is not None)
        said = f'outputs="{outputs}" is not for a function ({examples.task})' if outputs else "it is not known"
        raise SettingsError(f"what does the function return? {said}; set outputs={known or None}")
    return ways[outputs](model, len(examples))
