"""The recipe's file may be called anything that ends in .py, and stand anywhere; worker processes find it as well."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import memaudit as ma
from memaudit.errors import RecipeError
from memaudit.recipe import CallableRecipe, fingerprint, load_recipe
from memaudit.training import population

SOURCE = """
import numpy as np
import memaudit as ma
from beside_it import CLASSES

def examples():
    return ma.Examples(np.arange(40.0).reshape(20, 2), np.arange(20) % CLASSES)

class Model:
    def predict_proba(self, x):
        return np.full((len(x), CLASSES), 1 / CLASSES)

def train(dataset, *, seed, device):
    return Model()

recipe = ma.CallableRecipe(examples, train=train, load=Model)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path, modules = list(sys.path), set(sys.modules)
    (tmp_path / "beside_it.py").write_text("CLASSES = 2\n", "utf-8")
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


ODD = [
    *("recipe.v2.py", "my-recipe.py", "my recipe.py", "2024.py", "größe.py", "class.py", ".hidden.py", "a:b.py"),
    *("random.py", "test.py", "numpy.py", "memaudit.py", "skops.py", "conftest.py", "__main__.py"),
]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("within", ["", "a.b/c d", "x:y"])
def test_a_file_of_any_name_is_loaded(folder: Path, name: str, within: str) -> None:
    (folder / within).mkdir(parents=True, exist_ok=True)
    (folder / "beside_it.py").rename(folder / within / "beside_it.py")
    (folder / within / name).write_text(SOURCE, "utf-8")
    for asked in (f"{name}:recipe", name, str(folder / within / name)):
        found = load_recipe(asked, folder / within)
        assert isinstance(found, CallableRecipe)
        assert population(found).classes == 2  # type: ignore[union-attr]
    assert isinstance(random.random(), float)
    assert f"source.{name}" in fingerprint(found, population(found), 0)


def test_a_file_named_like_an_imported_one_is_another(folder: Path) -> None:
    for number in (3, 4):
        (folder / str(number)).mkdir()
        (folder / str(number) / "beside_it.py").write_text("CLASSES = 2\n", "utf-8")
        (folder / str(number) / "same.py").write_text(SOURCE.replace("CLASSES)", f"{number})"), "utf-8")
    for number in (3, 4, 3):
        found = load_recipe("same.py", folder / str(number))
        assert population(found).classes == number  # type: ignore[union-attr]


def test_a_package_of_the_same_name_is_not_taken_for_the_file(folder: Path) -> None:
    (folder / "both").mkdir()
    (folder / "both" / "__init__.py").write_text("recipe = 3\n", "utf-8")
    (folder / "both.py").write_text(SOURCE, "utf-8")
    assert isinstance(load_recipe("both.py", folder), CallableRecipe)


def test_what_is_no_python_file_is_named(folder: Path) -> None:
    (folder / "recipe.ipynb").write_text("{}", "utf-8")
    with pytest.raises(RecipeError, match=r"recipe\.ipynb is no Python file"):
        load_recipe("recipe.ipynb:recipe", folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recipe.v2.py", "random.py", "my recipe.py"])
def test_worker_processes_import_it_too(folder: Path, name: str) -> None:
    (folder / name).write_text(SOURCE, "utf-8")
    bank = ma.fill(folder / "bank", load_recipe(name, folder), 4, workers=2, device="cpu")
    assert bank.models() == [0, 1, 2, 3]
