"""Texts, one a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int

from memaudit.errors import RecipeError
from memaudit.recipe.inputs.kind import BUCKETS, Inputs, Rows, as_rows, counted

Array = np.ndarray

_SEEN = 2000  # characters of a text that are counted
_SERIES = ("pandas", "polars", "pyarrow", "datasets")  # whose columns of texts are read


class Texts(Inputs):
    """A list of strings; also a column of them, which becomes a list."""

    header = "text "

    @classmethod
    def read(cls, x: Any, count: int) -> Self | None:
        """Return the adapter of strings in a list, a tuple, an array or a column."""
        column = isinstance(x, np.ndarray) or type(x).__module__.partition(".")[0] in _SERIES
        if isinstance(x, str) or not (isinstance(x, list | tuple) or (column and getattr(x, "ndim", 1) == 1)):
            return None
        if isinstance(x, np.ndarray) and x.dtype.kind not in "OUT":
            return None
        found = x.to_pylist() if hasattr(x, "to_pylist") else list(x)
        strings = [isinstance(text, str) for text in found]
        if not any(strings):
            return None
        if not all(strings):
            row = strings.index(False)
            raise RecipeError(
                f"inputs are texts, but row {row} is a {type(found[row]).__name__}; fill or drop it in examples()"
            )
        return cls([str(text) for text in found])

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Rows) -> list[str]:
        """Return a list of some texts."""
        return [self.x[row] for row in as_rows(rows, len(self.x))]

    @classmethod
    def joined(cls, parts: Sequence[Any]) -> list[str]:
        """Return one list of all texts."""
        return [text for part in parts for text in part]

    def contents(self) -> Iterator[bytes]:
        """Yield each text in UTF-8."""
        return (text.encode("utf-8", "surrogatepass") for text in self.x)

    @property
    def texts(self) -> Sequence[str]:
        """The texts themselves."""
        return self.x

    def features(self) -> Float[Array, "rows buckets"]:
        """Return how often each three characters, and each four in a row, occur in lower case."""
        counts = np.zeros((len(self.x), BUCKETS), np.float32)
        for row, text in enumerate(self.x):
            beginning = f" {text.casefold()[:_SEEN]} ".encode("utf-32-le", "surrogatepass")
            counts[row] = counted(_trigrams(np.frombuffer(beginning, "<u4").astype(np.int64))[None])[0]
        return counts


def _trigrams(codes: Int[Array, " characters"]) -> Int[Array, " trigrams"]:
    """Return a number for each three characters in a row."""
    return (codes[:-2] * 65_599 + codes[1:-1]) * 65_599 + codes[2:] if len(codes) > 2 else codes
