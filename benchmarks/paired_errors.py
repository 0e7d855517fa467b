"""Standard errors of memorization on a real bank: of paired models, and as if all models were independent.

    python -m benchmarks.paired_errors [--models 256] [--workers N]

A bank of `memaudit demo`'s recipe (scikit-learn's digits) is dealt into disjoint banks of 16 models. How much the score
of an example varies between them is what a standard error from one of them claims to know.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

import memaudit as ma
from benchmarks.printing import head, row
from memaudit.cli import init_command
from memaudit.design import PairArrays, by_pair
from memaudit.memorization import margin, memorization, paired_memorization

Array = np.ndarray

_PAIRS = 8


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        init_command.write(Path(folder), language=False, force=True)
        recipe = f"{Path(folder) / 'recipe.py'}:recipe"
        bank = ma.fill(Path(folder) / "bank", recipe, arguments.models, workers=arguments.workers).read()
        correct, members = bank.correct, bank.members
        inside, outside = bank.block(slice(None))
    starts = range(0, arguments.models - 2 * _PAIRS + 1, 2 * _PAIRS)
    banks = [slice(start, start + 2 * _PAIRS) for start in starts]
    paired = [paired_memorization(*by_pair(correct[b], members[b])) for b in banks]
    independent = [memorization(correct[b], members[b]) for b in banks]
    shifts = [PairArrays(*(side[b.start // 2 : b.stop // 2] for side in (inside, outside))) for b in banks]
    margins = [margin(shift) for shift in shifts]
    plain = [_independent_se(shift) for shift in shifts]
    print(f"{len(banks)} disjoint banks of {2 * _PAIRS} models, {correct.shape[1]:,} examples.\n")
    print(head("root mean square over examples", "between banks", "paired", "as if independent"))
    errors = [[np.sqrt(m.variance) for m in kind] for kind in (paired, independent)]
    _line("memorization", [m.value for m in paired], *errors)
    _line("margin shift (nats)", [m.shift for m in margins], [m.shift_se for m in margins], plain)
    level = [np.mean([(m.low > 0) | (m.high < 0) for m in kind]) for kind in (paired, independent)]
    paired_share, plain_share = (f"{100 * share:.1f} %" for share in level)
    print(f"\nIntervals of memorization that leave out 0: {paired_share} paired, {plain_share} as if independent.")


def _independent_se(shift: PairArrays) -> Array:
    """Return the standard error that takes the two models of a pair for independent."""
    variance = sum(side.mean(axis=2, dtype=np.float64).var(axis=0, ddof=1) for side in (shift.inside, shift.outside))
    return np.sqrt(variance / len(shift.inside))


def _line(name: str, values: list[Array], paired: list[Array], independent: list[Array]) -> None:
    between = np.sqrt(np.var(values, axis=0, ddof=1).mean())
    stated = [np.sqrt(np.mean(np.square(errors))) for errors in (paired, independent)]
    print(row(name, *(f"{error:.4f}" for error in (between, *stated))))


if __name__ == "__main__":
    main()
