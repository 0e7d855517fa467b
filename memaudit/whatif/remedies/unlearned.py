"""Unlearning: each model forgets some of its members, by further training or by its last layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe import SGD, AdamW, Derivation, Forgotten
from memaudit.training import derivations
from memaudit.whatif.base import Base
from memaudit.whatif.remedies.processed import Processed

WAYS = ("continued", "ascent", "last-layer")


@dataclass(frozen=True, slots=True)
class Unlearned(Processed):
    """Let each model forget a few of its members, drawn for each.

    The table counts them as members, as the parents do, and so shows what unlearning does to utility and to everybody
    else. What is left of the forgotten examples themselves: `memaudit.audit_unlearning`.

    Args:
        by: "continued": training on the retained members; "ascent": gradient ascent on those to forget; "last-layer":
            a new last layer, trained on the retained members.
        count: Members that each model forgets.
        epochs: Of the further training.
        rate: Learning rate of the further training; by default the recipe's.

    Source: Graves et al. 2021 (AAAI), Goel et al. 2022 (arXiv 2201.06640).
    """

    by: Literal["continued", "ascent", "last-layer"] = "continued"
    count: int = 20
    epochs: int = 5
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise SettingsError(f"by = {self.by!r}: unlearn by one of {', '.join(WAYS)}")

    def derivation(self, base: Base) -> Derivation:
        """Return the unlearning."""
        recipe: Any = base.recipe if self.rate is None else _at_rate(base.recipe, self.rate)
        if self.by == "ascent":
            return Derivation(derivations.GradientAscent(recipe, self.epochs), Forgotten(self.count))
        if self.by == "last-layer":
            return Derivation(derivations.RetrainLayers(recipe, self.epochs), Forgotten(self.count, rest=True))
        return Derivation(derivations.ContinueTraining(recipe, self.epochs), Forgotten(self.count, rest=True))


def _at_rate(recipe: Any, rate: float) -> Any:
    optimizer = getattr(recipe, "optimizer", None)
    if not isinstance(optimizer, SGD | AdamW):
        raise RecipeError("rate is set in an optimizer SGD or AdamW; give a derivation of your own (derivation = ...)")
    return replace(recipe, optimizer=replace(optimizer, lr=float(rate)))
