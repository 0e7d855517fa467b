"""A language model of any class, scored by the recipe's own function: checked before it is believed.

A function that is wrong by one token still returns numbers. What it cannot do is fit together: the probabilities of all
tokens in one place sum to 1, and no score changes with a later token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memaudit.errors import ModelError
from memaudit.recipe import Row, TextPopulation, TokenSpace
from memaudit.recipe.blame import blame
from memaudit.recipe.networks import evaluated
from memaudit.signals.causality import other_tokens, probed_rows
from memaudit.signals.language import counts_of, most_tokens, rows_of
from memaudit.signals.secret_rows import costs_by_row
from memaudit.tokens import TokenScores

Array = np.ndarray

_ROUNDING = 1e-3  # nats, and of a sum of probabilities
_LEAST_TOTAL = 0.9  # a model may have some outputs that are no tokens; once it is trained, they have no probability
_BEFORE = 2  # tokens before the place at which all tokens are tried
_PLACES, _TRIED = 8, 2**18  # such places at most, and tokens that are read for them


@dataclass(frozen=True, slots=True)
class OwnScores:
    """A model and the recipe's token_logprobs(), asked about the marked tokens of rows."""

    model: torch.nn.Module
    population: TextPopulation
    device: str

    def tokens(self, texts: Sequence[Sequence[Row]]) -> TokenScores:
        """Return the log-probabilities of the marked tokens of each text."""
        rows, counts = rows_of(texts), counts_of(texts)
        logp = np.empty(int(counts.sum()), np.float32)
        ends = np.cumsum([int(row.trained.sum()) for row in rows])
        for batch in _of_one_length(rows, self._most):
            values = self._values(np.stack([rows[i].ids for i in batch]))
            for i, own in zip(batch, values, strict=True):
                marked = rows[i].trained
                if marked[0]:
                    raise ValueError("the first token of a row is marked, but nothing predicts it")
                logp[ends[i] - marked.sum() : ends[i]] = own[marked]
        if not np.isfinite(logp).all():
            raise ModelError(
                "token_logprobs() returned NaN or infinity for a token of the documents; the log-probability of a "
                "token that can occur is finite"
            )
        if logp.size and logp.max() > _ROUNDING:
            raise ModelError(
                f"token_logprobs() returned {logp.max():.3g}, and a log-probability is at most 0: return log_softmax, "
                "neither logits, nor probabilities, nor losses"
            )
        return TokenScores(np.concatenate([[0], np.cumsum(counts)]), np.minimum(logp, 0))

    def predicted(self, texts: Sequence[Sequence[Row]]) -> Float[Array, " texts"]:
        """Return the mean probability of each text's marked tokens; which is the likeliest is not known."""
        found = self.tokens(texts)
        return found.means(found.correct)

    def costs(
        self, space: TokenSpace, references: Int[Array, "references steps"] | None
    ) -> tuple[float, Float[Array, " references"]]:
        """Return the costs of a canary's secret and its references, row by row."""
        return costs_by_row(self.tokens, space, references)

    def require(self) -> None:
        """Refuse a function that does not return log p of each token given those before it.

        Raises:
            ModelError: Another shape, NaN, positive values, random values, dependence on later tokens or on the batch,
                none on the token before, or probabilities that do not sum to 1.
        """
        rows = probed_rows(self.population)
        if not rows:
            return
        alone = [self._one(ids) for ids in rows]
        if _differ(self._one(rows[0]), alone[0]):
            raise ModelError(
                "token_logprobs() returns other values when it is asked again: switch dropout and sampling off"
            )
        self._require_blind_to_the_future(rows, alone)
        width = min(map(len, rows))
        together = self._values(np.stack([ids[:width] for ids in rows]))[:, 1:]
        if any(_differ(own, of[: width - 1]) for own, of in zip(together, alone, strict=True)):
            raise ModelError(
                "token_logprobs() returns other values for a text when other texts are in the batch, or when the text "
                "goes on: score each text by itself, and each token by those before it"
            )
        self._require_total(rows[0])

    def require_trained(self) -> None:
        """Do nothing: the sum of the probabilities in one place shows what is shifted."""

    def _require_blind_to_the_future(self, rows: Sequence[Array], alone: Sequence[Array]) -> None:
        skipped = []
        for ids, before in zip(rows, alone, strict=True):
            middle = len(ids) // 2
            changed = ids.copy()
            changed[middle] = other_tokens(ids[middle : middle + 1], self.population)[0]
            differs = np.abs(self._one(changed) - before) > _ROUNDING  # of token i + 1 at place i
            if differs[: middle - 1].any():
                raise ModelError(
                    "token_logprobs() is not causal: the value of a token changes with a later one. Column t is "
                    "log p(token t | tokens before t): the model's output after token t - 1, at token t"
                )
            skipped.append(bool(not differs[middle] and differs[middle + 1 :].any()))
        if all(skipped):
            raise ModelError(
                "token_logprobs() does not use the token just before the one that it scores, but earlier ones: it is "
                "shifted by one. Column t is the model's output after token t - 1, at token t"
            )

    def _require_total(self, ids: Array) -> None:
        """Raise ModelError unless the probabilities of all tokens in one place sum to 1.

        For a model that finds all tokens equally likely they do so in any column: the check then shows nothing. Such a
        model has learned nothing that could be scored wrongly.
        """
        vocabulary = self.population.renderer.vocabulary
        places = max(1, min(_PLACES, len(ids) - _BEFORE, _TRIED // (vocabulary * (_BEFORE + 1))))
        for start in range(places):
            total = self._total(ids[start : start + _BEFORE], vocabulary)
            if not _LEAST_TOTAL <= total <= 1 + _ROUNDING:
                raise ModelError(
                    f"token_logprobs(): the probabilities of all {vocabulary} tokens in one place sum to {total:.4g}, "
                    "not to 1. It is shifted (column t is the model's output after token t - 1, at token t), or "
                    "returns no natural logarithms of probabilities; or the model has many outputs that are no tokens"
                )

    def _total(self, before: Array, vocabulary: int) -> float:
        """Return the sum of the probabilities of all tokens after some."""
        size = max(1, self._most // (_BEFORE + 1))
        total = 0.0
        for start in range(0, vocabulary, size):
            last = np.arange(start, min(start + size, vocabulary))
            tried = np.column_stack([np.tile(before, (len(last), 1)), last])
            total += float(np.exp(self._values(tried)[:, _BEFORE].astype(np.float64)).sum())
        return total

    @property
    def _most(self) -> int:
        """How many tokens the function is asked about at a time."""
        return most_tokens(self.population.renderer.vocabulary, self.device)

    def _one(self, ids: Array) -> Float[Array, " predicted"]:
        """Return the values of one row from its second token on, after checking that they are log-probabilities."""
        return self.tokens([[Row(ids, np.arange(len(ids)) > 0)]]).logp

    @torch.inference_mode()
    def _values(self, ids: Int[Array, "texts tokens"]) -> Float[Array, "texts tokens"]:
        """Return what the function returns for texts of one length."""
        assert self.population.token_logprobs is not None
        asked = torch.as_tensor(ids, dtype=torch.long, device=self.device)
        with blame("token_logprobs()"):
            found = self.population.token_logprobs(evaluated(self.model.to(self.device)), asked)
        shape = list(getattr(found, "shape", ()))
        if shape != list(asked.shape):
            told = f"shape {shape}" if isinstance(found, Tensor | np.ndarray) else f"a {type(found).__name__}"
            raise ModelError(
                f"token_logprobs() returned {told} for ids of shape {list(asked.shape)}; return one log-probability "
                "for each token, in the same shape; the first column is not used"
            )
        return torch.as_tensor(found).detach().float().cpu().numpy()


def _of_one_length(rows: Sequence[Row], most: int) -> Iterator[list[int]]:
    """Yield the numbers of rows of one length, at least one and otherwise of at most so many tokens together."""
    lengths = np.array([len(row.ids) for row in rows])
    for length in np.unique(lengths):
        same, size = np.flatnonzero(lengths == length).tolist(), max(1, most // int(length))
        yield from (same[start : start + size] for start in range(0, len(same), size))


def _differ(own: Array, other: Array) -> bool:
    return bool((np.abs(own - other) > _ROUNDING).any())
