"""What a language model is trained on: the cross-entropy of the next token, or that of masked tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from memaudit.errors import RecipeError
from memaudit.recipe import Row, TextPopulation
from memaudit.recipe.encoder_decoder import as_causal
from memaudit.signals.language import padded

_IGNORED = -100  # the label of a token that the loss does not count
_PASS = 64.0  # tokens; measured on models of 0.2 and 15 million parameters, and flat from 32 to 128
_MASKED, _REPLACED, _RANDOM = 0.15, 0.8, 0.9  # shares; the last two cumulative


def parts_of_loss(
    model: torch.nn.Module, population: TextPopulation, rows: Sequence[Row], random: torch.Generator, device: str
) -> Iterator[Tensor]:
    """Yield terms of the mean cross-entropy over the tokens that count, in nats: their sum is the mean.

    Each is of the rows of like length, so that little is computed for padding; its gradient is added before the next
    is made. The gradient is that of the padded batch but for rounding, and for dropout, which draws other masks by the
    same law.

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
    else:
        model = as_causal(model, population).train()
        aims = torch.where(marked, ids, _IGNORED).roll(-1, dims=1)
        aims[:, -1] = _IGNORED
    counted = int((aims != _IGNORED).sum())
    for group in _alike(attended.sum(dim=1), _pass_in_tokens(model, device)):
        width = int(attended[group].sum(dim=1).max())
        logits = _logits(model, ids[group, :width], attended[group, :width], device)
        sought = aims[group, :width].flatten()
        if int(sought.max()) >= logits.shape[-1]:
            raise RecipeError(f"the tokenizer has token {int(sought.max())}, the model only {logits.shape[-1]} outputs")
        logits = logits.flatten(0, 1).float()
        yield cross_entropy(logits, sought.to(device), ignore_index=_IGNORED, reduction="sum") / counted


def _pass_in_tokens(model: torch.nn.Module, device: str) -> float:
    """Return the tokens that take as long as to start another pass of a model; infinity if a batch must stay whole.

    A GPU waits for starts more than for padding. Batch normalization makes an example depend on its batch.
    """
    whole = device != "cpu" or any(isinstance(module, _BatchNorm) for module in model.modules())
    return math.inf if whole else _PASS


def _alike(lengths: Tensor, start: float) -> list[Tensor]:
    """Return the places of rows, in order, in groups of like length.

    Of all cuts of the rows in order of length, the groups have the fewest tokens, padding included, where each group
    counts for `start` more.
    """
    if math.isinf(start):
        return [torch.arange(len(lengths))]
    ordered, by_length = torch.sort(lengths, stable=True)
    least, first = torch.zeros(len(lengths) + 1, dtype=torch.double), [0] * (len(lengths) + 1)
    for end in range(1, len(lengths) + 1):
        tokens = least[:end] + start + torch.arange(end, 0, -1) * ordered[end - 1]
        first[end] = int(tokens.argmin())
        least[end] = tokens.min()
    groups, end = [], len(lengths)
    while end:
        groups.append(by_length[first[end] : end].sort().values)
        end = first[end]
    return groups[::-1]


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
