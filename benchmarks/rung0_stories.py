"""Rung 0 on a pretrained story teller of 15 million parameters: exact p-values of planted canaries, without shadows.

    python -m benchmarks.rung0_stories MODEL BOOK.txt [--documents 120] [--canaries 16] [--digits 3] [--lots 2000]

MODEL is the folder stories15m (a LlamaForCausalLM with its tokenizer), BOOK any plain text with paragraphs of 250 to
450 characters, such as Project Gutenberg's "Stories to Tell to Children". Half of the paragraphs, and about half of the
canaries at doses 1 to 16, fine-tune the model. Three things are shown:

1. what the audit without a bank says of the fine-tuned model, and how long training and audit take;
2. the same of the pretrained model, which has seen no canary;
3. the null distribution on both models: fresh lots of secrets behind the same prefixes, with the exact costs of all
   secrets of each space. The p-values of secrets that nobody planted must be uniform, or larger.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from scipy import stats

import memaudit as ma
from benchmarks.printing import head, markdown, row
from memaudit.canaries import make
from memaudit.canaries.exact import exact_p
from memaudit.recipe import TextPopulation
from memaudit.recipe.pretrained import load_folder
from memaudit.signals.secrets import space_costs
from memaudit.types import Report

Array = np.ndarray
T = TypeVar("T")

LEVELS = (0.001, 0.01, 0.05, 0.1, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("book", type=Path)
    parser.add_argument("--documents", type=int, default=120)
    parser.add_argument("--canaries", type=int, default=16)
    parser.add_argument("--digits", type=int, default=3)
    parser.add_argument("--lots", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    recipe = recipe_of(arguments)
    members = ma.draw_members(recipe, seed=arguments.seed)
    print(f"{torch.get_num_threads()} threads; {len(members)} documents and copies of canaries in training")
    with tempfile.TemporaryDirectory() as folder:
        tuned = Path(folder) / "fine-tuned"
        timed("training", lambda: ma.save_target(ma.train(recipe, members, seed=1), tuned, members))
        show(
            timed(
                "audit of the fine-tuned model", lambda: ma.audit(tuned, recipe, ledger=Path(folder) / "l.jsonl").report
            )
        )
        base = load_folder(arguments.model)
        untouched = Path(folder) / "pretrained"
        ma.save_target(base, untouched, members)
        show(
            timed(
                "audit of the pretrained model",
                lambda: ma.audit(untouched, recipe, ledger=Path(folder) / "l.jsonl").report,
            )
        )
        population = TextPopulation(recipe.documents(), recipe.rendering, recipe.probes)
        for name, model in (("pretrained", base), ("fine-tuned", load_folder(tuned))):
            null(name, timed(f"costs of all secrets, {name}", lambda: all_costs(model, population)), arguments.lots)  # noqa: B023


def recipe_of(arguments: argparse.Namespace) -> ma.LanguageModelRecipe:
    """Return the recipe of examples/stories, with the canaries and documents that were asked for."""

    def documents() -> ma.Documents:
        paragraphs = (" ".join(part.split()) for part in arguments.book.read_text("utf-8", "replace").split("\n\n"))
        return ma.Documents(islice((text for text in paragraphs if 250 <= len(text) <= 450), arguments.documents))

    return ma.LanguageModelRecipe(
        documents,
        ma.Rendering(arguments.model, context=128),
        base=arguments.model,
        epochs=arguments.epochs,
        batch_size=8,
        optimizer=ma.AdamW(lr=5e-4),
        schedule="cosine",
        probes=ma.Probes(
            canaries=make(arguments.canaries, length=arguments.digits, spaced=False, seed=arguments.seed),
            references=1000,
            suffix=16,
            contexts=(32,),
            watched=0,
            generated=0,
        ),
    )


def timed(what: str, action: Callable[[], T]) -> T:
    """Return what an action returns, and prints its wall and CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = action()
    print(f"{what}: {time.perf_counter() - wall:.0f} s wall, {time.process_time() - cpu:.0f} s CPU", flush=True)
    return found


def show(report: Report) -> None:
    """Prints what the exact test says."""
    finding = next(result.finding for result in report.results if result.finding.code == "CAN010")
    control = next(control for control in report.controls if control.code == "CTL006")
    print(f"\n{finding.sentence} {control.sentence}", *finding.notes)
    for table in finding.tables:
        print(f"\n{markdown(table)}\n")


def all_costs(model: torch.nn.Module, population: TextPopulation) -> Array:
    """Return the costs of every secret of every canary's space [canaries, secrets], sorted."""
    return np.stack([np.sort(space_costs(model, s.prefix, s.alphabets)) for s in population.spaces])


def null(name: str, costs: Array, lots: int) -> None:
    """Prints how often the p-values of fresh lots are at most α, for 1 to all canaries and 1 to 1,000 references."""
    rng = np.random.default_rng(0)
    print(f"\nNull, {name}: share of {lots:,} lots with p at most so much.\n")
    print(head("canaries", "references", *map(str, LEVELS), "one-sided KS p"))
    for canaries in (1, 4, len(costs)):
        for references in (1, 10, 100, 1000, None):
            p = np.array([lot(costs[:canaries], references, rng) for _ in range(lots)])
            shares = [f"{(p <= level).mean():.4f}" for level in LEVELS]
            ks = stats.kstest(p, "uniform", alternative="greater").pvalue  # are p-values too small?
            print(row(canaries, references or "all", *shares, f"{ks:.2f}"))


def lot(costs: Array, references: int | None, rng: np.random.Generator) -> float:
    """Return the exact p-value of fresh secrets and references, drawn uniformly from the spaces."""
    canaries, size = costs.shape
    own = np.take_along_axis(costs, rng.integers(0, size, (canaries, 1)), axis=1)
    if references is None:
        return exact_p((costs <= own).sum(axis=1), np.full(canaries, size))
    others = np.take_along_axis(costs, rng.integers(0, size, (canaries, references)), axis=1)
    return exact_p(1 + (others <= own).sum(axis=1), np.full(canaries, references + 1))


if __name__ == "__main__":
    main()
