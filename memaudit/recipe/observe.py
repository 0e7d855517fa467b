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

SHARE = 0.07  # looks for each epoch by default, beside the end: each costs up to 1.4 epochs (benchmarks.observing)
_MOST = 9  # of them, for the disk's sake
_FIRST = 16  # epochs before the first look by default, where it is not known how many there will be


@dataclass(frozen=True, slots=True)
class Observe:
    """When the live model is looked at while it trains, and what is recorded of every example, members and others.

    A look takes the loss, the correctness, the entropy and the EL2N score of all measured examples in evaluation mode.
    It changes nothing in the training. The end of training is always among the looks; in a bank it costs nothing, as
    trained models are measured anyway.

    Args:
        at: How often: a number of looks, spaced by a constant factor from the first epoch to the last; a list of
            epochs, with 0 before training and fractions inside an epoch; or "every epoch". By default the end, and
            before it as many looks as cost less than a tenth of training: 7 in 100 epochs, at most 9, and none in
            fewer than 15 epochs. 0 looks at nothing. A loop of your own is looked at if it calls
            `memaudit.observe(model, epoch)`. If it says how many epochs it has, the looks are as above. Otherwise they
            are after 16, 32, 64, … epochs by default, after 1, 2, 4, 8, … for a number of looks, and at the end.
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
            yield from count(1.0) if at == "every epoch" else _doubled(at)
        else:
            usual = {"default": min(int(SHARE * epochs), _MOST) + 1, "every epoch": epochs}
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


def _doubled(at: int | str) -> Iterator[float]:
    """Yield one power of two fewer than so many looks, as the end is one; by default those that cost little."""
    if isinstance(at, int):
        yield from (2.0**power for power in range(at - 1))
    else:
        yield from (float(_FIRST) * 2**power for power in count())
