"""The contract of a question."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memaudit.auditing.ground import Ground
from memaudit.auditing.promised import Dp
from memaudit.auditing.target import Target
from memaudit.bank import Bank
from memaudit.checks import TargetEvidence
from memaudit.recipe import Recipe

SMALLEST = 10  # members of a group that is shown


@dataclass(frozen=True, kw_only=True)
class Options:
    """What an audit can be asked beside the usual, as `audit` takes it.

    `weights` says whether the bank keeps, or will keep, its models' weights.
    """

    access: str | None = None
    subgroups: Sequence[str] | Mapping[str, Iterable[Any]] | None = None
    smallest_group: int = SMALLEST
    attribute: str | Sequence[str] = ()
    before: str | Path | Target | None = None
    before_members: str | Path | Iterable[Any] | None = None
    poisoned: Bank | str | Path | None = None
    poisoned_recipe: Recipe | str | None = None
    dp: Dp | None = None
    device: str = "auto"
    weights: bool = True


class Question(ABC):
    """A question that was asked of a target. It is made, and thereby checked, before anything expensive."""

    @abstractmethod
    def facts(self, base: Ground) -> dict[str, Any]:
        """Return what the evidence has of it, by field.

        Raises:
            MemauditError: It needs a bank, or another one.
        """

    @abstractmethod
    def provenance(self, evidence: TargetEvidence) -> dict[str, str]:
        """Return the lines of the provenance that say that it was asked."""

    def tested(self, evidence: TargetEvidence) -> dict[str, str]:
        """Return which lines on what was not tested become others."""
        return {}
