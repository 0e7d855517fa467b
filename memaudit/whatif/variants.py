"""Variants: a name, and how the models come about."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from memaudit.design import Subsets
from memaudit.errors import SettingsError
from memaudit.recipe import Derivation, Recipe
from memaudit.whatif.base import Remedy
from memaudit.whatif.described import described
from memaudit.whatif.remedies import Derived, Edited, Without

BASELINE = "baseline"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Variant:
    """One remedy under a name, which is that of its bank's folder, too.

    Args:
        name: Letters, digits, dots, dashes and underscores.
        remedy: A remedy of `memaudit.remedies`; or a recipe, a function of the recipe that returns another, or fields
            to set by name; or a derivation; or `Subsets(removed=...)`.

    Raises:
        SettingsError: The name or the remedy cannot be used.
    """

    name: str
    remedy: Remedy

    def __init__(
        self,
        name: str,
        remedy: Remedy | Recipe | Derivation | Subsets | Callable[[Recipe], Recipe] | dict[str, Any],
    ) -> None:
        if not _NAME.fullmatch(name) or name.lower() == BASELINE:
            raise SettingsError(
                f"variant {name!r}: give a name of letters, digits, dots, dashes and underscores; {BASELINE!r} is "
                "that of the recipe as it is"
            )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "remedy", _remedy(name, remedy))

    @property
    def words(self) -> str:
        """What the remedy does, with its parameters."""
        return described(self.remedy)


def _remedy(name: str, given: Any) -> Remedy:
    if isinstance(given, Remedy) and not isinstance(given, type):
        return given
    if isinstance(given, Derivation):
        return Derived(given)
    if isinstance(given, Subsets):
        if given.removed is None:
            raise SettingsError(f"variant {name!r}: Subsets(removed=...) is the only design that is a remedy")
        return Without(given.removed)
    if isinstance(given, Recipe | dict) or callable(given):
        return Edited(given)
    raise SettingsError(f"variant {name!r}: {type(given).__name__} is no remedy; give a recipe, a derivation, …")


def require_distinct(variants: Sequence[Variant]) -> None:
    """Raise SettingsError if there is no variant, or two have one name; names are folders, on any disk."""
    names = [variant.name.lower() for variant in variants]
    if not names:
        raise SettingsError("there is no variant to compare; add a [[variant]] table, or give variants")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"two variants are named {twice[0]!r} (upper and lower case are one)")
