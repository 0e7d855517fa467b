"""Weights, two releases and poisoned training data on Location-30: MIA020, MIA023, MIA024 and MIA025 of one audit.

    python -m benchmarks.white_box --data DIR [--banks DIR] [--shadows N] [--poisoned N] [--workers N]
                                   [--outputs-only]

DIR contains `location30/dataset_location.tgz`. The benchmark fills a bank of N shadow models and a second one whose
training sets have 4 mislabeled copies of each of 100 records. It trains two releases of a target: a tenth of the
records change their membership between them, and the new one is trained from scratch with another seed. The audit of
the new release compares all of these. Banks are kept in --banks: an interrupted run resumes. --outputs-only leaves the
attacks on weights out, which take longest; benchmarks.access_table has them too.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import memaudit as ma
from benchmarks import location30_recipe
from benchmarks.printing import Clock, markdown

CHANGED, TARGETS, COPIES = 0.1, 100, 4
_SEED = 2021


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--banks", type=Path, default=None)
    parser.add_argument("--shadows", type=int, default=64)
    parser.add_argument("--poisoned", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--outputs-only", action="store_true")
    arguments = parser.parse_args()
    folder = (arguments.banks or Path(tempfile.mkdtemp(prefix="white-box-"))) / "location30"
    recipe = location30_recipe.recipe(str(arguments.data / "location30" / "dataset_location.tgz"))
    targets = np.random.default_rng(_SEED).permutation(len(recipe.examples()))[:TARGETS]
    attacked = ma.poisoned(recipe, recipe.examples().ids[targets].tolist(), copies=COPIES)
    filling = Clock()
    bank = ma.fill(folder / "bank", recipe, arguments.shadows, workers=arguments.workers)
    poisoned = ma.fill(folder / "poisoned", attacked, arguments.poisoned, workers=arguments.workers)
    releases(recipe, folder)
    print(f"filled in {filling}", flush=True)
    auditing = Clock()
    report = ma.audit(
        folder / "new.pt",
        recipe,
        bank,
        access=None if arguments.outputs_only else "weights",
        before=folder / "old.pt",
        poisoned=poisoned,
        poisoned_recipe=attacked,
        device="cpu",
    ).report
    print(f"audited in {auditing}")
    for result in report.results:
        if result.finding.code in ("MIA020", "MIA023", "MIA024", "MIA025"):
            print(f"\n{result.finding.code} {result.finding.sentence}", *result.finding.notes, sep="\n  ")
            for table in result.finding.tables:
                print(f"\n{markdown(table)}")


def releases(recipe: ma.ClassifierRecipe, folder: Path) -> None:
    """Train the old and the new release, if they are not there."""
    old = np.asarray(ma.draw_members(recipe, seed=_SEED))
    flips = np.random.default_rng(_SEED).random(len(old)) < CHANGED
    for name, counts, seed in (("old", old, _SEED), ("new", np.where(flips, 1 - old, old), _SEED + 1)):
        if not (folder / f"{name}.pt").exists():
            members = ma.Counts(counts)
            ma.save_target(ma.train(recipe, members, seed=seed), folder / f"{name}.pt", members, recipe)


if __name__ == "__main__":
    main()
