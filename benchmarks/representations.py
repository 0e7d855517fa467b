"""Where memorization sits, whom removal exposes, and what representations say of it: small networks on digits.

    python -m benchmarks.representations [onion] [layers] [depth] [random]

scikit-learn's digits, 64 pixels each, and networks that fit them: about fifteen minutes on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import memaudit as ma
from memaudit import derivations
from memaudit.stats import auc
from memaudit.training.classifier import train_classifier

Array = np.ndarray

NOISE, REMOVED = 0.1, 0.1


def digits(count: int | None = None) -> ma.Examples:
    """Return the digits, or the first so many."""
    x, y = load_digits(return_X_y=True)
    return ma.Examples((x / 16).astype(np.float32)[:count], y[:count])


def mlp() -> nn.Module:
    """Return a network of four layers with weights."""
    return nn.Sequential(
        *(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()),
        *(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def cnn() -> nn.Module:
    """Return a network of two convolutions and two layers."""
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


RECIPES = {
    name: ma.ClassifierRecipe(
        digits, network, epochs=40, batch_size=64, optimizer=ma.SGD(lr=0.1, momentum=0.9), schedule="cosine",
        observe=ma.Observe(0),
    )
    for name, network in (("MLP", mlp), ("CNN", cnn))
}  # fmt: skip
LAYERS = {"MLP": ("0", "2", "4", "6"), "CNN": ("1", "3", "7", "9")}


def onion(folder: Path) -> None:
    """Print the privacy onion, and the same with units that were removed at random."""
    recipe = replace(RECIPES["MLP"], epochs=30)
    bank = ma.fill(folder / "all", recipe, 48, device="cpu")
    gone = ma.most_exposed(bank, recipe, REMOVED, shadows=24)
    anyone = list(np.random.default_rng(0).choice(digits().ids, len(gone), replace=False))
    print(
        f"\n| removed | attack | FPR | baseline | ideal | actual | actual − ideal | baseline − actual |\n|{'---|' * 8}"
    )
    for name, ids, chosen in (("most exposed", gone, 24), ("at random", anyone, 0)):
        again = ma.fill(folder / name, recipe, 24, device="cpu", design=ma.Subsets(removed=ids))
        for attack in ("lira-online", "slira"):
            for fpr in (0.01, 0.001):
                found = ma.privacy_onion(bank, again, recipe, chosen_by=chosen, attack=attack, fpr=fpr)
                cells = (found.baseline, found.ideal, found.actual, found.onion, found.gain)
                told = " | ".join(f"{100 * v:.2f} ({100 * low:.2f} to {100 * high:.2f})" for v, low, high in cells)
                print(f"| {name}, {found.removed} | {attack} | {100 * fpr:g} % | {told} |")


def layers(folder: Path) -> None:
    """Print what is left of redrawn labels when each layer is put back, and when it is then retrained."""
    for name in RECIPES:
        recipe = replace(RECIPES[name], epochs=150)  # until redrawn labels are fitted
        bank = ma.fill(folder / name, recipe, 6, device="cpu", design=ma.Subsets(label_noise=NOISE))
        children = {}
        for layer in LAYERS[name]:
            for epoch, retrain in ((0, 0), (5, 0), (0, 20)):
                step = derivations.ResetLayer(recipe, layer, epoch=epoch, retrain=retrain)
                told = f"{name} layer {layer}, to epoch {epoch}" + (f", retrained for {retrain}" if retrain else "")
                children[told] = ma.derive(folder / told, bank, recipe, step, device="cpu", weights=False)
        print(ma.localisation(bank, children, recipe), flush=True)


def depth(folder: Path) -> None:
    """Print how well prediction depth and VoG of one training run find redrawn labels among its members."""
    recipe, examples = replace(RECIPES["MLP"], epochs=150), digits()
    rng, areas = np.random.default_rng(0), []
    for seed in range(3):
        shift = rng.integers(1, 10, len(examples)) * (rng.random(len(examples)) < NOISE)
        given, members = examples.relabelled((examples.y + shift) % 10), rng.random(len(examples)) < 0.5
        wrong = shift[members] > 0
        found = [values[members] for values in scores(recipe, given, members, seed)]
        areas.append([auc(values[wrong], values[~wrong]) for values in found])
        print(
            "mean depth of redrawn labels and of others:", found[0][wrong].mean(), found[0][~wrong].mean(), flush=True
        )
    print("\n| score of one training run | AUROC, redrawn labels among members: mean, lowest, highest |\n|---|---|")
    for name, values in zip(("prediction depth", "VoG"), np.array(areas).T, strict=True):
        print(f"| {name} | {values.mean():.3f} ({values.min():.3f} to {values.max():.3f}) |")


def scores(recipe: ma.ClassifierRecipe, examples: ma.Examples, members: Array, seed: int) -> tuple[Array, Array]:
    """Return prediction depth and VoG of one training run."""
    data = torch.from_numpy(examples.x), torch.from_numpy(examples.y), members.astype(np.uint8), seed
    runs = (train_classifier(recipe, *data, until=epoch) for epoch in (2, 5, 10, 20, 40))
    depths = ma.prediction_depth(train_classifier(recipe, *data), examples, members, LAYERS["MLP"])
    return depths.astype(float), ma.variance_of_gradients(runs, examples)


def random(folder: Path) -> None:
    """Print the probe's accuracy before and after training on random labels, with and without augmentation."""
    examples, rng = digits(), np.random.default_rng(0)
    order = rng.permutation(len(examples))
    clean, test = examples.take(order[:1000]), examples.take(order[1000:])
    trained = clean.relabelled(rng.integers(0, 10, 1000))
    data = torch.from_numpy(trained.x), torch.from_numpy(trained.y), np.ones(1000, np.uint8), 0
    print(
        "\n| network | augmentation | layer | fits | probe before | after | change (95 % CI) | |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for name in RECIPES:
        for augment in (None, moved):
            recipe = replace(RECIPES[name], epochs=150 if augment is None else 600, augment=augment)
            model, initial = train_classifier(recipe, *data), train_classifier(recipe, *data, until=0)
            for layer in LAYERS[name][:-1]:
                found = ma.benign_memorization(model, initial, layer, trained, clean.y, test)
                value, low, high = (f"{100 * v:+.1f}" for v in found.change)
                shares = " | ".join(f"{v:.1%}" for v in (found.fitted, found.before, found.after))
                told = f"{name} | {'shifts' if augment else 'none'} | {layer} | {shares} | {value} ({low} to {high})"
                print(f"| {told} | {found.kind(0.99)} |", flush=True)


def moved(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return digits moved by up to a pixel."""
    return ma.shift(1)(x.view(-1, 1, 8, 8), generator).flatten(1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = sys.argv[1:] or ["onion", "layers", "depth", "random"]
    with tempfile.TemporaryDirectory() as temporary:
        for part in chosen:
            {"onion": onion, "layers": layers, "depth": depth, "random": random}[part](Path(temporary))
