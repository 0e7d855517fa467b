"""Another recipe on the same examples: differentially private training, fewer epochs, augmentation, another network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from memaudit.errors import RecipeError, hint
from memaudit.recipe import Recipe
from memaudit.recipe.blame import blame
from memaudit.training import fill
from memaudit.whatif.base import Base, Comparable, Made


@dataclass(frozen=True, slots=True)
class Edited(Comparable):
    """Train by an edited recipe.

    Args:
        change: A recipe; or a function of the base's recipe that returns one; or the fields to set, by name.
    """

    change: Recipe | Callable[[Recipe], Recipe] | dict[str, Any]

    def recipe(self, base: Recipe) -> Recipe:
        """Return the variant's recipe.

        Raises:
            RecipeError: There is no such field, or the function returned something else.
        """
        if isinstance(self.change, dict):
            known = [field.name for field in fields(base)]
            for name in self.change:
                if name not in known:
                    raise RecipeError(f"{type(base).__name__} has no field {name!r}; {hint(name, known)}")
            with blame("the edited recipe"):
                return replace(base, **self.change)
        if isinstance(self.change, Recipe):
            return self.change
        with blame("the change of a recipe"):
            found = self.change(base)
        if not (is_dataclass(found) and isinstance(found, Recipe)):
            raise RecipeError(f"the change of a recipe returned {type(found).__name__}; return a recipe")
        return found

    def make(self, base: Base, folder: Path) -> Made:
        """Return the bank that the edited recipe fills, with the training sets of the base's models."""
        recipe = self.recipe(base.recipe)
        bank = fill(folder, recipe, base.shadows, seed=base.seed, **base.training)
        if bank.fingerprint.get("examples.sha256") != base.bank.fingerprint.get("examples.sha256"):
            raise RecipeError("the edited recipe has other examples; a variant is measured on the same ones")
        return Made(bank=bank)
