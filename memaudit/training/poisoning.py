"""A recipe whose training set an attacker has poisoned: mislabeled copies of chosen records are in every model's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe import CallableRecipe, ClassifierRecipe, EstimatorRecipe, Examples, Recipe, load_recipe, membership
from memaudit.recipe.labels import Task
from memaudit.recipe.populations import population
from memaudit.recipe.recipes import Step

Array = np.ndarray

_STREAM = 0x5E12


def poisoned(
    recipe: Recipe | str, targets: str | Path | Iterable[Any], *, copies: int = 8, seed: int = 0
) -> CallableRecipe:
    """Return a recipe that trains as another one does, on training sets with mislabeled copies of some records.

    Whoever can add records to the training data adds these copies before training. Every model has them, whether or not
    it is trained on the record itself. The population and its labels are those of the recipe: a bank that is filled
    with the same seed has the same memberships as the clean one.

    Args:
        recipe: How models are made, or where the recipe is.
        targets: The records to be attacked: ids, a mask, or a file of ids. Keep targets × copies to a few percent of a
            training set: more would change the model for everybody.
        copies: Of each record, all with the same wrong label.
        seed: Of the wrong labels: for each record one of the other classes, drawn at random.

    Raises:
        RecipeError: The recipe is none of a classifier.
        SettingsError: The number of copies makes no sense.

    Source: Tramèr et al. 2022 (CCS), "Truth Serum", section 4.1, untargeted attack, with 8 copies.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if not isinstance(recipe, ClassifierRecipe | CallableRecipe | EstimatorRecipe):
        raise RecipeError(f"poisoned() adds examples with a wrong class, and a {type(recipe).__name__} has no classes")
    if isinstance(recipe, CallableRecipe) and recipe.train is None:
        raise RecipeError("the recipe has no train function, so that no model can be trained on poisoned data")
    if not isinstance(copies, int) or copies < 1:
        raise SettingsError(f"copies = {copies}: give a whole number, at least one")
    listed = targets if isinstance(targets, str | Path) else tuple(_plain(targets))
    poisoning = Poisoning(recipe, listed, copies, seed)
    if isinstance(recipe, CallableRecipe):
        return replace(recipe, train=poisoning)
    if isinstance(recipe, EstimatorRecipe):
        return CallableRecipe(recipe.examples, poisoning)
    return CallableRecipe(recipe.examples, poisoning, model=recipe.model, queries=recipe.queries, output=recipe.output)


def poisoned_rows(recipe: Recipe, examples: Examples) -> Int[Array, " targets"]:
    """Return the rows of the records that a recipe of `poisoned` attacks.

    Raises:
        RecipeError: It is no such recipe.
    """
    poisoning = getattr(recipe, "train", None)
    if not isinstance(poisoning, Poisoning):
        raise RecipeError("the recipe was not made by memaudit.poisoned(recipe, targets)")
    return poisoning.rows(examples)


@dataclass(frozen=True)
class Poisoning(Step):
    """The train function of a poisoned recipe."""

    recipe: ClassifierRecipe | CallableRecipe | EstimatorRecipe
    targets: str | Path | tuple[Any, ...]
    copies: int
    seed: int

    def __call__(self, dataset: Examples, *, seed: int, device: str) -> Any:
        """Return a model that the recipe makes of a training set and the mislabeled copies."""
        rows = self.rows(self._examples)
        wrong = self.labels(self._examples)
        place = self._examples.rows_by_id
        known = [place.get(str(name), -1) for name in dataset.ids]
        if min(known, default=-1) < 0 or len(set(known)) < len(known):
            raise RecipeError("the training set has an example that is none of the population, or one of them twice")
        own = np.array(known)
        copied = np.repeat(rows, self.copies)
        whole = self._examples.take(np.concatenate([own, copied]))
        y = np.concatenate([self._examples.y[own], np.repeat(wrong, self.copies)])
        return self._trained(whole.relabelled(y), seed, device)

    def rows(self, examples: Examples) -> Int[Array, " targets"]:
        """Return the rows of the records that are attacked."""
        return np.flatnonzero(membership(self.targets, examples).counts)

    def labels(self, examples: Examples) -> Int[Array, " targets"]:
        """Return the wrong label of each of these records, uniform over the other classes."""
        rows = self.rows(examples)
        drawn = np.random.default_rng((self.seed, _STREAM)).integers(1, examples.classes, len(rows))
        return np.asarray((examples.y[rows] + drawn) % examples.classes)

    @cached_property
    def _examples(self) -> Examples:
        found = population(self.recipe)
        if not isinstance(found, Examples) or found.task is not Task.CLASSIFICATION:
            raise RecipeError("poisoned() adds examples with a wrong class; the recipe's examples have no single class")
        return found

    def _trained(self, dataset: Examples, seed: int, device: str) -> Any:
        match self.recipe:
            case ClassifierRecipe():
                from memaudit.training.classifier import train_classifier
                from memaudit.training.model import on_device

                counts = np.ones(len(dataset), np.uint8)
                data = on_device(dataset, device)
                return train_classifier(self.recipe, *data, counts, seed, clients=dataset.unit_of)
            case CallableRecipe():
                assert self.recipe.train is not None
                return self.recipe.train(dataset, seed=seed, device=device)
            case EstimatorRecipe():
                from memaudit.training.model import fitted

                return fitted(self.recipe.estimator, dataset, seed)


def _plain(targets: Iterable[Any]) -> list[Any]:
    """Return ids, or the elements of a mask, as plain values that a fingerprint can hold."""
    return np.asarray(targets).tolist() if isinstance(targets, np.ndarray) else list(targets)
