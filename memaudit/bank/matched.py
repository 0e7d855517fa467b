"""The recordings of models that are no complementary pairs: each example's models matched, one with and one without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Shaped, UInt8
from safetensors.numpy import load_file

from memaudit.bank.matching import design_of, matched
from memaudit.design import PairArrays
from memaudit.recipe import Examples
from memaudit.stats import Couples

Array = np.ndarray


@dataclass(frozen=True)
class Matched(PairArrays):
    """Signals in the form of pairs, held in memory: row t has the t-th couple of each example that is kept.

    `members` and `correct` are those of the real models, `couples` says which of them a value comes from, `kept` which
    examples of the bank they are.
    """

    members: UInt8[Array, "models examples"]
    correct: Shaped[Array, "models examples"]
    couples: Couples
    kept: Int[Array, " examples"]

    def only(self, here: Bool[Array, " examples"]) -> Matched:
        """Return the recordings of some of the examples that are kept."""
        return replace(
            self,
            inside=self.inside[:, here],
            outside=self.outside[:, here],
            members=self.members[:, here],
            correct=self.correct[:, here],
            couples=replace(self.couples, inside=self.couples.inside[:, here], outside=self.couples.outside[:, here]),
            kept=self.kept[here],
        )


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
    signals, columns = phi[used][:, kept], np.arange(len(kept))
    return Matched(
        signals[couples.inside, columns],
        signals[couples.outside, columns],
        members[used][:, kept],
        correct[used][:, kept],
        couples,
        kept,
    )
