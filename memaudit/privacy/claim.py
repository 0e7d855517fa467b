"""What is claimed about a training's differential privacy, and what else the lower bounds on ε have to know."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int

from memaudit.privacy.accounting import Steps
from memaudit.privacy.ceilings import LARGEST, of_group

Array = np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The claim that a training is (ε, δ)-differentially private.

    It is about one record that is added or removed, or, if `per_unit`, about all records of a unit, such as a person.
    `origin` says in words where it is from; `history` are the steps of an accountant's record, if it is from one.
    """

    epsilon: float
    delta: float
    origin: str = "declared"
    per_unit: bool = False
    history: tuple[Steps, ...] = ()

    def of(self, records: int) -> tuple[float, float]:
        """Return the (ε, δ) of a unit of so many records."""
        return (self.epsilon, self.delta) if self.per_unit else of_group(self.epsilon, self.delta, records)

    @property
    def gaussian(self) -> float | None:
        """The μ of the Gaussian DP that the steps have exactly, if none of them samples; None otherwise."""
        if not self.history or any(step.rate != 1 or step.noise <= 0 for step in self.history):
            return None
        return float(np.sqrt(sum(step.steps / step.noise**2 for step in self.history)))

    def __str__(self) -> str:
        return f"ε = {'∞' if self.epsilon >= LARGEST else f'{self.epsilon:.4g}'}, δ = {self.delta:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A claim, and what is known of the units that tests it.

    `by_lot` says whose membership in the audited model was drawn independently with probability 1/2 (`draw_members`);
    `shadows_by_lot` whether that of the shadow models was. `records` counts the rows of each unit, and `kinds` says
    which kind of canary it is, "" for none.
    """

    claim: Claim | None = None
    by_lot: Bool[Array, " units"] | None = None
    shadows_by_lot: bool = False
    records: Int[Array, " units"] = field(default_factory=lambda: np.zeros(0, np.int64))
    kinds: tuple[str, ...] = ()

    @property
    def canaries(self) -> Bool[Array, " units"]:
        """Which units are canaries."""
        return np.array([bool(kind) for kind in self.kinds], bool)
