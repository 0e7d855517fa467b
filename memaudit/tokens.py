"""What a language model says about every token of some texts: the one record from which readouts are computed.

Texts have different lengths, so that the arrays are ragged: the tokens of text i are `starts[i]:starts[i + 1]`. A token
that the model never had to predict (the first of a text, or one that the loss masks) is not among them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Array = np.ndarray

_Kind = TypeVar("_Kind", bound="TokenScores")

TOP_K = 40  # of the truncated normaliser: the sampling scheme of most published extraction attacks


@dataclass(frozen=True, slots=True)
class TokenScores:
    """The log-probability under one model of every predicted token of some texts, in nats; `logp` is never above 0.

    It is all that is known of a model that gives the probability of a token and not of its rivals.
    """

    starts: Int[Array, " texts_and_one"]
    logp: Float[Array, " tokens"]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Int[Array, " texts"]:
        """Predicted tokens of each text."""
        return np.diff(self.starts)

    @property
    def correct(self) -> Shaped[Array, " tokens"]:
        """The probability of the token that came: how often a token sampled from the model is right."""
        return np.exp(self.logp)

    def sums(self, values: Shaped[Array, " tokens"]) -> Float[Array, " texts"]:
        """Return the sum of a value of each token over each text; 0 for a text without a predicted token."""
        total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
        return total[self.starts[1:]] - total[self.starts[:-1]]

    def means(self, values: Shaped[Array, " tokens"]) -> Float[Array, " texts"]:
        """Return the mean of a value of each token over each text.

        Raises:
            ValueError: A text has no predicted token.
        """
        if not self.lengths.all():
            raise ValueError(f"text {int(np.argmin(self.lengths))} has no predicted token")
        return self.sums(values) / self.lengths

    def tensors(self, prefix: str = "token_") -> dict[str, Array]:
        """Return the arrays by name, as they are stored."""
        return {prefix + field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of_tensors(cls: type[_Kind], tensors: dict[str, Array], prefix: str = "token_") -> _Kind:
        """Return what `tensors` took apart."""
        return cls(**{field.name: tensors[prefix + field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class TokenStatistics(TokenScores):
    """One model over the predicted tokens of some texts, in nats.

    `logp` is the log-probability of the token that came; `mean` and `deviation` are those of log p under the model's
    own distribution p; `gap` is how far the token's log-probability is above the best other token's (greedy decoding
    picks it if positive, and near 0 the choice hangs on rounding); `rank` is the number of tokens that are likelier;
    `normaliser` is the log of the probability of the 40 likeliest tokens together.
    """

    mean: Float[Array, " tokens"]
    deviation: Float[Array, " tokens"]
    gap: Float[Array, " tokens"]
    rank: Int[Array, " tokens"]
    normaliser: Float[Array, " tokens"]

    @property
    def correct(self) -> Bool[Array, " tokens"]:
        """Whether the token that came is the likeliest."""
        return self.gap > 0


def recorded_tokens(tensors: dict[str, Array], prefix: str = "token_") -> TokenScores:
    """Return what was recorded under a prefix: all statistics, or scores alone."""
    kind = TokenStatistics if f"{prefix}gap" in tensors else TokenScores
    return kind.of_tensors(tensors, prefix)
