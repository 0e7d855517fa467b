"""A bank of ResNets on CIFAR-10: seconds per model, attacks, and memorization beside the published C-scores.

    python -m benchmarks.cifar10 --data cifar10.npz [--cscores FILE] [--models 32] [--images 10000] [--device cuda]

Every model is a target, its pair left out, thresholds from the other models. The C-score of an image (Jiang et al.
2021) is how often models of other training sets classify it correctly: an independent measurement of what a model does
not have to memorize, so that memorization should fall with it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np
from scipy.stats import spearmanr

import memaudit as ma
from benchmarks.cifar10_recipe import recipe
from memaudit.attacks import attack
from memaudit.bank import Bank, Recordings
from memaudit.design import by_pair
from memaudit.memorization import paired_memorization
from memaudit.stats import auc, tpr_interval, transferred_thresholds

RATES = (1e-2, 1e-3)
NAMES = ("slira", "lira-online", "rmia", "lira-offline", "global-threshold")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--cscores", default=None)
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--bank", default=None)
    arguments = parser.parse_args()
    made = recipe(arguments.data, arguments.images, arguments.epochs)
    started = time.perf_counter()
    folder = arguments.bank or tempfile.mkdtemp(prefix="cifar10-")
    bank = ma.fill(folder, made, arguments.models, device=arguments.device, weights=False)
    cost(bank, time.perf_counter() - started, arguments.images, arguments.epochs)
    recordings = bank.read()
    attacks(recordings)
    memorization(recordings, arguments.cscores)


def cost(bank: Bank, seconds: float, images: int, epochs: int) -> None:
    import torch

    records = [bank.record(model) for model in bank.models()]
    training, evaluation = (float(np.median([record[key] for record in records])) for key in ("seconds", "evaluation"))
    print(f"{len(records)} models in {seconds:.0f} s, {os.cpu_count()} cores, device {records[0]['device']}")
    print(f"one model: {training:.2f} s of training ({images / 2 * epochs / training:,.0f} images/s), "
          f"{evaluation:.2f} s of evaluation on {images:,} images")  # fmt: skip
    if torch.cuda.is_available():
        print(f"{torch.cuda.get_device_name()}: peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def attacks(recordings: Recordings) -> None:
    for name in NAMES:
        inside, outside = attack(name).leave_pair_out(recordings)
        cells = [f"{name:<18} AUC {auc(inside.ravel(), outside.ravel()):.3f}"]
        for rate in RATES:
            value = float((inside > transferred_thresholds(outside, rate)[:, None]).mean())
            low, high = tpr_interval(inside, outside, rate)
            cells.append(f"TPR at {rate:.1%} FPR {value:.1%} (95 % CI {low:.1%}-{high:.1%})")
        print("   ".join(cells))


def memorization(recordings: Recordings, cscores: str | None) -> None:
    inside, outside = by_pair(recordings.correct, recordings.members)
    value = paired_memorization(inside, outside).value
    print(f"accuracy on members {inside.mean():.3f}, on non-members {outside.mean():.3f}")
    print(f"mean memorization {value.mean():.3f}; at least 0.5: {(value >= 0.5).mean():.1%}")
    if cscores is not None:
        with np.load(cscores) as data:
            scores = data["scores"][: len(value)]
        print(f"Spearman correlation with the C-scores {spearmanr(value, scores).statistic:.3f}")


if __name__ == "__main__":
    main()
