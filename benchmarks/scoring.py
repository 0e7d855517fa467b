"""Speed of scoring: every model of a bank as a target, its pair left out, and memorization of every example.

    python -m benchmarks.scoring [--models 256] [--examples 50000] [--queries 2]

The obvious way is a Python loop over examples that fits the two laws with NumPy and scores with scipy.stats.norm (for
memorization: scipy.stats.binomtest for the intervals); it is timed on a slice and extrapolated. The signals are
simulated: speed does not depend on what they say.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import binomtest, norm

from memaudit.attacks import ATTACKS
from memaudit.design import PairArrays, by_pair, halves
from memaudit.memorization import memorization

Array = np.ndarray


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
    print(f"{arguments.models} models × {arguments.examples:,} examples × {arguments.queries} queries\n")
    print(f"{'':<28}{'here':>9}{'loop':>12}{'ratio':>9}")
    loop_attack = slow_attack(phi, members)
    for name in ("lira-online", "lira-online-per-example", "lira-offline"):
        report(name, timed(partial(ATTACKS[name].leave_pair_out, pairs)), loop_attack)
    report("memorization", timed(partial(memorization, correct, members)), slow_memorization(correct, members))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of the whole process, the signals and scores included: {peak:.2f} GiB")


def report(name: str, seconds: float, loop: float) -> None:
    print(f"{name:<28}{seconds:>8.2f}s{loop:>11.0f}s{loop / seconds:>8.0f}×")


def timed(work: Callable[[], Any], repeats: int = 3) -> float:
    """Return the median time of the work, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def slow_attack(phi: Array, members: Array, targets: int = 1, examples: int = 1000) -> float:
    """Return the extrapolated time of the loop over targets and examples: online LiRA, per-example variance."""
    started = time.perf_counter()
    for target in range(targets):
        rest = np.delete(np.arange(len(phi)), [target, target ^ 1])
        for i in range(examples):
            inside = phi[rest, i][members[rest, i] == 1]
            outside = phi[rest, i][members[rest, i] == 0]
            for x, a, b in zip(phi[target, i], inside.T, outside.T, strict=True):
                norm.logpdf(x, a.mean(), a.std()) - norm.logpdf(x, b.mean(), b.std())
    return (time.perf_counter() - started) * phi.shape[0] * phi.shape[1] / (targets * examples)


def slow_memorization(correct: Array, members: Array, examples: int = 1000) -> float:
    """Return the extrapolated time of the loop over examples: score, standard error, Newcombe–Wilson interval."""
    started = time.perf_counter()
    for i in range(examples):
        inside, outside = correct[members[:, i] == 1, i], correct[members[:, i] == 0, i]
        p1, p0 = inside.mean(), outside.mean()
        np.sqrt(inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside))
        in_, out = (binomtest(int(s.sum()), len(s)).proportion_ci(method="wilson") for s in (inside, outside))
        p1 - p0 - np.hypot(p1 - in_.low, out.high - p0), p1 - p0 + np.hypot(in_.high - p1, p0 - out.low)
    return (time.perf_counter() - started) * correct.shape[1] / examples


if __name__ == "__main__":
    main()
