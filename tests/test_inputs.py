"""What users' code is given: copies of the examples, in the network's precision; and which labels are labels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from torch import nn

import memaudit as ma
from memaudit.errors import MemauditError, RecipeError
from memaudit.recipe import SGD, CallableRecipe, ClassifierRecipe, EstimatorRecipe, Examples, Recipe
from memaudit.signals import evaluate

Array = np.ndarray


def arrays() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.random((120, 6)).astype(np.float32), rng.integers(0, 3, 120)


def data() -> Examples:
    return Examples(*arrays())


class Normalised(nn.Module):
    """A network that normalises its inputs, in place (pytorch/vision#680) or not."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place, self.layer = in_place, nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.sub_(0.5).div_(0.5) if self.in_place else (x - 0.5) / 0.5)


def in_place() -> nn.Module:
    return Normalised(True)


def out_of_place() -> nn.Module:
    return Normalised(False)


def shift_in_place(x: torch.Tensor) -> torch.Tensor:
    return x.add_(0.25)


def shift(x: torch.Tensor) -> torch.Tensor:
    return x + 0.25


def augment_in_place(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return x.mul_(1 + 0.1 * torch.rand(len(x), 1, generator=generator))


def augment(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return x * (1 + 0.1 * torch.rand(len(x), 1, generator=generator))


def classifier(tidy: bool) -> ClassifierRecipe:
    return ClassifierRecipe(
        data,
        out_of_place if tidy else in_place,
        epochs=3,
        batch_size=20,
        optimizer=SGD(lr=0.5),
        augment=augment if tidy else augment_in_place,
        queries=(shift if tidy else shift_in_place,),
    )


def untidy_loop(dataset: Examples, *, seed: int, device: str) -> nn.Module:
    """Rewrites inputs and labels, and trains a network that does so too."""
    model = tidy_loop(Examples(dataset.x.copy(), dataset.y.copy()), seed=seed, device=device)
    dataset.x[:] = 0
    dataset.y[:] = 0
    model.in_place = True
    return model


def tidy_loop(dataset: Examples, *, seed: int, device: str) -> Any:
    model = Normalised(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(torch.tensor(dataset.x)), torch.tensor(dataset.y))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


class InPlaceRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator that centres what it is given in place, as copy=False does."""

    def __init__(self, tidy: bool = False) -> None:
        self.tidy = tidy

    def _centred(self, x: Array) -> Array:
        if self.tidy:
            return x - self.mean_
        x -= self.mean_
        return x

    def fit(self, x: Array, y: Array) -> InPlaceRegression:
        self.mean_ = np.float32(0.5)
        self.inner_ = LogisticRegression().fit(self._centred(x), y)
        self.classes_ = self.inner_.classes_
        return self

    def predict(self, x: Array) -> Array:
        return np.asarray(self.inner_.predict(self._centred(x)))

    def decision_function(self, x: Array) -> Array:
        return np.asarray(self.inner_.decision_function(self._centred(x)))


RECIPES: dict[str, tuple[Recipe, Recipe]] = {
    "classifier": (classifier(tidy=False), classifier(tidy=True)),
    "own loop": (CallableRecipe(data, untidy_loop), CallableRecipe(data, tidy_loop)),
    "estimator": (EstimatorRecipe(data, InPlaceRegression()), EstimatorRecipe(data, InPlaceRegression(tidy=True))),
}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", RECIPES)
def test_a_model_that_works_in_place_gives_the_numbers_of_one_that_does_not(
    tmp_path: Path, kind: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))  # worker processes import this file
    banks = [
        ma.fill(tmp_path / str(n), recipe, 2, workers=workers, device="cpu") for n, recipe in enumerate(RECIPES[kind])
    ]
    for model in range(2):
        untidy, tidy = (bank.tensors(model) for bank in banks)
        assert untidy.keys() == tidy.keys()
        for name in untidy:
            assert np.array_equal(untidy[name], tidy[name]), name


@pytest.mark.parametrize("make", [in_place, out_of_place])
def test_scoring_leaves_the_population_alone(make: Callable[[], nn.Module]) -> None:
    examples = data()
    before = examples.digest()
    evaluate(make(), examples, (shift_in_place,))
    evaluate(InPlaceRegression().fit(*arrays()), examples)
    assert examples.digest() == before


def test_inputs_that_cannot_be_written_to_are_trained_on_and_scored() -> None:
    """As of a memory map, or of broadcasting: torch warns of them, and Cython refuses them."""
    x, y = arrays()
    x.flags.writeable = False
    recipe = ClassifierRecipe(lambda: Examples(x, y), in_place, epochs=1, batch_size=20, optimizer=SGD(lr=0.1))
    model = ma.train(recipe, np.arange(120) % 2 == 0, device="cpu")
    assert np.array_equal(evaluate(model, Examples(x, y)).phi, evaluate(model, Examples(x.copy(), y)).phi)


def test_a_recipe_that_rewrites_its_own_arrays_is_stopped_by_name(tmp_path: Path) -> None:
    """`examples()` returns arrays that the user's module keeps: no copy that we hand out can save them."""
    x, y = arrays()

    def loop(dataset: Examples, *, seed: int, device: str) -> nn.Module:
        x[:] = 0
        return in_place()

    recipe = CallableRecipe(lambda: Examples(x, y), loop)
    with pytest.raises(RecipeError, match=r"shadow model \d: training changed the examples in place"):
        ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    assert ma.Bank.open(tmp_path / "bank").models() == []


class Rounded(nn.Module):
    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).to(kind)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dtype == self.layers[0].weight.dtype
        return self.layers(x)


@pytest.mark.parametrize("inputs", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_a_network_is_trained_and_scored_in_its_own_precision(inputs: Any, kind: torch.dtype, tmp_path: Path) -> None:
    """chenyuntc/simple-faster-rcnn-pytorch#157: float64 data meets float32 weights."""
    x, y = arrays()

    def examples() -> Examples:
        return Examples(x.astype(inputs), y)

    model_of, looks = lambda: Rounded(kind), ma.Observe("every epoch")
    recipe = ClassifierRecipe(examples, model_of, epochs=2, batch_size=30, optimizer=SGD(lr=0.1), observe=looks)
    bank = ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    assert np.isfinite(bank.tensors(0)["observed.loss"]).all()
    assert np.isfinite(bank.tensors(0)["phi"]).all()
    model = ma.train(recipe, np.arange(120) % 2 == 0, device="cpu")
    assert {p.dtype for p in model.parameters()} == {kind}


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(50, 8).half(), nn.Linear(8, 3).half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.words(x).mean(dim=1))


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_token_ids_stay_whole_numbers(kind: Any) -> None:
    ids, y = np.random.default_rng(0).integers(0, 50, (80, 5)).astype(kind), np.arange(80) % 3
    recipe = ClassifierRecipe(lambda: Examples(ids, y), Words, epochs=1, batch_size=20, optimizer=SGD(lr=0.1))
    assert np.isfinite(evaluate(ma.train(recipe, np.arange(80) % 2 == 0, device="cpu"), Examples(ids, y)).phi).all()


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(16), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(3))


def test_lazy_layers_get_their_shapes_before_the_optimizer_sees_them(tmp_path: Path) -> None:
    """The same network with the shapes written out, from the same seed, has the same numbers."""

    def written_out() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))

    kept = [
        ma.fill(
            tmp_path / make.__name__,
            ClassifierRecipe(data, make, epochs=2, batch_size=30, optimizer=ma.AdamW(lr=0.01)),
            2,
            device="cpu",
        ).tensors(1)["phi"]
        for make in (lazy, written_out)
    ]
    assert np.isfinite(kept[0]).all()
    assert np.array_equal(kept[0], kept[1])


