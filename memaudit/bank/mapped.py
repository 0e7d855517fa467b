"""Recordings of a large bank in one file that is mapped into memory: its pages are the system's to drop.

The models' files are read model by model, and attacks want all models of a few examples. What they read is therefore
copied once, after the checksums of the models' files were checked, into a file without a name. It belongs to this
process alone and goes with it, however that ends: nothing can be stale, half-written, shared between two processes, or
changed by somebody else. A copy that is kept for the next audit would have to be checked against the models' files,
which takes as long as copying them.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Shaped

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Mapped:
    """An array of equal rows that cannot be written to."""

    array: Shaped[Array, "rows ..."]
    _pages: mmap.mmap

    @classmethod
    def of(cls, rows: Callable[[], Iterator[Shaped[Array, "..."]]], beside: Path) -> Mapped | None:
        """Return rows in a file without a name; None where none can be written, the disk is full, or they differ.

        Args:
            rows: Yields rows of one shape and type, from the first on. They are not all in memory at once.
            beside: The folder that it is written to, or if that cannot be, the system's for temporary files.
        """
        for folder in (beside, None):
            with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
                return cls._written(file, rows())
        return None

    @classmethod
    def _written(cls, file: IO[bytes], rows: Iterator[Array]) -> Mapped | None:
        first = next(rows)
        for row in itertools.chain([first], rows):
            if (row.dtype, row.shape) != (first.dtype, first.shape):
                return None
            file.write(np.ascontiguousarray(row).data)
        file.flush()
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return cls(np.frombuffer(pages, first.dtype).reshape(-1, *first.shape), pages)

    def give_back(self) -> None:
        """Take its pages out of this process's memory: they are read again from the file when they are needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._pages.madvise(mmap.MADV_DONTNEED)
