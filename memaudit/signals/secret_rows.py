"""The secrets of a canary's space as rows: for models whose secrets are not read step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from memaudit.recipe import Row, TokenSpace
from memaudit.tokens import TokenScores

Array = np.ndarray


def secret_row(space: TokenSpace, secret: Int[Array, " steps"], after: bool) -> Row:
    """Return the row of a secret, its tokens marked, up to its end or, with `after`, with all that follows."""
    tokens = space.tokens(secret)
    ids = np.concatenate([space.prefix, tokens, space.suffix if after else space.suffix[:0]])
    places = np.arange(len(ids)) - len(space.prefix)
    return Row(ids, (places >= 0) & (places < len(tokens)))


def costs_by_row(
    tokens: Callable[[Sequence[Sequence[Row]]], TokenScores],
    space: TokenSpace,
    references: Int[Array, "references steps"] | None,
    after: bool = False,
) -> tuple[float, Float[Array, " references"]]:
    """Return −Σ log p of the tokens of a canary's secret and of each reference, in nats; smaller = better known.

    Args:
        tokens: Scores rows.
        space: The canary's.
        references: Secrets that it is ranked among; None for its whole space, in lexicographic order.
        after: Whether a row goes on behind the secret, for a model that reads what follows.
    """
    whole = references is None
    if references is None:
        sizes = [len(alphabet) for alphabet in space.alphabets]
        references = np.stack(np.unravel_index(np.arange(space.size), sizes), axis=1)
    secrets = references if whole else np.vstack([space.secret[None], references])
    found = tokens([[secret_row(space, secret, after)] for secret in secrets])
    # Sums of float32 numbers are exact in float64, up to 64 nats: equal probabilities tie in any order.
    costs = -found.logp.reshape(len(secrets), -1).sum(axis=1, dtype=np.float64)
    return (float(costs[space.place]), costs) if whole else (float(costs[0]), costs[1:])
