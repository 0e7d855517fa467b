"""Best-first search for the secrets that a causal language model finds likeliest, with a certificate of its order."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, Int

from memaudit.signals.secrets import Contexts, check_secrets

Array = np.ndarray

_Node = tuple[float, tuple[int, ...]]  # cost in nats, and the symbols so far


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found, and what it certifies of the rest.

    `secrets` are the cheapest ones of the whole space in ascending order of `costs` (nats), so that without ties the
    k-th has rank k. No other secret costs less than `frontier` nats, which is infinite if there is no other. `queries`
    is the number of contexts that the model read. `rank` is that of the wanted secret, ties counted; None if it was not
    settled, or none was wanted. The rank of the wanted secret, or of any that is not listed, is above `rank_above`.
    """

    secrets: Int[Array, "found steps"]
    costs: Float[Array, " found"]
    queries: int
    frontier: float
    rank: int | None
    rank_above: int


def best_first(
    model: torch.nn.Module,
    prefix: Int[Array, " length"],
    alphabets: Sequence[Int[Array, " symbols"]],
    *,
    limit: int | None = None,
    queries: int = 100_000,
    wanted: Int[Array, " steps"] | None = None,
    device: str = "cpu",
    batch: int = 64,
) -> Search:
    """Return the cheapest secrets of a space in their order, found by Dijkstra's algorithm over beginnings of secrets.

    A beginning's cost is −log p, which never falls as it grows; so a complete secret that is the cheapest of all open
    beginnings is the next best. (This does not hold for costs per token, or after calibration by other models.) The
    search ends when the wanted secret and all that tie with it were found, or when a limit is reached.

    Args:
        model: A causal language model; it is moved to the device and put into evaluation mode.
        prefix: Token ids of all that precedes the secret, at least one.
        alphabets: Token ids of the symbols of each step; a step with one symbol is fixed text.
        limit: Most secrets to find.
        queries: Most contexts that the model may read. Each leaves as many beginnings in memory as a step has symbols.
        wanted: Indices of the symbols of the secret whose rank is asked for.
        device: Where the model runs.
        batch: Most beginnings that are continued at once. The search starts with one and takes more as it goes on.

    Raises:
        ValueError: As of `secret_costs`, or there is no query to spend.
        ModelError: The model's outputs are NaN.

    Source: Carlini et al. 2019 (USENIX Security), extraction by a shortest-path search.
    """
    if queries < 1:
        raise ValueError(f"a search needs at least one query, got {queries}")
    if wanted is not None:
        check_secrets(wanted[None], alphabets)
    goal = None if wanted is None else tuple(wanted.tolist())
    root = Contexts.after(model, prefix, alphabets, device)
    incomplete: list[_Node] = [(0.0, ())]
    complete: list[_Node] = []
    found: list[_Node] = []
    spent, reached = 0, math.inf  # the wanted secret's cost, once it was found
    while (
        (incomplete or complete) and _least(complete, incomplete) <= reached and (limit is None or len(found) < limit)
    ):
        if complete and _least(complete) <= _least(incomplete):
            found.append(heapq.heappop(complete))
            reached = found[-1][0] if found[-1][1] == goal else reached
            continue
        most = min(len(incomplete), batch, 1 + spent // 8, queries - spent)
        if most == 0:
            break
        spent += most
        for node in _children(root, [heapq.heappop(incomplete) for _ in range(most)]):
            heapq.heappush(complete if len(node[1]) == len(alphabets) else incomplete, node)
    frontier = _least(complete, incomplete)
    hit = any(path == goal for _, path in found)
    settled = hit and (frontier > reached or not (incomplete or complete))
    return Search(
        np.array([path for _, path in found], dtype=int).reshape(-1, len(alphabets)),
        np.array([cost for cost, _ in found], dtype=float),
        spent,
        frontier,
        len(found) if settled else None,
        len(found) - hit,
    )


def _least(*heaps: list[_Node]) -> float:
    """Return the least cost in some heaps, infinite if they are empty."""
    return min((heap[0][0] for heap in heaps if heap), default=math.inf)


def _children(root: Contexts, nodes: list[_Node]) -> Iterator[_Node]:
    """Yield all nodes one step further; those of equal length are read in one batch."""
    for length, group in groupby(sorted(nodes, key=_length), key=_length):
        parents = list(group)
        paths = np.array([path for _, path in parents], dtype=int)
        contexts = root.then(np.zeros(len(parents), dtype=int), paths) if length else root
        for (cost, path), steps in zip(parents, contexts.costs.tolist(), strict=True):
            for symbol, step in enumerate(steps):
                yield cost + step, (*path, symbol)


def _length(node: _Node) -> int:
    return len(node[1])
