"""What copies do to a true-positive rate, and whether CTL007 notices: audits of a decision tree on digits.

One digit in ten has another label, so that the tree has something to memorize. Copies of a share of the digits are
added, and the target's members are drawn row by row, as a split that does not know of copies would, or unit by unit.

    python -m benchmarks.copies
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

import memaudit as ma
from memaudit.types import Finding

Array = np.ndarray

DIGITS, SHADOWS, FPR = 1000, 32, 0.05
MODELS = {
    "tree": DecisionTreeClassifier(),
    "forest": RandomForestClassifier(30),
    "network": MLPClassifier((64,), max_iter=100),
}


def digits(seed: int) -> tuple[Array, Array]:
    """Return pictures and labels, one in ten of them at random."""
    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    rows = rng.permutation(len(labels))[:DIGITS]
    noisy = np.where(rng.random(DIGITS) < 0.1, rng.integers(0, 10, DIGITS), labels[rows])
    return images[rows] / 16, noisy


def exact(x: Array, rng: np.random.Generator) -> Array:
    """Return the same pictures."""
    return x.copy()


def noisy(x: Array, rng: np.random.Generator) -> Array:
    """Return the pictures with noise of a hundredth of their range."""
    return x + rng.normal(0, 0.01, x.shape)


def shifted(x: Array, rng: np.random.Generator) -> Array:
    """Return the pictures moved by one pixel."""
    return np.roll(x.reshape(-1, 8, 8), 1, axis=2).reshape(x.shape)


def with_copies(
    x: Array, y: Array, share: float, copy: Callable[[Array, np.random.Generator], Array], grouped: str
) -> ma.Examples:
    """Return examples of which the first ones have a copy at the end."""
    count = int(share * len(x))
    inputs = np.vstack([x, copy(x[:count], np.random.default_rng(1))])
    labels = np.r_[y, y[:count]]
    groups = ma.near_copies(inputs) if grouped == "near_copies" else None
    examples = ma.Examples(inputs, labels, range(len(labels)), groups=groups)
    if grouped == "never":  # as before 0.2
        object.__setattr__(examples, "unit_of", np.arange(len(labels)))
    return examples


def audited(name: str, model: object, examples: ma.Examples, by_unit: bool) -> str:
    """Return a row of the table."""
    recipe = ma.EstimatorRecipe(lambda: examples, model)
    rng = np.random.default_rng(2)
    members = ma.draw_members(recipe, seed=2) if by_unit else rng.random(len(examples)) < 0.5
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skops"
        ma.save_target(ma.train(recipe, members, seed=3), path, members)
        bank = ma.fill(Path(folder) / "bank", recipe, SHADOWS)
        report = ma.audit(path, recipe, bank, fprs=(FPR,), attacks=("lira-online",)).report
    found = [result.finding for result in report.results]
    tpr = next(finding for finding in found if finding.metric == "tpr" and finding.attack == "lira-online")
    control = {c.code: c.passed for c in report.controls}
    shown = {True: "passes", False: "FAILS", None: "not run"}
    cells = [name, str(len(examples)), str(examples.units), "by unit" if by_unit else "by row", _interval(tpr)]
    return "| " + " | ".join([*cells, shown[control["CTL007"]], shown[control["CTL001"]]]) + " |"


def _interval(finding: Finding) -> str:
    estimate = finding.estimate
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f}-{100 * estimate.high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="tree")
    model = MODELS[parser.parse_args().model]
    x, y = digits(0)
    print(
        "| examples | rows | units | members drawn | TPR at 5 % FPR | CTL007 | CTL001 |\n|---|--:|--:|---|---|---|---|"
    )
    for share, copy, grouped in (
        (0.0, exact, ""),
        *((share, exact, grouped) for share in (0.05, 0.3) for grouped in ("never", "")),
        *((share, noisy, grouped) for share in (0.05, 0.3) for grouped in ("", "near_copies")),
        (0.3, shifted, ""),
    ):
        how = {"never": "not kept together", "": "as given", "near_copies": "groups=near_copies(x)"}[grouped]
        examples = with_copies(x, y, share, copy, grouped)
        for by_unit in (False, True) if share and grouped != "never" else (False,):
            name = f"{100 * share:.0f} % {copy.__name__}, {how}" if share else "no copies"
            print(audited(name, model, examples, by_unit), flush=True)


if __name__ == "__main__":
    main()
