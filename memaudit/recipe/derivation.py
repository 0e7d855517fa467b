"""What a derived model is made by: a function of a trained model, and the data that the function is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.populations import Population, number_of_units, units_of
from memaudit.recipe.recipes import Step

Array = np.ndarray

Side = Literal["members", "nonmembers"]
Chooser = Callable[[Any, Array, int], Array]
SIDES = ("members", "nonmembers", "none")
_PART = 16  # of the streams drawn from a model's seed


@dataclass(frozen=True, slots=True)
class Part:
    """A random part of a model's members or non-members, drawn unit by unit from the model's seed.

    Args:
        of: Whose part.
        share: Its expected share of the units.
        rest: Return the others instead; the two together are all.
    """

    of: Side
    share: float
    rest: bool = False

    def __post_init__(self) -> None:
        if self.of not in ("members", "nonmembers") or not 0 < self.share < 1:
            raise SettingsError(f"{self}: choose a share between 0 and 1 of the members or the nonmembers")

    def __call__(self, examples: Population, members: UInt8[Array, " ids"], seed: int) -> UInt8[Array, " ids"]:
        """Return how often each example is in the part."""
        draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PART,)))
        drawn = draw.random(number_of_units(examples)) < self.share
        side = side_of(self.of, examples, members)
        if isinstance(examples, TextPopulation):
            canaries = np.ones(len(side) - len(examples), bool) & self.rest
            return np.asarray(side * np.concatenate([drawn != self.rest, canaries]), np.uint8)
        return np.asarray(side * (drawn != self.rest)[examples.unit_of], np.uint8)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """So many units of each model's members, drawn from its seed: what the model is to forget.

    Args:
        count: Number of units.
        rest: Return the retained members instead; the two together are all.
        among: Ids of the examples that may be drawn; by default all.
    """

    count: int
    rest: bool = False
    among: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.count, int) or self.count < 1:
            raise SettingsError(f"count = {self.count}: forget a whole number of units, at least one")
        object.__setattr__(self, "among", tuple(map(str, self.among)))

    def __call__(self, examples: Population, members: UInt8[Array, " ids"], seed: int) -> UInt8[Array, " ids"]:
        """Return how often each example is in the part.

        Raises:
            RecipeError: The model has no more than so many such members, or an id is unknown.
        """
        may = units_of(examples, members) & self._may_be_drawn(examples)
        candidates, most = np.flatnonzero(may), int(units_of(examples, members).sum()) - 1
        if self.count > min(len(candidates), most):
            raise RecipeError(
                f"count = {self.count}: a model has {min(len(candidates), most)} members that it can forget"
            )
        draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PART,)))
        drawn = np.isin(np.arange(len(may)), draw.choice(candidates, self.count, replace=False)) != self.rest
        if isinstance(examples, TextPopulation):
            canaries = np.full(len(members) - len(examples), self.rest)
            return np.asarray(members * np.concatenate([drawn, canaries]), np.uint8)
        return np.asarray(members * drawn[examples.unit_of], np.uint8)

    def _may_be_drawn(self, examples: Population) -> Any:
        if not self.among:
            return np.ones(number_of_units(examples), bool)
        ids = np.asarray(examples.ids).astype(str)
        chosen = np.isin(ids, self.among)
        if unknown := sorted(set(self.among) - set(ids[chosen])):
            raise RecipeError(f"among: there is no example {unknown[0]!r}")
        if isinstance(examples, TextPopulation):
            return chosen[: number_of_units(examples)]
        return np.bincount(examples.unit_of[chosen], minlength=number_of_units(examples)) > 0


@dataclass(frozen=True, slots=True)
class Derivation:
    """How a child is made from a trained model.

    Args:
        function: `function(model, dataset, *, seed, device)` returns the child. It may change the model it is given
            and return it. `memaudit.derivations` has pruning, quantization, continued training, unlearning, and
            resetting of layers. `seed` is the one that the parent was trained with.
        data: What the dataset is: the parent's `"members"`, its `"nonmembers"`, `"none"` (the dataset is None), or a
            function `(examples, members, seed)` that returns how often each example is in it; `Part` is one. The
            dataset has the form that `CallableRecipe(train=...)` is given.
    """

    function: Callable[..., Any]
    data: Literal["members", "nonmembers", "none"] | Chooser = "members"

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise RecipeError(f"function={self.function!r} of a derivation cannot be called")
        if self.data not in SIDES and not callable(self.data):
            raise RecipeError(f"data={self.data!r}: choose one of {', '.join(SIDES)}, or a function")
        if isinstance(self.function, Step) and self.function.data not in ("", self.data):
            raise RecipeError(f"{type(self.function).__name__} repeats the training: data={self.function.data!r}")

    def seen(self, examples: Population, members: UInt8[Array, " ids"], seed: int) -> UInt8[Array, " ids"]:
        """Return how often each example is in the data of the derivation of one model.

        Args:
            examples: The recipe's population.
            members: How often the parent was trained on each of its ids.
            seed: Of the parent.

        Raises:
            RecipeError: The data function returned something else than counts, or counts of nothing.
        """
        if not callable(self.data):
            return np.zeros_like(members) if self.data == "none" else side_of(self.data, examples, members)
        found = np.asarray(self.data(examples, members.copy(), seed))
        if found.shape != members.shape or found.dtype.kind not in "biu" or found.min() < 0 or found.max() > 255:
            raise RecipeError(
                f"the data function of the derivation returned {found.dtype} {found.shape}; return how often each of "
                f"the {len(members)} examples is in the data, as whole numbers from 0 to 255"
            )
        if not found.any():
            raise RecipeError('the data function of the derivation chose nothing; data="none" gives no dataset')
        return found.astype(np.uint8)


def side_of(side: str, examples: Population, members: UInt8[Array, " ids"]) -> UInt8[Array, " ids"]:
    """Return the members as they are, or every unit that has no member once; canaries are no non-members."""
    if side == "members":
        return members
    outside = ~units_of(examples, members)
    if isinstance(examples, TextPopulation):
        return np.concatenate([outside, np.zeros(len(members) - len(examples), bool)]).astype(np.uint8)
    return outside[examples.unit_of].astype(np.uint8)
