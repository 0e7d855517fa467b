"""The Secret Sharer's signature: numbers that stand a few times in a book are memorized, and a search pulls them out.

    python -m benchmarks.secret_sharer BOOK.txt [--characters 150000] [--epochs 16] [--queries 1000] [--seed N]

BOOK is any plain text of at least 300 kB, such as one of Project Gutenberg's; its beginning is used. A Llama with two
layers of 128 dimensions learns its characters from scratch. Lines such as "The number of Anna is 281265017." go into
the text, each with its own name and nine random digits (10^9 secrets), 0, 1, 4 and 16 times. After every second epoch
each number is searched for from its prefix alone, at the end with ten times as many queries. Exposure is exact where
the search settles the rank, otherwise estimated from 1,000 random numbers, which cannot show more than 10 bits.

Source of what to expect: Carlini et al. 2019 (USENIX Security).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from math import log2
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.printing import head, row
from memaudit.signals.search import Search, best_first
from memaudit.signals.secrets import secret_costs

Array = np.ndarray

NAMES = ("Anna", "Boris", "Clara", "David", "Edith", "Felix", "Greta", "Henry", "Irene", "Jacob", "Karen", "Louis")
INSERTIONS = (0, 1, 4, 16)
DIGITS, SIZE, REFERENCES = 9, 10**9, 1000
WINDOW, BATCH = 128, 16


@dataclass(frozen=True)
class Canary:
    """A number behind a prefix of its own, and how often it stands in the training text."""

    prefix: str
    secret: Int[Array, " digits"]
    insertions: int


@dataclass(frozen=True)
class Exposed:
    """What a model gives away about one canary."""

    canary: Canary
    bits: float
    search: Search


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("book", type=Path)
    parser.add_argument("--characters", type=int, default=150_000)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    torch.manual_seed(arguments.seed)
    canaries = [
        Canary(f"The number of {name} is ", rng.integers(0, 10, DIGITS), INSERTIONS[i % len(INSERTIONS)])
        for i, name in enumerate(NAMES)
    ]
    text = arguments.book.read_text("utf-8", errors="replace")[: arguments.characters]
    cut = len(text) * 9 // 10
    letters = {
        letter: i for i, letter in enumerate(sorted({*text, *"\n0123456789", *"".join(c.prefix for c in canaries)}))
    }
    train = np.array([letters[letter] for letter in planted(text[:cut], canaries, rng)])
    test = np.array([letters[letter] for letter in text[cut:]])

    print(f"{len(canaries)} canaries of {SIZE:,} secrets each, {len(train):,} characters to train on.")
    print("Cells: median exposure in bits, and how many canaries are the likeliest of all secrets and were found.\n")
    print(head("epoch", "held-out nats", *(f"{n} times" for n in INSERTIONS)))
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(letters), hidden_size=128, intermediate_size=384, num_hidden_layers=2, num_attention_heads=4
        )
    )
    for epoch, held_out in enumerate(epochs(model, train, test, arguments.epochs, rng), start=1):
        if epoch % 2 == 0:
            now = [exposed(model, canary, letters, arguments.queries, rng) for canary in canaries]
            print(row(epoch, f"{held_out:.3f}", *(dose_cell(now, n) for n in INSERTIONS)), flush=True)
    table([exposed(model, canary, letters, 10 * arguments.queries, rng) for canary in canaries])


def dose_cell(exposures: list[Exposed], insertions: int) -> str:
    same = [e for e in exposures if e.canary.insertions == insertions]
    return f"{np.median([e.bits for e in same]):.1f}; {sum(e.search.rank == 1 for e in same)} of {len(same)}"


def table(exposures: list[Exposed]) -> None:
    print("\n" + head("times", "number", "rank", "bits", "queries", "of brute force"))
    for e in sorted(exposures, key=lambda e: e.canary.insertions):
        rank = f"{e.search.rank}" if e.search.rank else f"> {e.search.rank_above}"
        fewer = f"1 in {SIZE / e.search.queries:,.0f}" if e.search.rank else "not found"
        print(row(e.canary.insertions, number(e.canary), rank, f"{e.bits:.1f}", f"{e.search.queries:,}", fewer))


def number(canary: Canary) -> str:
    return "".join(map(str, canary.secret))


def planted(text: str, canaries: list[Canary], rng: np.random.Generator) -> str:
    """Return the text with each canary on lines of its own, as often as it says, in random places."""
    lines = text.split("\n")
    new = [f"{canary.prefix}{number(canary)}." for canary in canaries for _ in range(canary.insertions)]
    for place, line in sorted(zip(rng.integers(0, len(lines), len(new)).tolist(), new, strict=True), reverse=True):
        lines.insert(place, line)
    return "\n".join(lines)


def epochs(
    model: LlamaForCausalLM,
    train: Int[Array, " length"],
    test: Int[Array, " held_out"],
    count: int,
    rng: np.random.Generator,
) -> Iterator[float]:
    """Train the model and yields the held-out loss per character after each epoch; windows start elsewhere in each."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(count):
        model.train()
        starts = rng.permutation(np.arange(rng.integers(WINDOW), len(train) - WINDOW, WINDOW))
        for batch in np.array_split(starts, len(starts) // BATCH):
            optimizer.zero_grad()
            loss(model, windows(train, batch)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.inference_mode():
            yield float(loss(model.train(False), windows(test, np.arange(0, len(test) - WINDOW, WINDOW))))


def windows(ids: Int[Array, " length"], starts: Int[Array, " windows"]) -> torch.Tensor:
    return torch.tensor(ids[starts[:, None] + np.arange(WINDOW)])


def loss(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids, labels=ids).loss


def exposed(
    model: LlamaForCausalLM, canary: Canary, letters: dict[str, int], queries: int, rng: np.random.Generator
) -> Exposed:
    """Return a canary's exposure, exact if a search of so many queries settles its rank."""
    prefix = np.array([letters[letter] for letter in "\n" + canary.prefix])
    alphabets = [np.array([letters[digit] for digit in "0123456789"])] * DIGITS
    search = best_first(model, prefix, alphabets, wanted=canary.secret, queries=queries)
    if search.rank:
        return Exposed(canary, log2(SIZE / search.rank), search)
    references = rng.integers(0, 10, (REFERENCES, DIGITS))
    own, *others = secret_costs(model, prefix, alphabets, np.vstack([canary.secret, references]))
    return Exposed(canary, log2((REFERENCES + 1) / (1 + np.sum(others <= own))), search)


if __name__ == "__main__":
    main()
