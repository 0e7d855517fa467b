"""Federated against central training on the same clients: who can be found, and canaries.

    python -m benchmarks.federated FOLDER --data DIR [--models 16]

DIR contains `dataset_location.tgz` (Location-30). Its records are sorted by class and dealt to 120 clients in shards of
five, four to a client (McMahan et al. 2017, section 3), so that a client has about four of the 30 classes. Every second
client also has a canary, a random record with a random label, once or four times. Banks are in FOLDER; a run resumes.

All banks have the same training sets: halves of the clients. Two attackers use LiRA with the other pairs as references:
one has all records of a client, the other a single one. A canary's exposure is its rank among those that the model was
not trained on. Changes are paired by pair of models, and the intervals of a table hold together (Bonferroni). Two
further tables compare FedAvg with central training that stops early, at about the same accuracy.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import memaudit as ma
from benchmarks.federated_recipe import CANARY, DOSES, recipes
from benchmarks.printing import Clock
from memaudit.auditing.unit_scores import scores_by_unit
from memaudit.bank import Bank, Pooled, Recordings
from memaudit.design import Chosen, by_pair
from memaudit.stats import paired_change, rate_by_pair

Array = np.ndarray

FPR = 0.01
SAME_ACCURACY = {
    "FedAvg, 6 clients, 1 local epoch": "central, 7 epochs",
    "FedAvg, 6 clients, 5 local epochs": "central, 5 epochs",
}


class Figures(NamedTuple):
    """What is measured of one bank, by pair of models; rates are shares, exposure is in bits."""

    accuracy: Array  # on records of clients that a model lacks
    clients: Array  # true-positive rate
    records: Array
    canary_once: Array  # exposure
    canary_4_times: Array
    learned_once: Array  # share of its canaries whose label a model predicts, beyond that of a model without them
    learned_4_times: Array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=int, default=16)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    known = recipes(str(asked.data / "dataset_location.tgz"))
    examples = known["central"].examples()
    found = {}
    for name, recipe in known.items():
        clock = Clock()
        bank = ma.fill(asked.folder / name.replace(", ", "-").replace(" ", "-"), recipe, asked.models, device="cpu")
        found[name] = measured(bank, examples, asked.models)
        print(f"{name}: {clock}", flush=True)
    print(table(found))
    for name, base in SAME_ACCURACY.items():
        print(f"\n{name}, compared with {base}\n\n{table({base: found[base], name: found[name]})}")


def measured(bank: Bank, examples: ma.Examples, models: int) -> Figures:
    """Return the figures of a bank."""
    whole = bank.read(models)
    kinds = np.array([name.split("-")[1] if name.startswith(CANARY) else "" for name in examples.ids])
    own = examples.take(kinds == "")
    records = np.flatnonzero(kinds == "")
    plain = Chosen(whole, records)
    right_in, right_out = by_pair(whole.correct.astype(float), whole.members)
    rate = [rate_by_pair(*scores_by_unit(of, own, "lira-online"), FPR)[1] for of in (Pooled.of(plain, own), plain)]
    return Figures(
        right_out[:, records].mean(axis=1),
        *rate,
        *(exposures(whole, examples, kinds == str(time), kinds != "") for time in DOSES),
        *((right_in - right_out)[:, kinds == str(time)].mean(axis=1) for time in DOSES),
    )


def exposures(whole: Recordings, examples: ma.Examples, some: Array, canaries: Array) -> Array:
    """Return the mean exposure of some canaries in the models that have them, by pair of models, in bits."""
    first = np.isin(np.arange(len(examples)), examples.records)  # of the copies of a canary
    found = []
    for model in range(len(whole.files)):
        phi, inside = whole.everything(model)["phi"][:, 0], whole.members[model] > 0
        others = np.sort(phi[canaries & first & ~inside])
        above = len(others) - np.searchsorted(others, phi[some & first & inside], side="right")
        found.append(np.mean(np.log2(len(others) + 1) - np.log2(above + 1)))
    return np.reshape(found, (-1, 2)).mean(axis=1)


def table(found: dict[str, Figures]) -> str:
    """Return the figures as Markdown, with what changes from the first training."""
    base = next(iter(found))
    level = 1 - 0.05 / ((len(found) - 1) * len(Figures._fields))
    heads = ("training", *(name.replace("_", " ") for name in Figures._fields))
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, figures in found.items():
        cells = [
            cell(before, after, 1 if field.startswith("canary") else 100, level, name == base)
            for field, before, after in zip(Figures._fields, found[base], figures, strict=True)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\nIntervals of changes: {100 * level:.2f} %; of {base}: 95 %."


def cell(before: Array, after: Array, scale: float, level: float, base: bool) -> str:
    """Return a mean with its interval; or with its change from that of the first training."""
    if base:
        value, low, high = (scale * v for v in paired_change(np.zeros_like(after), after))
        return f"{value:.3g} ({low:.3g} to {high:.3g})"
    value, low, high = (scale * v for v in paired_change(before, after, level))
    return f"{scale * after.mean():.3g}; {value:+.2g} ({low:+.2g} to {high:+.2g})"


if __name__ == "__main__":
    main()
