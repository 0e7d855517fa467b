"""The contract of an attack at an access level."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from memaudit.attacks.interface import Attack
from memaudit.types import Level

Array = np.ndarray

RECORDED = "correct"  # the view that every bank has: whether the predicted label is the example's


@runtime_checkable
class AccessAttack(Attack, Protocol):
    """An attack on a view: the columns of its `Pairs` are the view's."""

    @property
    def level(self) -> Level:
        """The access that it needs."""
        ...

    @property
    def view(self) -> str:
        """The view that it is made on; `RECORDED` costs nothing."""
        ...


@runtime_checkable
class Labelled(Protocol):
    """An attack that uses the examples' labels beside the view."""

    def labelled(self, y: Int[Array, " examples"]) -> Attack:
        """Return the attack for examples with these labels."""
        ...


def knowing(attack: AccessAttack, y: Int[Array, " examples"]) -> Attack:
    """Return the attack for examples with some labels."""
    return attack.labelled(y) if isinstance(attack, Labelled) else attack
