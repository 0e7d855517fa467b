"""What evidence has beside signals, where it was asked for: other releases, banks, views, columns and labels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from memaudit.checks.attacked import Shadows
from memaudit.design import Pairs

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Release:
    """An earlier release of the audited model: its signals, who is right, and who its members are."""

    phi: Float[Array, "examples queries"]
    correct: Shaped[Array, " examples"]
    members: Bool[Array, " examples"]


@dataclass(frozen=True, slots=True)
class Poisoned:
    """The records that an attacker poisons, in models with clean and with poisoned training sets, pair by pair."""

    clean: Shadows
    poisoned: Shadows
    copies: int


@dataclass(frozen=True, slots=True)
class Viewed:
    """What is seen of the target and of the bank's models through a view, and its cost.

    `queries` counts the questions about each example, `seconds` is the time that viewing one model took, 0 where all
    views were kept.
    """

    target: Float[Array, "examples columns"]
    pairs: Pairs
    queries: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RecordedPairs:
    """Whether models are right, in pair form, as a signal: 1 or 0, or a share."""

    inside: Shaped[Array, "pairs examples"]
    outside: Shaped[Array, "pairs examples"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, examples, 1."""
        return len(self.inside), self.inside.shape[1], 1

    def block(self, examples: slice) -> tuple[Float[Array, "pairs block 1"], Float[Array, "pairs block 1"]]:
        """Return the inside and outside values of a block of examples."""
        inside, outside = (side[:, examples, None].astype(np.float32) for side in (self.inside, self.outside))
        return inside, outside

    def take(self, pairs: Int[Array, " some"]) -> RecordedPairs:
        """Return the same for some of the pairs."""
        return RecordedPairs(self.inside[pairs], self.outside[pairs])


@dataclass(frozen=True, slots=True)
class Attribute:
    """What is known of a column of the inputs that an adversary infers.

    Attributes:
        column: Its name.
        values: What its values are called.
        of: The number of each example's value.
        features: The other columns, as numbers.
        phi: Of the target: the signal of each example's label if the column had each value.
        correct: Whether the target is then right.
        pairs: φ of the bank's models, (inside, outside).
        pairs_correct: Whether they are right, (inside, outside).
        lacking: Why the bank's models cannot be asked; then there is nothing else.
    """

    column: str
    lacking: str = ""
    values: tuple[str, ...] = ()
    of: Int[Array, " examples"] = field(default_factory=lambda: np.zeros(0, np.int64))
    features: Float[Array, "examples features"] = field(default_factory=lambda: np.zeros((0, 0)))
    phi: Float[Array, "examples values"] = field(default_factory=lambda: np.zeros((0, 0)))
    correct: Shaped[Array, "examples values"] = field(default_factory=lambda: np.zeros((0, 0), bool))
    pairs: tuple[Float[Array, "pairs examples values"], ...] = ()
    pairs_correct: tuple[Shaped[Array, "pairs examples values"], ...] = ()


@dataclass(frozen=True, slots=True)
class RedrawnLabels:
    """Of each shadow model and example: whether the label was replaced, and whether the model predicts that label."""

    redrawn: Bool[Array, "models examples"]
    fitted: Bool[Array, "models examples"]
