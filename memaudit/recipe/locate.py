"""Finding the user's recipe: `recipe.py:recipe` or `package.module:recipe`."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from memaudit.errors import MemauditError, RecipeError
from memaudit.recipe.recipes import CallableRecipe, ClassifierRecipe, EstimatorRecipe, Recipe


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
    if not isinstance(found, ClassifierRecipe | CallableRecipe | EstimatorRecipe):
        raise RecipeError(
            f"{name} is a {type(found).__name__}, not a recipe; make it a ClassifierRecipe, CallableRecipe or "
            "EstimatorRecipe"
        )
    return found


@contextmanager
def blame(what: str) -> Iterator[None]:
    """Turns whatever the user's code raises, `sys.exit` included, into a RecipeError that names its file and line."""
    try:
        yield
    except RecipeError as error:
        if where := _place(error):
            raise RecipeError(f"{where}{error}") from error
        raise
    except (MemauditError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RecipeError(f"{_place(error)}{what} failed: {type(error).__name__}: {error}") from error


def _place(error: BaseException) -> str:
    """Returns the last line of the user's that an error came through, as `file:line: `; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}: "
    own = [f for f in traceback.extract_tb(error.__traceback__) if not _foreign(f.filename)]
    return f"{own[-1].filename}:{own[-1].lineno}: " if own else ""


def _foreign(filename: str) -> bool:
    """Returns whether a traceback's file is ours, the standard library's or an installed package's."""
    path = Path(filename)
    library = Path(importlib.__file__).parent.parent
    ours = Path(__file__).parent.parent
    return filename.startswith("<") or any(p in path.parents for p in (library, ours)) or "site-packages" in path.parts


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
