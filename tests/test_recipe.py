"""What a user writes: examples with stable names, views of images, recipes found by name, and what a change changes."""

import hashlib
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from memaudit.errors import RecipeError
from memaudit.recipe import (
    CallableRecipe,
    ClassifierRecipe,
    EstimatorRecipe,
    Examples,
    fingerprint,
    flip,
    load_recipe,
    mirror,
    shift,
    shifted,
)
from memaudit.recipe.recipes import SGD
from memaudit.training import population

Array = np.ndarray


def rows(count: int = 12, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 3)).astype(np.float32), np.arange(count) % 3


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# Examples


def test_content_ids_follow_the_content_and_not_its_place() -> None:
    x, y = rows()
    ids, order = Examples(x, y).ids, np.random.default_rng(1).permutation(12)
    assert len(set(ids)) == 12
    assert np.array_equal(Examples(x, y).ids, ids)
    assert np.array_equal(Examples(x[order], y[order]).ids, ids[order])
    assert not set(Examples(x + 1, y).ids) & set(ids)


def test_content_ids_are_the_same_in_every_version() -> None:
    """Members files refer to them: the first 16 hex digits of SHA-256 over the row's bytes and the label's digits."""
    examples = Examples(np.arange(8, dtype="<f4").reshape(4, 2), np.array([0, 1, 0, 1]))
    by_hand = [
        hashlib.sha256(struct.pack("<2f", 2 * row, 2 * row + 1) + str(row % 2).encode()).hexdigest()[:16]
        for row in range(4)
    ]
    assert examples.ids.tolist() == by_hand


def test_exact_copies_are_counted_and_told_apart() -> None:
    x, y = rows()
    x[[3, 7]], y[[3, 7]] = x[0], y[0]
    x[5] = x[1]  # the same input under another label is no copy
    examples = Examples(x, y)
    assert examples.duplicates == 2
    assert examples.ids[[3, 7]].tolist() == [f"{examples.ids[0]}-2", f"{examples.ids[0]}-3"]
    assert len(set(examples.ids)) == 12
    assert Examples(x, y, ids=range(12)).duplicates == 2


@pytest.mark.parametrize("ids", [range(100, 112), [f"patient {i}" for i in range(12)], np.arange(12)])
def test_given_ids_are_kept_as_text(ids: Any) -> None:
    assert Examples(*rows(), ids=ids).ids.tolist() == [str(i) for i in ids]


WRONG: dict[str, tuple[Callable[[Array, Array], Examples], str]] = {
    "lengths": (lambda x, y: Examples(x, y[:-1]), r"inputs have shape \(12, 3\), labels \(11,\)"),
    "one-hot labels": (lambda x, y: Examples(x, np.eye(3)[y]), r"labels \(12, 3\)"),
    "too few": (lambda x, y: Examples(x[:3], y[:3]), "3 examples are too few"),
    "NaN": (lambda x, y: Examples(np.where(x == x[4, 1], np.nan, x), y), "NaN or infinity, first in row 4"),
    "infinity": (lambda x, y: Examples(np.where(x == x[4, 1], np.inf, x), y), "NaN or infinity, first in row 4"),
    "words": (lambda x, y: Examples(x.astype(str), y), "inputs must be numbers"),
    "objects": (lambda x, y: Examples(x.astype(object), y), "inputs must be numbers"),
    "fractions": (lambda x, y: Examples(x, y + 0.5), "labels must be whole numbers"),
    "labels with NaN": (lambda x, y: Examples(x, np.where(y, y, np.nan)), "labels must be whole numbers"),
    "negative labels": (lambda x, y: Examples(x, y - 1), "labels must be whole numbers from 0"),
    "one class": (lambda x, y: Examples(x, y * 0 + 2), "all 12 examples have the label 2"),
    "too few ids": (lambda x, y: Examples(x, y, ids=range(11)), "12 examples but 11 ids"),
    "an id twice": (lambda x, y: Examples(x, y, ids=[*range(11), 3]), "row 11 repeats an earlier one"),
}


