"""What is done to the trained models: pruning, quantization, unlearning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memaudit.recipe import Derivation
from memaudit.training import derive
from memaudit.whatif.base import Base, Comparable, Made


@dataclass(frozen=True, slots=True)
class Derived(Comparable):
    """Make each model from the base's model with the same training set; nothing is trained from the start.

    Args:
        derivation: How, as for `derive`.
    """

    derivation: Derivation

    def make(self, base: Base, folder: Path) -> Made:
        """Return the bank of the children of the base's models."""
        children = derive(
            folder,
            base.bank,
            base.recipe,
            self.derivation,
            shadows=base.shadows,
            examples=base.examples,
            **base.training,
        )
        return Made(bank=children, on_top=True)
