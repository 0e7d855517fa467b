"""What training looks like from outside: numbers per example at a few times of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Shaped, UInt8

Array = np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Observations:
    """Training runs that were looked at, at the same times each, on all examples: members and non-members.

    Every recording is `[models, times, examples]`; None where it was not made. All are taken in evaluation mode.

    Attributes:
        epochs: Passes over the training set, from 0 (before training); the last entry is the end of training.
        members: How often each model was trained on each example.
        loss: Loss in nats.
        correct: Whether the example is classified correctly: bool; a share of tokens or labels is a number.
        entropy: Entropy of the predicted distribution, in nats.
        el2n: Norm of the error of the predicted probabilities.
        gradient: Norm of the loss's gradient in the parameters.
        input_gradient: Norm of the loss's gradient in the input.
        curvature: Curvature of the loss in the input.
    """

    epochs: Float[Array, " times"]
    members: UInt8[Array, "models examples"]
    loss: Float[Array, "models times examples"] | None = None
    correct: Shaped[Array, "models times examples"] | None = None
    entropy: Float[Array, "models times examples"] | None = None
    el2n: Float[Array, "models times examples"] | None = None
    gradient: Float[Array, "models times examples"] | None = None
    input_gradient: Float[Array, "models times examples"] | None = None
    curvature: Float[Array, "models times examples"] | None = None

    def __post_init__(self) -> None:
        """Refuse times that are no times of a training run.

        Raises:
            ValueError: They do not rise from 0 on.
        """
        if not len(self.epochs) or self.epochs[0] < 0 or (np.diff(self.epochs) <= 0).any():
            raise ValueError("the epochs of observations must rise, from 0 on")

    @property
    def classified(self) -> Shaped[Array, "models times examples"] | None:
        """`correct` where it is yes or no, which events of learning and forgetting need; otherwise None."""
        return self.correct if self.correct is not None and self.correct.dtype == np.bool_ else None

    def __getitem__(self, name: str) -> Shaped[Array, "models times examples"]:
        """Return a recording, or `classified`.

        Raises:
            KeyError: It was not made.
        """
        if not self.has(name):
            raise KeyError(name)
        return np.asarray(getattr(self, name))

    def has(self, name: str) -> bool:
        """Return whether a recording, or `classified`, was made, or whether there is a `course`."""
        return getattr(self, name) is not None

    @property
    def course(self) -> Float[Array, " times"] | None:
        """The epochs of the looks, where something besides the end of training was looked at; otherwise None."""
        return self.epochs if len(self.epochs) > 1 else None

    @cached_property
    def whole_epochs(self) -> Float[Array, " epochs"]:
        """The epochs 1, 2, … up to the end of training; the end alone where it is less than one epoch."""
        end = float(self.epochs[-1])
        whole = np.arange(1, int(end) + 1, dtype=np.float64)
        return whole if len(whole) and whole[-1] == end else np.append(whole, end)

    @cached_property
    def weights(self) -> Float[Array, "epochs times"]:
        """The weight of each look in the value at each whole epoch: linear between looks, constant before the first."""
        return np.stack([np.interp(self.whole_epochs, self.epochs, one) for one in np.eye(len(self.epochs))], axis=1)

    def over_epochs(
        self, values: Shaped[Array, "models times examples"], weights: Float[Array, "epochs times"] | None = None
    ) -> Float[Array, "models examples"]:
        """Return the mean over all whole epochs; between looks a recording is taken to change linearly.

        If every epoch was looked at, this is the plain mean over them.

        Args:
            values: A recording.
            weights: Of the looks, other than `weights`.
        """
        mean = (self.weights if weights is None else weights).mean(axis=0)
        return np.stack([mean @ one.astype(np.float64) for one in values])

    @property
    def end(self) -> Float[Array, ""]:
        """The length of training in epochs."""
        return np.asarray(self.epochs[-1], np.float64)
