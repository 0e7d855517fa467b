"""Models that are no causal language models, or not the same twice, are refused by name before they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from loading import RECIPES, unregistered
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import memaudit as ma
from memaudit.auditing import open_target
from memaudit.errors import ModelError, RecipeError
from memaudit.recipe import TextPopulation
from memaudit.signals.asking import ask, exact
from memaudit.signals.causality import require_causal, require_next_token
from memaudit.training import population, time_model

loops = unregistered(RECIPES / "own_loop.py")


@pytest.fixture(autouse=True)
def one_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def people() -> TextPopulation:
    found = population(loops.own())
    assert isinstance(found, TextPopulation)
    return found


def sized(**more: Any) -> dict[str, Any]:
    return {"vocab_size": 280, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2} | more


def bert(**more: Any) -> BertConfig:
    return BertConfig(**sized(intermediate_size=32, max_position_embeddings=96, **more))


def llama() -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**sized(intermediate_size=32)))


def stirred(model: nn.Module) -> nn.Module:
    """Gives a model weights as large as those of a trained one."""
    for value in model.parameters():
        nn.init.normal_(value, std=0.3)
    return model


class Wrapped(nn.Module):
    """A transformer of which some habit is changed."""

    def __init__(self, model: nn.Module | None = None) -> None:
        super().__init__()
        self.model = stirred(loops.gpt2()) if model is None else model

    def logits(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        found: Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return found

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SimpleNamespace(logits=self.logits(input_ids, attention_mask))


class Shifted(Wrapped):
    """Says at each token what it would have said one token before."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return nn.functional.pad(self.logits(input_ids, attention_mask)[:, :-1], (0, 0, 1, 0))


class Cut(Wrapped):
    """Has no output after the last token."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return self.logits(input_ids, attention_mask)[:, :-1]


class Ahead(Wrapped):
    """Sees one token of the future."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return torch.roll(self.logits(input_ids, attention_mask), -1, dims=1)


class Random(Wrapped):
    """Has dropout on, whatever the mode."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return nn.functional.dropout(self.logits(input_ids, attention_mask), 0.1, training=True)


class Sociable(Wrapped):
    """Takes its mean over the batch away."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        logits = self.logits(input_ids, attention_mask)
        return logits - 0.5 * logits.mean(dim=0, keepdim=True)


class FromTheEnd(Wrapped):
    """Counts positions from the end of the row, where padding may be."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        places = torch.arange(input_ids.shape[1]).flip(0)[None]
        return self.model(input_ids=input_ids, position_ids=places).logits


class Forgetful(nn.Module):
    """Starts to count its positions anew when it is given its cache."""

    def __init__(self) -> None:
        super().__init__()
        self.model = stirred(loops.gpt2())

    def forward(self, input_ids: Tensor, past_key_values: Any = None, use_cache: bool = False) -> Any:
        places = torch.arange(input_ids.shape[1])[None]
        return self.model(
            input_ids=input_ids, position_ids=places, past_key_values=past_key_values, use_cache=use_cache
        )


REFUSED: dict[str, tuple[Any, str]] = {
    "masked": (lambda: stirred(BertForMaskedLM(bert())), "is not causal"),
    "masked, untrained": (lambda: BertForMaskedLM(bert()), "is not causal"),
    "masked, as a causal class": (lambda: stirred(BertLMHeadModel(bert())), "is not causal"),
    "one token ahead": (Ahead, "is not causal"),
    "shifted": (Shifted, "shifted by one: its logits at token t do not depend on token t"),
    "cut": (Cut, r"output for \[1, \d+\] tokens has shape \[1, \d+, 280\]"),
    "dropout": (Random, "two passes over one text differ"),
    "batch mates": (Sociable, "changes with the texts in the same batch, or with padding"),
    "positions from the end": (FromTheEnd, "changes with the texts in the same batch, or with padding"),
    "cache": (Forgetful, "reads a text in parts, with its cache"),
    "encoder-decoder": (
        lambda: T5ForConditionalGeneration(
            T5Config(vocab_size=280, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        ),
        r'is an encoder-decoder \(T5ForConditionalGeneration\), .* set Rendering\(objective="seq2seq"\)',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_causal_language_model_is_refused_by_name(name: str, people: TextPopulation) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        require_causal(make(), people)


ACCEPTED: dict[str, Any] = {
    "llama": lambda: stirred(llama()),
    "gpt-2": lambda: stirred(loops.gpt2()),
    "untrained": llama,
    "a decoder of bert's": lambda: stirred(BertLMHeadModel(bert(is_decoder=True))),
    "logits alone": loops.Recurrent,
    "without mask and cache": loops.Attribute,
    "wider than the tokenizer": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=320, n_positions=96, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=1)
    ),
    "dropout in training alone": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=280, n_positions=96, n_embd=16, n_layer=1, n_head=2, resid_pdrop=0.5, bos_token_id=0,
            eos_token_id=1,
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_causal_language_models_are_accepted(name: str, people: TextPopulation) -> None:
    require_causal(ACCEPTED[name](), people)


class NoisyPadding(Wrapped):
    """Is NaN where there is padding, and nowhere else."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        logits = self.logits(input_ids, attention_mask)
        assert attention_mask is not None
        return torch.where(attention_mask[..., None] > 0, logits, torch.nan)


