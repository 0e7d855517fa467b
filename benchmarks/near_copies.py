"""CTL007 on tables with few continuous columns: how often it fails without copies, and with some.

    python -m benchmarks.near_copies [--repetitions 200] [--first 0]

A table has so many normal columns, one of whole numbers (an age), and three one-hot columns of four categories. Without
a bank, as at rung 0. Copies differ by a thousandth of a standard deviation in each continuous column.
"""

from __future__ import annotations

import argparse

import numpy as np

from memaudit.checks.classifier import ClassifierTargetEvidence
from memaudit.checks.copies import copies_check

Array = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.repetitions)
    print(
        "| continuous columns | whole numbers | rows | no copies | 5 % copies | 10 % | 20 % |\n"
        "|--:|---|--:|--:|--:|--:|--:|"
    )
    for continuous in (1, 2, 3):
        for ages in (False, True):
            for rows in (300, 2_000):
                fails = [
                    np.mean([_fails(continuous, ages, rows, share, seed) for seed in seeds])
                    for share in (0.0, 0.05, 0.1, 0.2)
                ]
                cells = continuous, "yes" if ages else "no", f"{rows:,}", *(f"{share:.3f}" for share in fails)
                print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _fails(continuous: int, ages: bool, rows: int, copied: float, seed: int) -> bool:
    rng = np.random.default_rng([seed, continuous, rows])
    own = rows - int(copied * rows / 2)  # each copy makes two rows with a near one
    numbers = rng.normal(size=(own, continuous))
    kinds = [np.eye(4)[rng.integers(0, 4, own)] for _ in range(3)]
    age = [rng.integers(17, 90, own)[:, None].astype(float)] if ages else []
    table = np.hstack([numbers, *age, *kinds])
    again = table[rng.choice(own, rows - own, replace=False)]
    again[:, :continuous] += 1e-3 * rng.normal(size=(len(again), continuous))
    x = np.vstack([table, again]).astype(np.float32)
    phi, members = rng.normal(size=(rows, 1)), rng.permutation(rows) < rows // 2
    facts = ClassifierTargetEvidence(phi=phi, correct=phi[:, 0] > 0, members=members, x=x, y=np.zeros(rows, np.int64))
    return copies_check.run(facts).passed is False


if __name__ == "__main__":
    main()