@pytest.mark.parametrize(("make", "said"), WRONG.values(), ids=WRONG)
def test_examples_that_do_not_fit_are_refused(make: Callable[[Array, Array], Examples], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        make(*rows())


def test_whole_numbers_in_another_type_are_labels() -> None:
    x, y = rows()
    for kind in (np.float64, np.uint8, np.int32):
        assert np.array_equal(Examples(x, y.astype(kind)).y, y)


def test_arrays_that_run_backwards_are_fine_for_torch() -> None:
    x, y = rows()
    examples = Examples(x[:, ::-1], y)
    assert np.array_equal(torch.as_tensor(examples.x).numpy(), x[:, ::-1])


def test_examples_are_a_dataset() -> None:
    x, y = rows()
    examples = Examples(x, y)
    item, label = examples[5]
    assert np.array_equal(item, x[5])
    assert (label, type(label)) == (int(y[5]), int)
    assert (len(examples), examples.classes) == (12, 3)
    loaded = list(torch.utils.data.DataLoader(examples, batch_size=5))  # type: ignore[arg-type]
    assert torch.equal(torch.cat([b for b, _ in loaded]), torch.as_tensor(x))


def test_rows_that_are_taken_twice_are_told_apart() -> None:
    taken = Examples(*rows(), ids=range(12)).take(np.array([3, 3, 4]))
    assert taken.ids.tolist() == ["3", "3-2", "4"]


def test_the_digest_sees_inputs_labels_ids_and_types() -> None:
    x, y = rows()
    digests = {
        Examples(x, y, ids=range(12)).digest(),
        Examples(x + 1, y, ids=range(12)).digest(),
        Examples(x, 2 - y, ids=range(12)).digest(),
        Examples(x, y, ids=range(1, 13)).digest(),
        Examples(x.astype(np.float64), y, ids=range(12)).digest(),
        Examples(x.reshape(12, 1, 3), y, ids=range(12)).digest(),
    }
    assert len(digests) == 6
    assert Examples(x, y, ids=range(12)).digest() in digests


def test_a_tensor_dataset_becomes_examples() -> None:
    x, y = rows()
    examples = Examples.from_dataset(TensorDataset(torch.as_tensor(x), torch.as_tensor(y)))
    assert np.array_equal(examples.x, x)
    assert np.array_equal(examples.y, y)
    assert np.array_equal(examples.ids, Examples(x, y).ids)


def test_a_torchvision_dataset_becomes_examples() -> None:
    vision = pytest.importorskip("torchvision")
    fake = vision.datasets.FakeData(12, (3, 8, 8), 4, transform=vision.transforms.ToTensor())
    examples = Examples.from_dataset(fake)
    assert examples.x.shape == (12, 3, 8, 8)
    assert examples.y.tolist() == [fake[i][1] for i in range(12)]
    assert np.array_equal(examples.ids, Examples.from_dataset(fake).ids)
    assert Examples.from_dataset(vision.datasets.FakeData(12, (3, 8, 8), 4)).x.dtype == np.uint8, "PIL images"


def test_a_random_transform_is_refused_even_if_it_leaves_the_first_image_alone() -> None:
    vision = pytest.importorskip("torchvision")
    turn = vision.transforms.Compose([vision.transforms.RandomHorizontalFlip(), vision.transforms.ToTensor()])
    fake = vision.datasets.FakeData(64, (3, 8, 8), 4, transform=turn)
    for seed in range(8):
        torch.manual_seed(seed)
        with pytest.raises(RecipeError, match=r"random.*augment="):
            Examples.from_dataset(fake)


@pytest.mark.parametrize(
    "dataset",
    [[1, 2, 3, 4], [(np.zeros(2), [0, 1])] * 4, [{"x": 1, "y": 2}] * 4, 7],
)
def test_what_yields_no_pairs_is_refused(dataset: Any) -> None:
    with pytest.raises(RecipeError, match="does not yield"):
        Examples.from_dataset(dataset)


# Augmentation


def images(count: int = 200) -> torch.Tensor:
    return torch.randn(count, 2, 5, 6, generator=generator())


def test_every_image_of_a_batch_draws_its_own_flip() -> None:
    """About half are mirrored (Binomial(200, ½) within six standard deviations), the others are as they were."""
    x = images()
    turned = flip(x, generator())
    mirrored = (turned == x.flip(-1)).flatten(1).all(1)
    same = (turned == x).flatten(1).all(1)
    assert torch.equal(mirrored, ~same)
    assert 58 < int(mirrored.sum()) < 142


def test_a_flip_takes_inputs_of_any_shape() -> None:
    for shape in [(40, 7), (40, 6, 7), (40, 3, 6, 7)]:
        x = torch.arange(float(np.prod(shape))).reshape(shape)
        turned = flip(x, generator())
        assert turned.shape == x.shape
        assert all(torch.equal(t, o) or torch.equal(t, o.flip(-1)) for t, o in zip(turned, x, strict=True))
        assert not torch.equal(turned, x)


def _by_hand(image: torch.Tensor, dy: int, dx: int) -> Array:
    padded = np.pad(image.numpy(), ((0, 0), (3, 3), (3, 3)), mode="reflect")
    height, width = image.shape[1:]
    return padded[:, 3 - dy : 3 - dy + height, 3 - dx : 3 - dx + width]


def test_every_image_of_a_batch_draws_its_own_shift() -> None:
    """Each is one of the 25 shifts by up to two pixels, and of 200 images all 25 occur (missed with p < 0.01)."""
    x = images()
    moves = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    seen = set()
    for before, after in zip(x, shift(2)(x, generator()), strict=True):
        fits = [move for move in moves if np.array_equal(_by_hand(before, *move), after.numpy())]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == 25


def test_a_shift_by_nothing_changes_nothing() -> None:
    assert torch.equal(shift(0)(images(), generator()), images())
    assert torch.equal(shifted(0, 0)(images()), images())


@pytest.mark.parametrize("augment", [flip, shift(2)])
def test_augmentation_depends_on_its_generator_alone_and_keeps_type_and_input(augment: Any) -> None:
    x = (images() * 50).to(torch.int16)
    kept = x.clone()
    torch.manual_seed(1)
    first = augment(x, generator())
    torch.manual_seed(2)
    assert torch.equal(first, augment(x, generator()))
    assert torch.equal(x, kept)
    assert first.dtype == torch.int16
    assert not torch.equal(first, augment(x, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(("dy", "dx"), [(1, 0), (0, 1), (-1, 2), (-2, -1)])
def test_a_shifted_query_moves_down_and_right_and_reflects(dy: int, dx: int) -> None:
    x = images(4)
    for before, after in zip(x, shifted(dy, dx)(x), strict=True):
        assert np.array_equal(_by_hand(before, dy, dx), after.numpy())


def test_a_mirrored_query_mirrors_every_image() -> None:
    assert torch.equal(mirror(mirror(images())), images())
    assert torch.equal(mirror(images())[..., 0], images()[..., -1])


# Recipes, and finding them

SOURCE = """
import numpy as np
import memaudit as ma
from torch import nn
from helper import WIDTH

def examples():
    rng = np.random.default_rng(0)
    return ma.Examples(rng.normal(size=(20, 4)), np.arange(20) % 2)

def model():
    return nn.Linear(4, WIDTH)

recipe = ma.ClassifierRecipe(examples, model, epochs=3, batch_size=5, optimizer=ma.SGD(lr=0.1))
other = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "tidy_recipe.py").write_text(SOURCE, "utf-8")
    (tmp_path / "helper.py").write_text("WIDTH = 2\n", "utf-8")
    yield tmp_path
    forget()


def forget() -> None:
    for name in ("tidy_recipe", "helper", "broken", "models", "models.helper"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["tidy_recipe.py:recipe", "tidy_recipe.py", "tidy_recipe:recipe", "tidy_recipe"])
def test_a_recipe_is_found_by_file_or_module(folder: Path, name: str) -> None:
    found = load_recipe(name, folder)
    assert isinstance(found, ClassifierRecipe)
    assert found.epochs == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.py:recipe", r"there is no recipe file .*missing\.py; `memaudit init`"),
        ("missing:recipe", r"there is no module 'missing'.*recipe\.py:recipe"),
        ("tidy_recipe.py:recipes", "defines no 'recipes'; did you mean 'recipe'"),
        ("tidy_recipe.py:other", "is a int, not a recipe"),
        ("tidy_recipe.py:model", "is a function, not a recipe"),
    ],
)
def test_a_recipe_that_is_not_there_is_a_clear_error(folder: Path, name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe(name, folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nx = = 2\n", r"broken\.py:2: importing .* failed: SyntaxError"),
        ("x = 1\n\nx / 0\n", r"broken\.py:3: importing .* failed: ZeroDivisionError"),
        ("import not_there\n", r"broken\.py:1: importing .* failed: ModuleNotFoundError: No module named 'not_there'"),
        ("import sys\nsys.exit(0)\n", r"broken\.py:2: importing .* failed: SystemExit: 0"),
        (
            "import memaudit as ma\n\nr = ma.ClassifierRecipe(1, 2, epochs=0, batch_size=1, optimizer=3)\n",
            r"broken\.py:3: epochs and batch_size must be at least 1",
        ),
    ],
)
def test_a_recipe_file_that_fails_is_named_by_line(folder: Path, text: str, said: str) -> None:
    (folder / "broken.py").write_text(text, "utf-8")
    with pytest.raises(RecipeError, match=said):
        load_recipe("broken.py:recipe", folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 0}, "at least 1, got 0 and 5"),
        ({"batch_size": 0}, "at least 1, got 3 and 0"),
        ({"schedule": "linear"}, "'linear'"),
    ],
)
def test_a_classifier_recipe_that_makes_no_sense_is_refused(change: dict[str, Any], said: str) -> None:
    known: dict[str, Any] = {"epochs": 3, "batch_size": 5, "optimizer": SGD(lr=0.1)} | change
    with pytest.raises(RecipeError, match=said):
        ClassifierRecipe(lambda: Examples(*rows()), lambda: torch.nn.Linear(3, 3), **known)


def test_an_estimator_that_cannot_score_is_refused() -> None:
    from sklearn.ensemble import VotingClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression

    with pytest.raises(RecipeError, match="neither predict_proba nor decision_function"):
        EstimatorRecipe(lambda: Examples(*rows()), VotingClassifier([("a", LogisticRegression())]))
    with pytest.raises(RecipeError, match="predicts numbers"):
        population(EstimatorRecipe(lambda: Examples(*rows()), LinearRegression()))


# Fingerprints


def prints(folder: Path) -> dict[str, str]:
    forget()
    recipe = load_recipe("tidy_recipe.py", folder)
    return fingerprint(recipe, population(recipe), 0)


CHANGES: dict[str, tuple[str, str, str, set[str]]] = {
    "comment": ("tidy_recipe.py", "def model", "# why\ndef model", set()),
    "layout": ("tidy_recipe.py", "nn.Linear(4, WIDTH)", "nn.Linear(\n        4, WIDTH\n    )", set()),
    "constant": (
        "tidy_recipe.py",
        "default_rng(0)",
        "default_rng(1)",
        {"examples.sha256", "recipe.examples", "source.tidy_recipe.py"},
    ),
    "epochs": ("tidy_recipe.py", "epochs=3", "epochs=4", {"recipe.epochs", "source.tidy_recipe.py"}),
    "rate": ("tidy_recipe.py", "lr=0.1", "lr=0.2", {"recipe.optimizer", "source.tidy_recipe.py"}),
    "helper": ("helper.py", "WIDTH = 2", "WIDTH = 3", {"global.tidy_recipe.WIDTH", "source.helper.py"}),
    "comment in the helper": ("helper.py", "WIDTH", "# how wide\nWIDTH", set()),
}


@pytest.mark.parametrize(("name", "old", "new", "differs"), CHANGES.values(), ids=CHANGES)
def test_the_fingerprint_names_what_changed(folder: Path, name: str, old: str, new: str, differs: set[str]) -> None:
    before = prints(folder)
    text = (folder / name).read_text("utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), "utf-8")
    after = prints(folder)
    assert {key for key in before | after if before.get(key) != after.get(key)} == differs


def test_two_source_files_of_one_name_both_count(folder: Path) -> None:
    (folder / "models").mkdir()
    (folder / "models" / "__init__.py").write_text("", "utf-8")
    (folder / "helper.py").write_text("def width():\n    return 2\n", "utf-8")
    (folder / "models" / "helper.py").write_text("def depth():\n    return 2\n", "utf-8")
    text = SOURCE.replace("from helper import WIDTH", "from helper import width\nfrom models.helper import depth")
    (folder / "tidy_recipe.py").write_text(text.replace("WIDTH", "2"), "utf-8")
    before = prints(folder)
    seen = {before["source.helper.py"]}
    for path in (folder / "helper.py", folder / "models" / "helper.py"):
        path.write_text(path.read_text("utf-8").replace("2", "3"), "utf-8")
        seen.add(prints(folder)["source.helper.py"])
    assert len(seen) == 3


def test_the_fingerprint_is_the_same_in_every_process_and_place(folder: Path, tmp_path_factory: Any) -> None:
    before = prints(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.copytree(folder, elsewhere)
    sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
    assert prints(elsewhere) == before
    assert not any(" at 0x" in value or str(folder) in value for value in before.values())


def test_estimators_and_own_loops_have_fingerprints_too() -> None:
    from sklearn.ensemble import RandomForestClassifier

    data = Examples(*rows())
    forests = [fingerprint(EstimatorRecipe(lambda: data, RandomForestClassifier(n)), data, 0) for n in (5, 6)]
    assert {name for name in forests[0] if forests[0][name] != forests[1][name]} == {"recipe.estimator.n_estimators"}
    loops = [CallableRecipe(lambda: data, train=train) for train in (lambda d, **k: d, lambda d, **k: None)]
    assert fingerprint(loops[0], data, 0)["recipe.train"] != fingerprint(loops[1], data, 0)["recipe.train"]
