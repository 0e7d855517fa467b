"""Everything that may be in a training set, as a recipe returns it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

from memaudit.design import Design, Role
from memaudit.errors import RecipeError
from memaudit.recipe.agreement import require_agreement
from memaudit.recipe.blame import blame
from memaudit.recipe.documents import Documents
from memaudit.recipe.examples import Examples
from memaudit.recipe.fingerprint import making_examples
from memaudit.recipe.generator import GeneratorRecipe, canary_rows
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.recipes import CallableRecipe, LanguageModelRecipe, Recipe

Array = np.ndarray

Population = Examples | TextPopulation


def population(recipe: Recipe) -> Population:
    """Return the recipe's population: its examples, or its documents and canaries in tokens.

    Raises:
        RecipeError: The user's function failed or returned something else.
    """
    found = source(recipe)
    if isinstance(found, Examples):
        require_agreement(recipe, found)
        if isinstance(recipe, GeneratorRecipe) and (canary_rows(found, recipe) < 0).any():
            raise RecipeError(
                "the images of planted() are not all among the examples; put them into what examples() returns"
            )
        return found
    if isinstance(recipe, LanguageModelRecipe):
        return TextPopulation(found, recipe.rendering, recipe.probes)
    if not isinstance(recipe, CallableRecipe):
        raise RecipeError("examples() returned Documents; return memaudit.Examples(x, y)")
    if recipe.rendering is None:
        raise RecipeError("examples() returned documents, so the recipe needs rendering=memaudit.Rendering(...)")
    return TextPopulation(found, recipe.rendering, recipe.probes, recipe.token_logprobs)


def units_of(examples: Population, counts: UInt8[Array, " ids"]) -> Bool[Array, " units"]:
    """Return which units a model was trained on, if only on one of their examples."""
    if isinstance(examples, TextPopulation):
        return counts[: len(examples)] > 0
    return np.bincount(examples.unit_of, counts) > 0


def number_of_units(examples: Population) -> int:
    """Return how many units are members or not: documents, or examples without their copies and groups."""
    return len(examples) if isinstance(examples, TextPopulation) else examples.units


def candidates(examples: Population, design: Design) -> Population:
    """Return the population of a design's measured units, its candidates: what a bank's models are asked about."""
    if design.measured.all():
        return examples
    if isinstance(examples, TextPopulation):
        return examples.of_units(design.measured, (design.roles == Role.ALWAYS) & ~design.measured)
    return examples.take(np.flatnonzero(design.measured[examples.unit_of]))


def counts_of_candidates(
    examples: Population, design: Design, counts: UInt8[Array, " ids"]
) -> UInt8[Array, " candidates"]:
    """Return how often each id of `candidates(examples, design)` is trained on: of examples, or units and canaries."""
    if isinstance(examples, TextPopulation):
        return np.concatenate([counts[: len(examples)][design.measured], counts[len(examples) :]])
    return counts[design.measured[examples.unit_of]]


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
