"""What a language model is asked twice, and what a user's own loop may do to its texts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import memaudit as ma
from memaudit.errors import ModelError
from memaudit.recipe import CallableRecipe, Documents, LanguageModelRecipe, TextPopulation, load_recipe
from memaudit.signals import measure
from memaudit.training import population
from memaudit.training.model import Workshop


@pytest.fixture(scope="module")
def tiny() -> Iterator[LanguageModelRecipe]:
    path = list(sys.path)
    found = load_recipe(str(Path(__file__).parent / "recipes" / "language.py"))
    assert isinstance(found, LanguageModelRecipe)
    yield found
    sys.path[:] = path
    del sys.modules["language"]


def llama(dropout: float) -> LlamaForCausalLM:
    torch.manual_seed(0)
    size: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    return LlamaForCausalLM(LlamaConfig(vocab_size=280, attention_dropout=dropout, **size))


def into_training(module: torch.nn.Module, _: Any) -> None:
    module.train()


def test_a_language_model_whose_dropout_stays_on_is_random(tiny: LanguageModelRecipe) -> None:
    people = population(tiny)
    measure(llama(0.5), people)
    model = llama(0.5)
    model.register_forward_pre_hook(into_training)
    with pytest.raises(ModelError, match="two passes over one text differ: dropout"):
        measure(model, people)


def test_texts_that_a_loop_rewrites_are_copies(tiny: LanguageModelRecipe) -> None:
    """Texts are strings, but conversations are lists and dicts."""

    def chats() -> Documents:
        talk = [[{"role": "user", "content": f"amber basil {n}"}, {"role": "assistant", "content": "cedar dusk"}]
                for n in range(20)]  # fmt: skip
        return Documents([{"messages": messages} for messages in talk], similarity=None)

    def loop(texts: list[Any], *, seed: int, device: str) -> Any:
        for text in texts:
            text["messages"][0]["content"] = "gone"
        return llama(0.0)

    def templated() -> Any:
        tokenizer: Any = tiny.rendering.tokenizer
        tokenizer = tokenizer() if callable(tokenizer) else tokenizer
        tokenizer.chat_template = (
            "{% for m in messages %}{% generation %}{{ m['content'] }} {% endgeneration %}{% endfor %}"
        )
        return tokenizer

    recipe = CallableRecipe(
        chats, loop, rendering=ma.Rendering(templated, context=96), probes=ma.Probes(canaries=0, secrets=0)
    )
    people = population(recipe)
    assert isinstance(people, TextPopulation)
    before = [str(text) for text in people.documents.texts]
    Workshop(recipe, people, 0, "cpu").train(np.ones(20, np.uint8), 0)
    assert [str(text) for text in people.documents.texts] == before
