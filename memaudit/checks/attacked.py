"""One attack on the target, and on every shadow model in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from memaudit.attacks import Attack, taught
from memaudit.design import EveryNth, Pairs
from memaudit.stats import Couples, Reached, threshold, tpr_interval, transferred_thresholds, unreachable

Array = np.ndarray

_CELLS = 2**23  # pairs × examples of which a bank's models are scored: more say no more of a threshold


def step_of_shadows(shape: tuple[int, int, int]) -> int:
    """Return the n of "every nth example" on which the models of a bank are scored: 1 up to 8,388,608 in all pairs."""
    return -(-shape[0] * shape[1] // _CELLS)


class Shadows(Pairs, Protocol):
    """The recordings of a bank: signals in pair form, correctness and memberships model by model."""

    @property
    def members(self) -> UInt8[Array, "models examples"]:
        """How often each model was trained on each example."""
        ...

    @property
    def correct(self) -> Shaped[Array, "models examples"]:
        """Whether each model classifies each example correctly, or the share of its tokens that it predicts."""
        ...


@dataclass(frozen=True, slots=True)
class Attacked:
    """One attack's scores: of the target, and of every shadow as a target with its own pair left out.

    All have as many reference pairs: the target's scores leave out the last pair of the bank. `matched` says which
    models the scores come from, where those of a row are no complementary pair. The target is scored on all examples,
    the shadows on every nth, where `step` is n.
    """

    attack: Attack
    target: Float[Array, " examples"]
    inside: Float[Array, "pairs examples"]
    outside: Float[Array, "pairs examples"]
    matched: Couples | None = None
    step: int = 1
    _means: dict[float, float] = field(default_factory=dict, init=False, repr=False, compare=False)
    _cuts: dict[float, float] = field(default_factory=dict, init=False, repr=False, compare=False)
    _others: dict[float, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        attack: Attack,
        target: Float[Array, "examples queries"],
        bank: Pairs,
        step: int = 1,
        knowing: Callable[[Attack, slice], Attack] = lambda attack, part: attack,
    ) -> Attacked:
        """Return the scores of an attack; one that learns from the bank learns once.

        With a step above 1, the examples are n parts of one size, and the shadows are scored on the first. What an
        attack estimates from all examples together is then estimated from a part: of the target, too, which is scored
        part by part. All scores have one law.

        Args:
            attack: The attack.
            target: Its signals.
            bank: The shadows' signals.
            step: Score the shadows on every nth example.
            knowing: Returns the attack with what it knows of some examples, such as their labels.
        """
        parts = [slice(first, None, step) for first in range(step)]
        banks = [EveryNth(bank, step, first) for first in range(step)] if step > 1 else [bank]
        attack = taught(knowing(attack, parts[0]), banks[0])
        found = [knowing(attack, part).scores(target[part], of) for part, of in zip(parts, banks, strict=True)]
        scores = np.empty(len(target), found[0].dtype)
        for part, own in zip(parts, found, strict=True):
            scores[part] = own
        return cls(attack, scores, *attack.leave_pair_out(banks[0]), step=step)

    def flagged(self, fpr: float) -> Bool[Array, " examples"]:
        """Return which examples lie above the threshold that the shadows' non-members set for a rate."""
        return self.target > self.cut(fpr)

    def cut(self, fpr: float) -> float:
        """Return that threshold; computed once."""
        if fpr not in self._cuts:
            self._cuts[fpr] = threshold(self.outside.ravel(), fpr)
        return self._cuts[fpr]

    def shadows_flagged(self, fpr: float) -> tuple[Bool[Array, "pairs examples"], Bool[Array, "pairs examples"]]:
        """Return (members, non-members) flagged in every pair of shadows, at thresholds set by the other pairs."""
        cut = self._by_others(fpr)
        if self.matched is None:
            return self.inside > cut[:, None], self.outside > cut[:, None]
        inside, outside = (self.matched.clusters[side] for side in (self.matched.inside, self.matched.outside))
        return self.inside > cut[inside], self.outside > cut[outside]

    def _by_others(self, fpr: float) -> Float[Array, " clusters"]:
        """Return the threshold for each pair, or cluster, that the others set; computed once."""
        if fpr not in self._others:
            cluster, clusters = None, None
            if self.matched is not None:
                cluster, clusters = self.matched.clusters[self.matched.outside], self.matched.groups
            self._others[fpr] = transferred_thresholds(self.outside, fpr, cluster=cluster, clusters=clusters)
        return self._others[fpr]

    def shadows_interval(self, fpr: float) -> tuple[float, float]:
        """Return the 95 % interval of the shadows' mean true-positive rate: bootstrap over models and examples."""
        return tpr_interval(*self.by_unit, fpr)

    def mean_on_shadows(self, fpr: float) -> float:
        """Return the shadows' mean true-positive rate at one threshold for all, as for `tpr_draws`; computed once."""
        if fpr not in self._means:
            inside, outside = self.by_unit
            cut = threshold(outside[~np.isnan(outside)], fpr)
            self._means[fpr] = float((inside > cut).sum() / (~np.isnan(inside)).sum())
        return self._means[fpr]

    @property
    def by_unit(self) -> tuple[Float[Array, "units examples"], Float[Array, "units examples"]]:
        """(inside, outside): the scores by independent unit, a pair of models or a cluster; NaN where there is none."""
        if self.matched is None:
            return self.inside, self.outside
        matched = self.matched
        return matched.by_cluster(matched.inside, self.inside), matched.by_cluster(matched.outside, self.outside)

    @property
    def sampled(self) -> str:
        """On how many examples the shadows are scored, in a sentence; empty if on all."""
        if self.step == 1:
            return ""
        return (
            f"The shadow models are scored on {self.outside.shape[1]:,} of the {len(self.target):,} examples, evenly "
            "spaced; this model on all."
        )

    def unreachable(self, fpr: float) -> Reached | None:
        """Return the rates beside one that ties keep the attack from; None if it is reached."""
        return unreachable(self.outside, fpr)
