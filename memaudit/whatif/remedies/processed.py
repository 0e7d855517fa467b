"""What is done to trained models, ready-made: each child is made from the model of the base with its training set."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

from memaudit.recipe import Derivation
from memaudit.training import derivations
from memaudit.whatif.base import Base, Comparable, Made
from memaudit.whatif.remedies.derived import Derived


class Processed(Comparable):
    """A remedy that derives each model from one of the base's; a subclass says how."""

    __slots__ = ()

    @abstractmethod
    def derivation(self, base: Base) -> Derivation:
        """Return how a child is made."""

    def make(self, base: Base, folder: Path) -> Made:
        """Return the bank of the children."""
        return Derived(self.derivation(base)).make(base, folder)


@dataclass(frozen=True, slots=True)
class Pruned(Processed):
    """Set the smallest weights to 0.

    Args:
        share: Of the weights.
    """

    share: float

    def derivation(self, base: Base) -> Derivation:
        """Return the pruning."""
        return Derivation(derivations.Prune(self.share), data="none")


@dataclass(frozen=True, slots=True)
class ReluPruned(Processed):
    """Remove the units whose ReLU is zero for most of a model's members.

    Args:
        share: Of the units of each layer.
    """

    share: float

    def derivation(self, base: Base) -> Derivation:
        """Return the pruning."""
        return Derivation(derivations.PruneUnits(self.share), data="members")


@dataclass(frozen=True, slots=True)
class Quantized(Processed):
    """Round the weights.

    Args:
        bits: Of each.
    """

    bits: int = 8

    def derivation(self, base: Base) -> Derivation:
        """Return the quantization."""
        return Derivation(derivations.Quantize(self.bits), data="none")
