"""Users' own loops over texts, and the kinds of causal language model that they return; all tiny."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

import memaudit as ma
from memaudit.recipe.rendering import Renderer, Rendering

VOCABULARY = 280
WIDTH = 16


def module(name: str = "language") -> ModuleType:
    """Returns a file of tests/recipes as a module that is not registered."""
    spec = importlib.util.spec_from_file_location(f"tiny_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


LANGUAGE = module()
WORDS: list[str] = LANGUAGE.WORDS
RENDERING = ma.Rendering(LANGUAGE.tokenizer, context=96)
PROBES = ma.Probes(
    canaries=2, references=100, suffix=3, contexts=(6,), secrets=2, decoys=100, watched=4, generated=2, written=20
)


def documents() -> ma.Documents:
    """Returns forty sentences of random words, some with an address."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=14)) for _ in range(40)]
    return ma.Documents(
        [f"{text} {rng.choice(WORDS)}{n}@example.org" if n % 10 == 0 else text for n, text in enumerate(texts)],
        [f"d{n}" for n in range(40)],
        similarity=None,
    )


def gpt2() -> GPT2LMHeadModel:
    """Returns an untrained transformer with learned positions."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_positions=96, n_embd=WIDTH, n_layer=2, n_head=2, attn_pdrop=0.0, embd_pdrop=0.0,
            resid_pdrop=0.0, bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip


class Layers(nn.Module):
    """Tokens to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.layer = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.output = nn.Linear(WIDTH, VOCABULARY)

    def logits(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.output(self.layer(self.embedding(tokens))[0])
        return found


class Recurrent(Layers):
    """Takes tokens alone and returns the logits alone."""

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits(tokens)


class Attribute(Layers):
    """Takes a mask, and no cache."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SimpleNamespace(logits=self.logits(input_ids))


class Mapped(Layers):
    """Takes anything."""

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        return {"logits": self.logits(input_ids)}


class First(Layers):
    """Returns a tuple, as with return_dict=False."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return self.logits(input_ids), None


def logits_of(output: Any) -> Tensor:
    """Returns the logits in any of the outputs above."""
    if isinstance(output, tuple):
        output = output[0]
    elif isinstance(output, dict):
        output = output["logits"]
    found = getattr(output, "logits", output)
    assert isinstance(found, Tensor)
    return found


def loop(
    make: Callable[[], nn.Module], rendering: Rendering = RENDERING, epochs: int = 1, rate: float = 1e-2
) -> Callable[..., nn.Module]:
    """Returns a training function: AdamW on the next token, a text at a time."""

    def train(texts: list[Any], *, seed: int, device: str) -> nn.Module:
        renderer, model = Renderer(rendering), make()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
        rows = [row for text in texts for row in renderer.rows(text) if row.trained.any()]
        for _ in range(epochs):
            for number in torch.randperm(len(rows)).tolist():
                ids, trained = (torch.as_tensor(part) for part in rows[number])
                logits = logits_of(model(ids.long()[None]))[0, :-1]
                aims = torch.where(trained, ids.long(), -100)[1:]
                optimizer.zero_grad()
                nn.functional.cross_entropy(logits, aims).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return model

    return train


def own(make: Callable[[], nn.Module] = gpt2, **changes: Any) -> ma.CallableRecipe:
    """Returns a recipe with a user's own loop."""
    rendering = changes.get("rendering", RENDERING)
    train = changes.pop("train", None) or loop(make, rendering)
    return ma.CallableRecipe(
        **{"examples": documents, "train": train, "rendering": rendering, "probes": PROBES} | changes
    )


recipe = own()
