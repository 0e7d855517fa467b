"""The audit of unlearning: what is forgotten, what it does to the others, and what it costs, against retraining."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from memaudit import notebook
from memaudit.auditing.derived import bank_of_children, of_children, parent_of, stacked, what_is_forgotten
from memaudit.bank import Bank
from memaudit.errors import BankError, SettingsError
from memaudit.memorization import (
    ForgettingQuality,
    Unlearning,
    changed,
    forgetting_quality,
    unlearned_tpr,
)
from memaudit.memorization import unlearning as _unlearning
from memaudit.recipe import Examples, Recipe, load_recipe
from memaudit.recipe.near import described
from memaudit.reports.text import number, percent, rate
from memaudit.training import population

Array = np.ndarray

COLUMNS = ("Measure", "Before", "After", "Change", "95% CI")


@dataclass(frozen=True, eq=False, kw_only=True)
class UnlearningAudit:
    """How a bank of unlearned models differs from its parents and from models that never had the examples.

    Attributes:
        models: Number of unlearned models.
        forgotten: Mean number of units that each was to forget; a unit is measured by its first example.
        fpr: The false-positive rate of `tpr`.
        area: AUC of the forgotten examples; 0.5 is forgotten.
        tpr: Share of the forgotten examples that an attack finds; `fpr` is forgotten.
        quality: Distance from models that never had the examples, of the unlearned models.
        quality_before: The same of the parents.
        neighbours: AUC of the nearest other members; None for texts. A change above 0: they are more exposed.
        retained: AUC of all members that are retained.
        accuracy: On examples that the parents were not trained on; None of language models.
        seconds: To unlearn, as a share of the time that training a parent took: what retraining costs.
    """

    models: int
    forgotten: float
    fpr: float
    area: Unlearning
    tpr: Unlearning
    quality: ForgettingQuality
    quality_before: ForgettingQuality
    neighbours: Unlearning | None
    retained: Unlearning
    accuracy: Unlearning | None
    seconds: float

    @property
    def sentence(self) -> str:
        """Whether the unlearned models can be told from models that never had the examples."""
        excess = self.quality.excess
        where = f"KS distance {number(excess[0])} more than between two such models (95% CI {_ends(excess)})"
        if excess[1] > 0:
            return f"The unlearned models differ from models that never had the examples: {where}."
        found = f"The unlearned models are not shown to differ from models that never had the examples: {where}."
        if self.quality_before.excess[1] > 0:
            return found
        return f"{found} Nor are the models before unlearning: there is too little to forget, or too few models."

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The cells of a table under `COLUMNS`."""
        found = {"AUC of the forgotten": self.area, "AUC of their neighbours": self.neighbours}
        found["AUC of all retained members"] = self.retained
        rows = [_row(name, change, number) for name, change in found.items() if change is not None]
        rows.insert(1, _row(f"TPR of the forgotten at a {rate(self.fpr)} FPR", self.tpr, percent))
        before, after = self.quality_before, self.quality
        rows.insert(
            2, ("KS distance from models without them", number(before.distance[0]), number(after.distance[0]), "", "")
        )
        excess = number(before.excess[0]), number(after.excess[0])
        rows.insert(3, ("… beyond two models without them", *excess, "", ""))
        rows.insert(4, ("Models told from them (Holm)", f"{before.told}", f"{after.told}", "", ""))
        if self.accuracy is not None:
            rows.append(_row("Accuracy on non-members", self.accuracy, percent))
        return rows

    @property
    def explanation(self) -> str:
        """How it was measured."""
        return (
            f"{self.models} models; each was to forget {number(self.forgotten)} members. AUC and TPR: against the same "
            "examples in the unlearned model that is complementary; 0.5, and the FPR, mean forgotten. KS distance: "
            "from the complementary parent, which was trained without them. Intervals: Student's t over pairs. "
            f"Unlearning takes {percent(self.seconds)} of the time of training a model. Two models without "
            f"them differ at p < 0.05 in {percent(self.quality.false_alarms)} of the tests. "
            "These attacks do not know the model before unlearning; comparing the two releases can reveal more."
        )

    def __repr__(self) -> str:
        table = [COLUMNS, *self.rows]
        widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)
        return "\n".join([self.sentence, "", *lines, "", self.explanation])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return notebook.block(self.sentence, notebook.table(COLUMNS, self.rows), notebook.paragraph(self.explanation))


