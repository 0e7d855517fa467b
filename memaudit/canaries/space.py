"""Where a secret comes from: a randomness space, and a canary as a uniform draw from it behind a prefix of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

Array = np.ndarray

ENUMERABLE = 10**6  # secrets that may be listed one by one

# Independent streams of one seed; design has 0, 1, 2 and 4, suited 15.
DOSES, NAMES, SECRETS, POSITIONS, LEVELS, TARGET = 3, 10, 11, 12, 13, 14


def stream(seed: int, purpose: int, index: int = 0) -> np.random.Generator:
    """Return the random numbers for one purpose, independent of those for any other under the same seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, index)))


@dataclass(frozen=True, slots=True)
class Space:
    """All strings that take one symbol from each step's alphabet; a step with a single symbol is fixed text.

    A string that can be put together in two ways counts twice, in the draw as in the rank: exposure stays a p-value.
    """

    alphabets: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for step, symbols in enumerate(self.alphabets):
            if not symbols or "" in symbols or len(set(symbols)) < len(symbols):
                raise ValueError(f"step {step} needs symbols that are distinct and not empty, got {symbols}")
        if self.size < 2:
            raise ValueError(f"a space needs at least two strings, got {self.size}")

    @property
    def size(self) -> int:
        """Number of strings, |R|."""
        return math.prod(self._sizes)

    @property
    def _sizes(self) -> list[int]:
        return [len(symbols) for symbols in self.alphabets]

    def text(self, indices: Sequence[int] | Int[Array, " steps"]) -> str:
        """Return the string that takes from each step the symbol of that index.

        Raises:
            ValueError: Not one index per step, or an index outside of its alphabet.
        """
        if len(indices) != len(self.alphabets) or not all(
            0 <= index < size for index, size in zip(indices, self._sizes, strict=True)
        ):
            raise ValueError(f"{len(indices)} indices do not fit the {len(self.alphabets)} alphabets, or exceed them")
        return "".join(symbols[index] for symbols, index in zip(self.alphabets, indices, strict=True))

    def draw(self, rng: np.random.Generator, n: int) -> Int[Array, "n steps"]:
        """Return the indices of n strings, drawn uniformly and independently."""
        return rng.integers(0, self._sizes, (n, len(self.alphabets)))

    def all(self) -> Int[Array, "size steps"]:
        """Return the indices of every string, in lexicographic order: the last step changes fastest.

        Raises:
            ValueError: The space has more than 10⁶ strings.
        """
        if self.size > ENUMERABLE:
            raise ValueError(f"a space of {self.size} strings is too large to be listed")
        strides = np.cumprod([1, *self._sizes[:0:-1]])[::-1]
        return np.arange(self.size)[:, None] // strides % self._sizes


@dataclass(frozen=True, slots=True)
class Canary:
    """A secret behind its prefix: `secret` has one index per step of `space`. Its repr does not show the secret."""

    name: str
    family: str
    prefix: str
    secret: tuple[int, ...] = field(repr=False)
    space: Space = field(repr=False)
    suffix: str = ""

    def __post_init__(self) -> None:
        self.space.text(self.secret)  # raises where the indices do not fit

    @property
    def secret_text(self) -> str:
        """The secret alone."""
        return self.space.text(self.secret)

    @property
    def text(self) -> str:
        """What is planted: prefix, secret and suffix."""
        return self.prefix + self.secret_text + self.suffix


def redacted(text: str) -> str:
    """Return the shape of a secret, "•••• ••••": a dot for every character but white space."""
    return "".join(" " if character.isspace() else "•" for character in text)
