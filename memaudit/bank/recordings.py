"""What a bank holds, as arrays. A bank of usual size is read once and kept, a larger one mapped from one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from memaudit.bank.mapped import Mapped
from memaudit.design import by_pair
from memaudit.errors import BankError

Array = np.ndarray

_KEPT = 2**28  # bytes: recordings of at most this size are kept in memory, larger ones are mapped
_SPAN = 2**26  # bytes that are read at once where no file can be written
_HELD = 2**27  # bytes that are handed out of mapped files before their pages are given back
_OBSERVED = "observed."


class _Span(NamedTuple):
    """Signals of consecutive examples, from `start` on, in pair form."""

    start: int
    inside: Float[Array, "pairs span queries"]
    outside: Float[Array, "pairs span queries"]

    def covers(self, start: int, stop: int) -> bool:
        """Return whether these examples are among them."""
        return self.start <= start and stop <= self.start + self.inside.shape[1]


class _Part(NamedTuple):
    """Which recordings these are some of the pairs of."""

    whole: Recordings
    pairs: Int[Array, " some"] | slice

    def of(self, values: Shaped[Array, "pairs ..."]) -> Shaped[Array, "some ..."]:
        """Return the values of these pairs."""
        return values[self.pairs]

    def of_models(self, values: Shaped[Array, "all examples"]) -> Shaped[Array, "models examples"]:
        """Return the values of these pairs' models."""
        examples = values.shape[1]
        return self.of(values.reshape(-1, 2, examples)).reshape(-1, examples)


