"""Fidelity of packs: a bank whose models are trained several at once, beside one whose models are trained alone.

    python -m benchmarks.packs --data dataset_location.tgz [TASK ...] [--models 64]

Tasks: `location30` (the full recipe; packed as by default); a small convolutional network and a small transformer on
scikit-learn's 1,797 digits (through vmap, as with `fill(pack=8)`). Both banks have the same seeds. Differences of means
are paired by model, with a 95 % CI of ± 1.96 standard errors. TPR: the first 19 of 32 pairs are references, the others
targets; the 95 % CI of the difference is the pigeonhole bootstrap of benchmarks/attack_power.py, on the same resamples.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import memaudit as ma
from benchmarks.attack_power import COMPARED, RATES, TARGETS, power
from benchmarks.location30_recipe import recipe as location30
from memaudit.attacks import attack
from memaudit.bank import Bank
from memaudit.design import PairArrays, by_pair
from memaudit.stats import percentiles

Array = np.ndarray


class Transformer(nn.Module):
    """One block over the eight rows of a digit."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(0.1 * torch.randn(8, 32))
        self.embed, self.mixed, self.joined = nn.Linear(8, 32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.first, self.second, self.out = nn.LayerNorm(32), nn.LayerNorm(32), nn.Linear(32, 10)
        self.block = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        h = self.embed(x[:, 0]) + self.place
        q, k, v = self.mixed(self.first(h)).view(*h.shape[:2], 3, 4, 8).permute(2, 0, 3, 1, 4)
        h = h + self.joined(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        logits: Tensor = self.out((h + self.block(self.second(h))).mean(1))
        return logits


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def digits() -> ma.Examples:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    noisy = np.random.default_rng(0).random(len(y)) < 0.1  # for something to memorize
    return ma.Examples(x.reshape(-1, 1, 8, 8).astype(np.float32) / 16, np.where(noisy, (y + 1) % 10, y))


def tasks(data: str) -> dict[str, tuple[ma.ClassifierRecipe, int | None]]:
    """Return the recipes, and the size of packs; None: the default."""
    of_digits = partial(ma.ClassifierRecipe, digits, epochs=15, batch_size=32, schedule="cosine")
    return {
        "location30": (location30(data), None),
        "convolutional": (of_digits(convolutional, optimizer=ma.SGD(0.1, 0.9), augment=ma.shift(1)), 8),
        "transformer": (of_digits(Transformer, optimizer=ma.AdamW(3e-3)), 8),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", metavar="TASK")
    parser.add_argument("--data", required=True)
    parser.add_argument("--models", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, (recipe, pack) in tasks(arguments.data).items():
        if arguments.tasks and name not in arguments.tasks:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            alone = ma.fill(path / "alone", recipe, arguments.models, device="cpu", pack=1)
            packed = ma.fill(path / "packed", recipe, arguments.models, device="cpu", pack=pack)
            print(f"## {name}, {arguments.models} models\n")
            compare(alone, packed)


def compare(alone: Bank, packed: Bank) -> None:
    """Print how two banks differ."""
    models = alone.models()
    same = sum(
        file.read_bytes() == (packed.path / file.relative_to(alone.path)).read_bytes()
        for file in sorted(alone.path.rglob("*.safetensors"))
    )
    print(f"files that are the same to the last bit: {same} of {len(list(alone.path.rglob('*.safetensors')))}")
    print(f"packs: {sorted({str(packed.record(m).get('pack') or packed.record(m).get('alone')) for m in models})}")
    one, other = ([bank.tensors(m) for m in models] for bank in (alone, packed))
    means: dict[str, Callable[[dict[str, Array]], float]] = {
        "accuracy inside": lambda t: float(t["correct"][t["members"] > 0].mean()),
        "accuracy outside": lambda t: float(t["correct"][t["members"] == 0].mean()),
        "scaled logit inside": lambda t: float(t["phi"][t["members"] > 0].mean()),
        "scaled logit outside": lambda t: float(t["phi"][t["members"] == 0].mean()),
    }
    for name, mean in means.items():
        paired("mean " + name, np.array([mean(t) for t in one]), np.array([mean(t) for t in other]))
    members = np.stack([t["members"] for t in one])
    gaps = [np.subtract(*(v.astype(float) for v in by_pair(np.stack([t["correct"] for t in of]), members)))
            for of in (one, other)]  # fmt: skip
    paired("mean memorization", *(gap.mean(axis=1) for gap in gaps))
    found = [gap.mean(axis=0) for gap in gaps]
    print(f"memorization by example: correlation {np.corrcoef(*found)[0, 1]:.4f}")
    signals = [PairArrays(*by_pair(np.stack([t["phi"] for t in of]), members)) for of in (one, other)]
    for name in COMPARED:
        compare_attack(name, *signals)


def paired(name: str, one: Array, other: Array) -> None:
    """Print two means and their difference, with a 95 % CI."""
    difference = other - one
    half = 1.96 * difference.std(ddof=1) / len(difference) ** 0.5
    print(f"{name}: {one.mean():.4f} alone, {other.mean():.4f} packed, {difference.mean():+.5f} ± {half:.5f}")


def compare_attack(name: str, *banks: PairArrays) -> None:
    """Print an attack's TPR on two banks, and the 95 % CI of the difference."""
    targets = np.arange(banks[0].shape[0])[-min(TARGETS, banks[0].shape[0] // 2) :]
    references = np.arange(targets[0])
    try:
        powers = [power(attack(name), bank.take(targets), [bank.take(references)]) for bank in banks]
    except ValueError as error:
        print(f"{name}: not run: {error}")
        return
    for rate in RATES:
        low, high = percentiles(powers[1].draws[rate] - powers[0].draws[rate], 0.95)
        one, other = (of.tpr[rate] for of in powers)
        print(
            f"{name}: TPR at {rate:.1%} FPR {one:.2%} alone, {other:.2%} packed, difference {low:+.2%} to {high:+.2%}"
        )


if __name__ == "__main__":
    main()
