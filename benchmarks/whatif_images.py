"""What remedies buy and cost on Fashion-MNIST: `compare_variants` and the directions that are known.

    python -m benchmarks.whatif_images --data DIR --folder DIR [--models 16] [--images 4000]

DIR of the data contains `fashion-mnist` (IDX files, gzipped). 4,000 images averaged to 14x14, an MLP with 96 hidden
units, 60 epochs. It resumes: called with `--models 8` first, then with `--models 16`. Prints Markdown.

DP-SGD has its own settings (batch of 250, 30 epochs, a rate for each ε, clipping at 1), as plain SGD's do not suit it.
The noise is the least with which Rényi accounting of the steps gives (ε, 1e-5). The bounds follow from (ε, δ) alone.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from torch import nn

import memaudit as ma
from benchmarks.banks import fashion
from memaudit.privacy import Steps, epsilon_of_steps, memorization_ceiling, tpr_ceiling
from memaudit.types import Estimate
from memaudit.whatif import Comparison, Row, Variant, compare_variants
from memaudit.whatif.remedies import (
    Augmented,
    Dropout,
    EarlyStopping,
    LabelSmoothing,
    Pruned,
    Quantized,
    ReluPruned,
    WeightDecay,
    Without,
    WithoutMostExposed,
)

Array = np.ndarray

FPR, DELTA = 0.01, 1e-5
EPSILONS = {1: 0.5, 4: 1.0, 16: 2.0}  # with the learning rate of each
DP_BATCH, DP_EPOCHS = 250, 30
NEAR = 0.5  # of the usual distance to a neighbour: such images count as near duplicates


def images(folder: Path, count: int) -> ma.Examples:
    """Return the first training images, averaged over squares of 2×2 pixels, [count, 1, 14, 14]."""
    whole = fashion(folder / "fashion-mnist", count)
    return ma.Examples(whole.x.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5)), whole.y)


@dataclass(frozen=True)
class Mlp:
    """Make an untrained network of one hidden layer."""

    hidden: int = 96

    def __call__(self) -> nn.Module:
        """Return it."""
        return nn.Sequential(nn.Flatten(), nn.Linear(196, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 10))


def recipe(folder: Path, count: int) -> ma.ClassifierRecipe:
    """Return the recipe as it is."""
    return ma.ClassifierRecipe(
        partial(images, folder, count),
        Mlp(),
        epochs=60,
        batch_size=50,
        optimizer=ma.SGD(lr=0.1, momentum=0.9),
        schedule="cosine",
    )


def noise_for(epsilon: float, members: int) -> float:
    """Return the least noise multiplier with which DP-SGD on this many members is (ε, DELTA)-DP."""
    steps = math.ceil(members / DP_BATCH)

    def excess(noise: float) -> float:
        return epsilon_of_steps([Steps(noise, 1 / steps, DP_EPOCHS * steps)], DELTA) - epsilon

    return float(brentq(excess, 0.2, 100, xtol=1e-3)) + 1e-3


def private(base: ma.ClassifierRecipe, noise: float, rate: float) -> ma.ClassifierRecipe:
    """Return the recipe with DP-SGD."""
    return replace(
        base,
        privacy=ma.DPSGD(noise, 1.0),
        batch_size=DP_BATCH,
        epochs=DP_EPOCHS,
        optimizer=ma.SGD(lr=rate),
        schedule="constant",
    )


def variants(base: ma.ClassifierRecipe, examples: ma.Examples) -> list[Variant]:
    """Return all that is tried."""
    members = len(examples) // 2
    copies = ma.near_copies(examples.x.reshape(len(examples), -1), NEAR)
    again = np.setdiff1d(np.arange(len(examples)), np.unique(copies, return_index=True)[1])
    return [
        *(
            Variant(f"dp-sgd-eps{epsilon}", private(base, noise_for(epsilon, members), rate))
            for epsilon, rate in EPSILONS.items()
        ),
        Variant("early-stopping", EarlyStopping(10)),
        Variant("weight-decay", WeightDecay(5e-3)),
        Variant("dropout", Dropout(0.5)),
        Variant("label-smoothing", LabelSmoothing(0.1)),
        Variant("augmentation", Augmented("shift", 1)),
        Variant("small-rate", {"optimizer": ma.SGD(lr=0.01, momentum=0.9)}),
        Variant("narrow", {"model": Mlp(16)}),
        Variant("without-most-exposed", WithoutMostExposed(0.1)),
        Variant("without-near-copies", Without([str(name) for name in examples.ids[again]])),
        *(Variant(f"pruned-{100 * share:.0f}", Pruned(share)) for share in (0.3, 0.6, 0.9)),
        *(Variant(f"relu-pruned-{100 * share:.0f}", ReluPruned(share)) for share in (0.1, 0.3, 0.5)),
        *(Variant(f"int{bits}", Quantized(bits)) for bits in (8, 4)),
    ]


class Direction(NamedTuple):
    """A claim: what changes how under which variant; −1: it falls. `row` is that of the catalogue of notions."""

    row: int
    claim: str
    variant: str
    figure: str
    sign: int


DIRECTIONS = (
    Direction(87, "DP-SGD leaks less", "dp-sgd-eps1", "leak", -1),
    Direction(87, "DP-SGD leaks less", "dp-sgd-eps16", "leak", -1),
    Direction(87, "DP-SGD memorizes less", "dp-sgd-eps16", "memorization", -1),
    Direction(87, "DP-SGD costs accuracy", "dp-sgd-eps1", "utility", -1),
    Direction(88, "de-duplicated models leak less", "without-near-copies", "leak", -1),
    Direction(90, "dropout hinders memorization", "dropout", "memorization", -1),
    Direction(90, "augmentation lowers membership inference", "augmentation", "leak", -1),
    Direction(90, "early stopping lowers memorization", "early-stopping", "memorization", -1),
    Direction(90, "weight decay lowers memorization", "weight-decay", "memorization", -1),
    Direction(90, "label smoothing lowers memorization", "label-smoothing", "memorization", -1),
    Direction(90, "a small learning rate memorizes more", "small-rate", "memorization", 1),
    Direction(90, "a smaller model memorizes less", "narrow", "memorization", -1),
    Direction(91, "30 % of the weights pruned: memorization falls", "pruned-30", "memorization", -1),
    Direction(91, "60 % of the weights pruned: memorization falls", "pruned-60", "memorization", -1),
    Direction(91, "ReLU pruning of 30 %: memorization falls", "relu-pruned-30", "memorization", -1),
    Direction(92, "without the hardest, accuracy rises", "without-most-exposed", "utility", 1),
)


def judged(change: Estimate, sign: int) -> str:
    """Return whether an interval shows a direction, or the opposite one."""
    if sign * change.low > 0 and sign * change.high > 0:
        return "confirmed"
    return "contradicted" if sign * change.low < 0 and sign * change.high < 0 else "not shown"


def points(change: Estimate) -> str:
    """Return a change in percentage points with its interval."""
    return f"{100 * change.value:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f})"


def print_directions(found: Comparison) -> None:
    """Print each claim with the change that was measured; 95 % intervals, one by one."""
    rows = {row.name: row for row in found.rows}
    print("| notion | claim | variant | change, points (95 % CI) | models | |\n|--:|---|---|---|--:|---|")
    for known in DIRECTIONS:
        row = rows[known.variant]
        change: Estimate = getattr(row, f"{known.figure}_change")
        cells = known.row, known.claim, known.variant, f"{known.figure} {points(change)}", row.models
        print(f"| {' | '.join(map(str, cells))} | {judged(change, known.sign)} |")


def print_bounds(found: Comparison, noise: Callable[[float], float]) -> None:
    """Print what (ε, δ) allows at most beside what was measured."""
    rows = {row.name: row for row in found.rows}
    print("| ε | noise | TPR measured | TPR at most | memorization measured | at most |\n|--:|--:|--:|--:|--:|--:|")
    for epsilon in EPSILONS:
        row: Row = rows[f"dp-sgd-eps{epsilon}"]
        bounds = float(tpr_ceiling(FPR, epsilon, DELTA)), memorization_ceiling(epsilon, DELTA)
        cells = row.leak.value, bounds[0], row.memorization.value, bounds[1]
        print(f"| {epsilon} | {noise(epsilon):.2f} | {' | '.join(f'{100 * cell:.1f} %' for cell in cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--images", type=int, default=4000)
    asked = parser.parse_args()
    base, examples = recipe(asked.data, asked.images), images(asked.data, asked.images)
    tried = variants(base, examples)
    found = compare_variants(base, tried, asked.folder, shadows=asked.models, fpr=FPR, device="cpu", progress=_told)
    print(ma.whatif.written(found, ".md"))
    print_directions(found)
    print()
    print_bounds(found, lambda epsilon: noise_for(epsilon, asked.images // 2))


def _told(name: str, now: ma.Progress) -> None:
    import sys

    print(f"{name}: {now}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
