"""A design: which units the models of a bank are trained on, as a value."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Int, UInt8

from memaudit.design.draws import all_but, half, half_in_units, independent
from memaudit.design.roles import Role, everyone
from memaudit.design.streams import CANDIDATES, stream

Array = np.ndarray

HALVES = "complementary pairs: every unit is in one model of each pair"
_TOLERANCE = 0.05  # of the share: models of training sets that differ by a tenth mostly look alike (benchmarks.shares)
_COUPLES, _MATCHED = 3, 0.98  # models on either side (bank.matching), and of how many examples
_LIKELY, _POSSIBLE = 2.0, 3.3  # standard deviations of the share under random halves: probabilities of 0.05 and 0.001


class Draw(StrEnum):
    """How it is drawn which candidates a model is trained on."""

    PAIRS = "complementary pairs"
    INDEPENDENT = "independent"
    LEAVE_ONE_OUT = "leave-one-out"


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """The role of each unit, how candidates are drawn, and which labels are redrawn.

    Attributes:
        roles: Of each unit.
        draw: How it is drawn which candidates a model is trained on.
        inclusion: The probability that a candidate is in a model's training set; 1/2 in pairs.
        label_noise: The share of the units whose label is replaced by another class, independently in each model.
        chosen: Whether somebody chose the roles; otherwise the candidates are all units, or a random sample.
    """

    roles: UInt8[Array, " units"]
    draw: Draw = Draw.PAIRS
    inclusion: float = 0.5
    label_noise: float = 0.0
    chosen: bool = False

    @classmethod
    def halves(cls, units: int) -> Design:
        """Return the design in which every unit is a candidate."""
        return cls(everyone(units))

    @classmethod
    def for_members(cls, members: Bool[Array, " units"], seed: int) -> Design:
        """Return the design for a target: halves if its share of members is likely under random halves.

        Otherwise the candidates are all units of the smaller side and a random sample of the same size of the larger.
        """
        if _off(members, 0.5) <= _LIKELY:
            return cls.halves(len(members))
        many = int(members.sum()) * 2 > len(members)
        larger = np.flatnonzero(members == many)
        roles = everyone(len(members))
        fixed = stream(seed, CANDIDATES, 0).permutation(larger)[len(members) - len(larger) :]
        roles[fixed] = Role.ALWAYS if many else Role.NEVER
        return cls(roles)

    @classmethod
    def read(cls, roles: UInt8[Array, " units"], lines: Mapping[str, str]) -> Design:
        """Return the design of some roles and of what `lines` returned.

        Raises:
            ValueError: These are not the roles that the lines are about, or the lines are damaged.
        """
        found = cls(
            roles,
            Draw(lines.get("design.draw", Draw.PAIRS)),
            float(lines.get("design.share", 0.5)),
            float(lines.get("design.label-noise", 0.0)),
            lines.get("design.roles") == "chosen",
        )
        if found.lines().get("design.sha256") != lines.get("design.sha256"):
            raise ValueError("it does not match its checksum")
        return found

    def row(
        self, seed: int, model: int, unit_of: Int[Array, " examples"], labels: Int[Array, " examples"]
    ) -> UInt8[Array, " examples"]:
        """Return how often one model of a bank is trained on each example: on all of a unit or on none.

        Args:
            seed: Of the bank.
            model: Its number. Models that a bank has stay the same when it grows.
            unit_of: The number of each example's unit, from 0.
            labels: The class of each example.
        """
        match self.draw:
            case Draw.PAIRS:
                return half_in_units(seed, model, unit_of, labels, self.roles)
            case Draw.INDEPENDENT:
                return independent(seed, model, self.inclusion, self.roles, unit_of, labels)
            case Draw.LEAVE_ONE_OUT:
                return all_but(model % self.round, self.roles)[unit_of]

    def row_of_units(self, seed: int, model: int) -> UInt8[Array, " units"]:
        """Return how often one model is trained on each unit, where units have no classes, as documents."""
        if self.draw is Draw.PAIRS:
            return half(seed, model, len(self.roles), self.roles)
        units = np.arange(len(self.roles))
        return self.row(seed, model, units, units)

    @property
    def candidates(self) -> Bool[Array, " units"]:
        """Which units are in some of the models: those that a bank says something about."""
        return self.roles == Role.CANDIDATE

    @property
    def measured(self) -> Bool[Array, " units"]:
        """Which units the models are asked about: the candidates; with leave-one-out, all that some model has."""
        return self.roles > Role.NEVER if self.draw is Draw.LEAVE_ONE_OUT else self.candidates

    @property
    def is_halves(self) -> bool:
        """Whether this is the default: complementary halves of all units."""
        return bool(self.candidates.all()) and self.draw is Draw.PAIRS and not self.label_noise

    @property
    def round(self) -> int:
        """How many models belong together: the two of a pair, or one with all units and one without each candidate."""
        return {Draw.PAIRS: 2, Draw.INDEPENDENT: 1, Draw.LEAVE_ONE_OUT: self.count(Role.CANDIDATE) + 1}[self.draw]

    @property
    def least(self) -> int:
        """How many models an audit needs: three with, and three without, 98 % of the examples or more."""
        models = 2 * _COUPLES
        while self.draw is Draw.INDEPENDENT and _lacking(models, self.inclusion) > 1 - _MATCHED:
            models += 1
        return models

    @property
    def share(self) -> float:
        """The expected share of the units in a model's training set."""
        inclusion = 1 - 1 / self.round if self.draw is Draw.LEAVE_ONE_OUT else self.inclusion
        return (self.count(Role.ALWAYS) + inclusion * self.count(Role.CANDIDATE)) / len(self.roles)

    def count(self, role: Role) -> int:
        """Return how many units have a role."""
        return int((self.roles == role).sum())

    def misfits(self, members: Bool[Array, " units"]) -> int:
        """Return how many units are in every model and no members of a target, or in none and members."""
        return int((members & (self.roles == Role.NEVER)).sum() + (~members & (self.roles == Role.ALWAYS)).sum())

    @property
    def words(self) -> str:
        """The design in words."""
        units, candidates = len(self.roles), self.count(Role.CANDIDATE)
        if self.draw is Draw.LEAVE_ONE_OUT:
            told = f"{candidates} of {units} units are left out, one at a time, beside models trained on all"
            gone = self.count(Role.NEVER)
            return f"{told}; {gone} units are in no model" if gone else told
        told = HALVES if self.draw is Draw.PAIRS else ""
        if candidates < units:
            told = (
                f"{candidates} of {units} units are candidates, {self.count(Role.ALWAYS)} are in every model, "
                f"{self.count(Role.NEVER)} in none"
            )
        if self.draw is Draw.INDEPENDENT:
            who = f"{told}; a candidate" if told else "every unit"
            told = f"{who} is in a model with probability {self.inclusion:g}, independently"
        return told + (f"; {self.label_noise:.3g} of the labels are redrawn in each model" if self.label_noise else "")

    def lines(self) -> dict[str, str]:
        """Return what a bank's fingerprint says of the design; nothing of halves."""
        if self.is_halves:
            return {}
        found = {"design": self.words, "design.sha256": hashlib.sha256(self.roles.tobytes()).hexdigest()}
        if self.draw is not Draw.PAIRS:
            found |= {"design.draw": str(self.draw), "design.pairs": "no"}
        if self.draw is Draw.INDEPENDENT:
            found["design.share"] = repr(self.inclusion)
        if self.label_noise:
            found["design.label-noise"] = repr(self.label_noise)
        return found | ({"design.roles": "chosen"} if self.chosen else {})


def _lacking(models: int, share: float) -> float:
    """Return the probability that fewer than three of so many models have an example, or that fewer lack it."""
    few = {count for few in range(_COUPLES) for count in (few, models - few)}
    return sum(math.comb(models, count) * share**count * (1 - share) ** (models - count) for count in few)


def about_half(members: Bool[Array, " units"]) -> bool:
    """Return whether an existing bank of halves suits a target, by its share of members."""
    return about_share(members, 0.5)


def about_share(members: Bool[Array, " units"], share: float) -> bool:
    """Return whether a target's share of members is that of a bank's models.

    It is, within 5 percentage points or what independent draws with that probability make possible.
    """
    return bool(abs(members.mean() - share) <= _TOLERANCE or _off(members, share) <= _POSSIBLE)


def _off(members: Bool[Array, " units"], share: float) -> float:
    """Return how far the share of members is from another, in standard deviations under independent draws."""
    return float(abs(members.mean() - share) / np.sqrt(share * (1 - share) / len(members)))
