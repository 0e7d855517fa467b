"""What a bank holds, as arrays, read from disk by blocks of examples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from safetensors import SafetensorError, safe_open

from memaudit.design import by_pair
from memaudit.errors import BankError

Array = np.ndarray


@dataclass(frozen=True)
class Recordings:
    """What was recorded about complementary pairs of models: files 2t and 2t+1 are a pair. Read by blocks."""

    files: tuple[Path, ...]

    @cached_property
    def members(self) -> UInt8[Array, "models examples"]:
        """How often each model was trained on each example."""
        return np.stack([self._tensor(f, "members") for f in self.files])

    @cached_property
    def correct(self) -> Bool[Array, "models examples"]:
        """Whether each model classifies each example correctly."""
        return np.stack([self._tensor(f, "correct") for f in self.files]).astype(bool)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, examples, queries."""
        with safe_open(self.files[0], "numpy") as file:
            examples, queries = file.get_slice("phi").get_shape()
        return len(self.files) // 2, examples, queries

    def block(self, examples: slice) -> tuple[Float[Array, "pairs block queries"], Float[Array, "pairs block queries"]]:
        """Returns (inside, outside) signals of a block of examples; only that block is read from disk."""
        phi = np.stack([self._tensor(f, "phi", examples) for f in self.files])
        return by_pair(phi, self.members[:, examples])

    def take(self, pairs: Int[Array, " some"]) -> Recordings:
        """Returns the recordings of some of the pairs."""
        return Recordings(tuple(self.files[m] for t in pairs for m in (2 * t, 2 * t + 1)))

    def _tensor(self, path: Path, name: str, examples: slice = slice(None)) -> Array:
        try:
            with safe_open(path, "numpy") as file:
                return file.get_slice(name)[examples]
        except (SafetensorError, OSError) as error:
            raise BankError(f"{path} cannot be read ({error}); `memaudit bank fill` repairs it") from error
