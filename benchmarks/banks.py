"""Fill the shadow banks on which membership attacks are compared, and export their signals.

    python -m benchmarks.banks --data DIR --banks DIR [TASK ...]

DIR contains one folder per data set: `location30` (dataset_location.tgz), `fashion-mnist` (IDX files, gzipped), `adult`
(adult.data, gzipped) and `gutenberg` (plain-text books). Each task is trained on one core, one model after another. An
interrupted run resumes. The export `TASK.npz` contains `inside` and `outside`, float32 [pairs, examples]: the signal of
the model that was trained on the example, and of its complement.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import memaudit as ma
from benchmarks import location30_recipe
from memaudit.bank import Bank, Recordings
from memaudit.design import PairArrays, by_pair
from memaudit.recipe import Recipe

Array = np.ndarray


def location30(data: Path) -> Recipe:
    """Return the recipe of benchmarks/location30.py: an MLP on 5,010 binary vectors, 30 classes."""
    return location30_recipe.recipe(str(data / "location30" / "dataset_location.tgz"))


def fashion_mlp(data: Path) -> Recipe:
    """Return the recipe of an MLP on 3,000 images of Fashion-MNIST, averaged 2×2 to 196 inputs."""
    return ma.ClassifierRecipe(
        partial(small_fashion, data / "fashion-mnist"),
        mlp,
        epochs=50,
        batch_size=100,
        optimizer=ma.SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule="cosine",
    )


def forest_adult(data: Path) -> Recipe:
    """Return the recipe of a random forest of 25 trees on 1,500 rows of Adult."""
    return ma.EstimatorRecipe(partial(adult, data / "adult"), RandomForestClassifier(n_estimators=25))


def fashion_cnn(data: Path) -> Recipe:
    """Return the recipe of a small convolutional network on 2,000 images of Fashion-MNIST."""
    return ma.ClassifierRecipe(
        partial(fashion, data / "fashion-mnist", 2000),
        cnn,
        epochs=40,
        batch_size=50,
        optimizer=ma.SGD(lr=0.05, momentum=0.9),
        schedule="cosine",
    )


def language(data: Path) -> ma.LanguageModelRecipe:
    """Return the recipe of a transformer trained from scratch on 1,247 short paragraphs of 17 books."""
    return ma.LanguageModelRecipe(
        partial(paragraphs, data / "gutenberg"),
        ma.Rendering(partial(tokenizer, data / "gutenberg"), context=96),
        model=transformer,
        epochs=12,
        batch_size=8,
        optimizer=ma.AdamW(lr=5e-3),
        schedule="cosine",
        probes=ma.Probes(canaries=0, suffix=8, contexts=(8,), records=4, secrets=0, watched=4, generated=0),
    )


def language_short(data: Path) -> Recipe:
    """Return the same after 3 epochs: after 12, attacks find nearly all members, and their differences are small."""
    return replace(language(data), epochs=3)


RECIPES: dict[str, Callable[[Path], Recipe]] = {
    "location30": location30,
    "fashion-mlp": fashion_mlp,
    "forest-adult": forest_adult,
    "fashion-cnn": fashion_cnn,
    "language": language,
    "language-short": language_short,
}
MODELS = {
    "location30": 90,
    "fashion-mlp": 90,
    "forest-adult": 90,
    "fashion-cnn": 80,
    "language": 80,
    "language-short": 80,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"{', '.join(RECIPES)}; default: all")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--banks", type=Path, required=True)
    arguments = parser.parse_args()
    for task in arguments.tasks or RECIPES:
        started = time.perf_counter()
        signals = filled(task, arguments.data, arguments.banks)
        print(f"{task}: {signals.inside.shape}, {time.perf_counter() - started:.0f} s", flush=True)
        print("  share predicted correctly: " + accuracies(Bank.open(arguments.banks / task).read()), flush=True)


def filled(task: str, data: Path, banks: Path) -> PairArrays:
    """Return the signals of a task's bank; train what is missing and export them if there is no export yet."""
    export = banks / f"{task}.npz"
    if not export.exists():
        bank = ma.fill(banks / task, RECIPES[task](data), MODELS[task], device="cpu", weights=False)
        recordings = bank.read()
        inside, outside = by_pair(recordings.stacked("phi")[..., 0].astype(np.float32), recordings.members)
        np.savez(export, inside=inside, outside=outside)
    with np.load(export) as arrays:
        return PairArrays(arrays["inside"][..., None], arrays["outside"][..., None])


def accuracies(recordings: Recordings) -> str:
    """Return the mean accuracy on members and on non-members, in words; of texts, the share of predicted tokens."""
    inside, outside = by_pair(recordings.correct, recordings.members)
    return f"members {inside.mean():.3f}, non-members {outside.mean():.3f}"


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(196, 96), nn.ReLU(), nn.Linear(96, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def transformer() -> nn.Module:
    """Return an untrained transformer of 0.15 million parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1000, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            tie_word_embeddings=True,
        )
    )  # fmt: skip


def fashion(folder: Path, count: int) -> ma.Examples:
    """Return the first training images, [count, 1, 28, 28] in [0, 1]."""
    pixels = _idx(folder / "train-images-idx3-ubyte.gz", 16)[: count * 784].reshape(count, 1, 28, 28)
    return ma.Examples(pixels.astype(np.float32) / 255, _idx(folder / "train-labels-idx1-ubyte.gz", 8)[:count])


def small_fashion(folder: Path) -> ma.Examples:
    """Return the first 3,000 training images, averaged over squares of 2×2 pixels, [3000, 196]."""
    images = fashion(folder, 3000)
    return ma.Examples(images.x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196), images.y)


def _idx(path: Path, header: int) -> Array:
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


def adult(folder: Path) -> ma.Examples:
    """Return the first 1,500 rows; a column of words becomes one of ordinal numbers."""
    rows = np.genfromtxt(folder / "adult.data.gz", dtype=str, delimiter=",", autostrip=True, max_rows=1500)
    return ma.Examples(
        np.stack([_numbers(column) for column in rows[:, :14].T], axis=1), (rows[:, 14] == ">50K").astype(int)
    )


def _numbers(column: Array) -> Array:
    try:
        return column.astype(float)
    except ValueError:
        return np.unique(column, return_inverse=True)[1].astype(float)


def paragraphs(folder: Path) -> ma.Documents:
    """Return up to 80 paragraphs of 80 to 160 characters from every book."""
    return ma.Documents(text for book in sorted(folder.glob("*.txt")) for text in islice(_short(book), 80))


def _short(book: Path) -> Iterator[str]:
    texts = (" ".join(part.split()) for part in book.read_text("utf-8", errors="replace").split("\n\n"))
    return (text for text in texts if 80 <= len(text) <= 160)


def tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Return a byte-pair encoding of 1,000 tokens, learned from the paragraphs."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(paragraphs(folder).texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
