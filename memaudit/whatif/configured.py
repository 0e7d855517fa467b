"""Variants as a settings file names them: a remedy with its parameters, a recipe, or a derivation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from memaudit.errors import SettingsError, hint
from memaudit.recipe import load_derivation, load_recipe
from memaudit.whatif.remedies import REMEDIES
from memaudit.whatif.variants import Variant

HOW = ("remedy", "recipe", "derivation")


def read(tables: Mapping[str, Mapping[str, Any]], folder: Path) -> tuple[Variant, ...]:
    """Return the variants of a settings file, by name; their paths start from a folder."""
    return tuple(variant(name, given, folder) for name, given in tables.items())


def variant(name: str, given: Mapping[str, Any], folder: Path) -> Variant:
    """Return one variant.

    Args:
        name: Its name.
        given: One of `remedy` (a name of `REMEDIES`, beside it the remedy's parameters), `recipe` (`recipe.py:dp`)
            and `derivation` (`derivations.py:pruned`).
        folder: What paths start from.

    Raises:
        SettingsError: None of them is given or several are, or a parameter is unknown, missing, or wrong.
    """
    how = [key for key in HOW if key in given]
    if len(how) != 1:
        raise SettingsError(f"variant {name!r}: give one of {', '.join(HOW)}; got {' and '.join(how) or 'none'}")
    parameters = {key: value for key, value in given.items() if key not in HOW}
    if how[0] == "remedy":
        return Variant(name, _ready_made(name, given["remedy"], parameters))
    if parameters:
        raise SettingsError(f"variant {name!r}: {min(parameters)!r} is a parameter of a remedy; a {how[0]} has none")
    load: Any = load_recipe if how[0] == "recipe" else load_derivation
    return Variant(name, load(given[how[0]], folder))


def _ready_made(name: str, remedy: Any, parameters: dict[str, Any]) -> Any:
    if remedy not in REMEDIES:
        raise SettingsError(f"variant {name!r}: there is no remedy {remedy!r}; {hint(str(remedy), REMEDIES)}")
    known = {field.name: field.default is MISSING for field in fields(REMEDIES[remedy])}  # type: ignore[arg-type]
    for key in parameters:
        if key not in known:
            raise SettingsError(f"variant {name!r}: {remedy} has no parameter {key!r}; {hint(key, known)}")
    if missing := [key for key, needed in known.items() if needed and key not in parameters]:
        raise SettingsError(f"variant {name!r}: {remedy} needs {missing[0]!r}")
    try:
        return REMEDIES[remedy](**parameters)
    except TypeError as error:
        raise SettingsError(f"variant {name!r}: {error}") from error
