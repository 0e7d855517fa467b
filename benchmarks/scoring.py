"""Speed of scoring: every model of a bank as a target, its pair left out, and memorization of every example.

    OMP_NUM_THREADS=1 python -m benchmarks.scoring [--models 256] [--examples 50000] [--queries 2]

Processor time, medians of three. The signals are simulated, as speed does not depend on what they say. What other
toolkits take for one target is in benchmarks/peers.py.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.printing import head, row
from memaudit.attacks import ATTACKS
from memaudit.design import PairArrays, by_pair, halves
from memaudit.memorization import memorization

NAMES = ("lira-online", "lira-online-per-example", "lira-online-reference", "lira-offline", "rmia")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=2)
    arguments = parser.parse_args()
    members = halves(0, arguments.models, arguments.examples)
    phi = np.random.default_rng(0).normal(size=(*members.shape, arguments.queries)).astype(np.float32)
    phi += members[:, :, None]
    correct = phi[:, :, 0] > 0
    pairs = PairArrays(*by_pair(phi, members))
    print(f"{arguments.models} models × {arguments.examples:,} examples × {arguments.queries} queries.\n")
    print(head("", "all models as targets, s", "per target, ms"))
    for name in NAMES:
        seconds = timed(partial(ATTACKS[name].leave_pair_out, pairs))
        print(row(name, f"{seconds:.2f}", f"{1000 * seconds / arguments.models:.1f}"), flush=True)
    print(row("memorization", f"{timed(partial(memorization, correct, members)):.2f}", "–"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\nPeak memory of the process, signals and scores included: {peak:.2f} GiB.")


def timed(work: Callable[[], Any], repeats: int = 3) -> float:
    """Return the median processor time of the work, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return float(np.median(times))


if __name__ == "__main__":
    main()
