"""The recipes of benchmarks/memorization_truth.py: a file of their own, so that the benchmark can change.

Each takes the folder of the data (see benchmarks/banks.py) and when the models are looked at. All fit their training
sets nearly perfectly, as those of the papers do. No two examples are alike, so that each is a unit.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import memaudit as ma
from benchmarks import banks, location30_recipe


def location(path: str) -> ma.Examples:
    """Return 2,000 different rows of Location-30, drawn at random."""
    whole = location30_recipe.examples(path)
    _, first = np.unique(whole.x, axis=0, return_index=True)
    rows = np.random.default_rng(0).permutation(np.sort(first))[:2000]
    return ma.Examples(whole.x[rows], whole.y[rows])


def location30(data: Path, observe: ma.Observe) -> ma.ClassifierRecipe:
    """Return an MLP on 2,000 binary vectors, 30 classes."""
    return ma.ClassifierRecipe(
        partial(location, str(data / "location30" / "dataset_location.tgz")),
        location30_recipe.model,
        epochs=20,
        batch_size=100,
        optimizer=ma.SGD(lr=0.2, momentum=0.9, weight_decay=1e-4),
        schedule="cosine",
        observe=observe,
    )


def images(folder: Path) -> ma.Examples:
    """Return the first 1,500 training images, averaged 2×2 to 196 inputs and standardized."""
    whole = banks.small_fashion(folder)
    return ma.Examples((whole.x[:1500] - 0.286) / 0.35, whole.y[:1500])


def fashion(data: Path, observe: ma.Observe) -> ma.ClassifierRecipe:
    """Return an MLP on 1,500 images of Fashion-MNIST, 10 classes."""
    return ma.ClassifierRecipe(
        partial(images, data / "fashion-mnist"),
        banks.mlp,
        epochs=40,
        batch_size=100,
        optimizer=ma.SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule="cosine",
        observe=observe,
    )


def texts(folder: Path) -> ma.Documents:
    """Return 200 texts of 10 words that start like others and end like none.

    Each starts with 0 to 9 words, in equal numbers, of one of 10 phrases. The words after them are drawn at random
    from the words of 17 books. So the texts differ widely in how much of them only their own copy can teach.
    """
    rng = np.random.default_rng(0)
    words = [word for text in banks.paragraphs(folder).texts for word in str(text).split() if word.isalpha()]
    drawn = rng.choice(words, size=(10 + 200, 10))
    return ma.Documents(
        [" ".join([*drawn[text % 10][: text // 20], *drawn[10 + text][text // 20 :]]) for text in range(200)],
        similarity=None,
    )


def transformer() -> nn.Module:
    """Return an untrained transformer of one layer, 0.1 million parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1000, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4,
            tie_word_embeddings=True,
        )
    )  # fmt: skip


def language(data: Path, observe: ma.Observe) -> ma.LanguageModelRecipe:
    """Return a transformer that is trained from scratch on 200 texts of 10 words."""
    return ma.LanguageModelRecipe(
        partial(texts, data / "gutenberg"),
        ma.Rendering(partial(banks.tokenizer, data / "gutenberg"), context=64),
        model=transformer,
        epochs=24,
        batch_size=20,
        optimizer=ma.AdamW(lr=1e-2),
        schedule="cosine",
        probes=ma.Probes(canaries=0, suffix=8, contexts=(8,), records=1, secrets=0, watched=0, generated=0),
        observe=observe,
    )
