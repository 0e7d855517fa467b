"""Unlearning of 20 records compared with retraining, on Fashion-MNIST: what is forgotten, by whom, and at what cost.

    python -m benchmarks.unlearning --data DIR --folder DIR [--models 16]

The images and the network of benchmarks/whatif_images.py. Each model forgets 20 of its about 2,000 members, drawn anew
for each. Memorization, which says who is an outlier, comes from another bank (seed 1), so that no choice is made by
what is measured. `retrained` trains each model anew without the 20: what an oracle gives by these measures.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import memaudit as ma
from benchmarks.whatif_images import images, recipe
from memaudit.auditing.derived import what_is_forgotten
from memaudit.bank import Bank
from memaudit.design import by_pair
from memaudit.memorization.unlearning import outside_mean
from memaudit.recipe.recipes import Step
from memaudit.stats import paired_change
from memaudit.whatif.base import Base
from memaudit.whatif.remedies import Unlearned

Array = np.ndarray

COUNT, MANY = 20, 200
CHECKPOINTS = (1, 3, 10, 30, 60)
REPEATED = 60  # images with copies, of each number of them


@dataclass(frozen=True)
class Retrain(Step):
    """Train a new model on the retained members."""

    recipe: ma.ClassifierRecipe

    def __call__(self, model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        """Return it; its seed is another one."""
        from memaudit.training.classifier import train_classifier
        from memaudit.training.model import on_device

        return train_classifier(self.recipe, *on_device(dataset, device), np.ones(len(dataset), np.uint8), seed + 1)


WAYS = {
    "continued, 5 epochs": Unlearned("continued", COUNT, 5),
    "continued, 20 epochs": Unlearned("continued", COUNT, 20),
    "ascent, 10 steps, rate 0.003": Unlearned("ascent", COUNT, 10, 0.003),
    "ascent, 10 steps, rate 0.01": Unlearned("ascent", COUNT, 10, 0.01),
    "ascent, 10 steps, rate 0.03": Unlearned("ascent", COUNT, 10, 0.03),
    "last layer anew, 20 epochs": Unlearned("last-layer", COUNT, 20),
}


@dataclass(frozen=True)
class Laboratory:
    """A bank, its recipe, and the folder of what is derived from it."""

    recipe: ma.ClassifierRecipe
    bank: Bank
    folder: Path

    def derived(self, name: str, derivation: ma.Derivation) -> Bank:
        """Return the children."""
        return ma.derive(self.folder / name.replace(", ", "-").replace(" ", "-"), self.bank, self.recipe, derivation)

    def by(self, way: Unlearned, among: Sequence[str] = ()) -> ma.Derivation:
        """Return a way of unlearning, of some of the examples."""
        base = Base(recipe=self.recipe, examples=self.recipe.examples(), bank=self.bank, shadows=0, seed=0, training={})
        found = way.derivation(base)
        assert isinstance(found.data, ma.Forgotten)
        return replace(found, data=replace(found.data, among=tuple(among)))

    def audited(self, name: str, derivation: ma.Derivation) -> Any:
        """Return the audit of the children."""
        children = self.derived(name, derivation)
        return ma.audit_unlearning(self.bank, children, self.recipe, ascent=name.startswith("ascent"))


def laboratory(own: ma.ClassifierRecipe, folder: Path, models: int) -> Laboratory:
    """Return it after filling its bank."""
    return Laboratory(own, ma.fill(folder / "bank", own, models, device="cpu"), folder)


def copied(folder: Path, count: int) -> ma.Examples:
    """Return the images, of which some come two or four times; copies are one unit with their original."""
    whole = images(folder, count)
    rows = np.concatenate([np.arange(count), np.arange(REPEATED), *[np.arange(REPEATED, 2 * REPEATED)] * 3])
    return ma.Examples(whole.x[rows], whole.y[rows], groups=rows)


def interval(found: tuple[float, float, float], digits: int = 3) -> str:
    """Return a value with its interval."""
    return f"{found[0]:.{digits}f} ({found[1]:.{digits}f} to {found[2]:.{digits}f})"


HEAD = (
    "| | AUC of the forgotten | TPR at 1 % | KS beyond retrained | told (false alarms) | neighbours' AUC, change "
    "| retained AUC, change | accuracy, change in points | time |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def print_row(name: str, found: Any) -> None:
    """Print an audit as a row under `HEAD`."""
    points = tuple(100 * part for part in found.accuracy.change)
    cells = (
        *(name, interval(found.area.after), f"{100 * found.tpr.after[0]:.1f} %", interval(found.quality.excess)),
        *(_told(found.quality, found.models), interval(found.neighbours.change)),
        *(interval(found.retained.change), interval(points, 2), f"{100 * found.seconds:.0f} %"),
    )
    print(f"| {' | '.join(cells)} |", flush=True)


def print_before(found: Any) -> None:
    """Print the parents as a row under `HEAD`."""
    before = found.quality_before
    cells = (
        *("before", interval(found.area.before), f"{100 * found.tpr.before[0]:.1f} %", interval(before.excess)),
        *(_told(before, found.models), "", "", f"{100 * found.accuracy.before[0]:.1f} %", "100 %"),
    )
    print(f"{HEAD}\n| {' | '.join(cells)} |", flush=True)


def _told(quality: Any, models: int) -> str:
    return f"{quality.told} of {models} ({100 * quality.false_alarms:.0f} %)"


def print_ways(lab: Laboratory) -> None:
    """Print what each way of unlearning does, and retraining."""
    data = ma.Forgotten(COUNT, rest=True)
    retrained = lab.audited("retrained", ma.Derivation(Retrain(lab.recipe), data))
    print_before(retrained)
    print_row("retrained", retrained)
    for name, way in WAYS.items():
        print_row(name, lab.audited(name, lab.by(way)))


def print_groups(lab: Laboratory, groups: Mapping[str, Sequence[str]], ways: Sequence[str]) -> None:
    """Print what unlearning of examples of each kind does."""
    for kind, among in groups.items():
        data = ma.Forgotten(COUNT, rest=True, among=tuple(among))
        retrained = lab.audited(f"retrained {kind}", ma.Derivation(Retrain(lab.recipe), data))
        print(f"\n{kind} ({len(among)} examples)\n")
        print_before(retrained)
        print_row("retrained", retrained)
        for name in ways:
            print_row(name, lab.audited(f"{name} {kind}", lab.by(WAYS[name], among)))


def memorization(bank: Bank) -> Array:
    """Return each example's memorization by the models of a bank."""
    recordings = bank.read()
    inside, outside = by_pair(recordings.correct.astype(np.float64), recordings.members)
    return np.asarray((inside - outside).mean(axis=0))


