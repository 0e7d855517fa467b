"""The subgroups that an audit compares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memaudit.auditing.asked.interface import SMALLEST, Options, Question
from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target
from memaudit.checks import TargetEvidence
from memaudit.errors import SettingsError
from memaudit.recipe import Examples
from memaudit.recipe.subgroups import subgroups_of
from memaudit.types import ASKED_SUBGROUPS


@dataclass(frozen=True)
class Groups(Question):
    """How much the members of each group leak, by columns."""

    columns: tuple[str, ...]
    smallest: int

    def facts(self, base: Ground) -> dict[str, Any]:
        """Return the groups of the units by each column."""
        examples = base.target.population
        assert isinstance(examples, Examples)
        return {"subgroups": subgroups_of(examples, self.columns), "smallest_group": self.smallest}

    def provenance(self, evidence: TargetEvidence) -> dict[str, str]:
        """Return the columns."""
        return {ASKED_SUBGROUPS: ", ".join(self.columns)}


def joined(
    target: Target, subgroups: Sequence[str] | Mapping[str, Iterable[Any]] | None
) -> tuple[Target, Sequence[str] | None]:
    """Return the target with values that were given for each example, and the columns that were named.

    Raises:
        MemauditError: Values are not one for each example, or one name is given in place of a list.
    """
    if isinstance(subgroups, str):
        raise SettingsError(f"subgroups = {subgroups!r}: give a list of names, such as [{subgroups!r}]")
    if subgroups and not isinstance(target.population, Examples):
        raise SettingsError("subgroups are compared for classifiers and regressions, not for language models")
    if not isinstance(subgroups, Mapping):
        return target, subgroups
    assert isinstance(target.population, Examples)
    return replace(target, population=target.population.grouped_by(subgroups)), None


def asked(target: Target, options: Options) -> Groups | None:
    """Return the question about the columns that are named, or all that the examples have; None if there are none.

    Raises:
        MemauditError: There is no such column, a unit has several values of one, or groups could be too small.
    """
    if options.smallest_group < SMALLEST:
        raise SettingsError(
            f"smallest_group = {options.smallest_group}: groups of fewer than {SMALLEST} are shown in no report"
        )
    if not isinstance(target.population, Examples):
        return None
    assert not isinstance(options.subgroups, Mapping)
    columns = tuple(found.column for found in subgroups_of(target.population, options.subgroups))
    return Groups(columns, options.smallest_group) if columns else None
