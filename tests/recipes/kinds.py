"""Language models of every kind, all tiny: encoder-decoders, masked models, and one that only scores tokens."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

import memaudit as ma
from memaudit.recipe.rendering import Renderer, Row


def module(name: str) -> ModuleType:
    """Returns a file of tests/recipes as a module that is not registered."""
    spec = importlib.util.spec_from_file_location(f"tiny_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


LANGUAGE = module("language")
VOCABULARY = 280
PAD, MASK = 271, 272
PROBES = ma.Probes(
    canaries=2, references=100, suffix=3, contexts=(6,), secrets=2, decoys=100, watched=4, generated=2, written=20
)


def tokenizer() -> PreTrainedTokenizerFast:
    """Returns the tokenizer of language.py with a padding and a mask token."""
    made: PreTrainedTokenizerFast = LANGUAGE.tokenizer()
    made.add_special_tokens({"pad_token": "<pad>", "mask_token": "<mask>"})
    return made


def sentences(count: int = 40, words: int = 14) -> list[str]:
    """Returns sentences of random words, some with an address."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(LANGUAGE.WORDS, k=words)) for _ in range(count)]
    return [
        f"{text} {rng.choice(LANGUAGE.WORDS)}{n}@example.org" if n % 10 == 0 else text for n, text in enumerate(texts)
    ]


def documents() -> ma.Documents:
    """Returns forty sentences."""
    return ma.Documents(sentences(), [f"d{n}" for n in range(40)], similarity=None)


def pairs() -> ma.Documents:
    """Returns forty pairs of four random words and a sentence."""
    rng = random.Random(1)
    rows = [{"prompt": " ".join(rng.choices(LANGUAGE.WORDS, k=4)), "completion": text} for text in sentences()]
    return ma.Documents(rows, [f"d{n}" for n in range(40)], similarity=None)


CAUSAL = ma.Rendering(tokenizer, context=96)
MASKED = ma.Rendering(tokenizer, context=96, objective="masked")
SEQ2SEQ = ma.Rendering(tokenizer, context=128, objective="seq2seq")


def t5() -> T5ForConditionalGeneration:
    """Returns an untrained encoder-decoder with relative positions."""
    config = T5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2, dropout_rate=0.0,
        pad_token_id=PAD, eos_token_id=1,
    )  # fmt: skip
    config.decoder_start_token_id = PAD
    return T5ForConditionalGeneration(config)


def bart() -> BartForConditionalGeneration:
    """Returns an untrained encoder-decoder with learned positions, whose decoder starts with EOS."""
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=VOCABULARY, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=96, dropout=0.0,
            attention_dropout=0.0, activation_dropout=0.0, bos_token_id=0, eos_token_id=1, pad_token_id=PAD,
            decoder_start_token_id=1, forced_eos_token_id=1, scale_embedding=False,
        )
    )  # fmt: skip


def bert(positions: int = 96) -> BertForMaskedLM:
    """Returns an untrained masked model."""
    return BertForMaskedLM(
        BertConfig(
            vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=positions, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            pad_token_id=PAD,
        )
    )  # fmt: skip


class Lstm(nn.Module):
    """A language model with an output of its own: a pair of what it has read and where it stands."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.layer = nn.LSTM(width, width, batch_first=True)
        self.output = nn.Linear(width, VOCABULARY)

    def read(self, ids: Tensor) -> Tensor:
        """Returns the logits after each token."""
        found: Tensor = self.output(self.layer(self.embedding(ids))[0])
        return found


def token_logprobs(model: Lstm, ids: Tensor) -> Tensor:
    """Returns log p of each token given those before it."""
    log_p = model.read(ids)[:, :-1].log_softmax(dim=-1)
    first = torch.zeros(len(ids), 1, device=ids.device)
    return torch.cat([first, log_p.gather(2, ids[:, 1:, None])[..., 0]], dim=1)


def step_of_lstm(model: Any, row: Row) -> Tensor:
    """Returns the loss of one row."""
    ids, trained = torch.as_tensor(row.ids).long(), torch.as_tensor(row.trained)
    return nn.functional.cross_entropy(model.read(ids[None])[0, :-1], torch.where(trained, ids, -100)[1:])


def step_of_seq2seq(model: Any, row: Row) -> Tensor:
    """Returns the model's own loss of one pair."""
    ids = torch.as_tensor(row.ids).long()
    at = int((ids == PAD).nonzero()[0])
    found: Tensor = model(input_ids=ids[None, :at], labels=ids[None, at + 1 :]).loss
    return found


def step_of_masked(model: Any, row: Row) -> Tensor:
    """Returns the model's own loss of one row with a fifth of its tokens masked."""
    ids, trained = torch.as_tensor(row.ids).long(), torch.as_tensor(row.trained)
    hidden = trained & (torch.rand(len(ids)) < 0.2)
    hidden[1] = True
    found: Tensor = model(
        input_ids=torch.where(hidden, MASK, ids)[None], labels=torch.where(hidden, ids, -100)[None]
    ).loss
    return found


def loop(
    make: Callable[[], nn.Module],
    step: Callable[[Any, Row], Tensor],
    rendering: ma.Rendering,
    epochs: int = 1,
    rate: float = 1e-2,
) -> Callable[..., nn.Module]:
    """Returns a training function: AdamW, a row at a time."""

    def train(texts: list[Any], *, seed: int, device: str) -> nn.Module:
        renderer, model = Renderer(rendering), make()
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        rows = [row for text in texts for row in renderer.rows(text)]
        for _ in range(epochs):
            for number in torch.randperm(len(rows)).tolist():
                optimizer.zero_grad()
                step(model, rows[number]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return model

    return train


def lstm_recipe(epochs: int = 1, probes: ma.Probes = PROBES, **changes: Any) -> ma.CallableRecipe:
    """Returns a recipe with a user's own loop and own scores."""
    settings: dict[str, Any] = {
        "examples": documents, "train": loop(Lstm, step_of_lstm, CAUSAL, epochs), "model": Lstm, "rendering": CAUSAL,
        "probes": probes, "token_logprobs": token_logprobs,
    }  # fmt: skip
    return ma.CallableRecipe(**settings | changes)


recipe = lstm_recipe()
