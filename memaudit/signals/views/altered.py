"""What a model says of each example if a column of its inputs had each of its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from memaudit.recipe import Examples, Recipe
from memaudit.recipe.altered import Sensitive
from memaudit.recipe.recipes import asking
from memaudit.signals.evaluate import measure
from memaudit.types import Level

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Altered:
    """Columns: φ of the label in nats for each value of the inputs' column, then whether the model is right, 0 or 1."""

    column: Sensitive
    name: str = "altered"
    level: Level = Level.LOG_ODDS

    @property
    def queries(self) -> int:
        """One for each value."""
        return len(self.column.values)

    def lacks(self, recipe: Recipe, examples: Examples) -> str:
        """Return nothing: any model that answers can be asked."""
        return ""

    def see(self, network: Any, recipe: Recipe, examples: Examples, device: str) -> Float[Array, "examples columns"]:
        """Return the columns, float32; of a network, or of an estimator."""
        values = range(len(self.column.values))
        answers = [
            measure(network, self.column.asked(examples, value), device=device, **asking(recipe)) for value in values
        ]
        columns = [answer["phi"][:, 0] for answer in answers] + [answer["correct"] for answer in answers]
        return np.stack(columns, axis=1).astype(np.float32)
