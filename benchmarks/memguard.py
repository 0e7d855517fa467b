"""MemGuard: published outputs with and without the defence, attacked from arrays, beside the authors' own figures.

    python -m benchmarks.memguard FOLDER

FOLDER holds, from MemGuard/ of the authors' repository inspire-group/membership-inference-evaluation:
location_target_predictions.npz and location_shadow_predictions.npz (saved_predictions/), shuffle_index.npz and
data_complete.npz (data/location/; only the labels `y` are used). Nothing is downloaded.

A network of 30 classes on Location, one shadow network on other examples, and both with MemGuard's noise. Attacks of
Song & Mittal 2021 (USENIX Security): correctness; confidence, entropy and modified entropy, each with one threshold for
each class, which the shadow network sets. Accuracy is that of balanced members and non-members.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from memaudit.bank.arrays import read_arrays
from memaudit.signals.recorded import recorded_signals
from memaudit.stats import auc, auc_interval, clopper_pearson, resolvable, roc_points

Array = np.ndarray

CLASSES = 30
RANGES = {"target": ((0, 1000), (2000, 3000)), "shadow": ((3000, 3500), (4000, 4500))}  # of config.ini, in and out
OUTPUTS = {"undefended": "tc_output", "MemGuard": "defense_output"}
REFERENCE = {  # accuracy in percent by the authors' code, run on the same files
    ("undefended", "correctness"): 68.7,
    ("MemGuard", "correctness"): 68.7,
    ("undefended", "confidence"): 76.3,
    ("MemGuard", "confidence"): 69.1,
    ("undefended", "entropy"): 61.6,
    ("MemGuard", "entropy"): 52.1,
    ("undefended", "modified entropy"): 78.1,
    ("MemGuard", "modified entropy"): 68.8,
}
_LEAST = 1e-30


@dataclass(frozen=True)
class Model:
    """A network's probabilities `[examples, classes]`, labels, and which examples it was trained on."""

    p: Float[Array, "examples classes"]
    y: Int[Array, " examples"]
    members: Array

    def scores(self) -> dict[str, Float[Array, " examples"]]:
        """Return the attacks' scores, larger = member-like."""
        rows, p = np.arange(len(self.y)), self.p.astype(np.float64)
        log, log_not = (np.log(np.maximum(values, _LEAST)) for values in (p, 1 - p))
        others = np.ones(p.shape, bool)
        others[rows, self.y] = False
        own = p[rows, self.y]
        return {
            "correctness": (p.argmax(axis=1) == self.y).astype(float),
            "confidence": own,
            "entropy": (p * log).sum(axis=1),
            "modified entropy": (1 - own) * log[rows, self.y] + np.where(others, p * log_not, 0).sum(axis=1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print("| outputs | attack | accuracy, % (95 % CI) | authors' code | AUC (95 % CI) | TPR at 1 % FPR |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, array in OUTPUTS.items():
        target, shadow = (read(folder, which, array) for which in RANGES)
        thresholds = shadow.scores()
        for attack, scores in target.scores().items():
            if attack == "correctness":
                guessed = scores > 0
            else:
                guessed = scores >= by_class(shadow, thresholds[attack])[target.y]
            print(row(name, attack, target, scores, guessed), flush=True)
        phi = recorded_signals(target.p, target.y, "probabilities").phi[:, 0]
        print(row(name, "scaled logit, one threshold", target, phi, None), flush=True)


def read(folder: Path, which: str, array: str) -> Model:
    """Return one network's outputs with labels and members."""
    outputs = read_arrays(folder / f"location_{which}_predictions.npz", {})[array]
    order = read_arrays(folder / "shuffle_index.npz", {})["x"]
    labels = read_arrays(folder / "data_complete.npz", {})["y"].astype(np.int64)[order] - 1
    inside, outside = (np.arange(*ends) for ends in RANGES[which])
    y = labels[np.concatenate([inside, outside])]
    return Model(outputs, y, np.arange(len(y)) < len(inside))


def by_class(shadow: Model, scores: Float[Array, " examples"]) -> Float[Array, " classes"]:
    """Return for each class the threshold of greatest accuracy on the shadow's own members and non-members."""
    found = np.zeros(CLASSES)
    for label in range(CLASSES):
        inside = scores[(shadow.y == label) & shadow.members]
        outside = scores[(shadow.y == label) & ~shadow.members]
        cuts = np.concatenate([inside, outside])
        accuracy = [(inside >= cut).mean() + (outside < cut).mean() for cut in cuts]
        found[label] = cuts[int(np.argmax(accuracy))] if len(inside) and len(outside) else 0
    return found


def row(name: str, attack: str, target: Model, scores: Array, guessed: Array | None) -> str:
    """Return a line of the table."""
    inside, outside = scores[target.members], scores[~target.members]
    area, (low, high) = auc(inside, outside), auc_interval(inside, outside)
    cells = ["–", "–"]
    if guessed is not None:
        right = int((guessed == target.members).sum())
        ends = [100 * float(end) for end in clopper_pearson(right, len(guessed))]
        cells = [f"{100 * right / len(guessed):.2f} ({ends[0]:.1f}-{ends[1]:.1f})", f"{REFERENCE[name, attack]:.1f}"]
    rate = "–"
    if resolvable(0.01, len(outside)) and attack != "correctness":
        tpr, fpr = roc_points(inside, outside, np.array([0.01]))
        rate = f"{100 * tpr[0]:.1f} % (measured FPR {100 * fpr[0]:.1f} %)"
    return " | ".join([f"| {name}", attack, *cells, f"{area:.3f} ({low:.3f}-{high:.3f})", f"{rate} |"])


if __name__ == "__main__":
    main()
