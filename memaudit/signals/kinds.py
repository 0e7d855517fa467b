"""What a network's outputs are: logits, or probabilities of some kind; recognised from the outputs, never guessed.

Outputs are read as logits unless the recipe says otherwise, and refused where they look like something else, so that
all models of a bank are read by one rule.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from memaudit.errors import ModelError
from memaudit.recipe.recipes import Outputs
from memaudit.signals.logits import is_correct, log_odds, log_probabilities, modified_entropy, scaled_logit

Array = np.ndarray

_OFF = 0.01  # of a row's sum from 1, at most: bfloat16 has a relative error of 0.4 %
_SAY = 'say what they are with outputs="logits", "probabilities" or "one-vs-rest" in the recipe'


class Range:
    """The range of a model's outputs over all examples, taken batch by batch."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lowest, self.highest = np.full(columns, np.inf), np.full(columns, -np.inf)  # of each column
        self.least, self.most = np.inf, -np.inf  # sum of a row, while no output is negative
        self.log_off = 0.0  # of the rows' logsumexp from 0, while none is positive

    def add(self, outputs: Float[Array, "rows classes"]) -> None:
        """Take in a batch."""
        self.lowest = np.minimum(self.lowest, outputs.min(axis=0))
        self.highest = np.maximum(self.highest, outputs.max(axis=0))
        if self.low >= 0:
            sums = outputs.sum(axis=1, dtype=np.float64)
            self.least, self.most = min(self.least, float(sums.min())), max(self.most, float(sums.max()))
        if self.high <= _OFF:
            total = np.log(np.maximum(np.exp(outputs).sum(axis=1, dtype=np.float64), np.finfo(np.float64).tiny))
            self.log_off = max(self.log_off, float(np.abs(total).max()))

    @property
    def low(self) -> float:
        """The smallest output."""
        return float(self.lowest.min())

    @property
    def high(self) -> float:
        """The largest output."""
        return float(self.highest.max())

    @property
    def in_unit_interval(self) -> bool:
        """Whether every output is between 0 and 1."""
        return self.low >= 0 and self.high <= 1 + _OFF

    @property
    def distributions(self) -> bool:
        """Whether every row is a probability for each class: it sums to 1."""
        return self.in_unit_interval and self.columns > 1 and max(self.most - 1, 1 - self.least) <= _OFF

    @property
    def shares(self) -> bool:
        """Whether no output is negative and outputs vary while the rows' sum does not: percentages, or votes."""
        if self.columns == 1 or self.low < 0:
            return False
        return self.most - self.least < _OFF * float((self.highest - self.lowest).max())

    @property
    def log_distributions(self) -> bool:
        """Whether every row is a log-probability for each class; read as logits, these give the same φ."""
        return self.high <= _OFF and self.columns > 1 and self.log_off <= _OFF


def signals_of(
    outputs: Float[Array, "rows classes"], y: Int[Array, " rows"], kind: Outputs | None
) -> tuple[Float[Array, " rows"], Bool[Array, " rows"]]:
    """Return φ in nats and correctness for a batch of outputs of some kind; None is read as logits.

    Of probabilities that are independent of each other, one-vs-rest, φ is the log-odds of the true class's own, and the
    largest decides.

    Source: Carlini et al. 2022, the φ of Algorithm 1: log(p/(1−p)) with p the confidence in the true class.
    """
    if kind == "one-vs-rest" and outputs.shape[1] > 1:
        return log_odds(outputs)[np.arange(len(y)), y], is_correct(outputs, y)
    if kind in ("probabilities", "one-vs-rest"):
        outputs = log_odds(outputs) if outputs.shape[1] == 1 else log_probabilities(outputs)
    return scaled_logit(outputs, y), is_correct(outputs, y)


def entropy_of(
    outputs: Float[Array, "rows classes"], y: Int[Array, " rows"], kind: Outputs | None
) -> Float[Array, " rows"]:
    """Return the modified entropy for a batch of outputs that are a distribution over classes, in nats."""
    if kind == "probabilities":
        outputs = log_odds(outputs) if outputs.shape[1] == 1 else log_probabilities(outputs)
    return modified_entropy(outputs, y)


def require_kind(seen: Range, kind: Outputs | None, last_layer: Callable[[], str]) -> str:
    """Return in words what outputs are read as.

    True logits are refused by mistake only if every one of them, of all examples, is between 0 and 1, or if none is
    negative and all rows have one sum. A network that ends in a linear or convolutional layer can return any number; it
    is refused only if all rows sum to 1, as of a mixture of softmaxes, which is a matrix product too.

    Args:
        seen: The range of all outputs.
        kind: What the recipe says that they are.
        last_layer: Returns the network's last operation, or "affine"; called in doubt.

    Raises:
        ModelError: They are not what the recipe says, or it says nothing and they look like probabilities.
    """
    if kind is not None:
        _require_told(seen, kind)
        return kind
    if seen.log_distributions:
        return "log-probabilities, which are logits too"
    constant = bool((seen.lowest == seen.highest).all())
    if constant or not (seen.in_unit_interval or seen.shares) or (not seen.distributions and last_layer() == "affine"):
        return "logits"
    if seen.shares and not seen.distributions:
        raise ModelError(
            f"the model returns shares, not logits: no output is negative, and every row sums to {seen.most:.4g}. "
            'Return the logits, or, from your own train(), probabilities (divide by the sum, outputs="probabilities")'
        )
    if seen.distributions:
        raise ModelError(
            "the model returns probabilities, not logits: every row is between 0 and 1 and sums to 1. Remove the "
            'softmax at its end, or, if your own train() needs it, set outputs="probabilities" in the recipe'
        )
    raise ModelError(
        f"every output of the model is between 0 and 1 ({seen.low:.3g} to {seen.high:.3g}), as probabilities do and "
        f"logits hardly ever. If it ends in a sigmoid, remove it and train on logits, or {_SAY}"
    )


def _require_told(seen: Range, kind: Outputs) -> None:
    problem = None
    if kind in ("probabilities", "one-vs-rest") and not seen.in_unit_interval:
        problem = f"they reach from {seen.low:.3g} to {seen.high:.3g}"
    elif kind == "probabilities" and seen.columns > 1 and not seen.distributions:
        problem = 'the rows do not sum to 1; independent probabilities, one sigmoid a class, are "one-vs-rest"'
    elif kind == "log-probabilities" and not seen.log_distributions:
        problem = "the rows do not sum to 1 after exp()"
    if problem is not None:
        raise ModelError(f'the model\'s outputs are not what the recipe says, outputs="{kind}": {problem}')
