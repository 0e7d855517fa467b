"""How often honest audits with few shadow models pass a limit that the model breaks, through the command line.

    python -m benchmarks.command_line [--shadows 6] [--audits 120] [--attack slira]

Every audit is a new population, a new bank and a new target of the same recipe: logistic regression on 1,000 rows of
noise and 250 columns. `memaudit audit` writes the reports. The true rate is the mean TPR over the targets, at the
thresholds that have an FPR of exactly 1 % on average. Then `memaudit gate` decides every report again, with the limit
at the true rate, and at the true rate / 1.2.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import memaudit as ma
import memaudit.reports.figures
from benchmarks.printing import head, row
from benchmarks.simulation import true_rate
from memaudit.auditing.flags import flag_column
from memaudit.cli import main as memaudit_command
from memaudit.recipe import load_recipe

Array = np.ndarray
FPR = 0.01
NOMINAL = (0.006, 0.008, FPR, 0.013, 0.017)  # rates that are measured, to interpolate the true one
RECIPE = """
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

import memaudit as ma

rng = np.random.default_rng(int(Path(__file__).with_name("seed.txt").read_text()))
x, y = rng.normal(size=(1000, 250)), rng.integers(0, 2, 1000)
recipe = ma.EstimatorRecipe(lambda: ma.Examples(x, y), LogisticRegression(C=0.02))
"""
OUTCOMES = {0: "pass", 1: "fail", 3: "inconclusive"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shadows", type=int, default=6)
    parser.add_argument("--audits", type=int, default=120)
    parser.add_argument("--attack", default="slira")
    arguments = parser.parse_args()
    memaudit.reports.figures.render = lambda figure, theme: b"<svg/>"  # drawing takes half of the time
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / f"{number}" for number in range(arguments.audits)]
        evidence = [audited(place, arguments.shadows, number) for number, place in enumerate(places)]
        kept = [rows for rows in evidence if rows]
        fprs, tprs = (
            np.array([[flagged(rows, arguments.attack, fpr, member) for fpr in NOMINAL] for rows in kept])
            for member in "01"
        )
        truth = true_rate(fprs, tprs, FPR)
        print(
            f"{arguments.audits} audits, {arguments.shadows} shadow models; true TPR at 1 % FPR: {100 * truth:.2f} %."
        )
        print(f"Figures withheld (CTL001): {len(evidence) - len(kept)}.\n")
        print(head("limit at", *OUTCOMES.values()))
        for name, limit in (("the true rate", truth), ("the true rate / 1.2", truth / 1.2)):
            codes = Counter(OUTCOMES[gated(place, arguments.attack, limit)] for place in places)
            print(row(name, *(codes[outcome] for outcome in OUTCOMES.values())))


def audited(place: Path, shadows: int, seed: int) -> list[dict[str, str]]:
    """Audit a new model with a new bank; return the evidence, which is empty if the figures are withheld."""
    place.mkdir()
    name = f"recipe_{seed}.py"  # a module of its own: all are imported into this process
    (place / name).write_text(RECIPE, "utf-8")
    (place / "seed.txt").write_text(str(seed), "utf-8")
    (place / "memaudit.toml").write_text(
        f'[audit]\nrecipe = "{name}:recipe"\nshadows = {shadows}\nseed = {seed}\nworkers = 1\nfpr = {list(NOMINAL)}\n',
        "utf-8",
    )
    recipe = load_recipe(f"{place / name}:recipe")
    members = ma.draw_members(recipe, seed=seed + 1)
    ma.save_target(ma.train(recipe, members, seed=1), place / "model.skops", members)
    ma.fill(place / "bank", recipe, shadows, seed=seed)
    run(place, "audit", "model.skops", "-q")
    if not (place / "audit" / "evidence.csv").exists():
        return []
    with (place / "audit" / "evidence.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def flagged(rows: list[dict[str, str]], attack: str, fpr: float, member: str) -> float:
    """Return the share of members ("1") or non-members ("0") that an attack flags, by the evidence."""
    column = flag_column(fpr, attack)
    return float(np.mean([row[column] == "1" for row in rows if row["member"] == member]))


def gated(place: Path, attack: str, limit: float) -> int:
    """Return the exit code of the gate on a finished report."""
    (place / "gate.toml").write_text(
        f'[[gate]]\nmetric = "tpr"\nattack = "{attack}"\nat_fpr = {FPR}\nmax = {limit}\n', "utf-8"
    )
    return run(place, "gate", "audit/report.json", "--config", "gate.toml")


def run(place: Path, *arguments: str) -> int:
    """Run a memaudit command line in a folder; return its exit code."""
    before = Path.cwd()
    os.chdir(place)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            memaudit_command(list(arguments))
    except SystemExit as end:
        if end.code == 2:
            raise RuntimeError(said.getvalue()) from None
        return int(end.code or 0)
    finally:
        os.chdir(before)
    return 0


if __name__ == "__main__":
    main()
