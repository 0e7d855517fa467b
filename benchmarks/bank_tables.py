"""Banks filled within a time limit, and tables of what they cost and of what attacks find."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import memaudit as ma
from benchmarks.printing import head, row
from memaudit.attacks import Signal, attack
from memaudit.bank import Bank, Recordings
from memaudit.recipe import Recipe
from memaudit.stats import auc, resolvable, tpr_interval, transferred_thresholds

Array = np.ndarray


def filled(
    recipe: Recipe,
    folder: Path,
    most: int,
    device: str,
    seconds: float | None = None,
    *,
    workers: int = 1,
    seed: int = 0,
) -> Bank:
    """Return a bank of `most` models, or of as many as fit the time; print a table of the cost.

    With a limit the bank grows by at most a factor of two at a time, each step within what is left.
    """
    started = time.perf_counter()
    count = most if seconds is None else min(most, 8)  # too few for an attack would be of no use
    while True:
        bank = ma.fill(folder, recipe, count, device=device, workers=workers, seed=seed, weights=False)
        spent = time.perf_counter() - started
        fitting = most if seconds is None else int(count * seconds / spent) // 2 * 2
        grown = min(most, 2 * count, fitting)
        if grown <= count:
            break
        count = grown
    records = [bank.record(model) for model in bank.models()]
    training, evaluation = (float(np.median([record[key] for record in records])) for key in ("seconds", "evaluation"))
    print(head("models", "device", "s in all", "s of training per model", "s of scoring per model", "GPU memory, GiB"))
    cells = f"{spent:.0f}", f"{training:.2f}", f"{evaluation:.2f}", gpu_memory()
    print(row(len(records), records[0]["device"], *cells) + "\n", flush=True)
    return bank


def gpu_memory() -> str:
    """Return the peak of this process."""
    import torch

    return f"{torch.cuda.max_memory_allocated() / 2**30:.2f}" if torch.cuda.is_available() else "–"


def attacks(
    recordings: Recordings, names: Sequence[str], rates: Sequence[float], signal: Signal = Signal.SCALED_LOGIT
) -> None:
    """Print what attacks find: every model as a target, its pair left out, thresholds from the other models."""
    print(head("attack", "AUC", *(f"TPR at {100 * rate:g} % FPR (95 % CI)" for rate in rates)))
    for name in names:
        inside, outside = attack(name, signal).leave_pair_out(recordings)
        cells = [rate_cell(inside, outside, rate) for rate in rates]
        print(row(name, f"{auc(inside.ravel(), outside.ravel()):.3f}", *cells), flush=True)


def rate_cell(inside: Array, outside: Array, rate: float, percent: str = " %", digits: int = 1) -> str:
    """Return the TPR at a false-positive rate with its interval; a dash where too few non-members show the rate."""
    found = tpr(inside, outside, rate)
    if found is None:
        return "–"
    value, low, high = (f"{100 * end:.{digits}f}" for end in found)
    return f"{value}{percent} ({low}-{high})"


def tpr(inside: Array, outside: Array, rate: float) -> tuple[float, float, float] | None:
    """Return the TPR at thresholds from the other models, and its 95 % interval; None where no rate can be shown."""
    if not resolvable(rate, outside.size // 2):
        return None
    value = float((inside > transferred_thresholds(outside, rate)[:, None]).mean())
    low, high = tpr_interval(inside, outside, rate)
    return value, float(low), float(high)
