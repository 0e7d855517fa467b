"""Whether a recipe can train on its examples: seen before the first model is trained."""

from __future__ import annotations

from memaudit.errors import RecipeError
from memaudit.recipe.examples import Examples
from memaudit.recipe.generator import GeneratorRecipe
from memaudit.recipe.inputs import Arrays, Objects, SeveralArrays, Sparse, Table, Texts
from memaudit.recipe.labels import Task
from memaudit.recipe.recipes import ClassifierRecipe, EstimatorRecipe, Recipe, is_regressor


def require_agreement(recipe: Recipe, examples: Examples) -> None:
    """Raise RecipeError if the recipe trains models of another task, or takes inputs of another kind."""
    if (examples.task is Task.GENERATION) != isinstance(recipe, GeneratorRecipe):
        raise RecipeError(
            "a GeneratorRecipe takes images that nothing is predicted of, and the recipe or its examples are of "
            'another kind: use GeneratorRecipe(...) with Examples(images, task="generation")'
        )
    if isinstance(recipe, GeneratorRecipe):
        _require_images(examples)
    elif isinstance(recipe, EstimatorRecipe):
        _require_estimator(recipe, examples)
    elif isinstance(recipe, ClassifierRecipe):
        _require_classifier(recipe, examples)
    if examples.task is Task.REGRESSION and getattr(recipe, "outputs", None) is not None:
        raise RecipeError("outputs=... says how a classifier's outputs are read; leave it out of a regression")


def _require_images(examples: Examples) -> None:
    if not isinstance(examples.inputs, Arrays) or examples.x.dtype.kind != "f":
        raise RecipeError(
            "a generator's images are one array of floating-point numbers, [examples, ...]; resize them in examples(), "
            "and convert bytes to the scale that the model is trained on"
        )


def _require_estimator(recipe: EstimatorRecipe, examples: Examples) -> None:
    name = type(recipe.estimator).__name__
    if isinstance(examples.inputs, SeveralArrays | Objects):
        raise RecipeError(
            f"inputs are {_kind(examples)}, which no estimator of scikit-learn takes; give an array, a DataFrame, a "
            "sparse matrix or a list of strings"
        )
    if (examples.task is Task.REGRESSION) != is_regressor(recipe.estimator):
        raise RecipeError(
            f'the estimator, {name}, predicts classes, and the labels are numbers (task="regression"); fit a regressor'
            if examples.task is Task.REGRESSION
            else f"the estimator, {name}, predicts numbers, and the labels are classes; fit a classifier, or, if the "
            'labels are numbers to predict, set Examples(..., task="regression")'
        )


def _require_classifier(recipe: ClassifierRecipe, examples: Examples) -> None:
    inputs = examples.inputs
    if not isinstance(inputs, Arrays | SeveralArrays | Sparse) and not (isinstance(inputs, Table) and inputs.numeric):
        raise RecipeError(
            f"inputs are {_kind(examples)}, and ClassifierRecipe trains on numbers. Encode them in examples() (texts: "
            'Examples(dict(tokenizer(texts, padding=True, return_tensors="np")), y)), or use CallableRecipe with a '
            "train() of your own"
        )
    if recipe.federated is not None and not examples.pools:
        raise RecipeError(
            "federated=FedAvg(...): the groups of examples are the clients, and no group has two different examples; "
            'say who has which, with Examples(x, y, groups=..., unit="clients")'
        )
    if examples.task is Task.REGRESSION and recipe.label_smoothing:
        raise RecipeError("label_smoothing is for classes; leave it out of a regression")


def _kind(examples: Examples) -> str:
    names = {
        SeveralArrays: "several arrays",
        Objects: "a list of arrays or images that differ in size",
        Texts: "texts",
        Table: "a table of more than finite numbers",
    }
    return names.get(type(examples.inputs), type(examples.inputs).__name__)
