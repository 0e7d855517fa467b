"""Which arrays are nearly the same: by their distance, compared with the usual one between neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from memaudit.recipe.inputs import read_inputs

Array = np.ndarray

_DIMENSIONS = 64  # arrays of more features are projected; ratios of distances stay the same to about one eighth
_TYPICAL = 1_000  # rows that say what a usual distance is
_FEWEST = 3  # features, by the participation ratio of their variances
_BLOCK = 4096  # rows
_FIFTH = 5  # neighbour: up to four copies of every example leave its distance as it is


def near_copies(x: Any, within: float = 0.1) -> Int[Array, " examples"]:
    """Return for each array the number of its group: arrays that a chain of near copies joins share one.

    Two arrays are near copies if their distance is less than `within` times the usual one, the median of that to the
    fifth nearest neighbour. Features are taken in standard deviations, and also as they are unless a few of them make
    up the distances. For `Examples(x, y, groups=...)`.

    Args:
        x: The inputs, as `Examples` is given them; of texts, tables and the like, numbers that describe them.
        within: From 0 to 1.

    Source: random projection: Johnson & Lindenstrauss 1984.
    """
    from scipy.sparse.csgraph import connected_components
    from sklearn.neighbors import radius_neighbors_graph

    x = described(x)
    graphs = []
    for features in measured(x).values():
        usual = nearest(features, sampled(len(x), _TYPICAL)).usual
        graphs.append(radius_neighbors_graph(features, within * usual))
    labels = connected_components(sum(graphs), directed=False)[1]
    first = np.unique(labels, return_index=True)[1]
    return np.argsort(np.argsort(first))[labels]


def described(x: Any) -> Shaped[Array, "examples ..."]:
    """Return the numbers that describe inputs of any kind."""
    if isinstance(x, np.ndarray) and x.dtype.kind not in "OUT":
        return x
    several = isinstance(x, tuple) and all(isinstance(part, np.ndarray) for part in x)
    rows = next(iter(x.values())) if isinstance(x, Mapping) else x[0] if several else x
    return read_inputs(x, rows.shape[0] if hasattr(rows, "shape") else len(rows)).features()


def measured(x: Shaped[Array, "examples ..."]) -> dict[str, Float[Array, "examples features"]]:
    """Return the arrays in one or two measures, projected to at most 64 features.

    In standard deviations, features of any scale count alike, but those that hardly vary, as pixels at the border do,
    are blown up. As they are, features count by their variance: left out if it is that of fewer than three.
    """
    flat = x.reshape(len(x), -1)
    mean = sum(block.sum(axis=0) for block in _blocks(flat)) / len(flat)
    variance = sum(((block - mean) ** 2).sum(axis=0) for block in _blocks(flat)) / len(flat)
    varies = variance > 0
    axes = np.eye(flat.shape[1])
    if flat.shape[1] > _DIMENSIONS:
        axes = np.random.default_rng(0).normal(size=(flat.shape[1], _DIMENSIONS))
    found = {"in standard deviations": axes[varies] / np.sqrt(variance[varies])[:, None]}
    if variance.sum() ** 2 > _FEWEST * (variance**2).sum():
        found["as they are"] = axes[varies]
    return {
        name: np.concatenate([(block - mean)[:, varies] @ scaled for block in _blocks(flat)])
        for name, scaled in found.items()
    }


def _blocks(flat: Shaped[Array, "examples features"]) -> Iterator[Float[Array, "block features"]]:
    """Yield rows in double precision, some at a time: a copy of all data would be large."""
    for start in range(0, len(flat), _BLOCK):
        yield flat[start : start + _BLOCK].astype(np.float64)


class Neighbours(NamedTuple):
    """The nearest other example of some rows, its distance, and the usual distance."""

    rows: Int[Array, " rows"]
    distances: Float[Array, " rows"]
    usual: float


def nearest(features: Float[Array, "examples features"], rows: Int[Array, " rows"]) -> Neighbours:
    """Return the nearest other example of some rows, and the median distance to the fifth nearest."""
    from sklearn.neighbors import NearestNeighbors

    known = NearestNeighbors(n_neighbors=min(1 + _FIFTH, len(features))).fit(features)
    distances, neighbours = known.kneighbors(features[rows])
    other = np.where(neighbours[:, 0] == rows, 1, 0)  # of two at the same place, either may come first
    at = np.arange(len(rows))
    return Neighbours(neighbours[at, other], distances[at, other], float(np.median(distances[:, -1])))


def sampled(count: int, most: int) -> Int[Array, " rows"]:
    """Return at most so many rows, drawn at random in the same way every time."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])