LABELS = {
    "fractions": np.linspace(0, 3.7, 40),
    "just below 0": np.where(np.arange(40) == 7, -0.5, np.arange(40) % 2),
    "beyond int64": np.where(np.arange(40) == 7, 1e20, np.arange(40) % 2),
    "uint64 beyond int64": np.where(np.arange(40) == 7, np.uint64(2**63), np.arange(40, dtype=np.uint64) % 2),
    "infinite": np.where(np.arange(40) == 7, np.inf, np.arange(40) % 2),
    "NaN": np.where(np.arange(40) == 7, np.nan, np.arange(40) % 2),
    "complex": np.arange(40) % 2 + 0j,
    "more classes than a model can have": np.where(np.arange(40) == 7, 2**31, np.arange(40) % 2),
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_what_is_no_label_is_refused_by_row_in_arrays_and_in_data_sets(y: Array) -> None:
    """deepset-ai/FARM#395: float targets silently become integers."""
    x = np.arange(40.0)[:, None]
    said = r"labels must be whole numbers from 0 below 2³¹; row \d has "
    with pytest.raises(RecipeError, match=said):
        Examples(x, y)
    with pytest.raises(RecipeError, match=said):
        Examples.from_dataset(list(zip(x, y, strict=True)))


@pytest.mark.parametrize("kind", [np.float16, np.float64, bool, np.uint8, np.int32, np.uint64])
def test_labels_of_any_type_that_holds_them_exactly_are_labels(kind: Any) -> None:
    x, y = np.arange(40.0)[:, None], np.arange(40) % 2
    pairs = [(row, label) for row, label in zip(x, torch.as_tensor(y.astype(kind)), strict=True)]
    for examples in (Examples(x, y.astype(kind)), Examples.from_dataset(pairs)):
        assert examples.y.dtype == np.int64
        assert np.array_equal(examples.y, y)
        assert np.array_equal(examples.ids, Examples(x, y).ids)


def test_a_data_set_whose_labels_are_random_is_refused() -> None:
    class Coin:
        def __init__(self) -> None:
            self.rng = np.random.default_rng(0)

        def __len__(self) -> int:
            return 40

        def __getitem__(self, row: int) -> tuple[Array, int]:
            if row >= 40:
                raise IndexError(row)
            return np.zeros(2), int(self.rng.integers(2))

    with pytest.raises(RecipeError, match="random"):
        Examples.from_dataset(Coin())


@pytest.mark.parametrize("kind", [np.complex64, np.complex128, np.longdouble])
def test_inputs_that_no_model_takes_are_refused(kind: Any) -> None:
    with pytest.raises(RecipeError, match=f"of at most 64 bits; got an array of {np.dtype(kind)}"):
        Examples(np.ones((40, 2), kind), np.arange(40) % 2)


def test_inputs_in_another_machines_byte_order_are_numbers_like_others() -> None:
    x, y = arrays()
    torch.manual_seed(0)
    model = out_of_place()
    swapped = Examples(x.astype(">f4"), y.astype(">i8"))
    assert np.array_equal(evaluate(model, swapped).phi, evaluate(model, Examples(x, y)).phi)


def test_refusals_name_the_loop_that_failed() -> None:
    """A control: the guards above do not hide an error of the user's own."""

    def loop(dataset: Examples, *, seed: int, device: str) -> nn.Module:
        raise ValueError("mine")

    with pytest.raises(MemauditError, match=r"train\(\) failed: ValueError: mine"):
        ma.train(CallableRecipe(data, loop), np.arange(120) % 2 == 0, device="cpu")


_PEAK = """
import resource, sys
import numpy as np, torch
from torch import nn
from memaudit.recipe import Examples
from memaudit.signals import evaluate
torch.set_num_threads(1)
rows, classes = int(sys.argv[1]), 5000
rng = np.random.default_rng(0)
examples = Examples(rng.normal(size=(rows, 8)).astype(np.float32), rng.integers(0, classes, rows))
network = nn.Linear(8, classes)
evaluate(network, Examples(examples.x[:2100], examples.y[:2100]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
evaluate(network, examples)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_scoring_takes_no_memory_that_grows_with_the_logits() -> None:
    """huggingface/transformers#15466: 8,000 examples of 5,000 classes have 153 MiB of logits; a quarter is allowed."""
    done = subprocess.run([sys.executable, "-c", _PEAK, "8000"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 8000 * 5000 * 4 / 1024 / 4
