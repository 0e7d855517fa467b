"""Shadow models that are not pairs: does the interval of the TPR cover the truth, whatever their design?

    python -m benchmarks.couples [--models 16] [--audits 300] [--shifts 0 0.3 0.6]

LiRA at an FPR of 5 %, simulated: φ = μᵢ + σᵢ(noise + shiftᵢ·member + model), 1,000 examples. A shift between models is
the standard deviation of `model`. "Rows as pairs" ignores which model a value comes from. The audits are those of
tests/test_couples.py, there at an FPR of 1 %.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

from benchmarks.printing import head, row
from memaudit.attacks import Lira
from memaudit.bank.matching import design_of, matched
from memaudit.design import PairArrays
from memaudit.stats import Couples, threshold, transferred_rate

Array = np.ndarray

DESIGNS = {"pairs": "pairs", "coins": "independent draws", "balanced": "balanced"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--audits", type=int, default=300)
    parser.add_argument("--shifts", type=float, nargs="+", default=[0, 0.3, 0.6])
    parser.add_argument("--fpr", type=float, default=0.05)
    asked = parser.parse_args()
    print(f"Coverage of the 95 % interval: {asked.models} models, {asked.audits} audits per cell.\n")
    print(head("shift between models", *DESIGNS.values(), "balanced, rows as pairs"))
    for shift in asked.shifts:
        found = [coverage(design, asked.models, shift, asked.audits, asked.fpr) for design in DESIGNS]
        print(row(f"{shift:g}", *(f"{f.covered:.3f}" for f in found), f"{found[-1].rows:.3f}"), flush=True)


class Coverage(NamedTuple):
    """Shares of audits: whose 95 % interval holds the truth, and whose one-sided bounds at 95 % err."""

    covered: float
    high: float
    low: float
    rows: float  # covered, if rows were taken for pairs of models


def coverage(design: str, models: int, between: float, audits: int, fpr: float = 0.01) -> Coverage:
    """Return shares of simulated audits by LiRA.

    The truth is the TPR at the threshold that has this FPR over all audits.
    """
    rng, examples = np.random.default_rng(6), 1000
    scores, who, rates, rows = [], [], [], []
    for _ in range(audits):
        seed = int(rng.integers(2**31))
        if design == "balanced":
            members = rng.random((models, examples)).argsort(axis=0).argsort(axis=0) < models // 2
        else:
            members = _drawn(design, models, examples, seed)
        found = design_of(members)
        members, target = members[found.order], rng.random(examples) < 0.5
        mean, scale = rng.normal(2, 2, examples), np.exp(0.5 * rng.normal(size=examples))
        shift = rng.choice([0.5, 1, 4], examples, p=[0.6, 0.3, 0.1])
        model = between * rng.normal(size=(models + 1, 1))
        noise = rng.normal(size=(models + 1, examples))
        phi = (mean + scale * (noise + shift * np.vstack([members, target]) + model))[:, found.kept]
        couples = Couples.of_pairs(members[0::2]) if found.pairs else matched(members, found, seed)
        columns, target = np.arange(len(found.kept)), target[found.kept]
        bank = PairArrays(phi[couples.inside, columns][..., None], phi[couples.outside, columns][..., None])
        inside, outside = Lira().leave_pair_out(bank)
        score = Lira().scores(phi[-1][:, None], bank)
        flagged = (score > threshold(outside.ravel(), fpr))[target]
        rates.append(transferred_rate(flagged, inside, outside, couples, fpr))
        halves = Couples.of_pairs(rng.random(inside.shape) < 0.5)
        rows.append(transferred_rate(flagged, inside, outside, halves, fpr))
        scores.append(score)
        who.append(target)
    of_all, everyone = np.concatenate(scores), np.concatenate(who)
    truth = (of_all[everyone] > threshold(of_all[~everyone], fpr)).mean()
    low, high = np.array([rate.interval(0.95) for rate in rates]).T
    lower, upper = np.array([rate.interval(0.90) for rate in rates]).T
    naive = np.array([rate.interval(0.95) for rate in rows]).T
    covered, by_rows = ((ends[0] <= truth) & (truth <= ends[1]) for ends in ((low, high), naive))
    return Coverage(*map(float, (covered.mean(), (upper < truth).mean(), (lower > truth).mean(), by_rows.mean())))


def _drawn(design: str, models: int, examples: int, seed: int) -> Array:
    """Return memberships: complementary pairs in a random order, or independent draws."""
    rng = np.random.default_rng(seed)
    if design == "coins":
        return rng.random((models, examples)) < 0.5
    first = rng.random((models // 2, examples)) < 0.5
    return np.concatenate([first, ~first])[rng.permutation(models)]


if __name__ == "__main__":
    main()
