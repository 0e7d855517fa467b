"""On a CUDA device: banks are filled, models are scored as on the CPU, and audits end as they do there.

pytest -m gpu tests/test_gpu.py
"""

import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import memaudit as ma
from memaudit.recipe import load_recipe
from memaudit.signals import measure
from memaudit.types import Verdict

RECIPES = Path(__file__).parent / "recipes"
DEVICE = "cuda"
load_recipe(f"{RECIPES / 'matrix.py'}:classifier")
MATRIX: dict[str, Any] = sys.modules["matrix"].RECIPES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

NETWORKS = [
    name
    for name, recipe in MATRIX.items()
    if isinstance(recipe, ma.ClassifierRecipe)
    and name.removeprefix("classifier-")
    not in ("always-dropping", "batch-mates", "complex", "constant", "noise", "sigmoid", "softmax", "tuple")
]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_is_scored_on_the_device_as_on_the_cpu(name: str) -> None:
    recipe = MATRIX[name]
    examples = recipe.examples()
    model = ma.train(recipe, ma.draw_members(recipe, seed=3), seed=1, device=DEVICE)
    there = measure(model, examples, (), DEVICE)
    here = measure(model.cpu(), examples, (), "cpu")
    tolerance = 0.2 if "bfloat16" in name else 0.02  # a matrix product may round to TF32
    np.testing.assert_allclose(there["phi"], here["phi"], rtol=tolerance / 2, atol=tolerance)


@pytest.mark.parametrize("name", ["classifier", "classifier-batch-norm", "classifier-in-place", "loop"])
def test_an_audit_finds_the_leak(name: str, tmp_path: Path) -> None:
    recipe = MATRIX[name]
    members = ma.draw_members(recipe, seed=3)
    ma.save_target(ma.train(recipe, members, seed=1, device=DEVICE), tmp_path / "model.pt", members)
    bank = ma.fill(tmp_path / "bank", recipe, 16, device=DEVICE)
    assert all(bank.record(model)["device"].startswith(DEVICE) for model in bank.models())
    report = ma.audit(tmp_path / "model.pt", recipe, bank, fprs=[0.1], device=DEVICE).report
    assert report.verdict is Verdict.NOTED
    assert not [control for control in report.controls if control.passed is False]
    found = {result.finding.metric: result.finding.estimate for result in report.results if not result.finding.attack}
    assert found["memorization"].low > 0.2


def test_a_bank_that_was_interrupted_is_filled_up_alike(tmp_path: Path) -> None:
    recipe = MATRIX["classifier"]
    ma.fill(tmp_path / "whole", recipe, 4, device=DEVICE)
    ma.fill(tmp_path / "parts", recipe, 2, device=DEVICE)
    parts = ma.fill(tmp_path / "parts", recipe, 4, device=DEVICE)
    for model in parts.models():
        one, other = (ma.Bank.open(tmp_path / place).tensors(model)["phi"] for place in ("whole", "parts"))
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-2)


@pytest.fixture
def language(tmp_path: Path) -> Iterator[Any]:
    shutil.copy(RECIPES / "language.py", tmp_path / "recipe_on_gpu.py")
    yield partial(load_recipe, str(tmp_path / "recipe_on_gpu.py"))()


def test_a_language_model_is_audited(language: Any, tmp_path: Path) -> None:
    members = ma.draw_members(language, seed=5)
    ma.save_target(ma.train(language, members, seed=1, device=DEVICE), tmp_path / "model", members)
    bank = ma.fill(tmp_path / "bank", language, 12, device=DEVICE)
    report = ma.audit(tmp_path / "model", language, bank, fprs=[0.05], device=DEVICE).report
    assert {"tpr", "exposure", "extraction"} <= {result.finding.metric for result in report.results}
