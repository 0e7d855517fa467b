"""What a language model is trained on: the cross-entropy of the next token, or that of masked tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from memaudit.errors import RecipeError
from memaudit.recipe import Row, TextPopulation
from memaudit.recipe.encoder_decoder import as_causal
from memaudit.signals.language import padded

_IGNORED = -100  # the label of a token that the loss does not count
_MASKED, _REPLACED, _RANDOM = 0.15, 0.8, 0.9  # shares; the last two cumulative


def loss_of(
    model: torch.nn.Module, population: TextPopulation, rows: Sequence[Row], random: torch.Generator, device: str
) -> Tensor:
    """Return the mean cross-entropy over the tokens that count, in nats.

    Args:
        model: In training mode.
        population: Says what the model predicts.
        rows: One batch.
        random: Of the masks; on the CPU.
        device: Where the model is.

    Raises:
        RecipeError: The model has no output for some token.
    """
    ids, attended, marked = padded(rows)
    if population.objective == "masked":
        ids, aims = masked(ids, marked, population, random)
        logits = _logits(model, ids, attended, device)
    else:
        aims = torch.where(marked, ids, _IGNORED)[:, 1:]
        logits = _logits(as_causal(model, population).train(), ids, attended, device)[:, :-1]
    if int(aims.max()) >= logits.shape[-1]:
        raise RecipeError(f"the tokenizer has token {int(aims.max())}, the model only {logits.shape[-1]} outputs")
    return cross_entropy(logits.flatten(0, 1).float(), aims.flatten().to(device), ignore_index=_IGNORED)


def masked(ids: Tensor, marked: Tensor, population: TextPopulation, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return rows of which 15 % of the marked tokens are hidden, at least one of each row, and the labels.

    Of the hidden tokens 80 % are the mask token, 10 % a random token and 10 % themselves.

    Source: Devlin et al. 2019 (NAACL), section 3.1.
    """
    chance = torch.rand(ids.shape, generator=random)
    chance = torch.where(marked, chance, 2.0)
    hidden = (chance < _MASKED) | (marked & (chance == chance.amin(dim=1, keepdim=True)))
    kind = torch.rand(ids.shape, generator=random)
    other = torch.randint(population.renderer.vocabulary, ids.shape, generator=random)
    shown = torch.where(kind < _REPLACED, population.renderer.mask, torch.where(kind < _RANDOM, other, ids))
    return torch.where(hidden, shown, ids), torch.where(hidden, ids, _IGNORED)


def _logits(model: torch.nn.Module, ids: Tensor, attended: Tensor, device: str) -> Tensor:
    logits: Tensor = model(input_ids=ids.to(device), attention_mask=attended.to(device)).logits
    return logits
