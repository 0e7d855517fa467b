"""What a check may look at of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from memaudit.attacks import Attack, blind_scores, blind_text_scores
from memaudit.attacks.access import ACCESS_ATTACKS, knowing, untied
from memaudit.checks.attacked import Attacked
from memaudit.checks.evidence import Evidence, TargetEvidence
from memaudit.checks.facts import RedrawnLabels
from memaudit.memorization import (
    Counterfactual,
    Found,
    Memorization,
    beyond_chance,
    counterfactual,
    counterfactual_of_models,
    influence,
    memorization,
    paired_memorization,
)
from memaudit.signals import cross_entropy

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class ClassifierTargetEvidence(TargetEvidence):
    """Of a classifier: its inputs and labels, which serve the blind baseline, and whether it is right.

    `x` describes the inputs in numbers; `texts` are the inputs where they are texts. `names` are those of the classes.
    `modified_entropy` is that of the target's outputs, where it was recorded. `checks.tasks` has the evidence of models
    that predict several labels, or a number.
    """

    x: Shaped[Array, "examples ..."]
    y: Shaped[Array, "examples ..."]
    texts: Sequence[str] | None = None
    names: tuple[str, ...] = ()
    modified_entropy: Float[Array, " examples"] | None = None

    def _known(self) -> dict[str, Any]:
        x = self.x if self.has_inputs else None
        return {"x": x, "y": self.y, "modified_entropy": self.modified_entropy}

    @property
    def has_inputs(self) -> bool:
        """Whether it is known what the examples are; of recorded outputs it need not be."""
        return self.x.size > 0

    @property
    def has_labels(self) -> bool:
        """Whether there are two classes at least."""
        return bool(self.y.any())

    def loss(self, phi: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the cross-entropy that belongs to a scaled logit."""
        return cross_entropy(phi)

    def label(self, example: int, full: bool) -> str:
        """Return the class."""
        return self.names[self.y[example]] if self.names else str(self.y[example])

    def blind_scores(self, rows: Int[Array, " rows"]) -> Float[Array, " rows"]:
        """Return the cross-fitted log-odds of membership from inputs and labels."""
        if self.texts is not None:  # the label is one more word
            told = [f"{self.texts[row]} label{self.y[row]}" for row in rows]
            return blind_text_scores(told, self.members[rows], self.seed)
        return blind_scores(self.x[rows], self.y[rows], self.members[rows], self.seed)


@dataclass(frozen=True, kw_only=True)
class ClassifierEvidence(ClassifierTargetEvidence, Evidence):
    """Of a classifier, with a bank. `labels` are those of a bank with label noise."""

    labels: RedrawnLabels | None = None

    def by_access(self, name: str) -> Attacked:
        """Return the scores of an attack on a view, ties broken at random; computed once."""
        if name not in self._attacked:
            attack = ACCESS_ATTACKS[name]
            viewed = self.viewed(attack.view)
            found = Attacked.of(attack, viewed.target, viewed.pairs, self.step, self._knowing)
            target, inside, outside = untied(found.target, found.inside, found.outside, self.seed)
            self._attacked[name] = self.with_couples(replace(found, target=target, inside=inside, outside=outside))
        return self._attacked[name]

    def _knowing(self, attack: Any, part: slice) -> Attack:
        """Return an attack with the labels of some examples, if it uses them."""
        return knowing(attack, self.y[part])

    @cached_property
    def memorization(self) -> Memorization | Counterfactual:
        """Feldman–Zhang memorization over the whole bank; of units with several records, by the share that is right."""
        return memorization_of(self)

    @cached_property
    def influences(self) -> Found:
        """The influences of the examples `every` on each other that are beyond chance, numbered among them."""
        members, correct = (of[:, self.every] for of in (self.bank.members, self.bank.correct))
        return beyond_chance(influence(correct, members, without=members))


def memorization_of(evidence: Evidence) -> Memorization | Counterfactual:
    """Return how much training on each example raises `correct`, over the whole bank."""
    if evidence.bank.correct.dtype.kind == "f":
        return memorization_of_shares(evidence)
    if evidence.matched is not None:
        return memorization(evidence.bank.correct.astype(bool), evidence.bank.members)
    return paired_memorization(*evidence.correct_by_pair)


def memorization_of_shares(evidence: Evidence) -> Counterfactual:
    """Return how much better models do on each example because of training on it, where `correct` is a share."""
    if evidence.matched is None:
        return counterfactual(*evidence.correct_by_pair).of_shares()
    return counterfactual_of_models(evidence.bank.correct.astype(np.float64), evidence.bank.members).of_shares()
