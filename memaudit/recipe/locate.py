"""Finding the user's recipe: `recipe.py:recipe` or `package.module:recipe`."""

from __future__ import annotations

import importlib
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from memaudit.errors import RecipeError
from memaudit.recipe.blame import blame
from memaudit.recipe.recipes import Recipe


def load_recipe(name: str, folder: Path | None = None) -> Recipe:
    """Returns the recipe that `file.py:variable` or `package.module:variable` names; runs that file.

    The file is imported under its own name, so that worker processes can import it again.

    Args:
        name: Where the recipe is; the variable may be left out if it is called `recipe`.
        folder: What relative file names start from; the working directory by default.

    Raises:
        RecipeError: There is no such file or variable, it is not a recipe, or running the file failed.
    """
    place, _, variable = name.partition(":")
    variable = variable or "recipe"
    module = _import(place, (folder or Path()).resolve())
    try:
        found = getattr(module, variable)
    except AttributeError:
        near = get_close_matches(variable, vars(module), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"{place} defines no {variable!r}{hint}") from None
    if not isinstance(found, Recipe):
        raise RecipeError(
            f"{name} is a {type(found).__name__}, not a recipe; make it a ClassifierRecipe, "
            "LanguageModelRecipe, CallableRecipe or EstimatorRecipe"
        )
    return found


def _import(place: str, folder: Path) -> ModuleType:
    if not place.endswith(".py"):
        return _import_module(place, folder)
    path = (folder / place).resolve()
    if not path.is_file():
        raise RecipeError(f"there is no recipe file {path}; `memaudit init` writes one to start from")
    return _import_module(path.stem, path.parent, path)


def _import_module(module: str, folder: Path, path: Path | None = None) -> ModuleType:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    with blame(f"importing {path or module}"):
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise RecipeError(
                f"there is no module {module!r} on the path; a file is named as recipe.py:recipe"
            ) from None
    if path is not None and Path(found.__file__ or "").resolve() != path:
        raise RecipeError(
            f"{path} cannot be imported: the name {module!r} belongs to {found.__file__}; rename the file"
        )
    return found
