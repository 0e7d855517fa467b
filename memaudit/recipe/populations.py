"""Everything that may be in a training set, as a recipe returns it."""

from __future__ import annotations

from memaudit.errors import RecipeError
from memaudit.recipe.blame import blame
from memaudit.recipe.documents import Documents
from memaudit.recipe.examples import Examples
from memaudit.recipe.fingerprint import making_examples
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.recipes import CallableRecipe, LanguageModelRecipe, Recipe

Population = Examples | TextPopulation


def population(recipe: Recipe) -> Population:
    """Return the recipe's population: its examples, or its documents and canaries in tokens.

    Raises:
        RecipeError: The user's function failed or returned something else.
    """
    found = source(recipe)
    if isinstance(found, Examples):
        return found
    if isinstance(recipe, LanguageModelRecipe):
        return TextPopulation(found, recipe.rendering, recipe.probes)
    if not isinstance(recipe, CallableRecipe):
        raise RecipeError("examples() returned Documents; return memaudit.Examples(x, y)")
    if recipe.rendering is None:
        raise RecipeError("examples() returned documents, so that the recipe needs rendering=memaudit.Rendering(...)")
    return TextPopulation(found, recipe.rendering, recipe.probes, recipe.token_logprobs)


def require_stable(recipe: Recipe, examples: Population) -> None:
    """Raise RecipeError if the recipe returns other examples when it is called again: ids then name other rows."""
    whole = examples.documents if isinstance(examples, TextPopulation) else examples
    if source(recipe).digest() != whole.digest():
        raise RecipeError(
            "examples() returned other rows, or the same in another order, when it was called a second time: ids "
            "and positions then name other rows each time. Seed whatever is random in it, and train the model again"
        )


def source(recipe: Recipe) -> Examples | Documents:
    """Return what the recipe's `examples()` or `documents()` returns, when it is called once more.

    Raises:
        RecipeError: The user's function failed or returned something else.
    """
    if isinstance(recipe, LanguageModelRecipe):
        with blame("documents()"), making_examples(recipe):
            documents = recipe.documents()
        if not isinstance(documents, Documents):
            raise RecipeError(f"documents() returned {type(documents).__name__}; return memaudit.Documents(texts)")
        return documents
    with blame("examples()"), making_examples(recipe):
        examples = recipe.examples()
    if not isinstance(examples, Examples | Documents):
        raise RecipeError(f"examples() returned {type(examples).__name__}; return memaudit.Examples(x, y)")
    return examples
