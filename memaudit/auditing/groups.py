"""The subgroups that an audit compares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from memaudit.auditing.target import Target
from memaudit.errors import SettingsError
from memaudit.recipe import Examples, Population
from memaudit.recipe.subgroups import Subgroups, subgroups_of

SMALLEST = 10


def grouped(
    target: Target, subgroups: Sequence[str] | Mapping[str, Iterable[Any]] | None, smallest: int = SMALLEST
) -> tuple[Target, tuple[str, ...]]:
    """Return the target with the subgroups that are given, and the names of the columns that are compared.

    Args:
        target: The audited model.
        subgroups: Names of columns, or values for each example by name; None for all that the examples have.
        smallest: Members that a group needs to be shown.

    Raises:
        MemauditError: There is no such column, a unit has several values of one, or groups could be too small.
    """
    if smallest < SMALLEST:
        raise SettingsError(f"smallest_group = {smallest}: groups of fewer than {SMALLEST} are shown in no report")
    if not isinstance(target.population, Examples):
        if subgroups:
            raise SettingsError("subgroups are compared for classifiers and regressions, not for language models")
        return target, ()
    if isinstance(subgroups, str):
        raise SettingsError(f"subgroups = {subgroups!r}: give a list of names, such as [{subgroups!r}]")
    examples = target.population
    if isinstance(subgroups, Mapping):
        examples, subgroups = examples.grouped_by(subgroups), None
        target = replace(target, population=examples)
    return target, tuple(found.column for found in subgroups_of(examples, subgroups))


def groups_of(population: Population, columns: Sequence[str]) -> tuple[Subgroups, ...]:
    """Return the groups of the units of a population by each column."""
    return subgroups_of(population, columns) if isinstance(population, Examples) else ()
