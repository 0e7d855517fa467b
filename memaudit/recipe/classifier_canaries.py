"""Canaries for classifiers: examples that no model gets right unless it was trained on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Shaped

from memaudit.errors import RecipeError
from memaudit.recipe.examples import Examples
from memaudit.recipe.labels import Task

Array = np.ndarray

KINDS = ("mislabeled", "blank", "out-of-distribution")
_PREFIX = "memaudit-canary-"
_MOST = 255  # copies, as of any example


def classifier_canaries(
    examples: Examples,
    *,
    mislabeled: int = 0,
    blank: int = 0,
    out_of_distribution: int = 0,
    doses: Sequence[int] = (1,),
    seed: int = 0,
) -> Examples:
    """Return the examples with canaries among them, which are drawn into models as all other examples are.

    Use it in the recipe's `examples()`. Half of the canaries are then in the audited model (`draw_members`), and half
    of them in each shadow model. How many the model reveals is reported as CAN004, and the lower bounds on ε (DP002,
    DP003) are measured on them.

    Args:
        examples: Numbers `[examples, ...]` with classes as labels; images or rows of a table.
        mislabeled: So many examples, drawn at random, get another class. They replace the examples they were.
        blank: Examples that have one value everywhere, each its own, and a random class; they are added.
        out_of_distribution: Examples of uniform noise between the smallest and the largest value, with a random class;
            they are added.
        doses: How often a canary is in the training set of a model that has it: the first canary of a kind the first
            number, and so on, in turn.
        seed: Of everything random.

    Raises:
        RecipeError: The inputs are no array of numbers, the labels no classes, or a number does not fit.

    Source: Jagielski, Ullman & Oprea 2020 (NeurIPS) and Nasr et al. 2021 (IEEE S&P), mislabeled and blank examples;
    Steinke et al. 2023 (NeurIPS), section 6.
    """
    x = examples.x
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu" or examples.task is not Task.CLASSIFICATION:
        raise RecipeError(
            "classifier_canaries() needs inputs that are one array of numbers, and labels that are classes"
        )
    if examples.classes < 2 or not all(1 <= dose <= _MOST for dose in doses) or not doses:
        raise RecipeError(f"canaries need two classes, and doses from 1 to {_MOST}, got {list(doses)}")
    if min(mislabeled, blank, out_of_distribution) < 0 or not mislabeled + blank + out_of_distribution:
        raise RecipeError("give a number of canaries: mislabeled=..., blank=... or out_of_distribution=...")
    rng = np.random.default_rng(seed)
    chosen = _replaced(examples, mislabeled, rng)
    ranges = float(x.min()), float(x.max())
    levels = np.linspace(*ranges, blank + 2)[1:-1].reshape(-1, *[1] * (x.ndim - 1))
    noise = rng.uniform(*ranges, (out_of_distribution, *x.shape[1:]))
    inputs = [x[chosen], np.broadcast_to(levels, (blank, *x.shape[1:])), noise]
    shift = rng.integers(1, examples.classes, mislabeled)
    labels = [
        (examples.y[chosen] + shift) % examples.classes,
        *(rng.integers(0, examples.classes, count) for count in (blank, out_of_distribution)),
    ]
    kept = np.setdiff1d(np.arange(len(examples)), chosen)
    times = [np.resize(doses, len(part)) for part in inputs]
    names = [_names(kind, dose) for kind, dose in zip(KINDS, times, strict=True)]
    added = [_repeated(np.asarray(part, x.dtype), dose) for part, dose in zip(inputs, times, strict=True)]
    y = np.concatenate([examples.y[kept], *map(_repeated, labels, times)])
    whose = [name.rpartition("-")[0] for own in names for name in own]
    return Examples(
        np.concatenate([x[kept], *added]),
        np.array(examples.class_names)[y] if examples.class_names else y,
        [*examples.ids[kept], *(name for own in names for name in own)],
        groups=[*examples.unit_of[kept].astype(str), *whose],
        unit=examples.unit,
    )


def kind_of_canary(identifier: str) -> str:
    """Return which kind of canary an id names; empty for any other example."""
    found = identifier.removeprefix(_PREFIX) if identifier.startswith(_PREFIX) else ""
    return next((kind for kind in KINDS if found.startswith(f"{kind}-")), "")


def _replaced(examples: Examples, count: int, rng: np.random.Generator) -> Int[Array, " count"]:
    """Return the rows of examples that become mislabeled canaries: such as have no copy and no group."""
    alone = np.flatnonzero(np.bincount(examples.unit_of)[examples.unit_of] == 1)
    if count > len(alone) // 2:
        raise RecipeError(
            f"mislabeled={count}: at most half of the {len(alone)} examples without copy or group can become canaries"
        )
    return np.sort(rng.choice(alone, count, replace=False))


def _names(kind: str, doses: Int[Array, " canaries"]) -> list[str]:
    return [f"{_PREFIX}{kind}-{number}-{copy}" for number, dose in enumerate(doses) for copy in range(dose)]


def _repeated(values: Shaped[Array, "canaries ..."], doses: Int[Array, " canaries"]) -> Shaped[Array, "rows ..."]:
    return np.repeat(values, doses, axis=0)