@dataclass(frozen=True)
class Recordings:
    """What was recorded about complementary pairs of models: files 2t and 2t+1 are a pair. Read by blocks."""

    files: tuple[Path, ...]
    _part: _Part | None = field(default=None, repr=False, compare=False)
    _latest: list[_Span] = field(default_factory=list, init=False, repr=False, compare=False)  # at most one
    _maps: list[Mapped] = field(default_factory=list, init=False, repr=False, compare=False)
    _handed: list[int] = field(default_factory=lambda: [0], init=False, repr=False, compare=False)  # bytes

    @cached_property
    def members(self) -> UInt8[Array, "models examples"]:
        """How often each model was trained on each example."""
        return self._part.of_models(self._part.whole.members) if self._part else self._of_all("members")

    @cached_property
    def correct(self) -> Shaped[Array, "models examples"]:
        """Whether each model classifies each example correctly, or the share of its tokens that it predicts."""
        return self._part.of_models(self._part.whole.correct) if self._part else self._of_all("correct")

    @property
    def correct_by_pair(self) -> tuple[Shaped[Array, "pairs examples"], Shaped[Array, "pairs examples"]]:
        """(inside, outside): `correct` of the model of each pair that has the example, and of the other."""
        if self._part or self._kept or (found := self._mapped(self._correct_of_pairs)) is None:
            return by_pair(self.correct, self.members)
        return found.array[0::2], found.array[1::2]

    def _correct_of_pairs(self) -> Iterator[Shaped[Array, " examples"]]:
        for pair in range(self.shape[0]):
            models = slice(2 * pair, 2 * pair + 2)
            for side in by_pair(self.correct[models], self.members[models]):
                yield side[0]

    def everything(self, model: int) -> dict[str, Array]:
        """Return all that was recorded about one model, by name."""
        return load_file(self.files[model])

    def stacked(self, name: str) -> Shaped[Array, "models ..."]:
        """Return one recording of every model."""
        return np.stack([recording(f, name) for f in self.files])

    def observed(self, rows: Int[Array, " rows"]) -> dict[str, Shaped[Array, "..."]]:
        """Return what was seen of all models while they trained, of some examples: `[models, times, rows]` by name.

        Only what was recorded of every model is there, beside `epochs` `[times]`; nothing if no model was observed, or
        not all at the same epochs.
        """
        found: dict[str, list[Array]] = {}
        for path in self.files:
            with _opened(path) as file:
                names = {name for name in file.keys() if name.startswith(_OBSERVED)}  # noqa: SIM118
                for name in names:
                    values = file.get_tensor(name)
                    found.setdefault(name, []).append(values if values.ndim == 1 else values[:, rows])
        kept = {name.removeprefix(_OBSERVED): of for name, of in found.items() if len(of) == len(self.files)}
        epochs = kept.pop("epochs", [])
        if not epochs or any(not np.array_equal(of, epochs[0]) for of in epochs):
            return {}
        return {"epochs": epochs[0]} | {name: np.stack(of) for name, of in kept.items()}

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Pairs, examples, queries."""
        if self._part:
            return len(self.files) // 2, *self._part.whole.shape[1:]
        with _opened(self.files[0]) as file:
            examples, queries = file.get_slice("phi").get_shape()
        return len(self.files) // 2, examples, queries

    def block(self, examples: slice) -> tuple[Float[Array, "pairs block queries"], Float[Array, "pairs block queries"]]:
        """Return (inside, outside) signals of a block of examples; they cannot be written to."""
        start, stop, _ = examples.indices(self.shape[1])
        if not self._latest or not self._latest[0].covers(start, stop):
            self._latest[:] = []  # first, so that two are never in memory
            self._latest[:] = [self._span(start, stop)]
        span = self._latest[0]
        at = slice(start - span.start, stop - span.start)
        return span.inside[:, at], span.outside[:, at]

    def take(self, pairs: Int[Array, " some"]) -> Recordings:
        """Return the recordings of some of the pairs; what is kept is shared."""
        files = tuple(self.files[m] for t in pairs for m in (2 * t, 2 * t + 1))
        return Recordings(files, _Part(self, _as_slice(pairs)))

    @property
    def _kept(self) -> bool:
        return len(self.files) * self._bytes <= _KEPT

    @property
    def _bytes(self) -> int:
        """Size of one model's signals, in float32."""
        return 4 * self.shape[1] * self.shape[2]

    def _of_all(self, name: str) -> Shaped[Array, "models examples"]:
        """Return one recording of every model, of a large bank in pages that the system may drop."""
        if self._kept or (found := self._mapped(lambda: (recording(file, name) for file in self.files))) is None:
            return self.stacked(name)
        return found.array

    @cached_property
    def _signals(self) -> Mapped | None:
        """The signals of every pair, inside and then outside `[sides, examples, queries]`; None if not mapped."""
        if self._part:
            return self._part.whole._signals
        pairs, everything = range(self.shape[0]), slice(0, self.shape[1])
        return None if self._kept else self._mapped(lambda: (side for t in pairs for side in self._pair(t, everything)))

    def _mapped(self, rows: Callable[[], Iterator[Array]]) -> Mapped | None:
        found = Mapped.of(rows, self.files[0].parent)
        self._maps.extend([found] if found is not None else [])
        return found

    def _hand(self, signals: Array, start: int, stop: int) -> _Span:
        """Return mapped signals of some examples; now and then, what was looked at before is given back."""
        here = signals[:, start:stop]
        self._handed[0] += here.nbytes
        if self._handed[0] > _HELD:
            self._handed[0] = here.nbytes
            for found in self._maps:
                found.give_back()
        return _Span(start, here[0::2], here[1::2])

    def _span(self, start: int, stop: int) -> _Span:
        """Return signals of at least these examples."""
        examples = self.shape[1]
        if self._part and self._part.whole._kept:
            return _Span(0, *map(self._part.of, self._part.whole.block(slice(0, examples))))
        if self._kept:
            return self._read(0, examples)
        if self._signals is not None:
            if self._part:
                return _Span(start, *map(self._part.of, self._part.whole.block(slice(start, stop))))
            return self._hand(self._signals.array, start, stop)
        step = _SPAN * examples // (len(self.files) * self._bytes)
        return self._read(start, min(max(start + step, stop), examples))

    def _read(self, start: int, stop: int) -> _Span:
        at, pairs = slice(start, stop), self.shape[0]
        inside, outside = np.empty((2, pairs, stop - start, self.shape[2]), np.float32)
        for pair in range(pairs):
            inside[pair], outside[pair] = self._pair(pair, at)
        inside.flags.writeable = outside.flags.writeable = False
        return _Span(start, inside, outside)

    def _pair(self, pair: int, at: slice) -> tuple[Float[Array, "span queries"], Float[Array, "span queries"]]:
        """Return (inside, outside) signals of one pair, read from its files."""
        models = slice(2 * pair, 2 * pair + 2)
        phi = np.stack([recording(file, "phi", at) for file in self.files[models]])
        (inside,), (outside,) = by_pair(phi.astype(np.float32, copy=False), self.members[models, at])
        return inside, outside


def _as_slice(pairs: Int[Array, " some"]) -> Int[Array, " some"] | slice:
    """Return the same choice as a slice if it is one, so that arrays are not copied."""
    steps = np.diff(pairs)
    if len(pairs) and np.all(steps == steps[:1]) and np.all(steps > 0):
        return slice(int(pairs[0]), int(pairs[-1]) + 1, int(steps[0]) if len(steps) else 1)
    return pairs


def recording(path: Path, name: str, examples: slice = slice(None)) -> Array:
    """Return one recording of a model, or some examples of it."""
    with _opened(path) as file:
        return (
            file.get_tensor(name) if examples == slice(None) else file.get_slice(name)[examples]
        )  # a slice of nothing fails


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file of recordings; an error names it, and the command that repairs it."""
    try:
        with safe_open(path, "numpy") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise BankError(f"{path} cannot be read ({error}); `memaudit bank fill` repairs it") from error
