"""How a language model is read: one interface for every kind, chosen by the recipe and never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int

from memaudit.recipe import Row, TextPopulation, TokenSpace
from memaudit.recipe.encoder_decoder import as_causal
from memaudit.signals.causality import require_causal, require_next_token
from memaudit.signals.language import predicted, token_statistics
from memaudit.signals.masked import Masked
from memaudit.signals.own_scores import OwnScores
from memaudit.signals.secrets import secret_costs, space_costs
from memaudit.tokens import TokenScores

Array = np.ndarray

Texts = Sequence[Sequence[Row]]


class Reading(Protocol):
    """A model that is asked about the marked tokens of rows."""

    def require(self) -> None:
        """Raise ModelError, before anything is measured, if the model is of another kind than the recipe says."""
        ...

    def require_trained(self) -> None:
        """Raise ModelError if a model that was trained predicts other tokens than those it is scored on."""
        ...

    def tokens(self, texts: Texts) -> TokenScores:
        """Return what the model says about the marked tokens of each text."""
        ...

    def predicted(self, texts: Texts) -> Float[Array, " texts"]:
        """Return the share of each text's marked tokens that are the likeliest."""
        ...

    def costs(
        self, space: TokenSpace, references: Int[Array, "references steps"] | None
    ) -> tuple[float, Float[Array, " references"]]:
        """Return −log p of a canary's secret and of its references, in nats; without these, of its whole space."""
        ...


@dataclass(frozen=True, slots=True)
class Causal:
    """A causal language model, or an encoder-decoder in the disguise of one."""

    model: torch.nn.Module
    population: TextPopulation
    device: str

    def require(self) -> None:
        """Raise ModelError unless the output after a token depends on the tokens up to it alone."""
        require_causal(self.model, self.population, self.device)

    def require_trained(self) -> None:
        """Raise ModelError if the labels were shifted not once."""
        require_next_token(self.model, self.population, self.device)

    def tokens(self, texts: Texts) -> TokenScores:
        """Return the token statistics of each text."""
        return token_statistics(self.model, texts, self.device)

    def predicted(self, texts: Texts) -> Float[Array, " texts"]:
        """Return the share of each text's marked tokens that are the likeliest."""
        return predicted(self.model, texts, self.device)

    def costs(
        self, space: TokenSpace, references: Int[Array, "references steps"] | None
    ) -> tuple[float, Float[Array, " references"]]:
        """Return the costs of a canary's secret and its references; what secrets share is read once."""
        if references is None:
            everything = space_costs(self.model, space.prefix, space.alphabets, self.device)
            return float(everything[space.place]), everything
        secrets = np.vstack([space.secret[None], references])
        both = secret_costs(self.model, space.prefix, space.alphabets, secrets, self.device)
        return float(both[0]), both[1:]


def reading(model: torch.nn.Module, population: TextPopulation, device: str = "cpu") -> Reading:
    """Return a model as the recipe says that it is read.

    Raises:
        ModelError: It is no encoder-decoder, and the recipe says that it is.
    """
    if population.token_logprobs is not None:
        return OwnScores(model, population, device)
    if population.objective == "masked":
        return Masked(model, population, device)
    return Causal(as_causal(model, population), population, device)
