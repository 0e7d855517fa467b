"""Finding human label errors of CIFAR-10N: what shadow models without the example say, beside cleanlab.

    python -m benchmarks.noisy_labels --images cifar10.npz --labels cifar10n_human_labels.npz [--set worse_label]
                                      [--examples 4000] [--shadows 16] [--epochs 12] [--bank FOLDER]

The labels of people are trained on; an error is one that differs from CIFAR-10's own. The network is small and the
images are halved in size, so that two cores are enough. cleanlab gets the out-of-sample probabilities of five-fold
cross-validation with the same recipe. Intervals are DeLong's, over examples. `pip install cleanlab` for its row.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import memaudit as ma
from benchmarks.printing import head, row
from memaudit.memorization import Observations
from memaudit.memorization.noisy_labels import outside_loss, outside_margin
from memaudit.memorization.proxies import PROXIES, Of
from memaudit.stats import auc, auc_interval

Array = np.ndarray

FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--set", default="worse_label")
    parser.add_argument("--examples", type=int, default=4000)
    parser.add_argument("--shadows", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--bank", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(chosen.images, allow_pickle=False) as images, np.load(chosen.labels, allow_pickle=False) as labels:
        x = halved(images["x_train"][: chosen.examples])
        given = labels[chosen.set][: chosen.examples].astype(np.int64)
        wrong = given != labels["clean_label"][: chosen.examples]
    recipe = classifier(x, given, chosen.epochs, ma.Observe(6))
    print(f"{len(x):,} images, {wrong.mean():.1%} of the labels ({chosen.set}) wrong, {chosen.shadows} shadow models")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        bank = ma.fill(chosen.bank or Path(folder) / "bank", recipe, chosen.shadows, device="cpu").read()
        print(f"bank: {time.perf_counter() - started:.0f} s")
        every = np.arange(len(x))
        seen = Observations(members=bank.members, **bank.observed(every))
        right = bank.correct[bank.members > 0].mean(), bank.correct[bank.members == 0].mean()
    print(f"accuracy on the given labels: {right[0]:.3f} of members, {right[1]:.3f} of non-members")
    scores = {
        "margin of models without it": outside_margin(bank),
        "loss of models without it, all epochs": outside_loss(seen),
    }
    for proxy in (
        p for p in PROXIES if p.of is Of.RUN and not p.lacks(seen) and p.name in ("csl", "fslt", "forgetting")
    ):
        inside = proxy.score(seen) * (seen.members > 0)
        scores[f"{proxy.name} of models with it"] = inside.sum(axis=0) / (seen.members > 0).sum(axis=0)
    started = time.perf_counter()
    scores |= cleanlab(recipe, x, given)
    print(f"cross-validation: {time.perf_counter() - started:.0f} s\n")
    table(scores, wrong)
    print("\nNull (which labels are wrong, permuted):")
    table(scores, np.random.default_rng(0).permutation(wrong))


def halved(images: Array) -> Array:
    """Return images [n, 32, 32, 3] in bytes as [n, 3, 16, 16], averaged 2×2, from −0.5 to 0.5."""
    x = images.reshape(-1, 16, 2, 16, 2, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
    return np.asarray(x / 255 - 0.5, np.float32)


def classifier(x: Array, y: Array, epochs: int, observe: ma.Observe) -> ma.ClassifierRecipe:
    """Return the recipe of a small convolutional network, 0.06 million parameters."""
    return ma.ClassifierRecipe(
        functools.partial(ma.Examples, x, y),
        network,
        epochs=epochs,
        batch_size=64,
        optimizer=ma.SGD(lr=0.05, momentum=0.9),
        schedule="cosine",
        augment=ma.flip,
        observe=observe,
    )


def network() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(48 * 16, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def cleanlab(recipe: ma.ClassifierRecipe, x: Array, given: Array) -> dict[str, Array]:
    """Cleanlab's two label-quality scores, from out-of-sample probabilities; nothing where it is not installed."""
    try:
        from cleanlab.rank import get_label_quality_scores  # type: ignore[import-not-found]
    except ImportError:
        print("cleanlab is not installed; its rows are left out")
        return {}
    fold = np.random.default_rng(1).permutation(len(x)) % FOLDS
    ids, probabilities = recipe.examples().ids, np.empty((len(x), 10))
    for held_out in range(FOLDS):
        model = ma.train(recipe, ids[fold != held_out], seed=held_out, device="cpu")
        with torch.no_grad():
            probabilities[fold == held_out] = model(torch.from_numpy(x[fold == held_out])).double().softmax(dim=1)
    return {
        f"cleanlab, {method.replace('_', ' ')}": -get_label_quality_scores(given, probabilities, method=method)
        for method in ("self_confidence", "normalized_margin")
    }


def table(scores: dict[str, Array], wrong: Array) -> None:
    """AUROC with its interval, and how many of the first so many are wrong: a tenth of the examples, and all errors."""
    tenth, number = len(wrong) // 10, int(wrong.sum())
    print("\n" + head("score", "AUROC (95 % CI)", "precision, first tenth", f"first {number:,}"))
    for name, score in scores.items():
        low, high = auc_interval(score[wrong], score[~wrong])
        first = np.argsort(-score, kind="stable")
        precision = [float(wrong[first[:count]].mean()) for count in (tenth, number)]
        area = f"{auc(score[wrong], score[~wrong]):.3f} ({low:.3f}-{high:.3f})"
        print(row(name, area, *(f"{100 * share:.1f} %" for share in precision)))


if __name__ == "__main__":
    main()