def audit_unlearning(
    parent: Bank | str | Path,
    children: Bank | str | Path,
    recipe: Recipe | str,
    *,
    ascent: bool = False,
    neighbours: int = 5,
    fpr: float = 0.01,
) -> UnlearningAudit:
    """Return what unlearning did, with the parent's models that never had the examples as oracle; trains nothing.

    Args:
        parent: The bank that the children were derived from, in complementary halves.
        children: Derived by training on the retained members, `data=memaudit.Forgotten(20, rest=True)`.
        recipe: Of the parent, or where it is.
        ascent: The children were given the members to forget, as by `GradientAscent`.
        neighbours: How many of the nearest retained members of each forgotten example are looked at.
        fpr: At which the true-positive rate is measured.

    Raises:
        BankError: They are not the parent's children, were given other data, or are fewer than three pairs.
        SettingsError: `neighbours` is below 1.

    Source: retraining as the oracle: Cao & Yang 2015; forget quality: Maini et al. 2024 (TOFU); neighbours: Carlini et
    al. 2022, "The privacy onion effect".
    """
    if neighbours < 1:
        raise SettingsError(f"neighbours = {neighbours}: look at one neighbour or more")
    children = bank_of_children(children)
    parent = parent_of(parent, children)
    forgotten, members = what_is_forgotten(children, ascent)
    before, after = (_mean_phi(bank, children.models()) for bank in (parent, children))
    accuracy = _accuracies(parent, children, members)
    examples = population(load_recipe(recipe) if isinstance(recipe, str) else recipe)
    near = None
    if isinstance(examples, Examples):
        if len(examples) != forgotten.shape[1]:
            raise BankError(f"{parent.path} measured {forgotten.shape[1]} examples; the recipe has {len(examples)}")
        own = examples.representatives
        forgotten, members, before, after = (of[:, own] for of in (forgotten, members, before, after))
        near = nearest_retained(described(examples.x)[own], members, forgotten, neighbours)
    signals = before, after, members
    with of_children(children):
        return UnlearningAudit(
            models=len(members),
            forgotten=float(forgotten.sum(axis=1).mean()),
            fpr=fpr,
            area=_unlearning(*signals, forgotten),
            tpr=unlearned_tpr(*signals, forgotten, fpr),
            quality=forgetting_quality(before, after, members, forgotten),
            quality_before=forgetting_quality(before, before, members, forgotten),
            neighbours=None if near is None else _unlearning(*signals, near),
            retained=_unlearning(*signals, (members > 0) & ~forgotten),
            accuracy=accuracy if isinstance(examples, Examples) else None,
            seconds=_seconds(children) / _seconds(parent, children.models()),
        )


def nearest_retained(
    x: Array, members: UInt8[Array, "models examples"], forgotten: Bool[Array, "models examples"], count: int
) -> Bool[Array, "models examples"]:
    """Return for each model which retained members are among the nearest of an example that it forgets.

    Distances are Euclidean, of the inputs as they are.
    """
    from sklearn.neighbors import NearestNeighbors

    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    near = np.zeros_like(forgotten)
    for model, who in enumerate(forgotten):
        retained: Int[Array, " some"] = np.flatnonzero((members[model] > 0) & ~who)
        index = NearestNeighbors(n_neighbors=min(count, len(retained))).fit(flat[retained])
        near[model, retained[index.kneighbors(flat[who], return_distance=False).ravel()]] = True
    return near


def _mean_phi(bank: Bank, models: list[int]) -> Array:
    (phi,) = stacked(bank, "phi", models=models)
    return np.asarray(phi.astype(np.float64).mean(axis=2))


def _accuracies(parent: Bank, children: Bank, members: UInt8[Array, "models examples"]) -> Unlearning:
    """Return the accuracy on what a model's parent was not trained on."""
    outside, found = members == 0, []
    for bank in (parent, children):
        (correct,) = stacked(bank, "correct", models=children.models())
        found.append(np.average(correct.astype(np.float64), axis=1, weights=outside).reshape(-1, 2).mean(axis=1))
    return changed(*found)


def _seconds(bank: Bank, models: list[int] | None = None) -> float:
    return float(np.mean([bank.record(model)["seconds"] for model in models or bank.models()]))


def _row(name: str, found: Unlearning, shown: object) -> tuple[str, ...]:
    assert callable(shown)
    change = found.change
    return name, shown(found.before[0]), shown(found.after[0]), number(change[0]), _ends(change)


def _ends(found: tuple[float, float, float]) -> str:
    return f"{number(found[1])} to {number(found[2])}"
