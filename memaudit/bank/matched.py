"""The recordings of models that are no complementary pairs: each example's models matched, one with and one without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from safetensors.numpy import load_file

from memaudit.bank.matching import design_of, drawn_couples, matched, most_couples, sides
from memaudit.bank.pooled import pooled_observations
from memaudit.bank.recordings import Recordings
from memaudit.design import PairArrays
from memaudit.recipe import Examples
from memaudit.stats import Couples

Array = np.ndarray


@dataclass(frozen=True)
class Matched(PairArrays):
    """Signals in the form of pairs, held in memory: row t has the t-th couple of each example that is kept.

    `phi`, `members` and `correct` are those of the real models, `couples` says which of them a value comes from, `kept`
    which examples of the bank they are. `files` are those of all the models, and `examples` those whose units are
    pooled, if any are: what was seen while the models trained is read when it is asked for.
    """

    phi: Float[Array, "models examples queries"]
    members: UInt8[Array, "models examples"]
    correct: Shaped[Array, "models examples"]
    couples: Couples
    kept: Int[Array, " examples"]
    files: tuple[Path, ...] = ()
    examples: Examples | None = None

    def observed(self, rows: Int[Array, " rows"]) -> dict[str, Shaped[Array, "..."]]:
        """Return what was seen of all models while they trained, of some examples that are kept; as of `Recordings`."""
        if len(self.files) != len(self.members):  # some of the models alone
            return {}
        bank = Recordings(self.files)
        whole = self.kept[rows]
        return bank.observed(whole) if self.examples is None else pooled_observations(bank, self.examples, whole)

    def halves(self, seed: int) -> tuple[Matched, Matched] | None:
        """Return the recordings of one half of the models and of the other, for the same examples.

        Clusters of models are dealt alternately, so that the halves are independent. Each example is matched within
        each half; those with too few models in one are left out. None if that is all of them.
        """
        halves = [np.flatnonzero(self.couples.clusters % 2 == half) for half in (0, 1)]
        count, here = most_couples(np.minimum(*(sides(self.members[half] > 0) for half in halves)))
        if not count:
            return None
        first, second = (self._part(half, here, count, seed + place) for place, half in enumerate(halves))
        return first, second

    def _part(self, models: Int[Array, " some"], here: Bool[Array, " examples"], count: int, seed: int) -> Matched:
        clusters = np.unique(self.couples.clusters[models], return_inverse=True)[1]
        phi, members, correct = (of[np.ix_(models, here)] for of in (self.phi, self.members, self.correct))
        return with_couples(phi, members, correct, drawn_couples(members > 0, count, clusters, seed), self.kept[here])

    def nested(self, parts: int, seed: int) -> Nested | None:
        """Return recordings whose first couples are those of a part of the models, for examples with enough in each.

        Args:
            parts: How many: 2 are half of the models and all, 3 begin with a quarter. Clusters are not divided.
            seed: Of the matching.
        """
        groups = self.couples.groups
        ends = [groups >> left for left in range(parts - 1, -1, -1)]
        part = np.searchsorted(ends, self.couples.clusters, side="right")
        here, counts = np.ones(len(self.kept), bool), []
        for place in range(parts):
            count, enough = most_couples(sides(self.members[part <= place] > 0)[here])
            here[here] = enough
            counts.append(count)
        if not here.any():
            return None
        phi, members, correct = (of[:, here] for of in (self.phi, self.members, self.correct))
        couples = drawn_couples(members > 0, counts[-1], self.couples.clusters, seed, part)
        models = [int((part <= place).sum()) for place in range(parts)]
        return Nested(with_couples(phi, members, correct, couples, self.kept[here]), tuple(counts), tuple(models))

    def only(self, here: Bool[Array, " examples"]) -> Matched:
        """Return the recordings of some of the examples that are kept."""
        return replace(
            self,
            inside=self.inside[:, here],
            outside=self.outside[:, here],
            phi=self.phi[:, here],
            members=self.members[:, here],
            correct=self.correct[:, here],
            couples=replace(self.couples, inside=self.couples.inside[:, here], outside=self.couples.outside[:, here]),
            kept=self.kept[here],
        )


class Nested(NamedTuple):
    """Recordings whose first `couples[k]` couples are of the first `models[k]` models alone."""

    bank: Matched
    couples: tuple[int, ...]
    models: tuple[int, ...]


def read_matched(files: Sequence[Path], seed: int, examples: Examples | None = None) -> Matched:
    """Return the matched recordings of models that are no pairs.

    Args:
        files: Of the models.
        seed: Of the matching.
        examples: Where units have several records: they are pooled, and the columns are units.

    Raises:
        EvidenceError: As for `design_of`.
    """
    tensors = [load_file(file) for file in files]
    members, correct, phi = (np.stack([found[name] for found in tensors]) for name in ("members", "correct", "phi"))
    if examples is not None:
        members = members[:, examples.representatives]
        correct, phi = (np.stack([examples.by_unit(of) for of in values]) for values in (correct, phi))
    design = design_of(members > 0)
    used, kept = design.order, design.kept
    couples = matched(members[used] > 0, design, seed)
    found = with_couples(phi[used][:, kept], members[used][:, kept], correct[used][:, kept], couples, kept)
    return replace(found, files=tuple(files[model] for model in used), examples=examples)


def with_couples(
    phi: Float[Array, "models examples queries"],
    members: UInt8[Array, "models examples"],
    correct: Shaped[Array, "models examples"],
    couples: Couples,
    kept: Int[Array, " examples"],
) -> Matched:
    """Return recordings model by model in the form of the couples."""
    columns = np.arange(phi.shape[1])
    return Matched(phi[couples.inside, columns], phi[couples.outside, columns], phi, members, correct, couples, kept)
