"""What models are good for, by kind of task: the share of `correct` on examples that a model was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

from memaudit.errors import RecipeError
from memaudit.recipe import Examples, Population
from memaudit.recipe.labels import Task


@dataclass(frozen=True, slots=True)
class Utility:
    """What the utility of a model is called, and what it is.

    Attributes:
        name: As in "the least cost in accuracy".
        meaning: As in "Accuracy: …".
    """

    name: str
    meaning: str

    @property
    def heading(self) -> str:
        """The name of a column."""
        return self.name[0].upper() + self.name[1:]


ACCURACY = Utility("accuracy", "share of examples outside of a model's training set that it classifies correctly")
_TOKENS = Utility("tokens predicted", "share of the tokens of documents outside of a model's training set")
_OF_TASKS = {
    Task.CLASSIFICATION: ACCURACY,
    Task.MULTILABEL: Utility("labels predicted", "share of the labels of examples outside of a model's training set"),
    Task.REGRESSION: Utility(
        "explained share", "1 − squared error / variance of the labels, on examples outside of a model's training set"
    ),
}


def utility(examples: Population) -> Utility:
    """Return what the utility of models of a population is.

    Raises:
        RecipeError: They generate images, whose quality is not measured.
    """
    if not isinstance(examples, Examples):
        return _TOKENS
    if examples.task not in _OF_TASKS:
        raise RecipeError(
            "variants of a generator cannot be compared: how good its images are is not measured. Fill a bank for each "
            "variant, and compare two with memaudit.what_if"
        )
    return _OF_TASKS[examples.task]
