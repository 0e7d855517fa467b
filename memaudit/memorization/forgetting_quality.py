"""Forgetting quality: can unlearned models be told from models that never had the examples?"""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from memaudit.memorization.unlearning import require_forgotten, sides
from memaudit.stats import holm, paired_change

Array = np.ndarray

LEVEL = 0.05


class ForgettingQuality(NamedTuple):
    """Kolmogorov-Smirnov distances between unlearned models and models that never had the examples.

    Attributes:
        distance: Between the two, from 0 (alike) to 1, a mean over models: (value, low, high).
        excess: The distance less that between two models that never had the examples, on the same examples: (value,
            low, high). 0: the unlearned models cannot be told from retrained ones by it.
        p_values: Of each model's test, adjusted for the number of models (Holm).
        false_alarms: Share of the tests between two models that never had the examples with a p-value below 0.05. The
            exact test has a level below that for few examples (0.012 for ten, about half of twenty). A larger share
            means that models differ as a whole, and that p-values are too small; go by `excess`.
    """

    distance: tuple[float, float, float]
    excess: tuple[float, float, float]
    p_values: Float[Array, " models"]
    false_alarms: float

    @property
    def told(self) -> int:
        """The number of models that differ from one that never had the examples, at 5 % over all models."""
        return int((self.p_values < LEVEL).sum())


def forgetting_quality(
    never: Float[Array, "models examples"],
    after: Float[Array, "models examples"],
    members: UInt8[Array, "models examples"],
    forgotten: Bool[Array, "models examples"],
) -> ForgettingQuality:
    """Return how far unlearned models are from models that never had the examples, by the signals of the forgotten.

    A child's signals of what it forgot are compared with those of the model that is complementary to its parent, which
    never had any of them: as good as retrained. From both, the example's mean over further models that never had it is
    subtracted. Unlike `unlearning`, what the derivation does to all models alike counts.

    Args:
        never: Signals of the parents, complementary pairs next to each other.
        after: Signals of their children.
        members: How often each parent was trained on each example.
        forgotten: Which members each child was to forget.

    Raises:
        ValueError: As for `unlearning`.

    Source: forget quality of TOFU (Maini et al. 2024, arXiv 2401.06121, section 2.2.2), there of the truth ratio
    against one retained model; a two-sample test of Kolmogorov and Smirnov. Here the models of a bank take the place of
    the retained one.
    """
    inside, forgotten = require_forgotten(members, forgotten)
    never, after = never.astype(np.float64), after.astype(np.float64)
    outside = sides(never, inside)[1]
    total, pairs = outside.sum(axis=0), len(outside)
    found = [
        _of_model(model, never, after[model], inside, forgotten[model], outside, total) for model in range(2 * pairs)
    ]
    p_values, distances, excess, false = zip(*found, strict=True)
    none = np.zeros(pairs)
    return ForgettingQuality(
        paired_change(none, np.reshape(distances, (-1, 2)).mean(axis=1)),
        paired_change(none, np.reshape(excess, (-1, 2)).mean(axis=1)),
        holm(np.array(p_values)),
        float((np.concatenate(false) < LEVEL).mean()),
    )


def _of_model(
    model: int,
    never: Float[Array, "models examples"],
    child: Float[Array, " examples"],
    inside: Bool[Array, "models examples"],
    forgotten: Bool[Array, " examples"],
    outside: Float[Array, "pairs examples"],
    total: Float[Array, " examples"],
) -> tuple[float, float, float, list[float]]:
    """Return a child's p-value, its distance, its distance's excess, and the p-values of models like the oracle.

    Every other model d that lacks some of the forgotten examples says how far two models are apart that never had them:
    d, and the child, from the complementary model, on the examples that d lacks.
    """
    oracle, pairs = model ^ 1, len(outside)
    own = model // 2
    mean = (total - outside[own]) / (pairs - 1)
    distance, p_value = kolmogorov_smirnov((child - mean)[forgotten], (never[oracle] - mean)[forgotten])
    excess, false = [], []
    for other in range(len(never)):
        lacked = forgotten & ~inside[other]
        if other // 2 == own or lacked.sum() < 2:
            continue
        level = (total - outside[own] - outside[other // 2]) / (pairs - 2)
        one, two, three = ((signals - level)[lacked] for signals in (child, never[other], never[oracle]))
        null, p_of_null = kolmogorov_smirnov(two, three)
        excess.append(kolmogorov_smirnov(one, three)[0] - null)
        false.append(p_of_null)
    if not excess:
        raise ValueError(f"model {model} forgets too few examples to compare; two or more are needed")
    return p_value, distance, float(np.mean(excess)), false


def kolmogorov_smirnov(one: Float[Array, " n"], other: Float[Array, " n"]) -> tuple[float, float]:
    """Return the distance of two samples of one size, and its exact two-sided p-value.

    Source: Gnedenko & Korolyuk 1951; with ties, the p-value is too large rather than too small.
    """
    n, every = len(one), np.concatenate([one, other])
    below, below_other = (np.searchsorted(np.sort(sample), every, side="right") for sample in (one, other))
    steps = int(np.abs(below - below_other).max())
    if not steps:
        return 0.0, 1.0
    tail = sum((-1) ** (k + 1) * comb(2 * n, n - k * steps) for k in range(1, n // steps + 1))
    return steps / n, 2 * tail / comb(2 * n, n)
