"""What a remedy is, in a sentence: the first line of its docstring, and its parameters."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any

from memaudit.recipe import Recipe
from memaudit.whatif.base import Remedy
from memaudit.whatif.remedies import Derived, Edited

_LONGEST = 60  # characters of a parameter's value


def described(remedy: Remedy) -> str:
    """Return what a remedy does, as "Set the smallest weights to 0 (share = 0.8)."."""
    if isinstance(remedy, Derived):
        return _sentence(remedy.derivation.function)
    if not isinstance(remedy, Edited):
        return _sentence(remedy)
    if isinstance(remedy.change, dict):
        return f"Train with {_listed(remedy.change)}."
    if isinstance(remedy.change, Recipe) or getattr(remedy.change, "__name__", "") == "<lambda>":
        return "Train by another recipe."
    return _sentence(remedy.change)


def _sentence(of: Any) -> str:
    """Return the first line about an object, with its parameters; of what has none, its name."""
    own = inspect.isfunction(of) or inspect.ismethod(of)
    first = (inspect.getdoc(of if own else type(of)) or "").split("\n", 1)[0].rstrip(".")
    if not first or first.startswith(f"{type(of).__name__}("):  # what a dataclass without a docstring is given
        first = getattr(of, "__name__", type(of).__name__)
    given = _listed(_parameters(of))
    return f"{first} ({given})." if given else f"{first}."


def _parameters(of: Any) -> dict[str, Any]:
    return {field.name: getattr(of, field.name) for field in fields(of)} if is_dataclass(of) else {}


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    shown = str(getattr(value, "__name__", repr(value)))
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
