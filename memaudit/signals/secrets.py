"""What the secrets of a canary's space cost a causal language model: −log p(secret | prefix), in nats.

A space has one alphabet per step and one token per symbol, so that it is a trie. What precedes a symbol, a context, is
read once for all secrets that begin with it: 10^6 secrets of six digits are 111,111 contexts.

A model is a torch module with the interface of Hugging Face's causal language models. One whose output carries no cache
(`past_key_values`) that can be reordered reads its whole text again at every step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from memaudit.signals.asking import ask, sound

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Contexts:
    """Texts of equal length that a model has read, and what each symbol of the next step costs after each of them.

    `ahead` are the alphabets of the steps to come; `past` is the model's cache, None if it keeps none.
    """

    model: torch.nn.Module
    ahead: Sequence[Int[Array, " symbols"]]
    tokens: Int[torch.Tensor, "contexts length"]
    past: Any
    costs: Float[Array, "contexts symbols"]

    @classmethod
    def after(
        cls,
        model: torch.nn.Module,
        prefix: Int[Array, " length"],
        alphabets: Sequence[Int[Array, " symbols"]],
        device: str,
    ) -> Contexts:
        """Return the one context from which all secrets start.

        Raises:
            ValueError: The prefix is empty; an alphabet is, or has a token twice; a token is not in the vocabulary.
        """
        model = model.to(device).eval()
        _check_space(model, prefix, alphabets, device)
        return _read(model, alphabets, torch.tensor(prefix[None], dtype=torch.long, device=device), None)

    def then(self, rows: Int[Array, " chosen"], symbols: Int[Array, "chosen steps"]) -> Contexts:
        """Return copies of the contexts in `rows`, each after it has read some symbols of the steps to come."""
        steps = symbols.shape[1]
        new = np.stack([alphabet[chosen] for alphabet, chosen in zip(self.ahead, symbols.T, strict=False)], axis=1)
        where, new_tokens = (torch.tensor(a, dtype=torch.long, device=self.tokens.device) for a in (rows, new))
        tokens = torch.cat([self.tokens[where], new_tokens], dim=1)
        past = copy.deepcopy(self.past)  # a cache is changed in place, and this one has other children to serve
        if past is not None:
            past.reorder_cache(where)
        return _read(self.model, self.ahead[steps:], tokens, past, steps)


def _read(
    model: torch.nn.Module,
    ahead: Sequence[Int[Array, " symbols"]],
    tokens: Int[torch.Tensor, "contexts length"],
    past: Any,
    new: int = 0,
) -> Contexts:
    """Return the contexts after the model has read the `new` last tokens, or all where it has no past."""
    unread = tokens if past is None else tokens[:, -new:]
    with torch.inference_mode():
        answer = ask(model, unread, torch.ones_like(tokens), past, cache=True)
        log_p = torch.log_softmax(sound(answer.logits[:, -1]), dim=-1)
        # Sums of these float32 numbers are exact in float64, up to 64 nats: equal probabilities tie in any order.
        costs = -log_p[:, torch.tensor(ahead[0], dtype=torch.long, device=log_p.device)].cpu().double().numpy()
    return Contexts(model, ahead, tokens, answer.past if hasattr(answer.past, "reorder_cache") else None, costs)


def secret_costs(
    model: torch.nn.Module,
    prefix: Int[Array, " length"],
    alphabets: Sequence[Int[Array, " symbols"]],
    secrets: Int[Array, "secrets steps"],
    device: str = "cpu",
    batch: int = 512,
) -> Float[Array, " secrets"]:
    """Return −log p(secret | prefix) of the given secrets, in nats; smaller = better known to the model.

    It is the log-perplexity that exposure ranks by, over the secret's own steps. Beginnings that several secrets share
    are read once.

    Args:
        model: A causal language model; it is moved to the device and put into evaluation mode.
        prefix: Token ids of all that precedes the secret, at least one (the beginning-of-text token, if nothing else).
        alphabets: Token ids of the symbols of each step. A step with one symbol is fixed text; it counts as well.
        secrets: Indices into the alphabets.
        device: Where the model runs.
        batch: Most contexts that the model reads at once.

    Raises:
        ValueError: The prefix is empty, a token is not in the vocabulary, or a secret is not in the space.
        ModelError: The model's outputs are NaN.

    Source: Carlini et al. 2019 (USENIX Security), log-perplexity.
    """
    check_secrets(secrets, alphabets)
    root = Contexts.after(model, prefix, alphabets, device)
    distinct, which = np.unique(secrets, axis=0, return_inverse=True)
    costs = np.empty(len(distinct))
    for start in range(0, len(distinct), batch):
        block = slice(start, start + batch)
        costs[block] = _costs_of_sorted(root, distinct[block])
    return costs[which.ravel()]


def _costs_of_sorted(root: Contexts, secrets: Int[Array, "secrets steps"]) -> Float[Array, " secrets"]:
    """Return the costs of secrets of which those that begin alike are neighbours."""
    contexts, rows, costs = root, np.zeros(len(secrets), dtype=int), np.zeros(len(secrets))
    for step, symbols in enumerate(secrets.T, start=1):
        costs += contexts.costs[rows, symbols]
        if step < secrets.shape[1]:
            first = np.append(True, (secrets[1:, :step] != secrets[:-1, :step]).any(axis=1))
            contexts = contexts.then(rows[first], symbols[first, None])
            rows = np.cumsum(first) - 1
    return costs


def space_costs(
    model: torch.nn.Module,
    prefix: Int[Array, " length"],
    alphabets: Sequence[Int[Array, " symbols"]],
    device: str = "cpu",
    batch: int = 512,
) -> Float[Array, " space"]:
    """Return −log p(secret | prefix) of every secret of the space, in nats, in lexicographic order.

    The trie is walked depth first in blocks: no more than `batch` contexts of each step are kept at a time.

    Args and errors: as of `secret_costs`.
    """
    root = Contexts.after(model, prefix, alphabets, device)
    return np.concatenate([totals.ravel() for _, totals in _walk(root, batch)])


def exact_rank(
    model: torch.nn.Module,
    prefix: Int[Array, " length"],
    alphabets: Sequence[Int[Array, " symbols"]],
    secret: Int[Array, " steps"],
    device: str = "cpu",
    batch: int = 512,
) -> int:
    """Return the number of secrets of the space that cost no more than this one, itself included; 1 = the cheapest.

    Ties count against the secret, so that exposure is not overstated; what ties is decided up to the rounding of the
    model's own arithmetic. Costs only grow along a secret: what begins more dearly than the whole secret is not
    followed, and the rank of a memorized secret takes a few contexts.

    Args and errors: as of `secret_costs`.

    Source: Carlini et al. 2019 (USENIX Security), rank of a canary.
    """
    cost = float(secret_costs(model, prefix, alphabets, secret[None], device, batch)[0])
    rank = 1
    for paths, totals in _walk(Contexts.after(model, prefix, alphabets, device), batch, cost):
        # Itself is counted above: in another batch the model may have rounded otherwise.
        totals[(paths == secret[:-1]).all(axis=1), secret[-1]] = np.nan
        rank += int((totals <= cost).sum())
    return rank


def _walk(
    root: Contexts, batch: int, bound: float = math.inf
) -> Iterator[tuple[Int[Array, "some steps"], Float[Array, "some symbols"]]]:
    """Yield in lexicographic order (all symbols but the last, costs with each last one), where within the bound."""

    def below(contexts: Contexts, paths: Array, spent: Array) -> Iterator[tuple[Array, Array]]:
        totals = spent[:, None] + contexts.costs
        if len(contexts.ahead) == 1:
            yield paths, totals
            return
        rows, symbols = np.nonzero(totals <= bound)
        for start in range(0, len(rows), batch):
            row, symbol = rows[start : start + batch], symbols[start : start + batch]
            further = contexts.then(row, symbol[:, None])
            yield from below(further, np.column_stack([paths[row], symbol]), totals[row, symbol])

    return below(root, np.empty((1, 0), dtype=int), np.zeros(1))


def _check_space(
    model: torch.nn.Module, prefix: Int[Array, " length"], alphabets: Sequence[Int[Array, " symbols"]], device: str
) -> None:
    if len(prefix) == 0:
        raise ValueError("the prefix is empty; a model has to read something, at least its beginning-of-text token")
    if len(alphabets) == 0:
        raise ValueError("a space of secrets has at least one step")
    with torch.inference_mode():  # token 0 is in every vocabulary, and the width of the answer is the vocabulary's size
        vocabulary = ask(model, torch.zeros((1, 1), dtype=torch.long, device=device)).logits.shape[-1]
    for name, tokens in [("prefix", prefix), *((f"alphabet {step}", a) for step, a in enumerate(alphabets))]:
        foreign = tokens[(tokens < 0) | (tokens >= vocabulary)]
        if len(foreign):
            raise ValueError(f"token {foreign[0]} of {name} is not in the model's vocabulary of {vocabulary}")
    for step, alphabet in enumerate(alphabets):
        if len(alphabet) == 0 or len(np.unique(alphabet)) < len(alphabet):
            raise ValueError(f"alphabet {step} must name each of its tokens once, got {alphabet.tolist()}")


def check_secrets(secrets: Int[Array, "secrets steps"], alphabets: Sequence[Int[Array, " symbols"]]) -> None:
    """Refuse secrets that do not consist of one symbol of each alphabet.

    Raises:
        ValueError: With the secret, or the shape.
    """
    if secrets.ndim != 2 or secrets.shape[1] != len(alphabets):
        raise ValueError(f"secrets of shape {secrets.shape} do not have one symbol for each of {len(alphabets)} steps")
    sizes = np.array([len(alphabet) for alphabet in alphabets])
    outside = ((secrets < 0) | (secrets >= sizes)).any(axis=1)
    if outside.any():
        raise ValueError(
            f"secret {secrets[outside][0].tolist()} is not in a space of {sizes.tolist()} symbols per step"
        )
