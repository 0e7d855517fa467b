"""LoRA adapters of a pretrained story teller: seconds per adapter, memory, and what attacks find.

    python -m benchmarks.lora --data DIR [--models 64] [--documents 240] [--epochs 3] [--seconds N] [--device cuda]

DIR contains `stories15m` (a LlamaForCausalLM with its tokenizer) and `gutenberg` (plain-text books). With --seconds,
the bank has as many adapters as can be trained in that time.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import islice
from pathlib import Path

from peft import LoraConfig

import memaudit as ma
from benchmarks.bank_tables import attacks, filled
from benchmarks.banks import paragraphs
from memaudit.attacks import Signal


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--documents", type=int, default=240)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    made = recipe(asked.data, asked.documents, asked.epochs)
    folder = Path(tempfile.mkdtemp(prefix="lora-"))
    recordings = filled(made, folder, asked.models, asked.device, asked.seconds).read()
    attacks(recordings, ("lira-online", "slira"), (0.05, 0.01), Signal.LOG_PROBABILITY)


def recipe(data: Path, documents: int, epochs: int) -> ma.LanguageModelRecipe:
    """Return the recipe of a LoRA adapter of rank 16 on short paragraphs of books."""
    return ma.LanguageModelRecipe(
        lambda: ma.Documents(islice(paragraphs(data / "gutenberg").texts, documents)),
        ma.Rendering(data / "stories15m", context=96),
        base=data / "stories15m",
        adapter=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        epochs=epochs,
        batch_size=8,
        optimizer=ma.AdamW(lr=5e-3),
        schedule="cosine",
        probes=ma.Probes(canaries=0, suffix=8, contexts=(8,), records=4, secrets=0, watched=4, generated=0),
    )


if __name__ == "__main__":
    main()
