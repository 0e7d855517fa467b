"""Speed and memory of cross-influence: every training example on every test example.

    python -m benchmarks.influence [--models 256] [--training 50000] [--test 10000]

The obvious way is a Python loop over training examples that averages over the models with and without each; it is timed
on a slice and extrapolated. What is correct is simulated: speed does not depend on it. Peak memory is of the whole
process, memberships included.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from benchmarks.printing import head, row
from memaudit.design import halves
from memaudit.memorization import beyond_chance, influence
from memaudit.memorization.influence import blocks

Array = np.ndarray
_LOOPED = 50


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument("--training", type=int, default=50_000)
    parser.add_argument("--test", type=int, default=10_000)
    arguments = parser.parse_args()
    members = halves(0, arguments.models, arguments.training)
    correct = np.random.default_rng(0).random((arguments.models, arguments.test)) < 0.8
    slow, slices = loop(correct, members)
    print(f"{arguments.models} models, {arguments.training:,} training × {arguments.test:,} test examples.\n")
    print(head("", "streamed, s", "loop, s", "ratio", "peak memory, GiB"))
    for name, rows in (("complementary pairs", members), ("independent draws", np.roll(members, 1, axis=0))):
        found = influence(correct, rows)
        started = time.perf_counter()
        for at in blocks(found):
            block = found.block(at)
            if name == "complementary pairs" and at.start == 0:
                np.testing.assert_allclose(block[:_LOOPED], slices[:, at], atol=1e-5)
        seconds = time.perf_counter() - started
        print(row(name, f"{seconds:.1f}", f"{slow:.0f}", f"{slow / seconds:.0f}×", f"{peak():.2f}"))
    started = time.perf_counter()
    sure = beyond_chance(influence(correct, members), own=False)
    seconds = time.perf_counter() - started
    print(row(f"with p-values ({len(sure.p)} beyond chance)", f"{seconds:.1f}", "–", "–", f"{peak():.2f}"))


def loop(correct: Array, members: Array) -> tuple[float, Array]:
    """Return the seconds that the loop would take for all training examples, and its influences of the first few."""
    started = time.perf_counter()
    rows = [correct[members[:, i] > 0].mean(axis=0) - correct[members[:, i] == 0].mean(axis=0) for i in range(_LOOPED)]
    return (time.perf_counter() - started) * members.shape[1] / _LOOPED, np.array(rows)


def peak() -> float:
    """Return the peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
