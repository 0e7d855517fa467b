"""Two releases of one model: which records were added or removed between them?

A record is in one of four states, by its memberships in the old and the new release: never (0, 0), added (0, 1),
removed (1, 0) and kept (1, 1). The null hypothesis is that it is unchanged: never or kept. Neither release alone tells
an added record from one that was kept, nor a removed record from one that never was a member.

The releases are simulated from a bank: the model of one pair is the old release, that of another pair the new one. For
each example, two pairs of models have all four states.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float

from memaudit.attacks.interface import blocks, read
from memaudit.attacks.lira import Lira
from memaudit.design import Pairs
from memaudit.stats import Couples

Array = np.ndarray

LEAST_PAIRS = 6  # three independent simulations of two pairs each
SOURCE = (
    "Jagielski et al. 2023 (PoPETs), attacks on updated models; Zanella-Béguelin et al. 2020 (CCS), differential score"
)


class Change(StrEnum):
    """What happened to a record between the releases."""

    ADDED = "added"
    REMOVED = "removed"


class Holds(StrEnum):
    """What an adversary holds, and how the score is made of it.

    BOTH: the likelihood ratio of changed against unchanged, from both releases.
    DIFFERENCE: the signal of the release with the record minus that of the other, as in a differential score.
    WITH: the likelihood ratio of membership from the release that has the record alone.
    WITHOUT: minus that ratio, from the other release alone.
    """

    BOTH = "both releases"
    DIFFERENCE = "the difference of the signals"
    WITH = "the release with the record"
    WITHOUT = "the release without it"


@dataclass(frozen=True, slots=True)
class Signs:
    """What one release says of each record: the log-likelihood ratio of membership in nats, and the mean signal."""

    ratio: Float[Array, "..."]
    signal: Float[Array, "..."]

    def __getitem__(self, rows: Array) -> Signs:
        return Signs(self.ratio[rows], self.signal[rows])


@dataclass(frozen=True, slots=True)
class Simulated:
    """What the models of a bank say as releases: row r is a model of pair r, and its other release is of pair r ^ 1.

    The references of each are all pairs but the two of its simulation.
    """

    inside: Signs
    outside: Signs

    @classmethod
    def of(cls, pairs: Pairs) -> Simulated:
        """Return the signs of every pair that another pair is left for; O(models² × examples).

        Raises:
            ValueError: Fewer than 6 pairs, or a signal that is not finite.
        """
        _require_pairs(pairs)
        sides = [np.concatenate(side, axis=1) for side in zip(*(read(pairs, b) for b in blocks(pairs)), strict=True)]
        rows = pairs.shape[0] // 2 * 2
        ratios = np.empty((2, rows, pairs.shape[1]), np.float32)
        for row, references in enumerate(_without_each(pairs, rows)):
            for side, signals in enumerate(sides):
                ratios[side, row] = Lira().scores(signals[row], references)
        inside, outside = (Signs(ratio, side[:rows].mean(axis=2)) for ratio, side in zip(ratios, sides, strict=True))
        return cls(inside, outside)

    def scores(
        self, change: Change, holds: Holds, kept: Bool[Array, "rows examples"], never: float
    ) -> tuple[Float[Array, "rows examples"], Float[Array, "rows examples"]]:
        """Return (changed, unchanged): the scores of simulated releases for records that changed, and that did not.

        Args:
            change: What is looked for.
            holds: What the adversary holds.
            kept: Which of the unchanged records are members of both releases; the others are of neither.
            never: As for `change_score`.
        """
        other = np.arange(len(kept)) ^ 1
        changed = score(holds, self.outside, self.inside[other], never)
        unchanged = np.where(
            kept,
            score(holds, self.inside, self.inside[other], never),
            score(holds, self.outside, self.outside[other], never),
        )
        return changed, unchanged


def signs(target: Float[Array, "examples queries"], pairs: Pairs) -> Signs:
    """Return what a release outside the bank says, scored as the simulated ones are: all pairs but two are references.

    Raises:
        ValueError: Fewer than 6 pairs, signals of another shape than the bank's, or one that is not finite.
    """
    _require_pairs(pairs)
    ratio = Lira().scores(target, pairs.take(np.arange(pairs.shape[0] - 1)))  # which leaves out the last of these
    return Signs(ratio, target.mean(axis=1))


def change_score(change: Change, holds: Holds, old: Signs, new: Signs, never: float) -> Float[Array, "..."]:
    """Return how likely each record was added (or removed) between two releases; larger = more likely.

    With both releases it is the log-likelihood ratio of changed against unchanged, which is the most powerful test
    (Neyman & Pearson) where the two releases are independent given the record's memberships, as after retraining:

        added:    b − log(π + (1 − π) exp(a + b))
        removed:  a − log(π + (1 − π) exp(a + b))

    with a and b the log-likelihood ratios of membership in the old and in the new release, and π the share of the
    unchanged records that are members of neither.

    Args:
        change: What is looked for.
        holds: What the adversary holds.
        old: What the old release says.
        new: What the new release says.
        never: π, from 0 to 1.
    """
    return score(holds, old, new, never) if change is Change.ADDED else score(holds, new, old, never)


def score(holds: Holds, without: Signs, has: Signs, never: float) -> Float[Array, "..."]:
    """Return the score of a record that one release has and the other lacks, whichever came first."""
    match holds:
        case Holds.BOTH:
            with np.errstate(divide="ignore"):
                prior = np.log([never, 1 - never])
            return has.ratio - np.logaddexp(prior[0], prior[1] + without.ratio + has.ratio)
        case Holds.DIFFERENCE:
            return has.signal - without.signal
        case Holds.WITH:
            return has.ratio
        case Holds.WITHOUT:
            return -without.ratio


def couples(first_inside: Bool[Array, "pairs examples"], kept: Bool[Array, "rows examples"]) -> Couples:
    """Return which simulated releases the scores of `Simulated.scores` come from.

    Two pairs of models make eight simulated releases, which are one cluster: either pair is that of the release
    without the record, and either model of each pair is taken.

    Args:
        first_inside: Whether the first model of each pair was trained on each example.
        kept: As for `Simulated.scores`.
    """
    rows = len(kept)
    member = (~first_inside[:rows]).astype(np.int32)  # the number of the pair's model that has the example
    other = member[np.arange(rows) ^ 1]
    first = (4 * np.arange(rows, dtype=np.int32))[:, None]
    changed = first + 2 * (1 - member) + other
    unchanged = first + np.where(kept, 2 * member + other, 2 * (1 - member) + 1 - other)
    return Couples(changed, unchanged, np.repeat(np.arange(rows // 2, dtype=np.int32), 8))


def _without_each(pairs: Pairs, rows: int) -> Iterator[Pairs]:
    """Yield for each row the pairs from which `Lira.scores` takes its references: all but this one and the other."""
    everything = np.arange(pairs.shape[0])
    for row in range(rows):
        left = everything[(everything != row) & (everything != (row ^ 1))]
        yield pairs.take(np.append(left, row))  # the last one is left out


def _require_pairs(pairs: Pairs) -> None:
    if pairs.shape[0] < LEAST_PAIRS:
        raise ValueError(f"two releases need at least {LEAST_PAIRS} pairs of models, got {pairs.shape[0]}")
