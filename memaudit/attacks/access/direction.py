"""Merlin and Morgan: is the loss at a local minimum, and is it in the range of members' losses?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from memaudit.attacks.access.columns import reduced_pairs, reduced_target
from memaudit.attacks.interface import blocks, read
from memaudit.design import Pairs
from memaudit.stats import own_tpr
from memaudit.types import Level

Array = np.ndarray

_PLACES = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1])
_AIM = 0.01  # false-positive rate at which Morgan chooses its window, as in the paper
_ROWS = 20_000
_SOURCE = "Jayaraman et al. 2021 (PoPETs)"


@dataclass(frozen=True, slots=True)
class Merlin:
    """The share of slightly noisy copies whose loss is higher: near 1 at a local minimum of the loss."""

    name: str = "merlin"
    source: str = f"{_SOURCE}, Merlin, section 5.2"
    level: Level = Level.CONFIDENCES
    view: str = "loss-direction"

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the share of a target."""
        return reduced_target(_ratio, target)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) shares of every bank model."""
        return reduced_pairs(_ratio, pairs)


def _ratio(columns: Array, block: slice) -> Array:
    return np.asarray(columns[..., 1])


@dataclass(frozen=True, slots=True)
class Morgan:
    """Merlin's share where the loss is in a window, and a lower score elsewhere.

    Very small losses are as common among easy non-members, large ones rare among members. The ends of the window are
    those quantiles of the reference members' losses with the highest true-positive rate at a 1 % false-positive rate.
    Two halves of the pairs are each scored with the other's window; the target with that of the last pair.
    """

    name: str = "morgan"
    source: str = f"{_SOURCE}, Morgan, section 5.3"
    level: Level = Level.CONFIDENCES
    view: str = "loss-direction"
    windows: tuple[tuple[float, float], ...] = ()

    def learn(self, pairs: Pairs) -> Morgan:
        """Return the attack with the windows of both halves.

        Raises:
            ValueError: Fewer than 2 pairs.
        """
        count = pairs.shape[0]
        if count < 2:
            raise ValueError(f"the attack needs at least 2 pairs of models, got {count}")
        halves = [np.flatnonzero(np.arange(count) % 2 != half) for half in (0, 1)]
        return replace(self, windows=tuple(_window(*_some(pairs.take(half))) for half in halves))

    def scores(self, target: Float[Array, "examples columns"], pairs: Pairs) -> Float[Array, " examples"]:
        """Return the share of a target within the window, −1 outside."""
        known = self if self.windows else self.learn(pairs)
        window = known.windows[(pairs.shape[0] - 1) % 2]
        return reduced_target(lambda columns, block: _within(columns, window), target)

    def leave_pair_out(self, pairs: Pairs) -> tuple[Float[Array, "pairs examples"], Float[Array, "pairs examples"]]:
        """Return (inside, outside) scores of every bank model, with the window of the other half."""
        known = self if self.windows else self.learn(pairs)

        def score(columns: Array, block: slice) -> Array:
            return np.stack([_within(of, known.windows[t % 2]) for t, of in enumerate(columns)])

        return reduced_pairs(score, pairs)


def _within(columns: Float[Array, "... columns"], window: tuple[float, float]) -> Float[Array, "..."]:
    loss = -columns[..., 0]
    return np.asarray(np.where((loss >= window[0]) & (loss <= window[1]), columns[..., 1], -1.0))


def _some(pairs: Pairs) -> tuple[Float[Array, "rows columns"], Float[Array, "rows columns"]]:
    """Return (inside, outside): a random sample of what the models answer."""
    count, examples, _ = pairs.shape
    rng, share = np.random.default_rng(0), min(1.0, _ROWS / (count * examples))
    sides: tuple[list[Array], list[Array]] = ([], [])
    for block in blocks(pairs):
        kept = rng.random((count, block.stop - block.start)) < share
        for rows, values in zip(sides, read(pairs, block), strict=True):
            rows.append(values[kept].astype(np.float64))
    return np.concatenate(sides[0]), np.concatenate(sides[1])


def _window(inside: Float[Array, "rows columns"], outside: Float[Array, "rows columns"]) -> tuple[float, float]:
    """Return the window of losses with the highest true-positive rate; the widest of equal ones."""
    ends = np.quantile(-inside[:, 0], _PLACES)
    candidates = sorted(((low, high) for low in ends for high in ends if low < high), key=lambda of: of[0] - of[1])
    rng = np.random.default_rng(1)
    jitter = [1e-9 * rng.random(len(side)) for side in (inside, outside)]  # ties are broken at random
    best, found = -1.0, (-np.inf, np.inf)
    for window in candidates:
        rate = own_tpr(_within(inside, window) + jitter[0], _within(outside, window) + jitter[1], _AIM)
        if rate > best:
            best, found = rate, (float(window[0]), float(window[1]))
    low = -np.inf if found[0] == ends[0] else found[0]
    return low, np.inf if found[1] == ends[-1] else found[1]
