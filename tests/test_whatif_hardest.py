"""Removing the hardest examples: who they are by a proxy, and what the comparison then measures."""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

import memaudit as ma
from memaudit.errors import RecipeError, SettingsError
from memaudit.training import fill
from memaudit.whatif.base import Base
from memaudit.whatif.remedies import WithoutHardest
from memaudit.whatif.remedies.without import hardest

COUNT, WRONG, MODELS = 200, 10, 14


def points() -> ma.Examples:
    """Two clouds far apart; the first ten have the other cloud's label."""
    rng = np.random.default_rng(0)
    y = np.arange(COUNT) % 2
    x = rng.normal(size=(COUNT, 6)) + 6 * y[:, None]
    return ma.Examples(x.astype(np.float32), np.where(np.arange(COUNT) < WRONG, 1 - y, y))


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))


RECIPE = ma.ClassifierRecipe(points, network, epochs=10, batch_size=5, optimizer=ma.SGD(0.02), observe=ma.Observe(4))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    bank = fill(tmp_path_factory.mktemp("base"), RECIPE, MODELS, device="cpu")
    common = {"workers": 1, "device": "cpu"}
    return Base(recipe=RECIPE, examples=points(), bank=bank, shadows=MODELS, seed=0, training=common)


@pytest.mark.parametrize("proxy", ["el2n", "others-confidence", "c-score", "pvi"])
def test_the_hardest_are_those_with_a_wrong_label(base: Base, proxy: str) -> None:
    assert set(np.argsort(-hardest(base, 8, proxy))[:WRONG].tolist()) == set(range(WRONG))


def test_a_proxy_of_training_runs_is_the_mean_over_models_that_have_the_example(base: Base) -> None:
    """From the files of the first eight models: EL2N at the first look, after a tenth of training."""
    total, having = np.zeros(COUNT), np.zeros(COUNT)
    for model in range(8):
        found = base.bank.tensors(model)
        assert found["observed.epochs"][0] == 1
        total += np.where(found["members"] > 0, found["observed.el2n"][0], 0)
        having += found["members"] > 0
    np.testing.assert_allclose(hardest(base, 8, "el2n-early"), total / having, rtol=1e-5)


def test_they_are_in_no_model_and_the_choosing_models_are_not_measured(base: Base, tmp_path: Path) -> None:
    made = WithoutHardest(share=WRONG / COUNT).make(base, tmp_path)
    design = made.bank.design(COUNT)
    assert made.first == 8 and np.flatnonzero(~design.measured).tolist() == list(range(WRONG))


def test_what_is_unknown_or_removes_nobody_is_refused(base: Base, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no proxy 'el3n'"):
        WithoutHardest(proxy="el3n").make(base, tmp_path)
    with pytest.raises(SettingsError, match="leaves some"):
        WithoutHardest(share=1e-4).make(base, tmp_path)
    with pytest.raises(RecipeError, match="curvature"):
        WithoutHardest(proxy="curvature").make(base, tmp_path)
