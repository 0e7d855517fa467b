"""A causal language model that writes: greedily, or by sampling that does not depend on how texts are batched.

Prompts of equal length are batched together: there is no padding, and so nothing that a pad token could do. Nothing
stops a text early, and no token is penalised: EOS is a token like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from memaudit.errors import EvidenceError, ModelError
from memaudit.signals.asking import ask, sound
from memaudit.tokens import TOP_K

Array = np.ndarray
Choose = Callable[[Tensor, int, Array], Tensor]  # logits, step and numbers of the texts to the next tokens

_PROMPTS, _TOKENS = 0, 1  # independent streams drawn from one seed


class Sampler(Protocol):
    """How the next token is drawn."""

    def shaped(self, logits: Tensor, step: int) -> Tensor:
        """Return the logits to sample from, given the model's and how many tokens have been generated."""
        ...


@dataclass(frozen=True, slots=True)
class TopN:
    """Samples from the n likeliest tokens.

    Source: Carlini et al. 2021 (USENIX Security), their baseline sampler, n = 40.
    """

    n: int = TOP_K

    def shaped(self, logits: Tensor, step: int) -> Tensor:
        """Return the logits with all but the n largest at −inf."""
        best = logits.topk(min(self.n, logits.shape[1]), dim=1)
        return torch.full_like(logits, -torch.inf).scatter(1, best.indices, best.values)


@dataclass(frozen=True, slots=True)
class Decaying:
    """Samples from all tokens, at a temperature that falls from `start` to `end` over the first `tokens` tokens.

    Source: Carlini et al. 2021 (USENIX Security), sampling with a decaying temperature: 10 to 1 over 20 tokens; the
    fall is taken to be linear.
    """

    start: float = 10.0
    end: float = 1.0
    tokens: int = 20

    def shaped(self, logits: Tensor, step: int) -> Tensor:
        """Return the logits over the temperature of this step."""
        return logits / (self.start + (self.end - self.start) * min(step / self.tokens, 1.0))


@dataclass(frozen=True, slots=True)
class Prompted:
    """Samples like `sampler` after prompts of 5 to 10 tokens, drawn anywhere from texts.

    The texts should be such as an adversary has. If they are training texts, the attacker was given the
    prompts and did not find them.

    Source: Carlini et al. 2021 (USENIX Security), conditioning on text from the Internet.
    """

    texts: Sequence[Int[Array, " _"]]
    shortest: int = 5
    longest: int = 10
    sampler: Sampler = TopN()

    def shaped(self, logits: Tensor, step: int) -> Tensor:
        """Return what the sampler makes of the logits."""
        return self.sampler.shaped(logits, step)

    def prompts(self, count: int, seed: int) -> list[Int[Array, " _"]]:
        """Return prompts; the i-th depends on the seed and i alone.

        Raises:
            EvidenceError: No text is long enough.
        """
        texts = [text for text in self.texts if len(text) >= self.shortest]
        if not texts:
            raise EvidenceError(f"none of {len(self.texts)} texts has {self.shortest} tokens for a prompt; give others")
        prompts = []
        for i in range(count):
            random = _stream(seed, _PROMPTS, i)
            text = texts[random.integers(len(texts))]
            length = random.integers(self.shortest, min(self.longest, len(text)), endpoint=True)
            start = random.integers(len(text) - length, endpoint=True)
            prompts.append(text[start : start + length])
        return prompts


@dataclass(frozen=True, slots=True)
class Generated:
    """Prompts, with BOS where there is one, and the tokens that the model wrote after each."""

    prompts: list[Int[Array, " _"]]
    texts: list[Int[Array, " _"]]


def greedy_continuations(
    model: torch.nn.Module, prefixes: Sequence[Int[Array, " _"]], length: int, device: str = "cpu", batch: int = 64
) -> list[Int[Array, " _"]]:
    """Return the `length` tokens that greedy decoding writes after each prefix, of ties the token of lowest number.

    Args:
        model: A causal language model of the transformers library, or anything called and answering as one.
        prefixes: Token ids, BOS included where the model was trained with one; never text.
        length: How many tokens to write.
        device: Where the model is run.
        batch: Texts at a time; only float32 rounding depends on it.

    Raises:
        ModelError: The model's weights are in half precision, where near ties are decided by batch mates; or its output
            is NaN or infinite.
        ValueError: A prefix is empty.
    """
    narrow = {str(p.dtype) for p in model.parameters() if p.is_floating_point() and p.itemsize < 4}
    if narrow:
        raise ModelError(f"greedy decoding of a model in {', '.join(narrow)} is not exact; call model.float() first")
    return _decode(model, prefixes, length, lambda logits, step, texts: logits.argmax(dim=1), device, batch)


