"""The tail split: is what a model memorized of any use for other examples? And whose record decides whose prediction?

The largest of thousands of noisy influences is large by chance. So one half of the models selects, the other measures:
memorized examples, the example that each influences most, and the example that has most influence on each. The halves
then change places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from memaudit.memorization.influence import Influence, blocks, influence

Array = np.ndarray

TAIL, USEFUL = 0.25, 0.15  # of memorization, and of influence: Feldman & Zhang 2020, section 3
TAIL_EDGES = (0.1, TAIL, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Tail:
    """What each independent draw (pair of models, or model) contributes, by bins of memorization in the other half.

    Means over draws are estimates: `own / examples` of memorization, `reach / examples` of the influence on the example
    that is influenced most, both summed over the examples of a bin. `decided` is the mean influence, over all examples,
    of the other example that has most influence on each, in the direction that the selecting half saw.
    """

    examples: Float[Array, "draws bins"]
    own: Float[Array, "draws bins"]
    reach: Float[Array, "draws bins"]
    decided: Float[Array, " draws"]

    def memorized(self) -> Bool[Array, " bins"]:
        """Return which bins are of examples with memorization of 0.25 or more."""
        return np.array([-1.0, *TAIL_EDGES]) >= TAIL

    def means(self, bins: Bool[Array, " bins"]) -> tuple[Float[Array, " draws"], Float[Array, " draws"]]:
        """Return (memorization, reach) by draw, means over the examples of some bins; NaN where a half has none."""
        with np.errstate(invalid="ignore"):
            examples = self.examples[:, bins].sum(axis=1)
            return self.own[:, bins].sum(axis=1) / examples, self.reach[:, bins].sum(axis=1) / examples


def tail(metric: Shaped[Array, "models examples"], members: UInt8[Array, "models examples"]) -> Tail:
    """Return the tail split, cross-fitted over halves of the draws.

    An influence on an example is measured on models that were not trained on it, as on a test example.

    Args:
        metric: M of each model on each example, in [0, 1]: whether it is right, or the share that is.
        members: How often each model was trained on each example: complementary pairs, or independent draws.

    Raises:
        ValueError: Fewer than four draws.

    Source: Feldman & Zhang 2020, section 3 (memorization ≥ 0.25, influence ≥ 0.15); Usynin et al. 2024 (TMLR), Figure
    1b; Black & Fredrikson 2021 (FAccT) for leave-one-out unfairness: how much one other person's presence changes the
    prediction for someone. Cross-fitting is this project's.
    """
    own, others = influence(metric, members), influence(metric, members, without=members)
    draws, examples, _ = own.shape
    if draws < 4:
        raise ValueError(f"the tail split needs at least 4 draws of training sets, got {draws}")
    everyone = np.arange(examples)
    counts, selves, reach = np.zeros((3, draws, len(TAIL_EDGES) + 1))
    decided = np.empty(draws)
    halves = np.arange(0, draws, 2), np.arange(1, draws, 2)
    for selecting, measuring in (halves, halves[::-1]):
        bins = np.digitize(_finite(own.take(selecting).contributions(everyone, everyone)).mean(axis=0), TAIL_EDGES)
        influenced, influencer, sign = _extremes(others.take(selecting))
        by_bin = (bins[:, None] == np.arange(counts.shape[1])).astype(float)
        measured = others.take(measuring)
        counts[measuring] = by_bin.sum(axis=0)
        selves[measuring] = _finite(own.take(measuring).contributions(everyone, everyone)) @ by_bin
        reach[measuring] = _finite(measured.contributions(everyone, influenced)) @ by_bin
        decided[measuring] = (_finite(measured.contributions(influencer, everyone)) * sign).mean(axis=1)
    return Tail(counts, selves, reach, decided)


def _extremes(influence: Influence) -> tuple[Int[Array, " n"], Int[Array, " n"], Float[Array, " n"]]:
    """Return whom each example influences most upward, who influences each most either way, and which way."""
    _, examples, _ = influence.shape
    influenced, highest = np.zeros(examples, np.int64), np.full(examples, -np.inf, np.float32)
    influencer, sign = np.zeros(examples, np.int64), np.zeros(examples)
    for at in blocks(influence):
        block = _finite(influence.block(at))
        block[np.arange(at.start, at.stop), np.arange(at.stop - at.start)] = 0
        value = block.max(axis=1)
        better = np.flatnonzero(value > highest)
        influenced[better], highest[better] = block[better].argmax(axis=1) + at.start, value[better]
        influencer[at] = np.abs(block.T, order="C").argmax(axis=1)
        sign[at] = np.sign(block[influencer[at], np.arange(block.shape[1])])
    return influenced, influencer, sign


def _finite(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the values with 0, which is no influence, where no model counts on one side."""
    gaps = np.isnan(values)
    return np.where(gaps, values.dtype.type(0), values) if gaps.any() else values
