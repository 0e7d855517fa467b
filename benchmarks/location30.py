"""Known values: 128 small networks on Location-30, every attack and the link beside an independent measurement.

    python -m benchmarks.location30 --data dataset_location.tgz [--bank FOLDER] [--workers N] [--device cuda] [--seed N]
                                    [--models 128] [--seconds N]

The data are the Location data set of Shokri et al. 2017: 5,010 × 446 binary, 30 classes, the label in column one. The
recipe: 446-128-30, ReLU, weights N(0, 2/446) and N(0, 1/128), biases 0, 40 epochs, batch 100, SGD 0.2 with a cosine,
momentum 0.9, weight decay 1e-4. Every model is a target, its pair left out, thresholds from the other models.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.bank_tables import filled, rate_cell, tpr
from benchmarks.location30_recipe import recipe
from benchmarks.printing import head, row
from memaudit.attacks import ATTACKS
from memaudit.bank import Recordings
from memaudit.checks.link import bin_name, flag_with
from memaudit.design import by_pair
from memaudit.memorization import cross_fitted_link, paired_memorization
from memaudit.stats import auc

# attack: AUC, TPR at 1%, 0.1%, 0.01% false positives, in percent; measured independently of this code.
KNOWN = {
    "global-threshold": (0.798, 1.46, 0.16, 0.02),
    "lira-offline-pooled": (0.879, 28.9, 9.5, 2.6),
    "lira-offline-per-example": (0.882, 31.5, 10.7, 1.4),
    "lira-offline-reference": (0.789, 21.6, 5.8, 0.7),
    "lira-online-per-example": (0.939, 41.7, 20.7, 9.3),
    "lira-online-pooled": (0.931, 38.4, 14.9, 5.2),
    "lira-online-reference-fixed": (0.928, 34.5, 13.0, 4.2),
    "lira-online": (0.939, 42.0, 21.0, 9.5),  # 0.1%: empirical Bayes on 96 models; the others: t with ν0 = 4 on 126
}
KNOWN_LINK = {
    "< 0.02": (0.00, 0.000),
    "0.02–0.1": (0.07, 0.012),
    "0.1–0.25": (1.0, 0.025),
    "0.25–0.5": (8.3, 0.188),
    "0.5–0.75": (36.5, 0.265),
    "0.75–0.9": (74.1, 0.254),
    "≥ 0.9": (95.9, 0.121),
}
KNOWN_MEAN_MEMORIZATION, KNOWN_SPEARMAN = 0.306, 0.739
PER_EXAMPLE = ATTACKS["lira-online-per-example"]
RATES = (1e-2, 1e-3, 1e-4)
LEAST_LINKED = 12  # models, which the cross-fitted link needs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--bank", default=None)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=None, help="as many models as can be trained in this time")
    arguments = parser.parse_args()
    folder = Path(arguments.bank or tempfile.mkdtemp(prefix="location30-"))
    how = {"workers": arguments.workers, "seed": arguments.seed}
    bank = filled(recipe(arguments.data), folder, arguments.models, arguments.device, arguments.seconds, **how)
    recordings = bank.read()
    attacks(recordings)
    if len(recordings.members) >= LEAST_LINKED:
        link(recordings)


def attacks(recordings: Recordings) -> None:
    heads = [cell for rate in RATES for cell in (f"TPR at {100 * rate:g} % FPR, % (95 % CI)", "known")]
    print(head("attack", "AUC", "known", *heads))
    for name, attack in ATTACKS.items():
        known = KNOWN.get(name, (None,) * 4)
        inside, outside = attack.leave_pair_out(recordings)
        area = auc(inside.ravel(), outside.ravel())
        cells = [name, f"{area:.3f}", beside(known[0], ".3f", partial(_within, area - 0.01, area + 0.01))]
        for rate, at_rate in zip(RATES, known[1:], strict=True):
            found = tpr(inside, outside, rate)
            agrees = partial(_within, 100 * found[1], 100 * found[2]) if found else None
            cells += [rate_cell(inside, outside, rate, "", 2), beside(at_rate, ".2f", agrees)]
        print(row(*cells))


def beside(known: float | None, form: str, agrees: Callable[[float], bool] | None) -> str:
    """Return a known value and whether ours agrees with it; a dash where there is none."""
    return "–" if known is None or agrees is None else f"{format(known, form)}{_mark(agrees(known))}"


def _within(low: float, high: float, value: float) -> bool:
    return low <= value <= high


def link(recordings: Recordings) -> None:
    correct = by_pair(recordings.correct, recordings.members)
    scores = paired_memorization(*correct)
    mean = float(scores.value.mean())
    found = cross_fitted_link(*correct, partial(flag_with, recordings, fpr=1e-3))
    close = _mark(abs(mean - KNOWN_MEAN_MEMORIZATION) <= 0.02)
    print(f"\nMean memorization {mean:.3f}, known {KNOWN_MEAN_MEMORIZATION}{close}.")
    close = _mark(abs(found.rho - KNOWN_SPEARMAN) <= 0.05)
    low, high = found.interval()
    print(f"Spearman {found.rho:.3f} ({low:.3f}-{high:.3f}), known {KNOWN_SPEARMAN}{close}.")
    others = cross_fitted_link(*correct, partial(flag_with, recordings, fpr=1e-3, attack=PER_EXAMPLE))
    per_example = {bin_name(b): 100 * b.tpr[0] for b in others.bins}
    print("\nThe link of memorization and LiRA (online) at a 0.1 % FPR:\n")
    heads = [
        "TPR, % (95 % CI)",
        "known",
        "FPR, % (95 % CI)",
        "known",
        "share of true positives",
        f"TPR of {PER_EXAMPLE.name}, %",
    ]
    print(head("memorization", "examples", *heads))
    for b in found.bins:
        name = bin_name(b)
        (tpr, tpr_low, tpr_high), (fpr, fpr_low, fpr_high) = (tuple(100 * v for v in r) for r in (b.tpr, b.fpr))
        known = KNOWN_LINK[name]
        cells = [f"{tpr:.2f} ({tpr_low:.2f}-{tpr_high:.2f})", f"{known[0]:.2f}"]
        cells += [f"{fpr:.3f} ({fpr_low:.3f}-{fpr_high:.3f})", f"{known[1]:.3f}", f"{100 * b.share[0]:.1f} %"]
        print(row(name, f"{b.examples:.0f}", *cells, f"{per_example[name]:.2f}"))


def _mark(agrees: bool) -> str:
    return " ✓" if agrees else " ✗"


if __name__ == "__main__":
    main()