def generate(
    model: torch.nn.Module,
    count: int,
    length: int,
    sampler: Sampler,
    seed: int = 0,
    device: str = "cpu",
    batch: int = 64,
    bos: int | None = None,
    prompts: Sequence[Int[Array, " _"]] | None = None,
) -> Generated:
    """Return `count` texts of `length` sampled tokens; the i-th depends on the seed and i alone, up to rounding.

    Each token is the inverse of the distribution function at a random number that belongs to its text and step.

    Args:
        model: A causal language model of the transformers library, or anything called and answering as one.
        count: How many texts.
        length: Generated tokens of each.
        sampler: Such as `TopN(40)`, `Decaying()` or `Prompted(texts)`.
        seed: Of prompts and tokens.
        device: Where the model is run.
        batch: Texts at a time.
        bos: The token before every prompt; None if the model was trained without one.
        prompts: Prompts to use as they are, one for each text, instead of `bos` and what the sampler draws.

    Raises:
        ModelError: The model's output is NaN or infinite.
        ValueError: There is neither a BOS token nor a prompt to begin with, or not one prompt for each text.
    """
    if prompts is None:
        drawn = sampler.prompts(count, seed) if isinstance(sampler, Prompted) else [np.empty(0, np.int64)] * count
        prompts = [prompt if bos is None else np.append(bos, prompt) for prompt in drawn]
    if len(prompts) != count:
        raise ValueError(f"{len(prompts)} prompts for {count} texts")
    uniforms = [_stream(seed, _TOKENS, i).random(length) for i in range(count)]

    def choose(logits: Tensor, step: int, texts: Array) -> Tensor:
        p = sampler.shaped(logits, step).double().softmax(dim=1).cumsum(dim=1)
        u = torch.tensor([[uniforms[i][step]] for i in texts], dtype=p.dtype, device=p.device)
        return torch.searchsorted(p, u * p[:, -1:], right=True)[:, 0].clamp(max=p.shape[1] - 1)

    return Generated(list(prompts), _decode(model, prompts, length, choose, device, batch))


def _stream(seed: int, purpose: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, index)))


@torch.inference_mode()
def _decode(
    model: torch.nn.Module, prompts: Sequence[Array], length: int, choose: Choose, device: str, batch: int
) -> list[Array]:
    if not all(len(prompt) for prompt in prompts):
        raise ValueError("a prompt is empty: there is nothing for the model to continue; give a BOS token")
    model = model.to(device).eval()
    found: list[Array] = [np.empty(0, np.int64)] * len(prompts)
    for texts in _groups(prompts, batch):
        ids = torch.as_tensor(np.stack([prompts[i] for i in texts]), dtype=torch.long, device=device)
        prompt, cache = ids.shape[1], None
        for step in range(length):
            logits, cache = _next(model, ids, cache)
            ids = torch.cat([ids, choose(logits, step, texts)[:, None]], dim=1)
        for i, written in zip(texts, ids[:, prompt:].cpu().numpy(), strict=True):
            found[i] = written
    return found


def _groups(prompts: Sequence[Array], batch: int) -> Iterator[Array]:
    """Yield the numbers of prompts of equal length, at most `batch` at a time."""
    lengths = np.array([len(prompt) for prompt in prompts])
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        yield from (same[start : start + batch] for start in range(0, len(same), batch))


def _next(model: torch.nn.Module, ids: Tensor, past: Any) -> tuple[Tensor, Any]:
    """Return the logits of the next token, and the cache if the model keeps one."""
    answer = ask(model, ids if past is None else ids[:, -1:], torch.ones_like(ids), past, cache=True)
    return sound(answer.logits[:, -1]), answer.past
