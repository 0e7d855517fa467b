"""Removing the most exposed units: who they are, and what it helps, by two banks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memaudit.auditing.unit_scores import by_unit, scores_by_unit
from memaudit.bank import Bank
from memaudit.design import Design, Draw, Role
from memaudit.errors import BankError, EvidenceError, SettingsError
from memaudit.memorization import PrivacyOnion, exposure
from memaudit.memorization import privacy_onion as _privacy_onion
from memaudit.recipe import Examples, Population, Recipe, fingerprint, load_recipe
from memaudit.recipe.populations import candidates, number_of_units
from memaudit.stats import resolvable
from memaudit.training import population

Array = np.ndarray


def most_exposed(
    bank: Bank | str | Path, recipe: Recipe | str, share: float = 0.1, *, shadows: int, attack: str = "lira-online"
) -> list[str]:
    """Return the ids of the units that an attack finds best, as `Subsets(removed=...)` takes them.

    Args:
        bank: A bank of complementary halves.
        recipe: That it was filled with, or where it is.
        share: Of the units.
        shadows: How many of its first models are used. `privacy_onion` measures on the others.
        attack: The attack.

    Raises:
        BankError: The bank is another recipe's, of another design, or has too few models.
        SettingsError: There is no such attack, or the share leaves nobody.
    """
    bank, whole, design = _opened(bank, recipe)
    if not design.is_halves:
        raise BankError(f"the models of {bank.path} are not trained on halves of all units; choose by such a bank")
    count = round(share * number_of_units(whole))
    if not 0 < count < number_of_units(whole):
        raise SettingsError(f"share = {share}: remove a share of the units that leaves some")
    scores = _scores(bank, whole, _pairs(bank, 0, shadows), attack)
    chosen = np.argsort(-exposure(*scores), kind="stable")[:count]
    if not isinstance(whole, Examples):
        return [str(name) for name in whole.ids[np.sort(chosen)]]
    return [str(name) for name in whole.ids[np.isin(whole.unit_of, chosen)]]


def privacy_onion(
    before: Bank | str | Path,
    after: Bank | str | Path,
    recipe: Recipe | str,
    *,
    chosen_by: int,
    attack: str = "lira-online",
    fpr: float = 0.01,
) -> PrivacyOnion:
    """Return what removing units does to an attack on the others: baseline, ideal and actual true-positive rate.

    Args:
        before: A bank of complementary halves of all units.
        after: A bank of the same recipe without the units: `fill(..., design=Subsets(removed=most_exposed(...)))`.
        recipe: That both were filled with, or where it is.
        chosen_by: How many of the first models of `before` chose the units, as `most_exposed(shadows=...)`; these are
            not measured on, as a choice by the same models would make `ideal` too small. 0 if the bank did not choose.
        attack: The attack. Both banks give it as many shadow models.
        fpr: The false-positive rate.

    Raises:
        BankError: A bank is another recipe's, of another design, or has too few models.
        EvidenceError: The attack's scores are tied at the rate.
        SettingsError: There is no such attack, or the rate cannot be resolved.

    Source: Carlini et al. 2022 (NeurIPS), "The privacy onion effect: memorization is relative".
    """
    first, whole, design = _opened(before, recipe)
    second, _, without = _opened(after, recipe)
    if not design.is_halves:
        raise BankError(f"the models of {first.path} are not trained on halves of all units; compare with such a bank")
    if without.draw is not Draw.PAIRS or without.label_noise or without.count(Role.ALWAYS) or without.is_halves:
        raise BankError(
            f"the models of {second.path} are not trained on halves of all units but some. Fill a bank with "
            "design=memaudit.Subsets(removed=memaudit.most_exposed(...))"
        )
    own, others = _pairs(first, chosen_by, None), _pairs(second, 0, None)
    count = min(len(own), len(others))
    stay = np.flatnonzero(without.measured)
    if not resolvable(fpr, len(stay)):
        raise SettingsError(f"fpr = {fpr}: {len(stay)} units cannot resolve it")
    one = _scores(first, whole, own[:count], attack)
    other = _scores(second, candidates(whole, without), others[:count], attack)
    for scores in (one[1], one[1][:, stay], other[1]):
        _require_reached(scores, fpr)
    return _privacy_onion(one, other, stay, fpr)


def _opened(bank: Bank | str | Path, recipe: Recipe | str) -> tuple[Bank, Population, Design]:
    """Return a bank, the population of its recipe, and its design, after checking that they belong together."""
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    whole = population(recipe)
    made = fingerprint(recipe, whole, int(bank.fingerprint["seed"]))
    bank.require(made | bank.design_lines | bank.derivation_lines)
    return bank, whole, bank.design(number_of_units(whole))


def _pairs(bank: Bank, start: int, stop: int | None) -> list[int]:
    """Return the first models of the pairs from one model to another; at least three."""
    found = [first for first in bank.pairs() if first >= start and (stop is None or first + 1 < stop)]
    if len(found) < 3:
        which = f"from model {start} on" if stop is None else f"among the first {stop} models"
        raise BankError(f"{bank.path} has {len(found)} complete pairs {which}; 3 are needed. Fill more models")
    return found


def _scores(bank: Bank, measured: Population, pairs: list[int], name: str) -> tuple[Array, Array]:
    """Return an attack's (inside, outside) scores of some of a bank's models, each attacked by the others, by unit."""
    recordings = bank.recordings([model for first in pairs for model in (first, first + 1)])
    return scores_by_unit(by_unit(recordings, measured), measured, name)


def _require_reached(outside: Array, fpr: float) -> None:
    from memaudit.stats import unreachable

    if unreachable(outside, fpr):
        raise EvidenceError(f"the attack's scores are tied, so that a rate of {fpr:g} is not reached; ask for another")
