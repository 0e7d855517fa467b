"""A masked language model: the pseudo-log-likelihood of tokens, and whether it is such a model at all.

log p of a token is taken with that token masked, given the rest of its row. The marked tokens of a row are masked in
seven passes, every seventh at a time: each of them once, with as many masked as in training (14 %; 15 % is usual), and
up to seven tokens one by one. A row costs at most seven rows, however long it is; one pass for each token would cost as
many rows as tokens.

Source: Salazar et al. 2020 (ACL), equation 1, pseudo-log-likelihood, with one pass for each token; membership inference
on masked models, Mireshghallah et al. 2022 (EMNLP).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memaudit.errors import ModelError
from memaudit.recipe import Row, TextPopulation, TokenSpace
from memaudit.recipe.networks import evaluated
from memaudit.signals.asking import ask, sound
from memaudit.signals.causality import likelier, other_tokens, probed_rows, require_logits, require_same
from memaudit.signals.language import (
    Scored,
    batches,
    collected,
    hits,
    most_tokens,
    padded,
    rows_of,
    usable,
    vocabulary_of,
)
from memaudit.signals.secret_rows import costs_by_row
from memaudit.tokens import TokenScores

Array = np.ndarray

PASSES = 7
_NOTHING, _SOMETHING = 1e-6, 1e-3  # of the largest logit: rounding at most, and well above it


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked language model, asked about the marked tokens of rows."""

    model: torch.nn.Module
    population: TextPopulation
    device: str

    def tokens(self, texts: Sequence[Sequence[Row]]) -> TokenScores:
        """Return the token statistics of each text; a token's distribution is the one at its mask."""
        return collected(texts, self._scored(rows_of(texts)))

    def predicted(self, texts: Sequence[Sequence[Row]]) -> Float[Array, " texts"]:
        """Return the share of each text's marked tokens that are the likeliest at their masks."""
        return hits(texts, self._scored(rows_of(texts)))

    def costs(
        self, space: TokenSpace, references: Int[Array, "references steps"] | None
    ) -> tuple[float, Float[Array, " references"]]:
        """Return the costs of a canary's secret and its references, each in the whole row."""
        return costs_by_row(self.tokens, space, references, after=True)

    def require(self) -> None:
        """Refuse a model whose output at a masked token is not a function of the rest of the row.

        Raises:
            ModelError: Fewer outputs than tokens, probabilities, random output, dependence on the batch or on padding,
                or none on the tokens that follow, as of a causal model.
        """
        evaluated(self.model.to(self.device))
        rows = probed_rows(self.population)
        if not rows:
            return
        alone = [self._said([ids])[0] for ids in rows]
        vocabulary = self.population.renderer.vocabulary
        if alone[0].shape[1] < vocabulary:
            raise ModelError(
                f"the tokenizer does not match: it has {vocabulary} tokens, the model only {alone[0].shape[1]} outputs"
            )
        require_logits(alone)
        require_same(
            self._said(rows[:1]), alone[:1], "two passes over one text differ: dropout or sampling is on in evaluation "
            "mode; switch it off in forward() when self.training is False"
        )  # fmt: skip
        require_same(
            self._said(rows), alone, "its output for a text changes with the texts in the same batch, or with padding "
            "behind it"
        )  # fmt: skip
        earlier, later = np.max([self._effects(ids, one) for ids, one in zip(rows, alone, strict=True)], axis=0)
        if later <= _NOTHING and earlier > _SOMETHING:
            raise ModelError(
                "the model is no masked language model: its output at a masked token does not change with the tokens "
                'that follow, as a causal model\'s does not. Set Rendering(objective="causal")'
            )

    def require_trained(self) -> None:
        """Raise ModelError if the model predicts the neighbour of a masked token: its labels were shifted."""
        own: list[Tensor] = []
        beside: dict[int, list[Tensor]] = {-1: [], 1: []}
        for ids in probed_rows(self.population):
            for place in range(2, len(ids) - 1):
                log_p = torch.log_softmax(self._logits([ids], [np.array([place])])[0][0], dim=0).cpu()
                own.append(log_p[int(ids[place])])
                for shift, of in beside.items():
                    of.append(log_p[int(ids[place + shift])])
        for shift, of in beside.items():
            if len(own) > 1 and likelier(torch.stack(of).double(), torch.stack(own).double()):
                where = "after" if shift > 0 else "before"
                raise ModelError(
                    f"at a masked token the model predicts the token {where} it: its labels were shifted. The logits "
                    "at a mask are those of the token that it hides"
                )

    def _effects(self, ids: Array, one: Tensor) -> tuple[float, float]:
        """Return by how much the output at a mask in the middle changes with the tokens before it, and after.

        It is the largest change of a logit, in units of the largest logit.
        """
        middle, other = len(ids) // 2, other_tokens(ids, self.population)
        before = np.concatenate([other[:middle], ids[middle:]])
        after = np.concatenate([ids[: middle + 1], other[middle + 1 :]])
        said, usual = (self._said([changed])[0][middle] for changed in (before, after)), one[middle]
        largest = float(usual[usual.isfinite()].abs().max())
        first, second = (float((new - usual)[usual.isfinite()].abs().max()) / largest for new in said)
        return first, second

    @torch.inference_mode()
    def _said(self, rows: Sequence[Array]) -> list[Tensor]:
        """Return the logits at each token of each row, read as one batch in which the middle of each is masked."""
        masked = [Row(self._hidden(ids, np.array([len(ids) // 2])), np.zeros(len(ids), bool)) for ids in rows]
        ids, attended, _ = padded(masked)
        logits = ask(self.model, ids.to(self.device), attended.to(self.device)).logits
        return [sound(logits[n, : len(row)]).cpu() for n, row in enumerate(rows)]

    def _hidden(self, ids: Array, places: Array) -> Array:
        hidden = ids.copy()
        hidden[places] = self.population.renderer.mask
        return hidden

    def _scored(self, rows: Sequence[Row]) -> Scored:
        """Yield places among all marked tokens, the logits at their masks, and the tokens, batch by batch."""
        ends = np.cumsum([int(row.trained.sum()) for row in rows])
        places = [np.flatnonzero(row.trained) for row in rows]
        passes = [(r, first) for r, own in enumerate(places) for first in range(min(PASSES, len(own)))]
        evaluated(self.model.to(self.device))
        for batch in batches([rows[r] for r, _ in passes], most_tokens(vocabulary_of(self.model), self.device)):
            chosen = [passes[i] for i in batch]
            at = np.concatenate([np.arange(ends[r] - len(places[r]) + first, ends[r], PASSES) for r, first in chosen])
            parts = [places[r][first::PASSES] for r, first in chosen]
            yield at, *self._logits([rows[r].ids for r, _ in chosen], parts)

    @torch.inference_mode()
    def _logits(self, rows: Sequence[Array], parts: Sequence[Array]) -> tuple[Tensor, Tensor]:
        """Return the logits at the masked places of some rows, and the tokens that they hide."""
        marks = [np.isin(np.arange(len(ids)), part) for ids, part in zip(rows, parts, strict=True)]
        hidden = [Row(self._hidden(ids, part), mark) for ids, part, mark in zip(rows, parts, marks, strict=True)]
        ids, attended, marked = padded(hidden)
        logits = ask(self.model, ids.to(self.device), attended.to(self.device)).logits[marked.to(self.device)]
        aims = np.concatenate([ids[part] for ids, part in zip(rows, parts, strict=True)])
        return usable(logits, torch.as_tensor(aims, dtype=torch.long, device=self.device))
