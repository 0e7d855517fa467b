"""CPU time and peak memory of an audit's last phase: all controls and checks of a classifier, on a bank on disk.

    python -m benchmarks.audit_phase [--models 128] [--examples 50000] [--queries 2] [--looks 0] [--profile 25]

The signals are simulated, as speed does not depend on what they say. Nothing is trained. To measure another commit, put
its checkout first on PYTHONPATH and run this file by its path.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.printing import head, row
from memaudit.bank import Recordings
from memaudit.checks import CONTROLS, ClassifierEvidence, all_checks
from memaudit.design import half, target_half

Array = np.ndarray

_CLASSES, _FEATURES = 10, 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=128)
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=2)
    parser.add_argument("--looks", type=int, default=0, help="how often each model was observed while it trained")
    parser.add_argument("--profile", type=int, default=0, metavar="ROWS", help="print the functions that take longest")
    arguments = parser.parse_args()
    print(f"{arguments.models} models × {arguments.examples:,} examples × {arguments.queries} queries.\n")
    print(head("check", "processor time, s", "peak memory so far, MB"))
    with tempfile.TemporaryDirectory() as folder:
        evidence = simulated(Path(folder), arguments.models, arguments.examples, arguments.queries, arguments.looks)
        before = peak()
        with profiled(arguments.profile):
            total = examined(evidence)
    print(row("all", f"{total:.2f}", f"{peak():.0f} ({before:.0f} before the first check)"))


def examined(evidence: ClassifierEvidence) -> float:
    """Run every control and check that fits, print the CPU seconds of each, and return their sum."""
    total = 0.0
    checks: tuple[Any, ...] = (*CONTROLS, *all_checks())
    for check in checks:
        wanted = getattr(check, "wanted", lambda _: True)
        if isinstance(evidence, check.needs) and wanted(evidence):
            seconds = timed(check.run, evidence)
            total += seconds
            print(row(check.code, f"{seconds:.2f}", f"{peak():.0f}"), flush=True)
    return total


def timed(work: Callable[[Any], Any], argument: Any) -> float:
    """Return the CPU seconds that the work takes."""
    started = time.process_time()
    work(argument)
    return time.process_time() - started


def peak() -> float:
    """Return the peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


@contextmanager
def profiled(rows: int) -> Iterator[None]:
    """Print the functions that take longest, by their own time and by that of what they call."""
    if not rows:
        yield
        return
    with cProfile.Profile(time.process_time) as profile:
        yield
    for order in ("tottime", "cumulative"):
        pstats.Stats(profile).strip_dirs().sort_stats(order).print_stats(rows)


def simulated(folder: Path, models: int, examples: int, queries: int, looks: int = 0) -> ClassifierEvidence:
    """Return a bank on disk, and a target that was made as its shadows: φ = difficulty + shift · membership + noise.

    One example in ten moves by four standard deviations when it is trained on, the others by a third of one. Looks at
    the training show the same with noise of their own.
    """
    rng = np.random.default_rng(0)
    difficulty, spread = rng.normal(3, 3, (examples, 1)), np.exp(0.3 * rng.normal(size=(examples, 1)))
    shift = np.where(rng.random((examples, 1)) < 0.1, 4.0, 0.33)

    def recorded(members: Array) -> dict[str, Array]:
        noise = rng.normal(size=(examples, queries))
        phi = (difficulty + spread * (shift * members[:, None] + noise)).astype(np.float32)
        return {"members": members, "phi": phi, "correct": phi[:, 0] > 0} | (observed(phi[:, 0]) if looks else {})

    def observed(phi: Array) -> dict[str, Array]:
        seen = phi + rng.normal(size=(looks, examples))
        wrong = np.logaddexp(0, -seen)
        kept = {"loss": wrong, "entropy": wrong * np.exp(-wrong), "el2n": -np.expm1(-wrong)}
        found = {f"observed.{name}": values.astype(np.float16) for name, values in kept.items()}
        return found | {"observed.epochs": np.arange(looks, dtype=np.float32), "observed.correct": seen > 0}

    files = tuple(folder / f"{model:04d}.safetensors" for model in range(models))
    for model, file in enumerate(files):
        save_file(recorded(half(0, model, examples)), file)
    target = recorded(target_half(0, examples))
    return ClassifierEvidence(
        bank=Recordings(files),
        phi=target["phi"],
        correct=target["correct"],
        members=target["members"] > 0,
        x=rng.normal(size=(examples, _FEATURES)),
        y=rng.integers(0, _CLASSES, examples),
    )


if __name__ == "__main__":
    main()
