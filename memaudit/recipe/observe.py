"""When the live model is looked at while it trains, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal, get_args

from memaudit.errors import RecipeError

Also = Literal["gradient", "input_gradient", "curvature"]
"""What is recorded on request: the norm of the loss's gradient in the parameters, that in the inputs, and the input
curvature."""

SHARE = 0.08  # looks for each epoch by default: a look costs up to 1.25 epochs (benchmarks.observing)
_MOST = 10  # looks by default, for the disk's sake


@dataclass(frozen=True, slots=True)
class Observe:
    """When the live model is looked at while it trains, and what is recorded of every example, members and others.

    A look takes the loss, the correctness, the entropy and the EL2N score of all measured examples in evaluation mode.
    It changes nothing in the training. The end of training is always among the looks.

    Args:
        at: How often: a number of looks, spaced by a constant factor from the first epoch to the last; a list of
            epochs, with 0 before training and fractions inside an epoch; or "every epoch". By default as many looks as
            cost about a tenth of training: 8 in 100 epochs, at most 10, and none of a training of fewer than 13
            epochs. 0 looks at nothing. A loop of your own is looked at if it calls `memaudit.observe(model, epoch)`:
            after 1, 2, 4, 8, … epochs and at the end, or as above if it says how many epochs it has.
        also: "gradient", "input_gradient" and "curvature"; these cost several epochs a look.
    """

    at: int | Sequence[float] | Literal["default", "every epoch"] = "default"
    also: tuple[Also, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.at, Sequence) and not isinstance(self.at, str):
            object.__setattr__(self, "at", tuple(float(epoch) for epoch in self.at))
        also = (self.also,) if isinstance(self.also, str) else tuple(self.also)
        object.__setattr__(self, "also", also)
        if isinstance(self.at, str) and self.at not in ("default", "every epoch"):
            raise RecipeError(f'Observe({self.at!r}): give a number of looks, a list of epochs, or "every epoch"')
        first = self.at if isinstance(self.at, int) else min(self.at, default=0) if isinstance(self.at, tuple) else 0
        if first < 0:
            raise RecipeError(f"Observe({self.at!r}): a number of looks or an epoch cannot be negative")
        if unknown := set(also) - set(get_args(Also)):
            raise RecipeError(f"Observe(also=...): {min(unknown)!r} is none of {', '.join(get_args(Also))}")

    def times(self, epochs: int | None = None) -> Iterator[float]:
        """Yield the epochs after which to look, in order; the last is the end where `epochs`, their number, is known.

        Where it is not known, they go on for ever or are those that were listed, and the end comes on top of them.
        """
        at = self.at
        if not isinstance(at, int | str):
            yield from (epoch for epoch in sorted(set(at)) if epochs is None or epoch < epochs)
            yield from [] if epochs is None or not at else [float(epochs)]
        elif epochs is None:
            yield from count(1.0) if at == "every epoch" else _doubled(at - 1 if isinstance(at, int) else None)
        else:
            usual = {"default": min(int(SHARE * epochs), _MOST), "every epoch": epochs}
            yield from _spaced(at if isinstance(at, int) else usual[at], epochs)

    def looks(self, epochs: int) -> int:
        """Return how often a training of so many epochs is looked at."""
        return sum(1 for _ in self.times(epochs))


def _spaced(looks: int, epochs: int) -> Iterator[float]:
    """Yield whole epochs from 1 to the last by a constant factor; early ones, which it would double, follow closely."""
    looks = min(looks, epochs)
    latest = 0
    for number in range(1, looks + 1):
        share = (number - 1) / (looks - 1) if looks > 1 else 1.0
        latest = max(latest + 1, round(epochs**share))
        yield float(latest)


def _doubled(number: int | None) -> Iterator[float]:
    """Yield so many powers of two, or all."""
    yield from (2.0**power for power in (count() if number is None else range(number)))