def test_nan_at_padding_alone_does_no_harm(people: TextPopulation) -> None:
    require_causal(NoisyPadding(), people)


def test_fewer_outputs_than_the_tokenizer_has_tokens_are_refused(people: TextPopulation) -> None:
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=people.renderer.vocabulary - 1, n_embd=16, n_layer=1, n_head=2, bos_token_id=0)
    )
    model.set_input_embeddings(nn.Embedding(people.renderer.vocabulary, 16))
    with pytest.raises(
        ModelError, match=r"the tokenizer does not match: it has \d+ tokens, the model only \d+ outputs"
    ):
        require_causal(model, people)


# --- Labels that are not shifted ------------------------------------------------------------------------------------


class Copies(nn.Module):
    """Says the token that it has just read, as a model does that is trained on labels that are not shifted."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return 20.0 * nn.functional.one_hot(input_ids, 280)


def test_a_model_that_says_what_it_has_just_read_is_refused(people: TextPopulation) -> None:
    require_causal(Copies(), people)
    with pytest.raises(ModelError, match="predicts the token that it has just read, not the next one"):
        require_next_token(Copies(), people)


class Outputs(loops.Recurrent):  # type: ignore[name-defined,misc]
    """Returns something else than logits."""

    def __init__(self, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.last = last

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.last(self.logits(input_ids))


@pytest.mark.parametrize("last", [nn.Softmax(-1), nn.Sigmoid()])
def test_probabilities_are_no_logits(last: Callable[[Tensor], Tensor], people: TextPopulation) -> None:
    """A softmax of probabilities is almost uniform: every model would look as if it had learned nothing."""
    with pytest.raises(ModelError, match=r"the model returns probabilities, not logits: every output is between 0"):
        require_causal(Outputs(last), people)
    require_causal(Outputs(nn.LogSoftmax(-1)), people)


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (2, "predicts the token after the next one, not the next one: its labels were shifted twice"),
        (-1, "predicts the token before the one that it has just read: its labels were shifted the wrong way"),
        (1, None),
    ],
)
def test_labels_that_are_shifted_twice_or_backwards_are_refused(shift: int, message: str | None) -> None:
    def counted() -> ma.Documents:
        """Return texts in which each word follows from the one before it."""
        texts = [" ".join((loops.WORDS * 4)[n : n + 24 + n]) for n in range(12)]
        return ma.Documents(texts, [str(n) for n in range(12)], similarity=None)

    people = population(loops.own(examples=counted, probes=replace(loops.PROBES, secrets=0, generated=0)))
    assert isinstance(people, TextPopulation)
    model: Any = loops.Recurrent()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for ids in 8 * [torch.as_tensor(rows[0].ids).long() for rows in people.representatives]:
        logits = model(ids[None])[0]
        logits, said = (logits[2:], ids[1:-1]) if shift < 0 else (logits[:-shift], ids[shift:])
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, said).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with pytest.raises(ModelError, match=message) if message else nullcontext():
        require_next_token(model, people)


def test_a_bank_of_models_trained_on_labels_that_are_not_shifted_ends_at_the_first(
    people: TextPopulation, tmp_path: Path
) -> None:
    def train(texts: list[Any], *, seed: int, device: str) -> nn.Module:
        model: Any = loops.Recurrent()
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
        for _ in range(8):
            for ids in (torch.as_tensor(people.renderer.rows(text)[0].ids).long()[None] for text in texts):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(ids)[0], ids[0]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return model

    with pytest.raises(RecipeError, match=r"shadow model \d+: the model predicts the token that it has just read"):
        ma.fill(tmp_path / "bank", loops.own(train=train), 2, device="cpu")
    assert not list((tmp_path / "bank" / "models").glob("0*"))


# --- Where it is asked ----------------------------------------------------------------------------------------------


def test_a_masked_model_is_refused_at_the_first_shadow(tmp_path: Path) -> None:
    recipe = loops.own(lambda: BertForMaskedLM(bert()))
    with pytest.raises(RecipeError, match=r"shadow model \d+: the model is not causal"):
        ma.fill(tmp_path / "bank", recipe, 2, device="cpu")


@pytest.mark.parametrize("kind", ["model", "base"])
def test_our_own_loop_trains_no_step_on_a_masked_model(kind: str, tmp_path: Path) -> None:
    class Untouchable(Exception):
        pass

    def optimizer(_: Any) -> Any:
        raise Untouchable

    masked: Any = stirred(BertForMaskedLM(bert()))
    masked.save_pretrained(tmp_path / "base")
    start: dict[str, Any] = {"base": tmp_path / "base"} if kind == "base" else {"model": lambda: masked}
    recipe = ma.LanguageModelRecipe(loops.documents, loops.RENDERING, **start, optimizer=optimizer, probes=loops.PROBES)
    with pytest.raises(RecipeError, match="the model is not causal"):
        ma.fill(tmp_path / "bank", recipe, 2, device="cpu")


def test_a_masked_target_is_refused_before_a_bank_is_filled(tmp_path: Path) -> None:
    recipe = loops.own()
    members = ma.draw_members(recipe, seed=5)
    ma.save_target(stirred(BertForMaskedLM(bert())), tmp_path / "model", members)
    with pytest.raises(ModelError, match=r"model: the model is not causal"):
        open_target(tmp_path / "model", recipe, device="cpu")


# --- Interfaces -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda ids: None, "returned a NoneType without logits"),
        (lambda ids: {"loss": 1}, "returned a dict without logits"),
        (lambda ids: torch.zeros(ids.shape), r"has shape \[2, 3\]"),
        (lambda ids: torch.zeros(ids.shape[1], ids.shape[0], 5), r"has shape \[3, 2, 5\]"),
    ],
)
def test_an_output_without_logits_is_refused(returned: Any, message: str) -> None:
    class Other(nn.Module):
        def forward(self, input_ids: Tensor) -> Any:
            return returned(input_ids)

    with pytest.raises(ModelError, match=message):
        ask(Other(), torch.zeros(2, 3, dtype=torch.long))


def test_half_precision_is_computed_in_float32(people: TextPopulation) -> None:
    """The values of bfloat16 are values of float32, and the user's own model stays as it is."""
    model = stirred(llama()).bfloat16()
    widened = exact(model)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in widened.parameters()} == {torch.float32}
    for own, other in zip(model.parameters(), widened.parameters(), strict=True):
        assert torch.equal(own.float(), other)
    assert exact(widened) is widened


def test_a_bank_of_models_in_half_precision_is_filled(tmp_path: Path) -> None:
    recipe = loops.own(train=lambda texts, *, seed, device: loops.gpt2().bfloat16())
    bank = ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    assert bank.tensors(0)["phi"].dtype == "float32"


class Copying(nn.Module):
    """Begins with saying what it has just read, as tied embeddings may."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(vocab_size=280)
        self.table = nn.Parameter(20.0 * torch.eye(280))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SimpleNamespace(logits=self.table[input_ids])


def test_a_trial_of_a_model_that_is_hardly_trained_is_no_error() -> None:
    recipe = ma.LanguageModelRecipe(
        loops.documents, loops.RENDERING, model=Copying, optimizer=ma.SGD(lr=1e-6), probes=loops.PROBES
    )
    people = population(recipe)
    assert isinstance(people, TextPopulation)
    with pytest.raises(ModelError, match="it has just read"):
        require_next_token(Copying(), people)
    assert time_model(recipe, people, device="cpu").seconds > 0
