"""What does it cost to look at a model while it trains?

    OMP_NUM_THREADS=1 python -m benchmarks.observing

A model of a bank is trained on half of the examples and measured, without looks and with a look after every epoch; the
looks take all examples, and the last one is a part of measuring. CPU time of one thread, the median of the differences
of interleaved runs, so that other load hardly counts. The default looks are few, and cost as much as so many of these.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import memaudit as ma
from memaudit.recipe.observe import Also
from memaudit.training.model import Workshop

EPOCHS, RUNS, WORDS = 25, 7, 200


def examples(shape: tuple[int, ...], count: int, classes: int) -> ma.Examples:
    """Return noise."""
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(count, *shape)).astype(np.float32), rng.integers(0, classes, count))


def mlp() -> nn.Module:
    """Return a network for a table, as of the Location-30 data."""
    return nn.Sequential(nn.Linear(446, 128), nn.ReLU(), nn.Linear(128, 30))


def cnn() -> nn.Module:
    """Return a small network for small grey pictures."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip


def documents() -> ma.Documents:
    """Return texts of forty words that are drawn at random."""
    rng = np.random.default_rng(0)
    return ma.Documents([" ".join(f"w{w}" for w in rng.integers(0, WORDS, 40)) for _ in range(300)], similarity=None)


def tokenizer() -> Any:
    """Return one token for each word."""
    special = ["<s>", "</s>", "<pad>", "<unk>"]
    words = {word: n for n, word in enumerate([*special, *(f"w{n}" for n in range(WORDS))])}
    made = Tokenizer(WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    names = dict(zip(("bos_token", "eos_token", "pad_token", "unk_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)  # type: ignore[no-untyped-call]


def llama() -> nn.Module:
    """Return a small causal language model."""
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    return LlamaForCausalLM(LlamaConfig(vocab_size=WORDS + 4, max_position_embeddings=64, **sizes))


RECIPES: dict[str, Any] = {
    "MLP, 5,010 × 446": ma.ClassifierRecipe(
        partial(examples, (446,), 5010, 30), mlp, EPOCHS, 100, ma.SGD(lr=0.1, momentum=0.9)
    ),
    "CNN, 1,000 × 28 × 28": ma.ClassifierRecipe(
        partial(examples, (1, 28, 28), 1000, 10), cnn, EPOCHS, 100, ma.SGD(lr=0.1, momentum=0.9)
    ),
    "Llama, 300 texts of 40 tokens": ma.LanguageModelRecipe(
        documents,
        ma.Rendering(tokenizer, context=48),
        model=llama,
        epochs=EPOCHS,
        batch_size=16,
        probes=ma.Probes(canaries=0, secrets=0, watched=0),
    ),
}


def seconds(recipe: Any, wanted: ma.Observe, population: Any) -> tuple[float, float]:
    """Return the CPU time of one training with its looks, and of that with all measuring."""
    shop = Workshop(replace(recipe, observe=wanted), population, 0, "cpu")
    counts = shop.counts(0)
    started = time.process_time()
    trained, _, observer = shop.produce(0, counts, 0)
    after = time.process_time() - started
    shop.measured_with_looks(trained, observer)
    return after, time.process_time() - started


def compared(recipe: Any, looks: dict[str, ma.Observe], runs: int) -> tuple[float, dict[str, float]]:
    """Return the median CPU time of a training without looks, and what each kind of looks adds to it as a share."""
    from memaudit.training import population

    people = population(recipe)
    seconds(replace(recipe, epochs=1), ma.Observe("every epoch"), people)  # what is first loads libraries
    alone, added = [], {name: list[float]() for name in looks}
    for _ in range(runs):
        training, without = seconds(recipe, ma.Observe(0), people)
        alone.append(training)
        for name, wanted in looks.items():
            added[name].append(seconds(recipe, wanted, people)[1] - without)
    median = float(np.median(alone))
    return median, {name: float(np.median(values)) / median for name, values in added.items()}


def main() -> None:
    """Print the cost of a look in epochs, of the default in percent of training, and of what is on request."""
    torch.set_num_threads(1)
    print(
        "| recipe | training, s | a look, in epochs | default looks | their cost |", "|---|---|---|---|---|", sep="\n"
    )
    for name, recipe in RECIPES.items():
        training, cost = compared(recipe, {"all": ma.Observe("every epoch")}, RUNS)
        each = cost["all"] * EPOCHS / (EPOCHS - 1)  # the last look is free
        count = ma.Observe().looks(EPOCHS)
        added = each * (count - 1) / EPOCHS
        print(f"| {name}, {EPOCHS} epochs | {training:.2f} | {each:.2f} | {count} | {100 * added:.1f} % |", flush=True)
    print("\n| on request | a look, in epochs: MLP | CNN |", "|---|---|---|", sep="\n")
    measured: list[Callable[[Also], float]] = [partial(on_request, recipe) for recipe in list(RECIPES.values())[:2]]
    for also in get_args(Also):
        print(f"| {also} | {' | '.join(f'{cost(also):.1f}' for cost in measured)} |")


def on_request(recipe: Any, also: Also) -> float:
    """Return what one look with one more measure costs, in epochs of training."""
    _, cost = compared(replace(recipe, epochs=4), {"one": ma.Observe(1, also=(also,))}, 1)
    return cost["one"] * 4


if __name__ == "__main__":
    main()
