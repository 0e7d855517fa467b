"""A sparse matrix of SciPy."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from memaudit.errors import RecipeError
from memaudit.recipe.inputs.kind import BUCKETS, Inputs, Rows

Array = np.ndarray


class Sparse(Inputs):
    """A sparse matrix `[rows, columns]`, by rows (CSR)."""

    def __init__(self, x: Any) -> None:
        self.x = x
        self.header = f"sparse {x.dtype.str} {x.shape[1]} "

    @classmethod
    def read(cls, x: Any, count: int) -> Self | None:
        """Return the adapter of a sparse matrix; one in another form is brought into rows."""
        if not hasattr(x, "tocsr"):
            return None
        if x.ndim != 2:
            raise RecipeError(f"inputs are a sparse array of shape {x.shape}; give a matrix [examples, features]")
        x = x.tocsr(copy=True)
        x.sum_duplicates()
        if x.dtype.kind not in "biuf":
            raise RecipeError(f"inputs must be numbers, real and of at most 64 bits; got a sparse matrix of {x.dtype}")
        if not np.isfinite(x.data).all():
            row = int(np.searchsorted(x.indptr, np.argmin(np.isfinite(x.data)), side="right")) - 1
            raise RecipeError(f"inputs hold NaN or infinity, first in row {row}; impute or drop them in examples()")
        return cls(x)

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def take(self, rows: Rows) -> Any:
        """Return a copy of some rows."""
        return self.x[rows].copy()

    @classmethod
    def joined(cls, parts: Sequence[Any]) -> Any:
        """Return one matrix of all rows."""
        from scipy import sparse

        return sparse.vstack(list(parts), format="csr")

    def contents(self) -> Iterator[bytes]:
        """Yield columns and values of the entries of each row that are not 0."""
        canonical = self.x.copy()
        canonical.eliminate_zeros()
        columns, bounds = canonical.indices.astype("<i8"), canonical.indptr
        for start, stop in pairwise(bounds):
            yield columns[start:stop].tobytes() + canonical.data[start:stop].tobytes()

    def features(self) -> Float[Array, "rows features"]:
        """Return the matrix; of many columns, sums of those with the same hashes, with random signs.

        Source: Achlioptas 2003, sparse random projections; each column adds to four sums.
        """
        from scipy import sparse

        width = self.x.shape[1]
        if width <= BUCKETS:
            return np.asarray(self.x.toarray(), np.float32)
        rng = np.random.default_rng(0)
        ends, signs = rng.integers(0, BUCKETS, 4 * width), rng.choice([-1.0, 1.0], 4 * width)
        projection = sparse.csr_matrix((signs, (np.repeat(np.arange(width), 4), ends)), (width, BUCKETS))
        return np.asarray((self.x @ projection).toarray(), np.float32)

    def checksum(self) -> int:
        """Return the checksum of all entries."""
        parts = (self.x.data, self.x.indices, self.x.indptr)
        return zlib.crc32(str([zlib.crc32(np.ascontiguousarray(part).data) for part in parts]).encode())
