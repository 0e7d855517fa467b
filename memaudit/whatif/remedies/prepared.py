"""Preparing the data before training: de-duplication, scrubbing. What is attacked is the data as it was.

A unit is a member if it was in the data before its preparation, and models are asked about it as it was: so does an
attacker, who knows a record and asks whether it was collected.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memaudit.training.preparations import Deduplicate, Scrub
from memaudit.training.preparing import Preparation, fill_prepared
from memaudit.whatif.base import Base, Comparable, Made


class Preparing(Comparable):
    """A remedy that prepares every training set; a subclass says how."""

    __slots__ = ()

    @abstractmethod
    def how(self) -> Preparation:
        """Return what is done to a training set."""

    def make(self, base: Base, folder: Path) -> Made:
        """Return the bank that is trained on the prepared data, with the memberships of the base's models."""
        common: dict[str, Any] = {"examples": base.examples, "seed": base.seed, **base.training}
        return Made(bank=fill_prepared(folder, base.recipe, self.how(), base.shadows, **common))


@dataclass(frozen=True, slots=True)
class Prepared(Preparing):
    """Train on data that a preparation of your own makes.

    Args:
        preparation: It.
    """

    preparation: Preparation

    def how(self) -> Preparation:
        """Return the preparation."""
        return self.preparation


@dataclass(frozen=True, slots=True)
class Deduplicated(Preparing):
    """Train on one of each cluster of near-duplicates, as `Deduplicate` says; the base trains on all copies.

    Args:
        within: Of arrays, images and tables: as for `near_copies`.
        similarity: Of texts: the Jaccard similarity of their 5-word shingles, as for `Documents`.
    """

    within: float = 0.1
    similarity: float = 0.8

    def how(self) -> Preparation:
        """Return the de-duplication."""
        return Deduplicate(self.within, self.similarity)


@dataclass(frozen=True, slots=True)
class Scrubbed(Preparing):
    """Train on texts in which secrets are replaced, as `Scrub` says.

    Args:
        secrets: What is replaced, as for `Probes(secrets=...)`; by default what the recipe's probes seek.
        by: A function of your own that returns the scrubbed text.
    """

    secrets: Any = None
    by: Callable[[str], str] | None = None

    def how(self) -> Preparation:
        """Return the scrubbing."""
        return Scrub(self.secrets, self.by)
