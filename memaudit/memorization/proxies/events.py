"""When an example is learned and forgotten."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from memaudit.memorization.observations import Observations
from memaudit.memorization.proxies.interface import Proxy

Array = np.ndarray


def forgetting(right: Bool[Array, "models times examples"]) -> Int[Array, "models examples"]:
    """Return how often an example is right at a look and wrong at the next one; 0 of one that is never right."""
    return (right[:, :-1] & ~right[:, 1:]).sum(axis=1)


def learning(right: Bool[Array, "models times examples"]) -> Int[Array, "models examples"]:
    """Return how often an example is wrong at a look and right at the next one."""
    return (~right[:, :-1] & right[:, 1:]).sum(axis=1)


def learned_for_good(
    epochs: Float[Array, " times"], right: Bool[Array, "models times examples"]
) -> Float[Array, "models examples"]:
    """Return the epoch of the first look from which on an example is always right; infinite if it ends wrong."""
    steady = np.logical_and.accumulate(right[:, ::-1], axis=1)[:, ::-1]
    return np.where(steady[:, -1], epochs[np.argmax(steady, axis=1)].astype(np.float64), np.inf)


def _first_split(seen: Observations) -> Float[Array, "models examples"]:
    found = learned_for_good(seen.epochs, seen["classified"])
    return np.where(np.isinf(found), seen.end + 1, found)


FORGETTING = Proxy(
    name="forgetting",
    title="Forgetting events",
    formula="number of looks at which it is right, and wrong at the next",
    source="Toneva et al. 2019 (survey, Definition 8), counted between looks",
    score=lambda seen: forgetting(seen["classified"]).astype(np.float64),
    needs=("classified", "course"),
)
LEARNING = Proxy(
    name="learning-events",
    title="Learning events",
    formula="number of looks at which it is wrong, and right at the next",
    source="Toneva et al. 2019 (survey, Definition 8), counted between looks",
    score=lambda seen: learning(seen["classified"]).astype(np.float64),
    needs=("classified", "course"),
)
FSLT = Proxy(
    name="fslt",
    title="Learning time (FSLT)",
    formula="first epoch from which it is always right; one past the end if it ends wrong",
    source="Maini et al. 2022 (survey, Definition 9)",
    score=_first_split,
    needs=("classified", "course"),
)
