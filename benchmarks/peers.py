"""Scoring one target: memaudit beside the attacks of other toolkits, on the same arrays, in one process.

    python -m benchmarks.peers --fetch DIR      clones them at pinned commits
    python -m benchmarks.peers --peers DIR [--models 64 256] [--examples 50000] [--repeats 5]

The clock is processor time and includes the split of the signals by membership, memaudit's (`by_pair`) as well as the
peer's. Both sides run in turn, and the table has medians. Before anything is timed, scores are compared: where the law
is the same they are equal, where only the law's details differ they rank examples alike. Peak memory is what the work
adds to the process. A toolkit that cannot be imported is named and left out; slow ones get 5,000 examples.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm, spearmanr

from benchmarks.peer_adapters import PEERS, Bank, Peer
from benchmarks.printing import head, row
from memaudit.attacks import ATTACKS
from memaudit.design import PairArrays, by_pair, halves

Array = np.ndarray

SMALL = 5_000
_HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fetch", type=Path, help="clone the toolkits into this folder")
    parser.add_argument("--peers", type=Path, help="where they are")
    parser.add_argument("--models", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    if asked.fetch:
        fetch(asked.fetch)
    if not asked.peers:
        return
    columns = (
        "models × examples",
        "peer",
        "its law",
        "peer, s",
        "memaudit, s",
        "ratio",
        "peer, MB",
        "memaudit, MB",
        "scores",
    )
    print(head(*columns))
    skipped = {}
    for peer in PEERS:
        for models in asked.models:
            try:
                print(
                    compared(peer, asked.peers, models, asked.examples if peer.large else SMALL, asked.repeats),
                    flush=True,
                )
            except ImportError as error:
                skipped[peer.name] = str(error)
    print("".join(f"\nNot compared: {name} ({reason})." for name, reason in skipped.items()))


def fetch(folder: Path) -> None:
    """Clone every repository at its commit."""
    for repository, commit in {peer.repository: peer.commit for peer in PEERS}.items():
        place = folder / repository.partition("/")[2]
        if not place.exists():
            address = f"https://github.com/{repository}"
            subprocess.run(["git", "clone", "--filter=blob:none", "--no-checkout", address, str(place)], check=True)
        subprocess.run(["git", "-C", str(place), "checkout", "--quiet", commit], check=True)


def compared(peer: Peer, folder: Path, models: int, examples: int, repeats: int) -> str:
    """Return a row of the table."""
    signals, members = drawn(models + 2, examples)  # the last pair is no reference, but gives the target
    bank = Bank(signals[:models], members[:models].astype(bool), signals[-1].copy(), members[-1].astype(bool))
    work, scores = peer.adapt(peer.folder(folder), bank)
    padded = np.concatenate([bank.phi, signals[-2:]])[:, :, None]  # an attack leaves its last pair out

    def ours() -> Array:
        return ATTACKS[peer.ours].scores(bank.target[:, None], PairArrays(*by_pair(padded, members)))

    agreement = agrees(peer.ours, bank, ours(), scores(work()))
    times = np.median([[spent(work), spent(ours)] for _ in range(repeats)], axis=0)
    memory = [added(work), added(ours)]
    cells = f"{times[0]:.3f}", f"{times[1]:.3f}", f"{times[0] / times[1]:.1f}×", *(f"{part:.0f}" for part in memory)
    return row(f"{models} × {examples:,}", peer.name, peer.law, *cells, agreement)


def drawn(models: int, examples: int, seed: int = 0) -> tuple[Array, Array]:
    """Return float32 signals [models, examples] of complementary halves, and memberships."""
    rng, members = np.random.default_rng(seed), halves(seed, models, examples)
    shift, scale = rng.choice([0.5, 1, 4], examples), np.exp(0.3 * rng.normal(size=examples))
    signals = 1 + scale * (rng.normal(size=members.shape) + shift * members)
    return signals.astype(np.float32), members


def agrees(attack: str, bank: Bank, ours: Array, theirs: Array) -> str:
    """Return in words how the scores agree.

    Raises:
        AssertionError: They do not.
    """
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    if attack.endswith("reference"):
        constant = _HALF_LOG_2PI if "offline" in attack else 0.0  # ours leaves it out
        np.testing.assert_allclose(ours, theirs - constant, rtol=1e-4, atol=1e-4)
        return "equal"
    if attack.startswith("rmia"):  # theirs is a share of the population: a step function of ours
        assert np.diff(theirs[np.argsort(ours, kind="stable")]).min() > -1e-3
        return "same order"
    np.testing.assert_allclose(theirs, normal_law(bank), rtol=1e-3, atol=1e-3)
    rank = float(spearmanr(ours, theirs).statistic)
    assert rank > 0.999
    return f"rank correlation {rank:.5f} (ddof 0, ours 1)"


def normal_law(bank: Bank) -> Array:
    """Return the log likelihood ratio of normal laws with the mean and the variance (ddof 0) of each example."""
    sides = [np.ma.array(bank.phi.astype(np.float64), mask=mask) for mask in (~bank.keep, bank.keep)]
    inside, outside = (norm.logpdf(bank.target, side.mean(axis=0).data, side.std(axis=0).data) for side in sides)
    return inside - outside


def spent(work: Callable[[], Any]) -> float:
    """Return the processor seconds of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def added(work: Callable[[], Any]) -> float:
    """Return by how many MB one call raised the memory of the process at its peak; NaN outside Linux with glibc."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls have freed is not there to be used again
        Path("/proc/self/clear_refs").write_text("5", "ascii")
        before = _status("VmRSS")
    except (OSError, AttributeError):
        return float("nan")
    work()
    return _status("VmHWM") - before


def _status(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text("utf-8").splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    main()
