"""What a bank holds, as arrays, read from disk by blocks of examples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

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
    def correct(self) -> Shaped[Array, "models examples"]:
        """Whether each model classifies each example correctly, or the share of its tokens that it predicts."""
        return np.stack([self._tensor(f, "correct") for f in self.files])

    def everything(self, model: int) -> dict[str, Array]:
        """Returns all that was recorded about one model, by name."""
        return load_file(self.files[model])

    def stacked(self, name: str) -> Shaped[Array, "models ..."]:
        """Returns one recording of every model."""
        return np.stack([self._tensor(f, name) for f in self.files])

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
