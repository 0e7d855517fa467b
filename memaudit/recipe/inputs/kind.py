"""What every kind of input can be asked for."""

from __future__ import annotations

import hashlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int, Shaped

Array = np.ndarray
Rows = slice | Int[Array, " rows"]

BUCKETS = 512  # of hashed features
_FACTOR, _PRIME = 7_368_787, 2_147_483_647


class Inputs(ABC):
    """Inputs row by row, in the form in which the user's code is given them.

    Attributes:
        x: All of them, as `Examples.x` is.
        header: Their type: it precedes a row's content in digests.
    """

    x: Any
    header: str

    @classmethod
    @abstractmethod
    def read(cls, x: Any, count: int) -> Self | None:
        """Return the adapter of inputs of this kind, None if they are of another; `count` is the number of labels.

        Raises:
            RecipeError: They are of this kind, and cannot be used.
        """

    def __init__(self, x: Any) -> None:
        self.x = x

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, rows: Rows) -> Any:
        """Return some rows in the same form: a copy, which the user's code may change."""

    def taken(self, rows: Rows) -> Inputs:
        """Return the adapter of some rows."""
        return type(self)(self.take(rows))

    @classmethod
    def joined(cls, parts: Sequence[Any]) -> Any:
        """Return the rows of several inputs of this kind, one after the other, in the same form.

        Raises:
            ValueError: They do not go together, such as tables with other columns.
        """
        raise ValueError(f"inputs of the kind {cls.__name__} cannot be joined")

    @abstractmethod
    def contents(self) -> Iterator[bytes]:
        """Yield the content of each row: rows with the same content are copies."""

    @abstractmethod
    def features(self) -> Shaped[Array, "rows ..."]:
        """Return numbers that describe each row, for distances between rows and for an adversary without a model."""

    def row(self, row: int) -> Any:
        """Return one row, as a data set of the user's would."""
        return self.x[row]

    @property
    def texts(self) -> Sequence[str] | None:
        """The rows as texts; None if they are no texts."""
        return None

    def update(self, total: hashlib._Hash) -> None:
        """Add all that a digest of the inputs covers."""
        total.update(self.header.encode())
        for content in self.contents():
            total.update(hashlib.sha256(content).digest())

    def checksum(self) -> int:
        """Return a number that changes when the user's code changes the inputs in place."""
        total = 0
        for content in self.contents():
            total = zlib.crc32(content, total)
        return total


def as_rows(rows: Rows, count: int) -> Int[Array, " rows"]:
    """Return the numbers of rows that a slice names, or those that are given."""
    return np.arange(count)[rows] if isinstance(rows, slice) else np.asarray(rows)


def counted(tokens: Int[Array, "rows tokens"]) -> Float[Array, "rows buckets"]:
    """Return how often each token and each pair of neighbours occurs in each row, by their hashes."""
    tokens = tokens.astype(np.int64)
    counts = np.zeros((len(tokens), BUCKETS), np.float32)
    rows = np.arange(len(tokens))[:, None]
    np.add.at(counts, (rows, tokens % BUCKETS), 1)
    np.add.at(counts, (rows, (tokens[:, :-1] * _FACTOR + tokens[:, 1:]) % _PRIME % BUCKETS), 1)
    return counts
