"""Utility and leak of a variant's models, pair by pair and unit by unit, and the paired difference between two.

The examples are taken as given. What is random are the training runs: complementary pairs of models, the same training
sets in every variant, so that what two variants have in common cancels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from memaudit.attacks.access import untied
from memaudit.auditing.unit_scores import by_unit, correct_by_unit, scores_by_unit
from memaudit.errors import EvidenceError, MemauditError
from memaudit.recipe import Population
from memaudit.recipe.populations import candidates, number_of_units
from memaudit.stats import paired_change, rate_by_pair, resolvable, threshold, unreachable
from memaudit.types import Estimate
from memaudit.whatif.base import LEAST_PAIRS, Made
from memaudit.whatif.seen import Seen

Array = np.ndarray

_METHOD = "Student's t over pairs of models"


class ByPair(NamedTuple):
    """Figures of a variant by pair of models, whose means are compared.

    `utility` is the share of the units that a model lacks and predicts; `leak` each pair's influence on the mean
    true-positive rate; `memorization` how much better models predict the units that they have; `seconds` the time that
    one model takes to train. `step` is the smallest difference that one pair can show: one unit. `even` is
    whether the threshold is that of many models: few that have most false positives, such as models whose training
    failed, move it for all, and intervals over pairs do not see it.
    """

    utility: Float[Array, " pairs"]
    leak: Float[Array, " pairs"]
    memorization: Float[Array, " pairs"]
    seconds: Float[Array, " pairs"]
    step: float
    even: bool


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was recorded of a variant's pairs, in their order, about the units that its models were asked about.

    `inside` are the attack's scores in the model of each pair that has the unit, `outside` in the one that lacks it;
    larger = more member-like. `right` is whether these two predict it, or the share of its tokens that they predict.
    """

    pairs: tuple[int, ...]
    units: Int[Array, " units"]
    inside: Float[Array, "pairs units"]
    outside: Float[Array, "pairs units"]
    right: tuple[Float[Array, "pairs units"], Float[Array, "pairs units"]]
    seconds: Float[Array, " pairs"]

    def by_pair(self, pairs: tuple[int, ...], units: Int[Array, " some"], fpr: float) -> ByPair:
        """Return the figures of some of the pairs, about some of the units.

        Raises:
            EvidenceError: The rate cannot be resolved, or ties keep the attack from it.
        """
        if not resolvable(fpr, len(units)):
            raise EvidenceError(f"fpr = {fpr}: {len(units)} units cannot resolve it; ask for a larger one")
        some = np.ix_(np.searchsorted(self.pairs, pairs), np.searchsorted(self.units, units))
        inside, outside, right_inside, right_outside = (of[some] for of in (self.inside, self.outside, *self.right))
        if unreachable(outside, fpr):
            raise EvidenceError(f"fpr = {fpr}: the attack's scores are tied there; ask for a larger one")
        return ByPair(
            right_outside.mean(axis=1),
            rate_by_pair(inside, outside, fpr)[1],
            (right_inside - right_outside).mean(axis=1),
            self.seconds[np.searchsorted(self.pairs, pairs)],
            1 / len(units),
            _even(outside, fpr),
        )


@dataclass(frozen=True, eq=False)
class Field:
    """The variants of a comparison as they are now: their banks, and what is measured of them when it is asked.

    Attributes:
        made: By name; the base is among them.
        examples: The base's population.
        shadows: How many of the first models of each bank are used.
        attack: By which every model is attacked, with the other pairs as references.
        fpr: At which its true-positive rate is the leak.
    """

    made: dict[str, Made]
    examples: Population
    shadows: int
    attack: str
    fpr: float
    _measured: dict[tuple[str, int], Measured] = field(default_factory=dict, repr=False)

    def enter(self, name: str, made: Made, beside: str) -> None:
        """Add a variant, if its figures can be compared with those of another.

        Raises:
            EvidenceError: They cannot; the variant is left out.
        """
        self.made[name] = made
        try:
            self.alone(name)
            self.both(beside, name)
        except MemauditError:
            del self.made[name]
            raise

    def alone(self, name: str) -> ByPair:
        """Return the figures of one variant, about all units that it was measured on."""
        found = self._from(name, self.made[name].first)
        return found.by_pair(found.pairs, found.units, self.fpr)

    def units(self, name: str) -> int:
        """Return how many units a variant was measured on."""
        return len(self._from(name, self.made[name].first).units)

    def both(self, one: str, other: str) -> tuple[ByPair, ByPair]:
        """Return the figures of two variants, from the pairs and about the units that both have.

        Both are attacked with as many references: the models before the first that either is measured on are left out.

        Raises:
            EvidenceError: They have fewer than three pairs, or too few units, in common; or ties as for one.
        """
        first = max(self.made[name].first for name in (one, other))
        a, b = (self._from(name, first) for name in (one, other))
        pairs, units = tuple(pair for pair in a.pairs if pair in set(b.pairs)), np.intersect1d(a.units, b.units)
        if len(pairs) < LEAST_PAIRS or not len(units):
            raise EvidenceError(
                f"{one} and {other} have {len(pairs)} pairs of models and {len(units)} units in common; "
                f"{LEAST_PAIRS} pairs are needed"
            )
        return a.by_pair(pairs, units, self.fpr), b.by_pair(pairs, units, self.fpr)

    def _from(self, name: str, first: int) -> Measured:
        if (name, first) not in self._measured:
            self._measured[name, first] = self._measure(self.made[name], first)
        return self._measured[name, first]

    def _measure(self, made: Made, first: int) -> Measured:
        bank = made.bank
        pairs = tuple(pair for pair in bank.pairs(self.shadows) if pair >= first)
        if len(pairs) < LEAST_PAIRS:
            raise EvidenceError(f"{bank.path} has {len(pairs)} complete pairs to measure on; {LEAST_PAIRS} are needed")
        design = bank.design(number_of_units(self.examples))
        measured = candidates(self.examples, design)
        models = [model for pair in pairs for model in (pair, pair + 1)]
        recorded = bank.recordings(models)
        seen = recorded if made.shown is None else Seen(recorded, made.shown(models))
        recordings = by_unit(seen, measured)
        inside, outside = scores_by_unit(recordings, measured, self.attack)
        if made.shown is not None:
            nobody = np.full(inside.shape[1], -np.inf)  # a target, whose scores are not used
            _, inside, outside = untied(nobody, inside, outside, 0)
        seconds = [[float(bank.record(model)["seconds"]) for model in (pair, pair + 1)] for pair in pairs]
        units = np.flatnonzero(design.measured)
        return Measured(pairs, units, inside, outside, correct_by_unit(recordings), np.mean(seconds, axis=1))


def _even(outside: Float[Array, "pairs units"], fpr: float) -> bool:
    """Return whether false positives are those of a third of the pairs or more, by their effective number."""
    false = (outside > threshold(outside.ravel(), fpr)).mean(axis=1)
    return bool(false.sum() ** 2 * 3 >= len(false) * np.square(false).sum())


def mean(values: Float[Array, " pairs"], step: float, level: float = 0.95) -> Estimate:
    """Return the mean over pairs with its interval; `step` as in `ByPair`."""
    return difference(np.zeros_like(values), values, step, level)


def difference(
    before: Float[Array, " pairs"], after: Float[Array, " pairs"], step: float, level: float = 0.95
) -> Estimate:
    """Return the mean of after − before over pairs with its interval; `step` as in `ByPair`."""
    value, low, high = paired_change(before, after, level, step)
    return Estimate(value=value, low=low, high=high, level=level, unit="share", method=_METHOD)
