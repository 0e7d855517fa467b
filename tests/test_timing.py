"""Timing by a clock that the recipes themselves set forward: a known cost is found exactly, in fewer trainings."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import memaudit as ma
from memaudit.bank import Bank
from memaudit.design import half
from memaudit.errors import RecipeError
from memaudit.recipe import (
    CallableRecipe,
    ClassifierRecipe,
    EstimatorRecipe,
    Examples,
    LanguageModelRecipe,
    Probes,
    Rendering,
    load_recipe,
)
from memaudit.training import population, time_model
from memaudit.training.model import Workshop

RECIPES = Path(__file__).parent / "recipes"
BUILDING, EXAMPLE, EVALUATED = 3.0, 1 / 64, 1 / 128  # seconds that a model, an example in an epoch, a signal costs
AGAIN = 2 * 32 + 5  # examples that a network is asked about again, to see that it is not random


class Clock:
    """A clock that stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Net(nn.Module):
    """Charges for being built and for every example that it sees, and notes the size of its batches."""

    def __init__(self, clock: Clock, seen: list[int], example: float = EXAMPLE) -> None:
        super().__init__()
        self.layer, self.clock, self.seen, self.example = nn.Linear(2, 3), clock, seen, example
        clock.forward(BUILDING)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.clock.forward(len(x) * (self.example if self.training else EVALUATED))
        self.seen += [len(x)] if self.training else []
        return self.layer(x)


def data(count: int) -> Examples:
    return Examples(np.random.default_rng(3).normal(size=(count, 2)), np.arange(count) % 3)


def classifier(clock: Clock, seen: list[int], epochs: int, **costs: float) -> ClassifierRecipe:
    return ClassifierRecipe(
        lambda: data(900), lambda: Net(clock, seen, **costs), epochs=epochs, batch_size=10, optimizer=ma.SGD(lr=0.1)
    )


def members(count: int = 900, seed: int = 0) -> int:
    return int(half(seed, 0, count).sum())


@pytest.mark.parametrize("epochs", [1, 2, 7, 40])
def test_a_cost_that_is_a_straight_line_is_found_exactly(epochs: int, clock: Clock) -> None:
    """32 examples cost half a second in an epoch here, so that 64 add just enough to stop."""
    seen: list[int] = []
    found = time_model(classifier(clock, seen, epochs), data(900), seed=5, device="cpu", clock=clock)
    training = BUILDING + epochs * members(seed=5) * EXAMPLE + (ma.Observe().looks(epochs) - 1) * 900 * EVALUATED
    assert found.training == pytest.approx(training, rel=1e-12)
    assert found.evaluation == pytest.approx((900 + AGAIN) * EVALUATED, rel=1e-12)
    assert found.seconds == found.training + found.evaluation
    assert not found.rough
    tried = "1 epoch" if epochs == 1 else f"2 of {epochs} epochs"
    assert found.tried == f"{tried} on 64 of {members(seed=5)} examples, and 1 epoch on 32"
    assert sum(seen) == 2 * 32 + 64 + (128 if epochs > 1 else 0), "the warm-up, two sizes, and two epochs"


