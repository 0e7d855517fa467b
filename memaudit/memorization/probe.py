"""The nearest-neighbour probe: what the neighbours of an example in a representation are labeled."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray

_BLOCK = 2**22  # distances at a time
_ROUNDING = 1e-12  # of squared lengths: distances this close are equal


def nearest_labels(
    support: Float[Array, "support features"],
    labels: Int[Array, " support"],
    queries: Float[Array, "queries features"],
    neighbours: int = 30,
    units: tuple[Int[Array, " support"], Int[Array, " queries"]] | None = None,
) -> Int[Array, " queries"]:
    """Return the commonest label among the nearest neighbours of every query, by Euclidean distance.

    All that are as far as the last neighbour vote, so that the result does not depend on the order of equal points. Of
    labels that are equally common, the smallest is returned.

    Args:
        support: Representations of the examples that vote.
        labels: Their labels, from 0.
        queries: Representations of the examples that are asked about.
        neighbours: How many vote.
        units: The unit of every voter and of every query: no example votes on its own unit.

    Raises:
        ValueError: There are not so many voters, or a representation is NaN or infinite.

    Source: Fix & Hodges 1951; Cover & Hart 1967.
    """
    if not 1 <= neighbours <= len(support):
        raise ValueError(f"{neighbours} neighbours of {len(support)} examples: ask for fewer")
    if not (np.isfinite(support).all() and np.isfinite(queries).all()):
        raise ValueError("a representation is NaN or infinite")
    origin = support.mean(axis=0, dtype=np.float64)
    support = support - origin
    lengths, votes = (support**2).sum(axis=1), np.eye(int(labels.max()) + 1)[labels]
    found = np.empty(len(queries), np.int64)
    step = max(1, _BLOCK // len(support))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        asked = queries[rows] - origin
        own = (asked**2).sum(axis=1)[:, None]
        squares = lengths - 2 * asked @ support.T + own
        if units is not None:
            same = units[1][rows, None] == units[0]
            if int((~same).sum(axis=1).min()) < neighbours:
                raise ValueError(f"{neighbours} neighbours of other units: there are fewer")
            squares[same] = np.inf
        last = np.partition(squares, neighbours - 1, axis=1)[:, neighbours - 1 : neighbours]
        close = squares <= last + _ROUNDING * (own + lengths.max())
        found[rows] = (close @ votes).argmax(axis=1)
    return found
