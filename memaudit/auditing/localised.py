"""Where memorization sits in a network, read from derived banks, such as those with one layer put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from memaudit.auditing.derived import bank_of_children, parent_of, stacked
from memaudit.bank import Bank
from memaudit.errors import BankError, SettingsError
from memaudit.memorization import Effect, Remembered, effect
from memaudit.recipe import Examples, Recipe, fingerprint, load_recipe
from memaudit.recipe.populations import candidates, number_of_units
from memaudit.reports.text import percent, points
from memaudit.training import population

_COLUMNS = ("", "Memorized labels", "Clean labels", "Other examples")


@dataclass(frozen=True, eq=False)
class Localisation:
    """What derivations do to memorized labels, clean labels and other examples, by the name of the derivation."""

    effects: Mapping[str, Effect]

    def __repr__(self) -> str:
        rows = [_COLUMNS]
        rows += [(name, _told(of.memorized), _told(of.clean), _told(of.unseen)) for name, of in self.effects.items()]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def localisation(
    parent: Bank | str | Path, children: Mapping[str, Bank | str | Path], recipe: Recipe | str
) -> Localisation:
    """Return what is left of memorized labels after derivations, beside clean labels and other examples.

    With a bank of `ResetLayer` for each layer, it says which layers memorized labels need. With any other derivation,
    such as pruning or further training, it says how much of known memorization that leaves. Intervals of changes are
    Student's t over complementary pairs of models, or over models that are no pairs.

    Args:
        parent: A bank with redrawn labels: `fill(..., design=Subsets(label_noise=0.1))`.
        children: Banks that were derived from it, by a name to print, such as that of the layer.
        recipe: That of the parent, or where it is.

    Raises:
        BankError: They are not the parent's children, or its labels are not redrawn.
        SettingsError: No children are named.

    Source: Maini et al. 2023 (ICML), "Can neural network memorization be localized?"; Zhang, Bengio & Singer 2022
    (JMLR), "Are all layers created equal?"; known memorization as in MEM008.
    """
    if not children:
        raise SettingsError("name at least one bank of children")
    parent = parent if isinstance(parent, Bank) else Bank.open(parent)
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    whole = population(recipe)
    parent.require(fingerprint(recipe, whole, int(parent.fingerprint["seed"])) | parent.design_lines)
    design = parent.design(number_of_units(whole))
    if not design.label_noise:
        raise BankError(
            f"the labels of {parent.path} are not redrawn, so that nothing is known to be memorized. Fill a bank with "
            "design=memaudit.Subsets(label_noise=0.1), and derive from it"
        )
    measured = candidates(whole, design)
    assert isinstance(measured, Examples)
    return Localisation({name: _effect(parent, bank_of_children(of), measured) for name, of in children.items()})


def _effect(parent: Bank, children: Bank, examples: Examples) -> Effect:
    parent_of(parent, children)
    models = [m for first in children.pairs() for m in (first, first + 1)] if parent.paired else children.models()
    rows = examples.representatives
    names = ("fitted", "correct", "given", "members")
    before, correct_before, given, members = (of[:, rows] for of in stacked(parent, *names, models=models))
    after, correct_after = (of[:, rows] for of in stacked(children, "fitted", "correct", models=models))
    redrawn = given != examples.y[rows]
    try:
        return effect((before, after), (correct_before, correct_after), redrawn, members, parent.paired)
    except ValueError as error:
        raise BankError(f"{children.path}: {error}") from error


def _told(of: Remembered) -> str:
    value, low, high = of.change
    interval = f"{points(value)} points, 95% CI {points(low)} to {points(high)}"
    return f"{percent(of.before)} → {percent(of.after)} ({interval})"