def test_a_small_model_is_measured_whole(clock: Clock) -> None:
    seen: list[int] = []
    recipe = classifier(clock, seen, epochs=20, example=1 / 65536)
    found = time_model(recipe, data(900), device="cpu", clock=clock)
    assert found.training == pytest.approx(BUILDING + 20 * members() / 65536 + 900 * EVALUATED, rel=1e-12)
    assert (found.tried, found.rough) == ("one whole training", False)
    last = sum(seen[-20 * -(-members() // 10) :])
    assert last == 20 * members(), "the last trial is no part of a training"


def test_a_fast_epoch_on_all_examples_is_repeated_until_it_tells(clock: Clock) -> None:
    """An epoch of 450 examples takes 0.22 s here: one more says too little, two more enough."""
    recipe = classifier(clock, [], epochs=500, example=1 / 2048)
    found = time_model(recipe, data(900), device="cpu", clock=clock)
    assert found.training == pytest.approx(BUILDING + 500 * members() / 2048 + 9 * 900 * EVALUATED, rel=1e-12)
    assert found.tried == f"8 of 500 epochs on {members()} of {members()} examples"


def loop(clock: Clock, power: int = 1, least: int = 0) -> Any:
    def train(dataset: Examples, *, seed: int, device: str) -> nn.Module:
        if len(dataset) < least:
            raise ValueError("too few")
        assert set(dataset.y.tolist()) == {0, 1, 2}
        clock.forward(len(dataset) ** power * EXAMPLE)
        return Net(clock, [])

    return train


def test_the_users_own_loop_is_extrapolated_in_a_straight_line_and_marked_so(clock: Clock) -> None:
    found = time_model(CallableRecipe(lambda: data(900), loop(clock)), data(900), device="cpu", clock=clock)
    assert found.training == pytest.approx(BUILDING + members() * EXAMPLE, rel=1e-12)
    assert found.rough
    assert found.tried == f"one training on 64 and one on 32 of {members()} examples, and a straight line through both"


def test_a_straight_line_is_wrong_for_a_square_which_is_what_rough_says(clock: Clock) -> None:
    found = time_model(CallableRecipe(lambda: data(900), loop(clock, power=2)), data(900), device="cpu", clock=clock)
    assert found.rough
    assert found.training < (BUILDING + members() ** 2 * EXAMPLE) / 2


def test_a_loop_of_the_users_that_was_run_whole_is_not_rough(clock: Clock) -> None:
    recipe = CallableRecipe(lambda: data(60), loop(clock))
    found = time_model(recipe, data(60), device="cpu", clock=clock)
    assert (found.training, found.evaluation) == (BUILDING + members(60) * EXAMPLE, (60 + 2 * 30 + 5) * EVALUATED)
    assert (found.tried, found.rough) == ("one whole training", False)


def test_a_loop_that_needs_more_than_the_smallest_trial_is_given_more(clock: Clock) -> None:
    recipe = CallableRecipe(lambda: data(900), loop(clock, least=100))
    found = time_model(recipe, data(900), device="cpu", clock=clock)
    assert found.training == pytest.approx(BUILDING + members() * EXAMPLE, rel=1e-12)
    assert "one training on 256 and one on 128" in found.tried


def test_a_rare_class_is_in_every_trial() -> None:
    """One example in 600 is of class 1; many an estimator would refuse to be fitted without it."""
    y = np.zeros(600, int)
    y[np.flatnonzero(half(0, 0, 600))[-1]] = 1
    seen: list[tuple[int, int]] = []

    def train(dataset: Examples, *, seed: int, device: str) -> LogisticRegression:
        seen.append((len(dataset), int(dataset.y.sum())))
        return LogisticRegression().fit(dataset.x, dataset.y)

    time_model(CallableRecipe(lambda: data(600), train), Examples(data(600).x, y), device="cpu", clock=Clock())
    assert seen == [(size, 1) for size in (32, 32, 64, 128, 256, members(600))]


def test_an_estimator_is_timed_as_a_loop_of_the_users() -> None:
    """A clock that stands still tells nothing before all is tried."""
    recipe = EstimatorRecipe(lambda: data(90), LogisticRegression())
    found = time_model(recipe, data(90), device="cpu", clock=Clock())
    assert (found.seconds, found.tried, found.rough) == (0.0, "one whole training", False)


# --- Language models ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rendering() -> Iterator[Rendering]:
    path = list(sys.path)
    found = load_recipe(str(RECIPES / "language.py"))
    assert isinstance(found, LanguageModelRecipe)
    yield found.rendering
    sys.path[:] = path
    del sys.modules["language"]


class Table(nn.Module):
    """A table of logits that charges for every row."""

    def __init__(self, clock: Clock, rows: list[int]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(280, 280))
        self.config = SimpleNamespace(vocab_size=280)
        self.clock, self.rows = clock, rows
        clock.forward(BUILDING)

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        self.clock.forward(len(input_ids) * EXAMPLE)
        self.rows += [len(input_ids)] if self.training else []
        return SimpleNamespace(logits=self.table[input_ids])


def language(
    clock: Clock, rows: list[int], rendering: Rendering, texts: Sequence[str], epochs: int
) -> LanguageModelRecipe:
    return LanguageModelRecipe(
        lambda: ma.Documents(texts, similarity=None),
        replace(rendering, context=64, packing=False),
        model=lambda: Table(clock, rows),
        epochs=epochs,
        optimizer=ma.SGD(lr=0.1),
        probes=Probes(canaries=4, suffix=2, contexts=(2,), secrets=0, references=100, watched=10, doses=(1, 2)),
    )


def test_a_language_models_canaries_stay_as_planted_and_its_documents_are_fewer(rendering: Rendering) -> None:
    """The whole training is run too, on the same clock: it takes just what was foretold, watched documents included."""
    clock, rows = Clock(), list[int]()
    recipe = language(clock, rows, rendering, [f"amber basil {n:03d}" for n in range(300)], epochs=5)
    people = population(recipe)
    found = time_model(recipe, people, device="cpu", clock=clock)
    assert found.tried == f"2 of 5 epochs on 64 of {members(300)} documents, and 1 epoch on 32"
    assert not found.rough
    shop = Workshop(recipe, people, 0, "cpu")
    planted = int(shop.counts(0)[300:].sum())
    assert planted > 0
    assert sum(rows) == 2 * (32 + planted) + 3 * (64 + planted)
    before = clock()
    model, _ = shop.train(shop.counts(0), 0)
    assert found.training == pytest.approx(clock() - before, rel=1e-12)
    before = clock()
    shop.measure(model)
    assert found.evaluation == pytest.approx(clock() - before, rel=1e-12)


# --- Nothing is kept, errors, and the bank's own record -------------------------------------------------------------


def test_nothing_is_written_and_the_callers_randomness_is_as_before(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    time_model(classifier(clock, [], epochs=2), data(900), device="cpu", clock=clock)
    assert torch.equal(torch.rand(3), expected)
    assert list(tmp_path.iterdir()) == []


def test_training_is_timed_on_one_thread_and_the_caller_has_its_own_back(clock: Clock) -> None:
    threads = []

    def train(dataset: Examples, *, seed: int, device: str) -> nn.Module:
        threads.append(torch.get_num_threads())
        return Net(clock, [])

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        time_model(CallableRecipe(lambda: data(60), train), data(60), device="cpu", clock=clock)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1}


def broken(dataset: Examples, *, seed: int, device: str) -> nn.Module:
    raise ZeroDivisionError("oh")


def too_narrow(dataset: Examples, *, seed: int, device: str) -> nn.Module:
    return nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (CallableRecipe(lambda: data(200), broken), r"trial of shadow model 0: .*test_timing.py:\d+: train\(\) failed"),
        (CallableRecipe(lambda: data(200), too_narrow), "trial of shadow model 0: labels out of range"),
        (
            ClassifierRecipe(lambda: data(200), lambda: nn.Linear(7, 3), 2, 8, ma.SGD(lr=0.1)),
            "trial of shadow model 0: .*training failed",
        ),
    ],
    ids=["a loop that fails", "a model with too few outputs", "a network of another shape"],
)
def test_what_is_wrong_with_a_recipe_is_a_recipe_error(recipe: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        time_model(recipe, data(200), device="cpu", clock=Clock())


def test_a_bank_records_the_seconds_of_training_and_of_evaluation(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memaudit.training.model.time", SimpleNamespace(perf_counter=clock, time=time.time))
    recipe = classifier(clock, [], epochs=2)
    ma.fill(tmp_path / "bank", recipe, 2, device="cpu", examples=data(900))
    record = Bank.open(tmp_path / "bank").record(0)
    assert record["seconds"] == pytest.approx(BUILDING + 2 * members() * EXAMPLE, abs=1e-3)
    assert record["evaluation"] == pytest.approx((900 + AGAIN) * EVALUATED, abs=1e-3)
