"""The privacy risk score: the probability that an example is a member, given its class and the model's confidences."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from memaudit.attacks.access.columns import one_column, reduced_target
from memaudit.attacks.access.entropy import modified_entropy
from memaudit.design import Pairs
from memaudit.types import Level

Array = np.ndarray

_PER_BIN, _FEWEST, _MOST = 200, 5, 50  # references in a bin; bins of a class
_LEAST = 1e-30  # nats


@dataclass(frozen=True, slots=True)
class PrivacyRisk:
    """P(member | modified entropy, class), for members and non-members in equal number.

    The conditional distributions are histograms of the logarithm of the modified entropy, class by class, over the
    members and non-members of the reference models. Bins hold equal numbers of references; each side has half a count
    more in each bin. A shadow model's own pair is taken out of the counts. A threshold on the score is a threshold for
    each class.

    Source: Song & Mittal 2021 (USENIX Security), section 5, Equations 9 and 10: histograms with equal bins on a
    logarithmic axis there.
    """

    name: str = "privacy-risk"
    source: str = "Song & Mittal 2021 (USENIX Security), section 5, privacy risk score on the modified entropy"
    level: Level = Level.CONFIDENCES
    view: str = "confidences"
    y: Int[Array, " examples"] | None = field(default=None, repr=False)

    def labelled(self, y: Int[Array, " examples"]) -> PrivacyRisk:
        """Return the attack for examples with these labels."""
        return replace(self, y=y)

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return probabilities between 0 and 1; the last pair is no reference."""
        found = reduced_target(_log_entropy, target)
        bins, inside, outside = self._placed(pairs)
        return bins.risk(bins.place(found), bins.counts(inside[:-1]), bins.counts(outside[:-1]))

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) probabilities of every bank model, its own pair left out."""
        bins, inside, outside = self._placed(pairs)
        members, others = bins.counts(inside), bins.counts(outside)
        found = np.empty((2, *inside.shape))
        for t, (within, without) in enumerate(zip(inside, outside, strict=True)):
            counts = members - bins.counts(within), others - bins.counts(without)
            found[0, t], found[1, t] = bins.risk(within, *counts), bins.risk(without, *counts)
        return found[0], found[1]

    def _placed(self, pairs: Pairs) -> tuple[_Bins, Int[Array, "pairs examples"], Int[Array, "pairs examples"]]:
        """Return the bins, and in which of them each member and non-member of the bank is."""
        signals = one_column(_log_entropy, pairs)
        inside, outside = signals.inside[..., 0], signals.outside[..., 0]
        y = np.zeros(inside.shape[1], np.int64) if self.y is None else self.y
        edges = {}
        for one in np.unique(y):
            known = np.concatenate([inside[:, y == one].ravel(), outside[:, y == one].ravel()])
            number = int(np.clip(len(known) // _PER_BIN, _FEWEST, _MOST))
            edges[int(one)] = np.unique(np.quantile(known, np.linspace(0, 1, number + 1)[1:-1]))
        bins = _Bins(y, edges)
        return bins, bins.place(inside), bins.place(outside)


@dataclass(frozen=True, slots=True)
class _Bins:
    """The bins of the classes: those of one class are numbered after those of the class before."""

    y: Int[Array, " examples"]
    edges: dict[int, Array]

    def place(self, signals: Float[Array, "*models examples"]) -> Int[Array, "*models examples"]:
        """Return the number of the bin of each signal."""
        found, first = np.empty(signals.shape, np.int64), 0
        for one, edges in self.edges.items():
            here = self.y == one
            found[..., here] = first + np.searchsorted(edges, signals[..., here], side="right")
            first += len(edges) + 1
        return found

    def counts(self, places: Int[Array, "*models examples"]) -> Float[Array, " bins"]:
        """Return how many signals are in each bin."""
        total = sum(len(edges) + 1 for edges in self.edges.values())
        return np.bincount(places.ravel(), minlength=total).astype(np.float64)

    def risk(
        self, places: Int[Array, " examples"], members: Float[Array, " bins"], others: Float[Array, " bins"]
    ) -> Float[Array, " examples"]:
        """Return the share of members among the references in the bin of each example."""
        return np.asarray(((members + 0.5) / (members + others + 1))[places])


def _log_entropy(columns: Array, block: slice) -> Array:
    return np.asarray(np.log(np.maximum(modified_entropy(columns), _LEAST)))
