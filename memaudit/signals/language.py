"""A causal language model over texts: token statistics, in one forward pass and without keeping any logits.

What makes statistics of logits serves every kind of model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memaudit.errors import ModelError
from memaudit.recipe.networks import evaluated
from memaudit.recipe.rendering import Row
from memaudit.signals.asking import ask, sound
from memaudit.tokens import TOP_K, TokenStatistics

Array = np.ndarray

_NUMBERS = {"cpu": 2**21, "cuda": 2**26}  # logits alive at a time: 8 MiB stay near the cache of a core
_RULED_OUT = torch.finfo(torch.float32).min  # in place of −inf, which makes 0 · log 0 NaN
Scored: TypeAlias = Iterator[tuple[Array, Tensor, Tensor]]
"""Batch by batch: places of marked tokens among all, the logits that predict them in float32, and the tokens."""
_FIELDS = ("logp", "mean", "deviation", "gap", "rank", "normaliser")


def token_statistics(model: torch.nn.Module, texts: Sequence[Sequence[Row]], device: str = "cpu") -> TokenStatistics:
    """Return what a model says about the marked tokens of each text, each given all that precedes it in its row.

    The softmax is taken in float32 whatever the model computes in. Rows are padded on the right and masked, so that a
    text scored alone is scored as in company.

    Args:
        model: A causal language model of the transformers library, or anything called and answering as one.
        texts: For each text its rows; `trained` marks the tokens to be scored.
        device: Where the model is run.

    Raises:
        ModelError: The model has no output for some token, or its output is NaN or infinite.
    """
    return collected(texts, _scored(model, rows_of(texts), device))


def predicted(model: torch.nn.Module, texts: Sequence[Sequence[Row]], device: str = "cpu") -> Array:
    """Return the share of each text's marked tokens that are the likeliest, `[texts]`; faster than all statistics."""
    return hits(texts, _scored(model, rows_of(texts), device))


def rows_of(texts: Sequence[Sequence[Row]]) -> list[Row]:
    """Return the rows of all texts, one after another."""
    return [row for text in texts for row in text]


def counts_of(texts: Sequence[Sequence[Row]]) -> Int[Array, " texts"]:
    """Return the number of marked tokens of each text."""
    return np.array([sum(int(row.trained.sum()) for row in text) for text in texts], np.int64)


def collected(texts: Sequence[Sequence[Row]], scored: Scored) -> TokenStatistics:
    """Return the statistics of the marked tokens of each text, from the logits for them."""
    counts = counts_of(texts)
    found = {name: np.empty(int(counts.sum()), np.int32 if name == "rank" else np.float32) for name in _FIELDS}
    for at, logits, aims in scored:
        values = _statistics(torch.log_softmax(logits, dim=1), aims)
        for name, value in zip(_FIELDS, values, strict=True):
            found[name][at] = value.cpu().numpy()
    return TokenStatistics(np.concatenate([[0], np.cumsum(counts)]), **found)


def hits(texts: Sequence[Sequence[Row]], scored: Scored) -> Float[Array, " texts"]:
    """Return the share of each text's marked tokens that are the likeliest, from the logits for them."""
    counts = counts_of(texts)
    text_of = np.repeat(np.arange(len(texts)), counts)
    found = np.zeros(len(text_of))
    for at, logits, aims in scored:
        found[at] = (logits.argmax(dim=1) == aims).cpu().numpy()
    return np.asarray(np.bincount(text_of, found, len(texts)) / counts)


def _scored(model: torch.nn.Module, rows: Sequence[Row], device: str) -> Scored:
    """Yield, batch by batch, the places of the marked tokens among all, their logits in float32, and the tokens."""
    counts = np.array([int(row.trained.sum()) for row in rows], np.int64)
    ends = np.cumsum(counts)
    model = evaluated(model.to(device))
    for batch in batches(rows, most_tokens(vocabulary_of(model), device)):
        at = np.concatenate([np.arange(ends[i] - counts[i], ends[i]) for i in batch])
        yield at, *_logits(model, [rows[i] for i in batch], device)


def vocabulary_of(model: torch.nn.Module) -> int:
    """Return the number of outputs that a model's configuration states, or a usual one."""
    return int(getattr(getattr(model, "config", None), "vocab_size", 0) or 2**15)


def most_tokens(vocabulary: int, device: str) -> int:
    """Return how many tokens a batch may have, so that its logits fit."""
    return _NUMBERS.get(torch.device(device).type, _NUMBERS["cpu"]) // vocabulary


def batches(rows: Sequence[Row], most: int) -> Iterator[list[int]]:
    """Yield the numbers of rows of similar length, at least one and otherwise of at most so many tokens together."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * len(rows[i].ids) > most:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def padded(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Return token ids, attention mask and the marked tokens of rows that are padded on the right, `[rows, width]`."""
    width = max(len(row.ids) for row in rows)
    ids, attended = torch.zeros(2, len(rows), width, dtype=torch.long)
    marked = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.from_numpy(row.ids)
        attended[i, : len(row.ids)] = 1
        marked[i, : len(row.ids)] = torch.from_numpy(row.trained)
    return ids, attended, marked


@torch.inference_mode()
def _logits(model: torch.nn.Module, rows: Sequence[Row], device: str) -> tuple[Tensor, Tensor]:
    """Return the logits that predict the marked tokens, and these tokens."""
    ids, attended, marked = padded(rows)
    if marked[:, 0].any():
        raise ValueError("the first token of a row is marked, but nothing predicts it")
    logits = ask(model, ids.to(device), attended.to(device)).logits
    return usable(logits[:, :-1][marked[:, 1:].to(device)], ids[:, 1:][marked[:, 1:]].to(device))


def usable(logits: Tensor, aims: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits `[tokens, vocabulary]` in float32 and the tokens that they predict.

    Raises:
        ModelError: A logit is NaN or infinite, there is none for a token, or one rules its token out.
    """
    logits = sound(logits).clamp(min=_RULED_OUT)
    if len(aims) and int(aims.max()) >= logits.shape[1]:
        raise ModelError(f"the tokenizer has token {int(aims.max())}, the model only {logits.shape[1]} outputs")
    if (logits.gather(1, aims[:, None]) == _RULED_OUT).any():
        raise ModelError("the model rules out, with a logit of −inf, a token that its own documents contain")
    return logits, aims


def _statistics(log_p: Tensor, aims: Tensor) -> tuple[Tensor, ...]:
    own = log_p.gather(1, aims[:, None])
    p = log_p.exp()
    mean = (p * log_p).sum(dim=1)
    variance = (p.sqrt() * (log_p - mean[:, None])).square().sum(dim=1)  # finite where p is 0 and log p is immense
    rank = (log_p > own).sum(dim=1)
    best = log_p.topk(min(TOP_K, log_p.shape[1]), dim=1)
    best_other = torch.where(best.indices[:, 0] == aims, best.values[:, 1], best.values[:, 0])
    own = own[:, 0]
    return own, mean, variance.sqrt(), own - best_other, rank, best.values.logsumexp(dim=1)
