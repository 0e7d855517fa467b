"""What a proxy is: a number per example that is cheaper than memorization, and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

Array = np.ndarray


class Of(StrEnum):
    """What a proxy is computed from."""

    RUN = "one training run"
    OTHERS = "models without the example"
    DATA = "data alone"


@dataclass(frozen=True, eq=False, kw_only=True)
class Others:
    """What models say about examples that they were not trained on.

    `log_probability` is that of the label in nats, `correct` whether it is predicted (or a share), both
    `[models, examples]`: as many models for every example, not the same ones. `prior` is the share of the examples that
    have the label of each; None where examples have no class.
    """

    log_probability: Float[Array, "models examples"]
    correct: Shaped[Array, "models examples"]
    prior: Float[Array, " examples"] | None = None

    def has(self, name: str) -> bool:
        """Return whether something is known."""
        return getattr(self, name) is not None


@dataclass(frozen=True, eq=False, kw_only=True)
class Data:
    """The examples themselves: features and classes; None where they are not numbers, or have no class."""

    x: Float[Array, "examples features"] | None = None
    y: Int[Array, " examples"] | None = None

    def has(self, name: str) -> bool:
        """Return whether something is known."""
        return getattr(self, name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A score that is meant to be larger the more an example is memorized.

    `score` maps `Observations` to `[models, examples]`, one training run at a time; `Others` and `Data` to
    `[examples]`. `needs` are the attributes of these that it reads. `cost` is beside that of training.
    """

    name: str
    title: str
    formula: str
    source: str
    score: Callable[[Any], Float[Array, "..."]]
    of: Of = Of.RUN
    needs: tuple[str, ...] = ()
    cost: str = "nothing beside the recording"

    def lacks(self, material: Any) -> tuple[str, ...]:
        """Return what it needs and the material has not."""
        return tuple(name for name in self.needs if not material.has(name))
