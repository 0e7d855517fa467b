"""Compare membership attacks on real banks by the number of shadow models.

    python -m benchmarks.attack_power --data DIR --banks DIR [TASK ...] [--sizes 4 8 16 32 64] [--attacks NAME ...]

The tasks and the layout of DIR are those of benchmarks/banks.py, which also trains the banks. The first 32 pairs of a
bank contain the reference models, the others (at most 13 pairs) the targets. With m models, an attack gets m/2 pairs.
Results are averaged over up to four disjoint reference sets.

TPR: at exactly the given FPR, with one threshold over all target models. The 95 % CI is the pigeonhole bootstrap over
target pairs and examples, for the given reference sets. All attacks share the resamples: their differences are paired.

Every attack has all m models as references. SLiRA has learned from targets with one pair less: its scores are the mean
over the pairs that are left out in turn. The other attacks get a spare pair that is left out.

A cell of another attack: its TPR; then how many percentage points more ours finds, with the 95 % CI of the difference.

FPR of ours: at the threshold that the leave-pair-out scores of the reference set give, with targets scored as an
audit scores them. This is the calibration of an attack.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from benchmarks.banks import RECIPES, filled
from memaudit.attacks import ATTACKS, Attack, Signal, taught
from memaudit.attacks import attack as attack_named
from memaudit.attacks.interface import Learner
from memaudit.design import PairArrays
from memaudit.stats import percentiles, threshold, tpr_draws

Array = np.ndarray
Scores = tuple[Float[Array, "targets examples"], Float[Array, "targets examples"]]

OURS = "slira"
COMPARED = (
    OURS, "lira-online", "lira-online-per-example", "lira-online-pooled", "rmia", "rmia-offline", "bavaria-t",
    "bavaria-n",
)  # fmt: skip
RATES = (0.01, 0.001)
REFERENCES = 32  # pairs
TARGETS = 13  # pairs, at most
SETS = 4  # disjoint reference sets, at most
_TURNS = 4  # pairs that are left out in turn


@dataclass(frozen=True, slots=True)
class Power:
    """What an attack finds with so many models, by FPR and as shares; `fpr` has one value per reference set."""

    tpr: dict[float, float]
    draws: dict[float, Float[Array, " resamples"]]
    fpr: dict[float, list[float]]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"{', '.join(RECIPES)}; default: all")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--banks", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 16, 32, 64], help="numbers of models, even")
    parser.add_argument("--attacks", nargs="+", default=COMPARED, choices=ATTACKS, metavar="NAME")
    parser.add_argument("--ours", default=OURS, help="the attack that the others are subtracted from")
    arguments = parser.parse_args()
    for task in arguments.tasks or RECIPES:
        bank = filled(task, arguments.data, arguments.banks)
        signal = Signal.LOG_PROBABILITY if task.startswith("language") else Signal.SCALED_LOGIT
        targets = bank.take(np.arange(REFERENCES, bank.shape[0])[-TARGETS:])
        print(f"### {task}: {bank.shape[1]:,} examples, {2 * targets.shape[0]} target models\n")
        attacks = {name: attack_named(name, signal) for name in arguments.attacks}
        found, refused = {}, []
        for models in arguments.sizes:
            found[models], reasons = compared(attacks, targets, reference_sets(bank, models))
            refused += [f"{name}, {models} models: {reason}" for name, reason in reasons.items()]
        for rate in RATES:
            print(_table(found, rate, arguments.ours, arguments.attacks), "\n", flush=True)
        print("".join(f"Not run: {line}.\n" for line in refused), flush=True)


def reference_sets(bank: PairArrays, models: int) -> list[PairArrays]:
    """Return disjoint sets of models/2 pairs from the reference pairs of a bank."""
    pairs = models // 2
    return [bank.take(np.arange(pairs) + pairs * n) for n in range(min(SETS, REFERENCES // pairs))]


def compared(
    attacks: Mapping[str, Attack], targets: PairArrays, sets: Sequence[PairArrays]
) -> tuple[dict[str, Power], dict[str, str]]:
    """Return the power of each attack, and why an attack refuses so few models."""
    measured, refused = {}, {}
    for name, attack in attacks.items():
        try:
            measured[name] = power(attack, targets, sets)
        except ValueError as error:
            refused[name] = str(error)
    return measured, refused


def power(attack: Attack, targets: PairArrays, sets: Sequence[PairArrays]) -> Power:
    """Return what an attack finds, averaged over reference sets.

    Raises:
        ValueError: The attack needs more pairs.
    """
    scores, rates, seconds = [], [], 0.0
    for pairs in sets:
        started = time.perf_counter()
        ready, extended = prepared(attack, pairs)
        found = (scored_with_all if extended is pairs else scored)(ready, targets, extended)
        seconds += (time.perf_counter() - started) / len(sets)
        scores.append(found)
        rates.append(calibration(ready, targets, pairs))
    return Power(
        {rate: float(np.mean([_tpr(*found, rate) for found in scores])) for rate in RATES},
        {rate: np.mean([tpr_draws(*found, rate) for found in scores], axis=0) for rate in RATES},
        {rate: [found[rate] for found in rates if rate in found] for rate in RATES},
        seconds,
    )


def prepared(attack: Attack, pairs: PairArrays) -> tuple[Attack, PairArrays]:
    """Return the attack after it has learned, if it does, and the pairs that targets are scored with.

    `scores` leaves the last pair out of the references. The others get a spare pair, so that they use all of them.
    """
    if isinstance(attack, Learner):
        return taught(attack, pairs), pairs
    return attack, pairs.take(np.append(np.arange(pairs.shape[0]), 0))


def scored(attack: Attack, targets: PairArrays, pairs: PairArrays) -> Scores:
    """Return the (inside, outside) scores of every target model, with the last pair left out of the references."""
    inside, outside = (
        np.stack([attack.scores(signals, pairs) for signals in side]) for side in (targets.inside, targets.outside)
    )
    return inside, outside


def scored_with_all(attack: Attack, targets: PairArrays, pairs: PairArrays) -> Scores:
    """Return the same, with the mean over the pairs that are left out (up to four): all pairs are references."""
    count = pairs.shape[0]
    orders = [np.roll(np.arange(count), turn) for turn in range(min(count, _TURNS))]
    sides = zip(*(scored(attack, targets, pairs.take(order)) for order in orders), strict=True)
    inside, outside = (np.asarray(np.mean(side, axis=0, dtype=np.float32)) for side in sides)
    return inside, outside


def calibration(attack: Attack, targets: PairArrays, pairs: PairArrays) -> dict[float, float]:
    """Return the FPR of the targets by nominal FPR; nothing if the pairs are too few to set a threshold."""
    try:
        _, reference = attack.leave_pair_out(pairs)
        _, outside = scored(attack, targets, pairs)
        return {rate: float((outside > threshold(reference.ravel(), rate)).mean()) for rate in RATES}
    except ValueError:  # leaving a pair out needs one pair more than scoring
        return {}


def _tpr(inside: Float[Array, "targets examples"], outside: Float[Array, "targets examples"], rate: float) -> float:
    return float((inside > threshold(outside.ravel(), rate)).mean())


def _table(found: Mapping[int, Mapping[str, Power]], rate: float, ours: str, attacks: Sequence[str]) -> str:
    """Return a table of one FPR: a row per number of models, a column per attack."""
    others = [name for name in attacks if name != ours]
    columns = [
        "models",
        f"{ours}: TPR at {100 * rate:g} % FPR, %",
        *others,
        f"FPR of {ours} at nominal {100 * rate:g} %",
    ]
    lines = [columns, ["---"] * len(columns)]
    for models, measured in found.items():
        mine = measured[ours]
        low, high = percentiles(mine.draws[rate])
        cells = [str(models), f"{100 * mine.tpr[rate]:.1f} ({100 * low:.1f}-{100 * high:.1f})"]
        cells += [_beside(measured[name], mine, rate) if name in measured else "–" for name in others]
        lines.append([*cells, _calibrated(mine.fpr[rate])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _beside(found: Power, ours: Power, rate: float) -> str:
    """Return an attack's TPR, and how much more ours finds, with the interval of the paired difference."""
    low, high = percentiles(ours.draws[rate] - found.draws[rate])
    difference = f"{100 * (ours.tpr[rate] - found.tpr[rate]):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * found.tpr[rate]:.1f}; {difference}"


def _calibrated(fpr: Sequence[float]) -> str:
    """Return the mean over reference sets, in percent."""
    if not fpr:
        return "–"
    return f"{100 * np.mean(fpr):.2f}"


if __name__ == "__main__":
    main()
