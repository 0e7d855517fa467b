"""C-scores of CIFAR-10 images from a small bank, beside the published ones.

    OMP_NUM_THREADS=1 python -m benchmarks.cscores --images cifar10.npz --scores cifar10-cscores-orig-order.npz
                                                   [--examples 4000] [--shadows 24] [--epochs 16] [--bank FOLDER]

The images are drawn at random and halved in size; the network is small, so that two cores are enough. Every score is
read as larger = less regular, and compared with 1 − the published C-score by Spearman's correlation: over all images,
and within classes (mean of Fisher's z), which what a class as a whole is like cannot raise. Intervals contain which
images there were and which models were trained. The first column of a proxy is from one model per image.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import memaudit as ma
from benchmarks.noisy_labels import classifier, halved
from memaudit.bank import Recordings
from memaudit.design import by_pair
from memaudit.memorization import Observations
from memaudit.memorization.proxies import PROXIES, Data, Of
from memaudit.stats import spearman, spearman_interval

Array = np.ndarray

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True)
    parser.add_argument("--scores", required=True)
    parser.add_argument("--examples", type=int, default=4000)
    parser.add_argument("--shadows", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--bank", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with np.load(asked.images, allow_pickle=False) as images, np.load(asked.scores, allow_pickle=False) as published:
        rows = np.sort(np.random.default_rng(0).permutation(len(images["x_train"]))[: asked.examples])
        x, y = halved(images["x_train"][rows]), images["y_train"][rows].astype(np.int64)
        if not np.array_equal(published["labels"][rows], y):
            raise SystemExit("the published scores are in another order than the images: their labels differ")
        irregular = 1 - published["scores"][rows]
    recipe = classifier(x, y, asked.epochs, ma.Observe(8))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        where = asked.bank or Path(folder) / "bank"
        bank = ma.fill(where, recipe, asked.shadows, device="cpu", weights=False, workers=asked.workers)
        print(f"{len(x):,} images, {asked.shadows} models in {time.perf_counter() - started:.0f} s")
        recorded = bank.recordings(range(asked.shadows))
        found = scores(recorded, x, y)
    inside, outside = by_pair(recorded.correct, recorded.members)
    print(f"accuracy: {inside.mean():.3f} of members, {outside.mean():.3f} of non-members")
    ours = found["1 − C-score"]
    halves = spearman(ours[0::2].mean(axis=0), ours[1::2].mean(axis=0))
    print(f"reliability of 1 − C-score, by halves of the models: {2 * halves / (1 + halves):.3f}\n")
    table(found, irregular, y)
    print("\nNull (published scores permuted):\n")
    table({"1 − C-score": ours}, np.random.default_rng(1).permutation(irregular), y)
    print()
    by_class(found, irregular, y)


def scores(recorded: Recordings, x: Array, y: Array) -> dict[str, Array]:
    """Return scores by name, [pairs, examples]: of the model without, or with, each example; larger = less regular."""
    members, every = recorded.members, slice(0, recorded.shape[1])
    inside, outside = (side.astype(float) for side in by_pair(recorded.correct, members))
    _, phi = recorded.block(every)
    found = {
        "1 − C-score": 1 - outside,
        "1 − p(label) without the example": 1 / (1 + np.exp(phi.mean(axis=2, dtype=float))),
        "memorization": inside - outside,
    }
    seen = Observations(members=members, **recorded.observed(np.arange(recorded.shape[1])))
    for proxy in PROXIES:
        if proxy.of is Of.RUN and not proxy.lacks(seen):
            found[proxy.title] = by_pair(np.asarray(proxy.score(seen), float), members)[0]
        elif proxy.of is Of.DATA:
            of_data = proxy.score(Data(x=x.reshape(len(x), -1), y=y))
            found[proxy.title] = np.broadcast_to(of_data, inside.shape)
    return found


def table(found: dict[str, Array], irregular: Array, y: Array) -> None:
    """Print Spearman's correlation of every score with the published one, over all images and within classes."""
    print("| score | one model | all models | within classes |\n| --- | --: | --: | --: |")
    single = {name: overall(score[:1], irregular) for name, score in found.items()}
    whole = {name: overall(score, irregular) for name, score in found.items()}
    for name in sorted(found, key=lambda name: -whole[name][0]):
        cells = single[name], whole[name], within(found[name], irregular, y)
        print(f"| {' | '.join([name, *map(cell, cells)])} |")


def by_class(found: dict[str, Array], irregular: Array, y: Array) -> None:
    """Print the correlation of C-scores and memorization within each class."""
    names = ("1 − C-score", "memorization")
    print(f"| class | images | {' | '.join(names)} |\n| --- | --: | --: | --: |")
    for label, title in enumerate(NAMES):
        here = y == label
        cells = [cell(overall(found[name][:, here], irregular[here])) for name in names]
        print(f"| {' | '.join([title, str(here.sum()), *cells])} |")


def overall(score: Array, truth: Array) -> tuple[float, float, float]:
    """Return the correlation of the mean over pairs of models, with its interval."""
    return _interval([spearman(score[kept].mean(axis=0), truth) for kept in _jackknife(len(score))], len(truth))


def within(score: Array, truth: Array, y: Array) -> tuple[float, float, float]:
    """Return the correlation within classes, the mean of Fisher's z, with its interval."""
    classes = [y == label for label in np.unique(y)]
    found = [
        np.tanh(np.mean([np.arctanh(spearman(of[here], truth[here])) for here in classes]))
        for of in (score[kept].mean(axis=0) for kept in _jackknife(len(score)))
    ]
    return _interval(found, len(truth) - 3 * (len(classes) - 1))


def _jackknife(pairs: int) -> list[Array]:
    """Return all pairs, and all but each one where there are several."""
    every = np.arange(pairs)
    return [every, *(every[every != one] for one in every if pairs > 1)]


def _interval(rhos: list[float], n: int) -> tuple[float, float, float]:
    rho, *without_each = rhos
    low, high = spearman_interval(rho, n, np.array(without_each or [rho, rho]))
    return float(rho), float(low), float(high)


def cell(interval: tuple[float, float, float]) -> str:
    value, low, high = interval
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
