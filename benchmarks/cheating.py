"""What each control notices of a list of members that is wrong, by mistake or to look safe.

Targets are trained on half of 600 digits, of which one in five has another label. Each way of getting the list wrong is
tried on several targets; the table has the TPR that an audit would report, and how many audits each control fails in.

    python -m benchmarks.cheating --model tree
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import memaudit as ma
from memaudit.checks import CONTROLS, ClassifierEvidence
from memaudit.design import Chosen
from memaudit.recipe import EstimatorRecipe, Examples, member_counts
from memaudit.signals import measure

Array = np.ndarray

ROWS, SHADOWS, FPR, ATTACK = 600, 32, 0.05, "lira-online"
CODES = ("CTL001", "CTL004", "CTL007")
MODELS = {"tree": DecisionTreeClassifier(), "regression": LogisticRegression(C=0.02, max_iter=500)}


@dataclass(frozen=True)
class Case:
    """A target, what it was trained on, and how strongly each example looks like a member."""

    target: object
    members: Array
    score: Array


def data() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    images, labels = load_digits(return_X_y=True)
    rows = rng.permutation(len(labels))[:ROWS]
    return images[rows] / 16, np.where(rng.random(ROWS) < 0.2, rng.integers(0, 10, ROWS), labels[rows])


X, Y = data()


def whole() -> Examples:
    return Examples(X, Y, range(ROWS))


def exchanged(share: float, found: bool = False) -> Callable[[Case, np.random.Generator], Array]:
    """Return a list in which a share of the members is exchanged for non-members: any, or those that are found."""

    def listed(case: Case, rng: np.random.Generator) -> Array:
        inside, outside = np.flatnonzero(case.members), rng.permutation(np.flatnonzero(~case.members))
        count = round(share * len(inside))
        gone = inside[np.argsort(-case.score[inside])] if found else rng.permutation(inside)
        members = case.members.copy()
        members[gone[:count]], members[outside[:count]] = False, True
        return members

    return listed


def moved(share: float, inward: bool) -> Callable[[Case, np.random.Generator], Array]:
    """Return a list that has also non-members, a share of them, or lacks a share of the members."""

    def listed(case: Case, rng: np.random.Generator) -> Array:
        rows = rng.permutation(np.flatnonzero(case.members != inward))
        members = case.members.copy()
        members[rows[: round(share * len(rows))]] = inward
        return members

    return listed


LISTS: dict[str, Callable[[Case, np.random.Generator], Array]] = {
    "as it was": lambda case, _: case.members,
    **{f"{100 * s:.0f} % of members exchanged": exchanged(s) for s in (0.01, 0.05, 0.1, 0.25, 0.5)},
    **{f"{100 * s:.0f} % exchanged, the most exposed": exchanged(s, found=True) for s in (0.05, 0.1, 0.25)},
    **{f"{100 * s:.0f} % of non-members listed as members": moved(s, inward=True) for s in (0.1, 0.25)},
    **{f"{100 * s:.0f} % of members listed as held out": moved(s, inward=False) for s in (0.1, 0.25)},
    "rows in another order": lambda case, rng: rng.permutation(case.members),
}


def looked_at(recipe: EstimatorRecipe, bank: ma.Bank, target: object, counts: Array) -> ClassifierEvidence:
    """Return what an audit of a target would see."""
    examples = recipe.examples()
    rows, recorded = examples.representatives, measure(target, examples)
    inside = np.bincount(examples.unit_of, counts)
    return ClassifierEvidence(
        bank=Chosen(bank.read(), rows),
        phi=recorded["phi"][rows],
        correct=recorded["correct"][rows],
        members=inside > 0,
        split=int(((inside > 0) & (inside < np.bincount(examples.unit_of))).sum()),
        x=examples.x[rows],
        y=examples.y[rows],
        fprs=(FPR,),
        attacks=(ATTACK,),
    )


def judged(evidence: ClassifierEvidence) -> tuple[float, ...]:
    """Return the TPR, and for each control whether it fails."""
    failed = {c.code: c.run(evidence).passed is False for c in CONTROLS if c.code in CODES}
    return (evidence.tpr(ATTACK, FPR).value, *(float(failed[code]) for code in CODES))


def without(case: Case, share: float) -> tuple[Examples, Array]:
    """Return the examples and the list without the members that are found most easily."""
    inside = np.flatnonzero(case.members)
    gone = inside[np.argsort(-case.score[inside])][: round(share * len(inside))]
    kept = np.setdiff1d(np.arange(ROWS), gone)
    return Examples(X[kept], Y[kept], kept), kept[case.members[kept]]


def hidden(case: Case, share: float, noise: float) -> tuple[Examples, Array]:
    """Return the examples with a held-out copy of the members that are found most easily, and the true list."""
    inside = np.flatnonzero(case.members)
    chosen = inside[np.argsort(-case.score[inside])][: round(share * len(inside))]
    copies = X[chosen] + np.random.default_rng(1).normal(0, noise, (len(chosen), X.shape[1]))
    x, y = np.vstack([X, copies]), np.r_[Y, Y[chosen]]
    return Examples(x, y, range(len(y))), inside


EXAMPLES: dict[str, Callable[[Case], tuple[Examples, Array]]] = {
    **{f"{100 * s:.0f} % of members left out, the most exposed": partial(without, share=s) for s in (0.1, 0.25, 0.5)},
    "a held-out copy of the 10 % most exposed": partial(hidden, share=0.1, noise=0.0),
    "the same with noise of 1 % of the range": partial(hidden, share=0.1, noise=0.01),
}


def _same(examples: Examples) -> Examples:
    return examples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="tree")
    parser.add_argument("--targets", type=int, default=10)
    arguments = parser.parse_args()
    recipe = EstimatorRecipe(whole, MODELS[arguments.model])
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in (*LISTS, *EXAMPLES)}
    with tempfile.TemporaryDirectory() as folder:
        bank = ma.fill(f"{folder}/bank", recipe, SHADOWS)
        for seed in range(arguments.targets):
            counts = np.asarray(ma.draw_members(recipe, seed=seed))
            target = ma.train(recipe, ma.Counts(counts), seed=seed)
            seen = looked_at(recipe, bank, target, counts)
            case, rng = Case(target, counts > 0, seen.attacked(ATTACK).target), np.random.default_rng(seed)
            for name, lists in LISTS.items():
                found[name].append(judged(replace(seen, members=lists(case, rng))))
            for name, change in EXAMPLES.items():
                examples, ids = change(case)
                other = EstimatorRecipe(partial(_same, examples), recipe.estimator)
                again = ma.fill(f"{folder}/{seed} {name}", other, SHADOWS)
                counts = member_counts([str(i) for i in ids], examples)
                found[name].append(judged(looked_at(other, again, target, counts)))
    print(f"| list of members ({arguments.model}) | TPR at 5 % FPR | {' | '.join(f'{c} fails' for c in CODES)} |")
    print(f"|---|--:|{'--:|' * len(CODES)}")
    for name, rows in found.items():
        tpr, *failed = np.mean(rows, axis=0)
        print(f"| {name} | {100 * tpr:.1f} % | {' | '.join(f'{100 * share:.0f} %' for share in failed)} |")


if __name__ == "__main__":
    main()
