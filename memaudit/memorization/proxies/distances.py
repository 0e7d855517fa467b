"""Distances of an example to the others of its class and of other classes: no model needed, so a blind baseline."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from memaudit.memorization.proxies.interface import Data, Of, Proxy

Array = np.ndarray

_NEIGHBOURS = 2_000  # examples that the others are compared with: the kernel's mean varies by 2 % of its deviation
_BLOCK = 1_024  # examples at a time


def _kernel(x: Float[Array, "examples features"], chosen: Array) -> Float[Array, "examples chosen"]:
    """Return the Gaussian kernel with chosen examples, 0 with itself; its width is the median distance."""
    spread = x.std(axis=0)
    x = ((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
    centres = x[chosen]
    norms, found = (centres**2).sum(axis=1), np.empty((len(x), len(chosen)), np.float32)
    for start in range(0, len(x), _BLOCK):
        rows = x[start : start + _BLOCK]
        found[start : start + _BLOCK] = (rows**2).sum(axis=1)[:, None] + norms - 2 * rows @ centres.T
    median = np.median(found[: 10 * _BLOCK]) or 1.0
    found = np.exp(-np.maximum(found, 0) / (2 * median))
    found[chosen, np.arange(len(chosen))] = 0
    return found


def _chosen(examples: int) -> Array:
    return np.sort(np.random.default_rng(0).permutation(examples)[:_NEIGHBOURS])


def _relative(data: Data) -> Float[Array, " examples"]:
    assert data.x is not None and data.y is not None
    chosen = _chosen(len(data.x))
    same = np.where(data.y[:, None] == data.y[chosen], 1.0, -1.0)
    return -(_kernel(data.x, chosen) * same).mean(axis=1)


def _isolation(data: Data) -> Float[Array, " examples"]:
    assert data.x is not None
    return -_kernel(data.x, _chosen(len(data.x))).mean(axis=1)


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
