"""Whether planted secrets reach the model: a scan of the rows that training really sees.

Filters, de-duplication, truncation, packing and loss masks come between a data file and the loss. A canary that any of
them takes away looks like one that the model did not memorize.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from memaudit.errors import RecipeError

Array = np.ndarray
Row = tuple[Int[Array, " _"], Bool[Array, " _"]]

_END = -1  # after every row: no token, so that nothing is found across two rows
_BLOCK = 1_000_000  # tokens searched at once
_SHOWN = 10
_ADVICE = """Not trained on: put the secret where the loss is, or unmask it. Cut off: take longer rows. Missing: look
for filters, de-duplication, packing that splits records, or other tokens in the record than alone. Too often: the
canaries were planted twice."""


@dataclass(frozen=True, slots=True)
class Survival:
    """How often each canary occurs in the training rows: whole with every token of its secret trained on; whole with
    some of them masked; or cut off by the end of its row. A canary that is split over two rows is absent from both.
    """

    whole: Int[Array, " canaries"]
    masked: Int[Array, " canaries"]
    cut: Int[Array, " canaries"]


def survival(
    rows: Iterable[Row], needles: Sequence[Int[Array, " _"]], context: int | Sequence[int] = 0, block: int = _BLOCK
) -> Survival:
    """Return how often each canary occurs in the rows, and whether the loss sees all of its secret.

    Args:
        rows: Token ids of every training row, with whether each token is trained on (has a loss).
        needles: Token ids of each secret, preceded by a little of its prefix, as the training renders it.
        context: How many tokens at the start of a needle (or of each of them) are prefix, and need no loss.
        block: Number of tokens that are searched at once.

    Raises:
        ValueError: A needle without a secret token, a mask that does not fit its row, or a negative token id.
    """
    contexts = [context] * len(needles) if isinstance(context, int) else list(context)
    if len(contexts) != len(needles) or any(not 0 <= c < len(n) for c, n in zip(contexts, needles, strict=True)):
        raise ValueError(f"contexts {contexts} do not leave a secret in needles of {[len(n) for n in needles]} tokens")
    counts = np.zeros((3, len(needles)), dtype=np.int64)
    for tokens, trained in _blocks(rows, block):
        index = _Index(tokens)
        for i, (needle, skip) in enumerate(zip(needles, contexts, strict=True)):
            secret = index.find(needle)[:, None] + np.arange(skip, len(needle))
            seen = trained[secret].all(axis=1)
            cuts = (len(index.find(np.append(needle[:end], _END))) for end in range(max(skip, 1), len(needle)))
            counts[:, i] += seen.sum(), (~seen).sum(), sum(cuts)
    return Survival(*counts)


def _blocks(rows: Iterable[Row], block: int) -> Iterator[tuple[Int[Array, " tokens"], Bool[Array, " tokens"]]]:
    """Yield several rows at once, each followed by the end mark."""
    tokens: list[Array] = []
    trained: list[Array] = []
    held = 0
    for number, (ids, mask) in enumerate(rows):
        if len(ids) != len(mask) or np.any(ids < 0):
            raise ValueError(f"row {number} has {len(ids)} tokens and a mask of {len(mask)}, or a negative token id")
        tokens += [ids, np.array([_END])]
        trained += [mask, np.array([False])]
        held += len(ids)
        if held >= block:
            yield np.concatenate(tokens), np.concatenate(trained)
            tokens, trained, held = [], [], 0
    if tokens:
        yield np.concatenate(tokens), np.concatenate(trained)


class _Index:
    """The positions of each token, to look patterns up by the token of theirs that is rarest."""

    def __init__(self, tokens: Int[Array, " tokens"]) -> None:
        self.tokens = tokens
        self.order = np.argsort(tokens, kind="stable")
        self.sorted = tokens[self.order]

    def find(self, pattern: Int[Array, " k"]) -> Int[Array, " starts"]:
        """Return where the pattern starts."""
        left, right = (np.searchsorted(self.sorted, pattern, side) for side in ("left", "right"))
        rarest = int(np.argmin(right - left))
        starts = self.order[left[rarest] : right[rarest]] - rarest
        starts = starts[(starts >= 0) & (starts + len(pattern) <= len(self.tokens))]
        for offset, token in enumerate(pattern):
            starts = starts[self.tokens[starts + offset] == token]
        return starts


def require_survival(found: Survival, doses: Sequence[int], names: Sequence[str]) -> None:
    """Return nothing if every canary is trained on, whole, as often as it was planted.

    Raises:
        RecipeError: A canary is missing, cut off, masked, or there too often; the message says which and what to do.
    """
    lines = [
        f"  {name}: planted {dose} times; {whole} whole, {masked} whole but not trained on, {cut} cut off"
        for name, dose, whole, masked, cut in zip(names, doses, found.whole, found.masked, found.cut, strict=True)
        if (whole, masked) != (dose, 0)
    ]
    if not lines:
        return
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"  … and {len(lines) - _SHOWN} more"]
    raise RecipeError("\n".join(["these canaries do not reach training as they were planted:", *lines, _ADVICE]))
