"""Time and memory of a whole audit by its size: a bank of simulated models on disk, audited with the defaults.

    OMP_NUM_THREADS=1 python -m benchmarks.scale [--folder DIR] [MODELSxEXAMPLES ...]

The default sizes are 64x50000, 64x200000, 64x1000000 and 256x1000000. The signals are drawn as in
`benchmarks.audit_phase` and imported as a bank of scaled logits: speed does not depend on what they say. The bank is
made, and each audit runs, in a process of its own; a bank stays in the folder if one is named.

Memory is sampled 50 times a second. What is the process's own cannot be dropped by the system ("own"); pages of mapped
files can, and count only while they are there ("mapped").
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import memaudit as ma
from memaudit.auditing import examination, run
from memaudit.bank.imported import OUTPUTS, import_signals
from memaudit.checks import CONTROLS, all_checks
from memaudit.design import halves, target_half
from memaudit.recipe import Examples
from memaudit.signals import Signals

Array = np.ndarray

SIZES = ("64x50000", "64x200000", "64x1000000", "256x1000000")
_CLASSES, _FEATURES, _KIND = 10, 4, "scaled-logits"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", metavar="MODELSxEXAMPLES", default=SIZES)
    parser.add_argument("--folder", type=Path, help="where banks are made and stay; by default they are removed")
    arguments = parser.parse_args()
    for size in arguments.sizes or SIZES:
        models, examples = map(int, size.split("x"))
        folder = Path(arguments.folder or tempfile.mkdtemp()) / size
        try:
            print(f"\n{models} models × {examples:,} examples", flush=True)
            for work in (made, audited):
                alone(work, folder, models, examples)
        finally:
            if arguments.folder is None:
                shutil.rmtree(folder.parent, ignore_errors=True)


def alone(work: Callable[..., None], *arguments: Any) -> None:
    """Run a function in a process of its own, so that its memory is nobody else's."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


class Simulated:
    """Signals of models: φ = difficulty + shift · membership + noise; one example in ten moves by four deviations."""

    def __init__(self, examples: int) -> None:
        rng = np.random.default_rng(0)
        self.difficulty = rng.normal(3, 3, examples)
        self.spread = np.exp(0.3 * rng.normal(size=examples))
        self.shift = np.where(rng.random(examples) < 0.1, 4.0, 0.33)
        self.population = Examples(
            rng.normal(size=(examples, _FEATURES)).astype(np.float32),
            rng.integers(0, _CLASSES, examples),
            np.arange(examples).astype(str),
        )

    def signals(self, members: Array, seed: int) -> Signals:
        """Return those of one model."""
        noise = np.random.default_rng((1, seed)).normal(size=len(members))
        phi = (self.difficulty + self.spread * (self.shift * members + noise)).astype(np.float32)
        return Signals(phi=phi[:, None], correct=phi > 0, read_as=_KIND)


def made(folder: Path, models: int, examples: int) -> None:
    """Import the bank, unless it is there."""
    simulated = Simulated(examples)
    members = halves(0, models, examples)
    stated = {"origin": OUTPUTS, "numbers": _KIND, "correct": "given", "recipe.imported": "simulated"}
    with measured("the bank is imported"):
        import_signals(folder, simulated.population, members, lambda m: simulated.signals(members[m], m), stated, 0)


def audited(folder: Path, models: int, examples: int) -> None:
    """Audit a model that was made as those of the bank, and print the cost of every phase and of all."""
    simulated = Simulated(examples)
    population, members = simulated.population, target_half(0, examples)
    seen = simulated.signals(members, models)
    outputs = ma.Outputs(seen.phi[:, 0], population.y, members, population.ids, population.x, seen.correct, _KIND)
    with phases(), measured("all"):
        audit = ma.audit(outputs, bank=folder, ledger=folder.parent / "ledger.jsonl")
    passed = sum(control.passed is True for control in audit.report.controls)
    print(f"{len(audit.report.results)} findings, {passed} of {len(audit.report.controls)} controls passed")


@contextmanager
def phases() -> Iterator[None]:
    """Print the cost of what an audit does, step by step."""
    controls = tuple(replace(control, run=costed(control.code, control.run)) for control in CONTROLS)
    checks = tuple(replace(check, run=costed(check.code, check.run)) for check in all_checks())
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(examination, "CONTROLS", controls))
        stack.enter_context(mock.patch.object(examination, "all_checks", lambda: checks))
        for name, said in (
            ("open_outputs", "outputs are read"),
            ("ground", "the bank is opened"),
            ("facts_of", "evidence"),
            ("table", "evidence.csv"),
        ):
            stack.enter_context(mock.patch.object(run, name, costed(said, getattr(run, name))))
        yield


def costed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that prints what it costs."""

    def wrapped(*arguments: Any, **options: Any) -> Any:
        with measured(name):
            return work(*arguments, **options)

    return wrapped


@contextmanager
def measured(name: str) -> Iterator[None]:
    """Print the processor's seconds and the highest memory of what is done."""
    memory, started = Memory(), time.process_time()
    with memory:
        yield
    print(f"  {name:<22}{time.process_time() - started:>9.1f} s{memory}", flush=True)


class Memory:
    """The highest memory of this process while it is watched, in MB."""

    def __init__(self) -> None:
        self.own = self.all = 0.0
        self._done = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._watching.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watching.join()

    def _watch(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            parts = (line.partition(":") for line in lines if line.startswith("Rss"))
            now = {key: int(rest.split()[0]) * 1.024e-3 for key, _, rest in parts}  # from KiB
            self.own = max(self.own, now["RssAnon"])
            self.all = max(self.all, sum(now.values()))
            if self._done.wait(0.02):
                return

    def __str__(self) -> str:
        return f"{self.own:>8.0f} MB own, {self.all:.0f} with mapped files"


if __name__ == "__main__":
    main()
