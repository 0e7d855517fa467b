"""Distances of an example to the others of its class and of other classes: no model needed, so a blind baseline."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float

from memaudit.memorization.proxies.interface import Data, Of, Proxy

Array = np.ndarray

_NEIGHBOURS = 2_000  # examples that the others are compared with: the kernel's mean varies by 2 % of its deviation
_BLOCK = 1_024  # examples at a time


_known: WeakKeyDictionary[Data, tuple[Array, Array | None]] = WeakKeyDictionary()  # both scores read one kernel


def _means(data: Data) -> tuple[Float[Array, " examples"], Float[Array, " examples"] | None]:
    """Return the mean kernel with chosen examples, and the same with a minus for those of other classes."""
    if data not in _known:
        _known[data] = _computed(data)
    return _known[data]


def _computed(data: Data) -> tuple[Float[Array, " examples"], Float[Array, " examples"] | None]:
    """Return these means for a Gaussian kernel, 0 with itself, whose width is the median distance."""
    assert data.x is not None
    spread = data.x.std(axis=0)
    x = ((data.x - data.x.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
    chosen = np.sort(np.random.default_rng(0).permutation(len(x))[:_NEIGHBOURS])
    centres = x[chosen]
    norms = (centres**2).sum(axis=1)

    def distances(start: int) -> Float[Array, "block chosen"]:
        rows = x[start : start + _BLOCK]
        return np.asarray((rows**2).sum(axis=1)[:, None] + norms - 2 * rows @ centres.T)

    starts = range(0, len(x), _BLOCK)
    median = np.median(np.concatenate([distances(start) for start in starts[:10]]), overwrite_input=True) or 1.0
    means, relative = np.empty(len(x), np.float32), None if data.y is None else np.empty(len(x))
    for start in starts:
        kernel = np.exp(-np.maximum(distances(start), 0) / (2 * median))
        own = np.flatnonzero((chosen >= start) & (chosen < start + _BLOCK))
        kernel[chosen[own] - start, own] = 0
        at = slice(start, start + len(kernel))
        means[at] = kernel.mean(axis=1)
        if relative is not None and data.y is not None:
            relative[at] = (kernel * np.where(data.y[at, None] == data.y[chosen], 1.0, -1.0)).mean(axis=1)
    return means, relative


def _relative(data: Data) -> Float[Array, " examples"]:
    found = _means(data)[1]
    assert found is not None
    return -found


def _isolation(data: Data) -> Float[Array, " examples"]:
    return -_means(data)[0]


DISTANCE = Proxy(
    name="distance",
    title="Kernel distance, with labels",
    formula="mean kernel with examples of other classes − mean kernel with those of its class",
    source="Jiang et al. 2021, pairwise-distance proxy with labels",
    score=_relative,
    of=Of.DATA,
    needs=("x", "y"),
    cost="one matrix product",
)
ISOLATION = Proxy(
    name="isolation",
    title="Kernel distance, no labels",
    formula="− mean kernel with other examples",
    source="Jiang et al. 2021, pairwise-distance proxy without labels (density)",
    score=_isolation,
    of=Of.DATA,
    needs=("x",),
    cost="one matrix product",
)
