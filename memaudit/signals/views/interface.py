"""The contract of a view."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from memaudit.errors import ModelError
from memaudit.recipe import Examples, Recipe
from memaudit.types import Level

Array = np.ndarray


class Unseen(ModelError):
    """A network cannot be viewed so, which showed only when it was tried."""


@runtime_checkable
class View(Protocol):
    """What an adversary sees of one model. Its `repr` names all parameters: views of another `repr` are others."""

    @property
    def name(self) -> str:
        """What the view is called."""
        ...

    @property
    def level(self) -> Level:
        """The access that it needs."""
        ...

    @property
    def queries(self) -> int:
        """How often the adversary asks the model about each example; 0 of one who has the weights."""
        ...

    def lacks(self, recipe: Recipe, examples: Examples) -> str:
        """Return why models of a recipe cannot be viewed so; empty if they can. Asks no model."""
        ...

    def see(self, network: Any, recipe: Recipe, examples: Examples, device: str) -> Float[Array, "examples columns"]:
        """Return what is seen of a network, a row for each example; all models give as many columns.

        Args:
            network: In evaluation mode, on the device.
            recipe: How it was made: which of its outputs are read, and as what.
            examples: The audited ones; a view asks about these alone.
            device: Where the network is.

        Raises:
            Unseen: The network is none that can be viewed so; `lacks` could not tell.
        """
        ...
