"""A bank of ResNets on CIFAR-10: seconds per model, attacks, and memorization beside the published C-scores.

    python -m benchmarks.cifar10 --data cifar10.npz [--cscores FILE] [--models 256] [--images 50000] [--epochs 16]
                                 [--seconds N] [--device cuda] [--bank FOLDER]

With --seconds, the bank has as many models as can be trained in that time. Every model is a target, its pair left out,
thresholds from the other models. Carlini et al. 2022 (S&P, Table I) publish a TPR of 8.4 % at a 0.1 % FPR: LiRA
(online), 256 wide ResNets trained for 100 epochs. The C-score of an image (Jiang et al. 2021) is how often models of
other training sets classify it correctly, so that memorization should fall with it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.bank_tables import attacks, filled
from benchmarks.cifar10_recipe import recipe
from memaudit.bank import Recordings
from memaudit.design import by_pair
from memaudit.memorization import paired_memorization

RATES = (1e-2, 1e-3)
NAMES = ("lira-online", "slira", "rmia", "global-threshold")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--cscores", default=None)
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--bank", type=Path, default=None)
    asked = parser.parse_args()
    folder = asked.bank or Path(tempfile.mkdtemp(prefix="cifar10-"))
    made = recipe(asked.data, asked.images, asked.epochs)
    bank = filled(made, folder, asked.models, asked.device, asked.seconds)
    recordings = bank.read()
    memorization(recordings, asked.cscores)
    attacks(recordings, NAMES, RATES)
    print("\nPublished: a TPR of 8.4 % at a 0.1 % FPR (LiRA online, 256 wide ResNets on 50,000 images).")


def memorization(recordings: Recordings, cscores: str | None) -> None:
    inside, outside = by_pair(recordings.correct, recordings.members)
    value = paired_memorization(inside, outside).value
    print(f"Accuracy on members {100 * inside.mean():.1f} %, on non-members {100 * outside.mean():.1f} %. ")
    print(f"Mean memorization {value.mean():.3f}; at least 0.5: {100 * (value >= 0.5).mean():.1f} % of the images.")
    if cscores is not None:
        with np.load(cscores) as data:
            scores = data["scores"][: len(value)]
        print(f"Spearman correlation of memorization with the C-scores: {spearmanr(value, scores).statistic:.3f}.")
    print(flush=True)


if __name__ == "__main__":
    main()
