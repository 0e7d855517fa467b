"""Finding the user's recipe: `recipe.py:recipe` or `package.module:recipe`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from memaudit.errors import RecipeError
from memaudit.recipe.blame import blame
from memaudit.recipe.derivation import Derivation
from memaudit.recipe.recipes import Recipe

_BY_PATH = "file:"  # begins the names of modules that are known by their path


def load_recipe(name: str, folder: Path | None = None) -> Recipe:
    """Return the recipe that `file.py:variable` or `package.module:variable` names; runs that file.

    The file is imported under its own name, so that worker processes can import it again. A file whose name is no
    module's (`recipe.v2.py`), or another module's (`test.py`), is imported by its path, in worker processes too.

    Args:
        name: Where the recipe is; the variable may be left out if it is called `recipe`.
        folder: What relative file names start from; the working directory by default.

    Raises:
        RecipeError: There is no such file or variable, it is not a recipe, or running the file failed.
    """
    found = _found(name, folder, "recipe")
    if not isinstance(found, Recipe):
        raise RecipeError(
            f"{name} is a {type(found).__name__}, not a recipe; make it a ClassifierRecipe, "
            "LanguageModelRecipe, CallableRecipe, EstimatorRecipe or GeneratorRecipe"
        )
    return found


def load_derivation(name: str, folder: Path | None = None) -> Derivation:
    """Return the derivation that `file.py:variable` names, which may be a function alone; runs that file.

    Raises:
        RecipeError: There is no such file or variable, it is no derivation, or running the file failed.
    """
    found = _found(name, folder, "derivation")
    return found if isinstance(found, Derivation) else Derivation(found)


def _found(name: str, folder: Path | None, usual: str) -> Any:
    """Return what `file.py:variable` names; the variable may be left out if it has its usual name."""
    place, _, variable = name.rpartition(":")
    if not place or not (variable.isidentifier() or not variable):
        place, variable = name, ""
    variable = variable or usual
    module = _import(place, (folder or Path()).resolve())
    try:
        return getattr(module, variable)
    except AttributeError:
        near = get_close_matches(variable, vars(module), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"{place} defines no {variable!r}{hint}") from None


class _ByPath(MetaPathFinder):
    """Finds modules that are known by their path, in every process that has imported memaudit."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_BY_PATH):
            return None
        return spec_from_file_location(fullname, fullname.removeprefix(_BY_PATH).replace("%2E", "."))


sys.meta_path.append(_ByPath())


def _import(place: str, folder: Path) -> ModuleType:
    if not place.endswith(".py"):
        if (folder / place).is_file():
            raise RecipeError(f"{folder / place} is no Python file; a recipe is one, named as recipe.py:recipe")
        _beside(folder)
        return _import_module(place)
    path = (folder / place).resolve()
    if not path.is_file():
        raise RecipeError(f"there is no recipe file {path}; `memaudit init` writes one to start from")
    return _import_file(path)


def _import_file(path: Path) -> ModuleType:
    """Return the module of a file: by its own name, or by its path where that name is none or another module's."""
    name = path.stem
    if name.isidentifier() and _place_of(name) in (None, path):
        _beside(path.parent)
        if _place_of(name) == path:
            return _import_module(name)
    _beside(path.parent, first=False)  # so as not to hide the other module from those that mean it
    return _import_module(_BY_PATH + str(path).replace(".", "%2E"), path)  # a dot would be a package's


def _beside(folder: Path, first: bool = True) -> None:
    """Make the modules in a folder importable, before all others or after them."""
    if str(folder) not in sys.path:
        sys.path.insert(0 if first else len(sys.path), str(folder))


def _place_of(module: str) -> Path | None:
    """Return the file that importing a name would run, or has run; None if there is no such module yet."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        return Path(getattr(loaded, "__file__", None) or module).resolve()
    spec = find_spec(module)
    return None if spec is None else Path(spec.origin or module).resolve()


def _import_module(module: str, path: Path | None = None) -> ModuleType:
    with blame(f"importing {path or module}"):
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise RecipeError(
                f"there is no module {module!r} on the path; a file is named as recipe.py:recipe"
            ) from None
