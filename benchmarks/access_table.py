"""Attacks by access to the model: the whole table on Location-30 and Fashion-MNIST.

    python -m benchmarks.access_table --data DIR [--banks DIR] [--shadows N] [--workers N] [--search] [TASK ...]

DIR contains one folder per data set, as for `benchmarks.banks`. For each task it fills a bank of 64 shadow models,
trains one more model as the target, and prints the checks MIA020 to MIA023 with all access levels. Banks and views are
kept in --banks: an interrupted run resumes. TASK: location30 (an MLP on 5,010 binary vectors), fashion-mlp (an MLP on
3,000 images of 14 × 14 pixels), fashion-small (1,000 of these), fashion-cnn (a small convolutional network on 2,000
images of 28 × 28). With --search, labels alone are measured, by the search for the decision boundary, too.

The AUC of the gap attack is its balanced accuracy. On the outputs of another network of Location-30, which Jia et al.
2019 published, the authors' code of Song & Mittal 2021 has 68.7 % (benchmarks.memguard). Known values of 128 models are
in benchmarks.location30: the loss threshold, and LiRA on exact log-odds.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

import memaudit as ma
from benchmarks import banks
from benchmarks.printing import Clock, markdown
from memaudit.attack_names import USUAL_ATTACKS
from memaudit.auditing.asked.access import Accesses
from memaudit.auditing.facts import facts_of
from memaudit.auditing.ground import ground
from memaudit.auditing.target import open_target
from memaudit.checks.access import ACCESS
from memaudit.recipe import Recipe
from memaudit.types import Level

_SEED = 2021


def fashion_mlp(data: Path) -> Recipe:
    """Return the recipe of `banks.fashion_mlp` on images that keep their form, so that they can be shifted."""
    flat = banks.fashion_mlp(data)
    assert isinstance(flat, ma.ClassifierRecipe)
    return replace(flat, examples=partial(small_images, data / "fashion-mnist"), model=mlp)


def small_images(folder: Path) -> ma.Examples:
    """Return the first 3,000 training images, averaged over squares of 2×2 pixels, [3000, 1, 14, 14]."""
    flat = banks.small_fashion(folder)
    return ma.Examples(flat.x.reshape(-1, 1, 14, 14), flat.y)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), banks.mlp())


def fashion_small(data: Path) -> Recipe:
    """Return the recipe on the first 1,000 of these images."""
    whole = fashion_mlp(data)
    assert isinstance(whole, ma.ClassifierRecipe)
    return replace(whole, examples=partial(few_images, data / "fashion-mnist"))


def few_images(folder: Path) -> ma.Examples:
    return small_images(folder).take(np.arange(1000))


TASKS = {
    "location30": banks.location30,
    "fashion-mlp": fashion_mlp,
    "fashion-small": fashion_small,
    "fashion-cnn": banks.fashion_cnn,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--banks", type=Path, default=None)
    parser.add_argument("--shadows", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--search", action="store_true", help="labels alone, with a search for the decision boundary")
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    arguments = parser.parse_args()
    folder = arguments.banks or Path(tempfile.mkdtemp(prefix="access-"))
    for task in arguments.tasks:
        show(task, arguments.data, folder / task, arguments.shadows, arguments.workers, arguments.search)


def show(task: str, data: Path, folder: Path, shadows: int, workers: int, search: bool) -> None:
    """Print the table of a task."""
    recipe, filling = TASKS[task](data), Clock()
    bank = ma.fill(folder / "bank", recipe, shadows, workers=workers)
    print(f"\n{task}: bank of {shadows} in {filling}", flush=True)
    model = folder / "model.pt"
    if not model.exists():
        members = ma.draw_members(recipe, seed=_SEED)
        ma.save_target(ma.train(recipe, members, seed=_SEED), model, members, recipe)
    auditing = Clock()
    base = ground(open_target(model, recipe, device="cpu"), bank, shadows, device="cpu")
    facts = facts_of(
        base,
        (0.01, 0.001),
        USUAL_ATTACKS,
        "cpu",
        **Accesses(Level.LABELS if search else Level.WEIGHTS, "cpu", search).facts(base),
    )
    found = [finding for check in ACCESS for finding in check.run(facts)[0]]
    print(f"views and attacks in {auditing}\n")
    for finding in found:
        print(f"{finding.code} {finding.sentence}")
        for note in finding.notes:
            print(f"  {note}")
        for table in finding.tables:
            print(f"\n{markdown(table)}\n")


if __name__ == "__main__":
    main()
