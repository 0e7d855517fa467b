"""Every kind of recipe: variants are compared, by figures that have their name, or refused before any training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loading import RECIPES, unregistered
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from torch import nn
from whatif_models import recipe as tables

import memaudit as ma
from memaudit import Variant, compare_variants
from memaudit.errors import RecipeError
from memaudit.whatif import Comparison

QUICK: dict[str, Any] = {"shadows": 8, "fpr": 0.1, "device": "cpu", "attack": "rmia"}
X = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
FLAT, LINE = GaussianNB(var_smoothing=1.0), Ridge()


def labels() -> ma.Examples:
    return ma.Examples(X, (X[:, 0] + np.random.default_rng(1).normal(size=60) > 0).astype(int))


def numbers() -> ma.Examples:
    return ma.Examples(X, X[:, 0] + np.random.default_rng(1).normal(size=60), task="regression")


def several() -> ma.Examples:
    noise = np.random.default_rng(1).normal(size=(60, 3))
    return ma.Examples(X, (X[:, :3] + noise > 0).astype(int), task="multilabel")


def network(outputs: int, bias: bool = True) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 32, bias=bias), nn.ReLU(), nn.Linear(32, outputs))


def classifier(examples: Any, outputs: int, **more: Any) -> ma.ClassifierRecipe:
    return ma.ClassifierRecipe(
        examples, lambda: network(outputs), epochs=6, batch_size=10, optimizer=ma.SGD(lr=0.03, momentum=0.5), **more
    )


def compared(folder: Path, recipe: Any, variant: Variant, **changes: Any) -> Comparison:
    return compare_variants(recipe, [variant], folder, **QUICK | changes)


@pytest.mark.parametrize(
    ("recipe", "variant", "name"),
    [
        (ma.EstimatorRecipe(labels, GaussianNB()), Variant("flat", {"estimator": FLAT}), "accuracy"),
        (ma.EstimatorRecipe(numbers, KNeighborsRegressor(2)), Variant("line", {"estimator": LINE}), "explained share"),
        (tables(), Variant("less", tables(0.5)), "accuracy"),
        (classifier(several, 3), Variant("early", ma.remedies.EarlyStopping(2)), "labels predicted"),
        (classifier(numbers, 1), Variant("early", ma.remedies.EarlyStopping(2)), "explained share"),
    ],
    ids=["estimator", "estimator of numbers", "own loop", "several labels", "network of numbers"],
)  # fmt: skip
def test_a_variant_is_compared(tmp_path: Path, recipe: Any, variant: Variant, name: str) -> None:
    found = compared(tmp_path, recipe, variant)
    assert not found.unmeasured, found.notes
    assert found.utility.name == name
    assert found.utility.heading in found.columns and f"{found.utility.heading}: " in found.explanation
    banks = tmp_path / "baseline", tmp_path / variant.name
    wanted = ma.what_if(*banks, attacks=["rmia"], fprs=[0.1]).changes
    for change, figure in zip((wanted[0], wanted[2], wanted[3]), ("utility", "memorization", "leak"), strict=True):
        assert getattr(found.rows[1], f"{figure}_change").value == pytest.approx(change.change.value)


def test_a_base_with_dp_sgd_is_compared(tmp_path: Path) -> None:
    private = classifier(labels, 2, privacy=ma.DPSGD(1.0, 1.0))
    found = compared(tmp_path, private, Variant("more", ma.remedies.DifferentiallyPrivate(4.0)), attack="lira-online")
    assert not found.unmeasured, found.notes
    assert found.rows[1].leak_change is not None


def test_dp_sgd_of_a_network_with_batch_norm_says_why_not(tmp_path: Path) -> None:
    recipe = ma.ClassifierRecipe(
        labels,
        lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)),
        epochs=2,
        batch_size=10,
        optimizer=ma.SGD(lr=0.1),
    )
    found = compare_variants(
        recipe,
        [Variant("dp", ma.remedies.DifferentiallyPrivate(1.0)), Variant("early", ma.remedies.EarlyStopping(1))],
        tmp_path,
        **QUICK,
    )
    assert "must treat every example by itself" in found.unmeasured[0].reason
    assert not list((tmp_path / "dp").glob("models/[0-9]*"))
    assert [row.name for row in found.rows] == ["baseline", "early"]


def test_a_remedy_that_a_kind_of_recipe_lacks_says_so(tmp_path: Path) -> None:
    recipe = ma.EstimatorRecipe(labels, GaussianNB())
    with pytest.raises(Exception, match="EarlyStopping edits 'epochs', which EstimatorRecipe does not have"):
        compared(tmp_path, recipe, Variant("early", ma.remedies.EarlyStopping(2)))


def test_generators_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    recipe = unregistered(RECIPES / "generators.py").recipe
    with pytest.raises(RecipeError, match="how good its images are is not measured"):
        compared(tmp_path, recipe, Variant("fewer", {"samples": 20}))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_language_model_is_compared_by_the_tokens_that_it_predicts(tmp_path: Path) -> None:
    recipe = unregistered(RECIPES / "language.py").recipe
    found = compared(tmp_path, recipe, Variant("early", ma.remedies.EarlyStopping(1)), attack="lira-online")
    assert found.utility.name == "tokens predicted"
    assert found.rows[1].memorization_change is not None
    assert found.rows[1].memorization_change.high < 0.05
