"""Training without some of the examples: chosen beforehand, or those that the attack finds best."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memaudit.auditing import most_exposed
from memaudit.bank import Bank
from memaudit.design import Subsets
from memaudit.training import fill
from memaudit.whatif.base import LEAST, Base, Made


@dataclass(frozen=True, slots=True, eq=False)
class Without:
    """Train on all examples but some; they are in no model, and what is compared is about the others.

    Args:
        removed: Their ids, a mask over all examples, or a file of ids.
    """

    removed: Any

    @property
    def least(self) -> int:
        """The fewest that can be compared."""
        return LEAST

    def make(self, base: Base, folder: Path) -> Made:
        """Return the bank without the examples."""
        return Made(bank=_without(base, folder, self.removed))


@dataclass(frozen=True, slots=True)
class WithoutMostExposed:
    """Train without the units that an attack finds best: the privacy onion.

    Args:
        share: Of the units.
        chosen_by: So many of the base's first models choose; the comparison is made on the others.
        attack: By which they are chosen.

    Source: Carlini et al. 2022 (NeurIPS), "The privacy onion effect: memorization is relative".
    """

    share: float = 0.1
    chosen_by: int = 8
    attack: str = "lira-online"

    @property
    def least(self) -> int:
        """Those that choose, and three pairs to measure on."""
        return self.chosen_by + LEAST

    def make(self, base: Base, folder: Path) -> Made:
        """Return the bank without the units that the base's first models chose."""
        exposed = most_exposed(base.bank, base.recipe, self.share, shadows=self.chosen_by, attack=self.attack)
        return Made(bank=_without(base, folder, exposed), first=self.chosen_by)


def _without(base: Base, folder: Path, removed: Any) -> Bank:
    design = Subsets(removed=removed)
    return fill(
        folder, base.recipe, base.shadows, seed=base.seed, design=design, examples=base.examples, **base.training
    )