def privacy_loss(own: ma.ClassifierRecipe, examples: ma.Examples) -> Array:
    """Return each example's mean squared gradient norm at checkpoints of two models with it: its privacy loss.

    With Gaussian noise, the divergence between training with and without an example adds up its squared gradient norms,
    times a factor (Thudi et al. 2024, "Gradients look alike"); here without noise, at a few epochs.
    """
    import torch
    from torch.func import functional_call, grad, vmap

    from memaudit.training.classifier import train_classifier

    x, y = torch.from_numpy(examples.x), torch.from_numpy(np.asarray(examples.y, np.int64))
    total = np.zeros(len(examples))
    for model in range(4):
        members = (np.random.default_rng(model // 2).random(len(examples)) < 0.5) == model % 2
        for until in CHECKPOINTS:
            network = train_classifier(own, x, y, members.astype(np.uint8), 100 + model, until=until)
            weights = {name: tensor.detach() for name, tensor in network.named_parameters()}

            def loss(weights: Any, one: Any, label: Any, network: Any = network) -> Any:
                return torch.nn.functional.cross_entropy(functional_call(network, weights, one[None]), label[None])

            norms = vmap(grad(loss), (None, 0, 0), chunk_size=500)(weights, x, y)
            total += members * sum(part.flatten(1).square().sum(1).double().numpy() for part in norms.values())
    return np.asarray(total / (2 * len(CHECKPOINTS)))


def print_difficulty(lab: Laboratory, scores: dict[str, Array]) -> None:
    """Print how far what is left of a forgotten example follows a score of the example.

    A trace is the example's signal in a model beyond its mean in models that never had it, of parents and of children.
    """
    children = lab.derived("many", lab.by(replace(WAYS["continued, 20 epochs"], count=MANY)))
    forgotten, members = what_is_forgotten(children, ascent=False)
    traces = []
    for bank in (lab.bank, children):
        phi = np.stack([bank.tensors(model)["phi"].astype(np.float64).mean(axis=1) for model in children.models()])
        traces.append(phi - np.repeat(outside_mean(phi, members > 0), 2, axis=0))
    before, after = traces
    print("\n| score | Spearman with the trace before | with what is left |\n|---|--:|--:|")
    for name, score in scores.items():
        cells = []
        for trace in (before, after):
            by_model = [stats.spearmanr(score[who], trace[m][who]).statistic for m, who in enumerate(forgotten)]
            by_two = np.reshape(by_model, (-1, 2)).mean(axis=1)
            cells.append(interval(paired_change(np.zeros(len(by_two)), by_two), 2))
        print(f"| {name} | {' | '.join(cells)} |")
    for name, score in scores.items():
        print(f"\n| quarter by {name} | trace before | left | share left |\n|---|--:|--:|--:|")
        quarter = 4 * np.argsort(np.argsort(score, kind="stable")) // len(score)  # ties in the order of the data
        for at in range(4):
            own = forgotten & (quarter == at)
            one, other = before[own].mean(), after[own].mean()
            print(f"| {at + 1} | {one:.3f} | {other:.3f} | {other / one:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--images", type=int, default=4000)
    asked = parser.parse_args()
    own = recipe(asked.data, asked.images)
    lab = laboratory(own, asked.folder / "images", asked.models)
    print_ways(lab)
    examples = own.examples()
    other = memorization(ma.fill(asked.folder / "chooser", own, asked.models, seed=1, device="cpu", weights=False))
    ids, order = examples.ids, np.argsort(-other, kind="stable")
    outliers, typical = np.sort(order[: len(ids) // 20]), np.sort(order[len(ids) // 2 :])
    chosen = {"outliers": [str(i) for i in ids[outliers]], "typical": [str(i) for i in ids[typical]]}
    print(f"\nmemorization: outliers {other[outliers].mean():.2f}, typical {other[typical].mean():.2f}")
    print_groups(lab, chosen, ("continued, 20 epochs", "ascent, 10 steps, rate 0.01"))
    print_difficulty(lab, {"memorization": other, "privacy loss": privacy_loss(own, examples)})
    twice = laboratory(
        replace(own, examples=partial(copied, asked.data, asked.images)), asked.folder / "copies", asked.models
    )
    names = twice.recipe.examples().ids.astype(str)
    kinds = {"2 copies": names[:REPEATED], "4 copies": names[REPEATED : 2 * REPEATED]}
    kinds = {"1 copy": names[2 * REPEATED : 4 * REPEATED], **kinds}
    print_groups(twice, {kind: list(which) for kind, which in kinds.items()}, ("continued, 20 epochs",))


if __name__ == "__main__":
    main()
