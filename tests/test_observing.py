"""Looks at a live model: what they see, and that the training goes on as if nobody had looked."""

import itertools
import os
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

import memaudit as ma
from memaudit.auditing.target import of_candidates, open_target
from memaudit.design import Design, training_seed
from memaudit.errors import EvidenceError, MemauditError, ModelError, RecipeError
from memaudit.files import sha256
from memaudit.recipe import Examples, Observe, Observed, fingerprint
from memaudit.recipe.observed import problem_of
from memaudit.signals import evaluate, measure
from memaudit.signals.evaluate import LOOK
from memaudit.signals.looks import look
from memaudit.signals.observing import Observer, watched
from memaudit.signals.undisturbed import evaluating
from memaudit.training.model import Workshop

Array = np.ndarray
COUNT = 40


def data() -> Examples:
    rng = np.random.default_rng(3)
    return Examples(rng.normal(size=(COUNT, 5)), np.arange(COUNT) % 3)


class Everything(nn.Module):
    """Dropout, batch statistics, and a part that its author keeps in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
        self.frozen = nn.BatchNorm1d(5).eval()

    def train(self, mode: bool = True) -> "Everything":
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(self.frozen(x))


RECIPE = ma.ClassifierRecipe(data, Everything, epochs=5, batch_size=8, optimizer=ma.SGD(lr=0.1, momentum=0.9))


def made(recipe: Any, seed: int = 7) -> tuple[nn.Module, dict[str, Array]]:
    """Returns model 0 of a bank, and what was seen of it."""
    shop = Workshop(recipe, recipe.examples(), 0, "cpu")
    return shop.train_observed(shop.counts(0), seed)


def weights(model: nn.Module) -> Array:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()]).numpy()


# --- When ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observe", "epochs", "times"),
    [
        (Observe(), 14, [14]),
        (Observe(), 15, [1, 15]),
        (Observe(), 40, [1, 6, 40]),
        (Observe(3), 100, [1, 10, 100]),
        (Observe(5), 3, [1, 2, 3]),
        (Observe(4), 5, [1, 2, 3, 5]),
        (Observe(1), 9, [9]),
        (Observe(0), 9, []),
        (Observe("every epoch"), 4, [1, 2, 3, 4]),
        (Observe([2, 0, 0.5, 99]), 4, [0, 0.5, 2, 4]),
        (Observe(()), 4, []),
    ],
)
def test_the_looks_of_a_training_of_known_length(observe: Observe, epochs: int, times: list[float]) -> None:
    assert list(observe.times(epochs)) == times
    assert observe.looks(epochs) == len(times)


def test_the_default_takes_ten_looks_at_most_and_costs_a_tenth_of_training() -> None:
    """A look costs at most 1.4 epochs (benchmarks.observing), and the last one nothing."""
    assert max(Observe().looks(epochs) for epochs in range(1, 1000)) == 10
    assert all((Observe().looks(epochs) - 1) * 14 <= epochs for epochs in range(1, 1000))


@pytest.mark.parametrize("epochs", range(1, 400, 7))
def test_a_loop_that_does_not_say_its_length_is_looked_at_for_a_tenth_of_training_too(epochs: int) -> None:
    looks = sum(epoch <= epochs for epoch in itertools.takewhile(lambda epoch: epoch <= epochs, Observe().times()))
    assert looks * 14 <= epochs


@pytest.mark.parametrize("looks", range(1, 60))
def test_looks_are_as_many_as_asked_for_and_end_at_the_end(looks: int) -> None:
    for epochs in range(looks, 61):
        times = list(Observe(looks).times(epochs))
        assert len(times) == looks
        assert times[-1] == epochs
        assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"at": "sometimes"}, "every epoch"),
        ({"at": -1}, "negative"),
        ({"at": [-0.5]}, "negative"),
        ({"also": ("hessian",)}, "'hessian' is none of gradient"),
    ],
)
def test_looks_that_make_no_sense(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Observe(**arguments)


# --- What ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_look_sees_the_model_of_a_shorter_training(epoch: int) -> None:
    """At a constant rate, a training of `epoch` epochs is the beginning of a longer one: the end of it is an oracle."""
    _, seen = made(replace(RECIPE, observe=Observe("every epoch")))
    shorter, _ = made(replace(RECIPE, epochs=epoch))
    x, y = torch.as_tensor(data().x).float(), torch.as_tensor(data().y)
    with torch.no_grad():
        logits = shorter(x)
    p = logits.softmax(dim=1)
    expected = {
        "loss": nn.functional.cross_entropy(logits, y, reduction="none"),
        "entropy": -(p * p.log()).sum(dim=1),
        "el2n": (p - nn.functional.one_hot(y, 3)).square().sum(dim=1).sqrt(),
    }
    assert seen["observed.epochs"].tolist() == [1, 2, 3, 4, 5]
    for name, values in expected.items():
        assert seen[f"observed.{name}"].dtype == np.float16
        np.testing.assert_allclose(seen[f"observed.{name}"][epoch - 1], values, rtol=1e-3, atol=1e-4)
    assert np.array_equal(seen["observed.correct"][epoch - 1], logits.argmax(dim=1) == y)
    assert seen["observed.correct"].dtype == bool


def test_the_looks_before_training_and_inside_an_epoch() -> None:
    recipe = replace(RECIPE, observe=Observe([0, 0.5, 2]), model=lambda: nn.Linear(5, 3))
    shop = Workshop(recipe, data(), 0, "cpu")
    counts = np.ones(COUNT, np.uint8)  # five steps an epoch: the first at or after 0.5 is at 0.6
    _, seen = shop.train_observed(counts, 3)
    np.testing.assert_allclose(seen["observed.epochs"], [0, 0.6, 2, 5], rtol=1e-6)
    torch.manual_seed(3)
    untrained = nn.Linear(5, 3)
    np.testing.assert_allclose(seen["observed.loss"][0], look(untrained, data())["loss"], rtol=1e-3)


class Several(nn.Module):
    """Takes inputs by name and returns several things, the outputs among them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"aux": b, "scores": self.layer(torch.cat([a, b], dim=1))}


def plain(columns: int, end: nn.Module | None = None) -> Callable[[], nn.Module]:
    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(5, columns), *([] if end is None else [end]))

    return network


X = np.random.default_rng(0).normal(size=(COUNT, 5)).astype(np.float32)
Y = np.arange(COUNT) % 3
KINDS: dict[str, tuple[Examples, Callable[[], nn.Module], dict[str, Any]]] = {
    "classes": (Examples(X, Y), plain(3), {}),
    "one logit": (Examples(X, Y % 2), plain(1), {}),
    "named inputs": (Examples({"a": X[:, :2], "b": X[:, 2:]}, Y), Several, {"output": "scores"}),
    "pair of inputs": (Examples((X[:, :2], X[:, 2:]), Y), Several, {"output": "scores"}),
    "labels": (Examples(X, np.random.default_rng(0).integers(0, 2, (COUNT, 4)), task="multilabel"), plain(4), {}),
    "a number": (Examples(X, X @ np.arange(5.0), task="regression"), plain(1), {}),
    "probabilities": (Examples(X, Y), plain(3, nn.Softmax(1)), {"outputs": "probabilities"}),
    "one probability": (Examples(X, Y % 2), plain(1, nn.Sigmoid()), {"outputs": "probabilities"}),
    "log-probabilities": (Examples(X, Y), plain(3, nn.LogSoftmax(1)), {"outputs": "log-probabilities"}),
    "one-vs-rest": (Examples(X, Y), plain(3, nn.Sigmoid()), {"outputs": "one-vs-rest"}),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_loss_is_that_of_the_signal_and_correctness_that_of_the_bank(name: str) -> None:
    """By an independent path: φ of `evaluate`, in double precision."""
    from memaudit.signals.evaluate import loss_of

    examples, network, asked = KINDS[name]
    model = network()
    found, signals = look(model, examples, **asked), evaluate(model, examples, **asked)
    np.testing.assert_allclose(found["loss"], loss_of(examples)(signals.phi[:, 0]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["correct"], signals.correct, atol=1e-6)
    assert ("entropy" in found) == ("el2n" in found) == (name != "a number")


@pytest.mark.parametrize("name", KINDS)
def test_measuring_takes_what_a_look_takes(name: str) -> None:
    """So that the last look costs nothing; batches differ, and with them the last digits."""
    examples, network, asked = KINDS[name]
    model = network()
    found, recorded = look(model, examples, **asked), measure(model, examples, look=True, **asked)
    assert {name for name in recorded if name.startswith(LOOK)} == {LOOK + name for name in found}
    for name, values in found.items():
        np.testing.assert_allclose(recorded[LOOK + name], values, rtol=1e-5, atol=1e-6)
    assert not any(name.startswith(LOOK) for name in measure(model, examples, **asked))


def test_the_last_look_of_a_bank_is_that_of_a_training_with_all_that_is_asked_for(tmp_path: Path) -> None:
    recipe = replace(RECIPE, observe=Observe(2, also=("input_gradient",)))
    bank = ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    _, seen = made(recipe, training_seed(0, 0))
    found = {name: values for name, values in bank.tensors(0).items() if name.startswith("observed.")}
    assert found.keys() == seen.keys() and not any(name.startswith(LOOK) for name in bank.tensors(0))
    for name, values in seen.items():
        np.testing.assert_allclose(found[name].astype(float), values.astype(float), rtol=2e-3, atol=1e-3)


def test_entropy_and_el2n_by_hand() -> None:
    """Of one logit as of two classes; of several labels and of one-vs-rest as of questions of their own."""

    def bits(p: Array) -> Array:
        return -(p * np.log(p) + (1 - p) * np.log(1 - p))

    for name in ("one logit", "labels", "one-vs-rest"):
        examples, network, asked = KINDS[name]
        with torch.no_grad():
            z = network()(torch.as_tensor(X))
        p = (z if name == "one-vs-rest" else z.sigmoid()).numpy().astype(float)
        truth = np.eye(3)[examples.y] if name == "one-vs-rest" else examples.y.reshape(COUNT, -1)
        found = look(network(), examples, **asked)
        np.testing.assert_allclose(found["entropy"], bits(p).sum(axis=1), rtol=1e-4)
        twice = np.sqrt(2) if name == "one logit" else 1
        np.testing.assert_allclose(found["el2n"], twice * np.sqrt(((p - truth) ** 2).sum(axis=1)), rtol=1e-4)


def test_a_class_that_is_ruled_out_has_no_entropy() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.layer(x), torch.full((len(x), 1), -torch.inf)], dim=1)

    found = look(Masked(), Examples(X, Y % 2))
    assert all(np.isfinite(values).all() for values in found.values())


def test_numbers_beyond_half_precision_are_stored_as_its_largest() -> None:
    seen = Observed.of_looks([1], [{"loss": np.array([1e6, 3.0, np.inf]), "correct": np.array([True, False, True])}])
    assert seen.values["loss"].tolist() == [[65504, 3, 65504]]
    with pytest.raises(ModelError, match="NaN"):
        Observed.of_looks([1], [{"loss": np.array([np.nan])}])


# --- Gradients and curvature --------------------------------------------------------------------------------------


class Branching(nn.Module):
    """Which way it goes depends on the input, which no vectorised pass can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layers(x)
        return torch.stack([row * 2 if float(row.sum()) > 0 else row for row in out])


@pytest.mark.parametrize("network", [Everything, Branching])
def test_gradient_norms_are_those_of_one_example_at_a_time(network: type[nn.Module]) -> None:
    model = network().eval()
    found = look(model, data(), also=("gradient", "input_gradient"))
    assert all(parameter.grad is None for parameter in model.parameters())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for row in range(COUNT):
        x = torch.as_tensor(data().x[[row]]).float().requires_grad_()
        loss = nn.functional.cross_entropy(model(x), torch.as_tensor(data().y[[row]]))
        own, *rest = torch.autograd.grad(loss, [x, *trained])
        norm = torch.sqrt(sum((part.square().sum() for part in rest), torch.zeros(())))
        assert found["gradient"][row] == pytest.approx(float(norm), rel=1e-4)
        assert found["input_gradient"][row] == pytest.approx(float(own.norm()), rel=1e-4)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "one-vs-rest"])
def test_gradients_of_every_kind_of_model_grow_with_the_error(name: str) -> None:
    """‖∇ℓ‖ of a linear model is ‖(x, 1)‖ times ‖p − y‖: EL2N, or the error in variances."""
    examples, network, asked = KINDS[name]
    found = look(network(), examples, **asked, also=("gradient", "input_gradient", "curvature"))
    long = np.sqrt((X**2).sum(axis=1) + 1)
    error = found["loss"] / examples.y.std() if name == "a number" else found["el2n"]
    error = error / np.sqrt(2) if name in ("one logit", "one probability") else error
    np.testing.assert_allclose(found["gradient"], long * error, rtol=2e-3)
    assert np.isfinite(found["curvature"]).all()


def test_the_curvature_of_logistic_regression_in_closed_form() -> None:
    """The loss's Hessian in x is p(1 − p) w wᵀ. In one dimension each probe gives p(1 − p) w² exactly."""
    for width in (1, 6):
        x = np.random.default_rng(0).normal(size=(COUNT, width))
        torch.manual_seed(0)
        network = nn.Linear(width, 1).double()  # in single precision the difference of gradients has an error of 4 %
        with torch.no_grad():
            p = network(torch.as_tensor(x)).sigmoid().numpy()[:, 0].astype(float)
            size = float(network.weight.square().sum())
        found = look(network, Examples(x, np.arange(COUNT) % 2), also=("curvature",))["curvature"]
        ratio = found / (p * (1 - p) * size)
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=2e-3)  # the step is 1e-3
        assert ratio.mean() == pytest.approx(1, rel=2e-3 if width == 1 else 0.7)  # 10 probes: sd of about 0.2


def test_inputs_that_cannot_be_differentiated_are_refused() -> None:
    network = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3))
    examples = Examples(np.abs(X * 3).astype(np.int64).clip(0, 8), Y)
    assert look(network, examples, also=("gradient",))["gradient"].min() > 0
    with pytest.raises(ModelError, match="no floating-point numbers"):
        look(network, examples, also=("curvature",))


# --- Undisturbed --------------------------------------------------------------------------------------------------

LOOKS = [Observe("every epoch"), Observe([0, 0.4, 1.2], also=("gradient", "input_gradient", "curvature"))]


@pytest.mark.parametrize("observe", LOOKS, ids=["every epoch", "with gradients"])
def test_the_weights_are_the_same_bit_for_bit_whether_or_not_somebody_looks(observe: Observe) -> None:
    models = [made(replace(RECIPE, observe=wanted))[0] for wanted in (Observe(0), observe)]
    assert np.array_equal(weights(models[0]), weights(models[1]))


def deep() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


def own_loop(dataset: Examples, *, seed: int, device: str, epochs: int = 5, average: bool = False) -> nn.Module:
    """A user's loop, which draws from every source of randomness in every step, under autocast."""
    model = Everything()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.as_tensor(dataset.x).float(), torch.as_tensor(dataset.y)
    for epoch in range(epochs):
        model.train()
        with torch.autocast("cpu", torch.bfloat16):
            for batch in torch.split(torch.randperm(len(x)), 8):
                ma.observe(model, epoch + 0.5)
                optimizer.zero_grad()
                noise = random.random() + np.random.rand()  # noqa: NPY002
                nn.functional.cross_entropy(model(x[batch] + noise / 100), y[batch]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        ma.observe(model, epoch + 1)
    if average:
        with torch.no_grad():
            list(model.layers.parameters())[-1].add_(1)
    return model


def test_a_users_loop_is_observed_and_not_disturbed() -> None:
    recipe = ma.CallableRecipe(data, train=own_loop, model=Everything)
    models = [made(replace(recipe, observe=wanted)) for wanted in (Observe(0), Observe(), Observe("every epoch"))]
    assert np.array_equal(weights(models[0][0]), weights(models[1][0]))
    assert np.array_equal(weights(models[0][0]), weights(models[2][0]))
    assert models[0][1] == {}
    assert models[1][1]["observed.epochs"].tolist() == [5]
    assert models[2][1]["observed.epochs"].tolist() == [1, 2, 3, 4, 5]


def test_autocast_keeps_no_weights_that_were_cast_without_a_gradient() -> None:
    """A look inside autocast: the cached cast of a weight would have no gradient in the step that follows."""
    torch.manual_seed(0)
    layer = nn.Linear(5, 3)
    x = torch.as_tensor(X)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad(), evaluating(layer):
            layer(x)
        layer(x).float().sum().backward()
    assert layer.weight.grad is not None


def test_the_last_look_is_at_the_model_that_is_returned() -> None:
    """A loop may return averaged weights, or those of its best epoch."""
    loop = partial(own_loop, average=True)
    model, seen = made(ma.CallableRecipe(data, train=loop, model=Everything))
    np.testing.assert_allclose(seen["observed.loss"][-1], look(model, data())["loss"], rtol=1e-3, atol=1e-4)


def test_a_loop_that_never_calls_is_not_observed() -> None:
    def silent(dataset: Examples, *, seed: int, device: str) -> nn.Module:
        return Everything()

    assert made(ma.CallableRecipe(data, train=silent, model=Everything))[1] == {}


def test_modes_are_restored_module_by_module() -> None:
    model = Everything().train()
    with watched(Observer(data(), Observe(3), {"outputs": None, "output": None})) as observer:
        ma.observe(model, 1)
    assert len(observer._looks) == 1
    assert model.training
    assert model.layers.training
    assert not model.frozen.training


def test_a_training_that_diverges_is_still_told_as_such() -> None:
    recipe = replace(RECIPE, model=deep, optimizer=ma.SGD(lr=1e30), observe=Observe("every epoch"))
    with pytest.raises(MemauditError, match=r"training diverged: the loss is NaN or infinite in epoch [12]"):
        made(recipe)


def test_what_observe_is_called_with_makes_sense() -> None:
    ma.observe(object(), 3)  # nobody watches
    observer = Observer(data(), Observe(3), {"outputs": None, "output": None})
    with watched(observer):
        ma.observe(Everything(), 0.5)
        with pytest.raises(RecipeError, match=r"epoch 0\.2 after epoch 0\.5"):
            ma.observe(Everything(), 0.2)
        with pytest.raises(ModelError, match="torch network"):
            ma.observe(object(), 1)
        with pytest.raises(ModelError, match=r"observed after epoch 2: the model's output has shape \(40, 5\)|classes"):
            ma.observe(nn.Sequential(nn.Linear(5, 2)), 2)


class Counting(nn.Module):
    """A buffer and an attribute that every pass changes, and that decide how the model is trained."""

    seen: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.passes = nn.Linear(5, 3), 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        self.seen += 1
        return self.layers(x) * (1 + (self.passes + self.seen) / 100 if self.training else 1)


class Merging(nn.Module):
    """Low-rank adapters that `eval()` merges into the weight, as loralib does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.up, self.merged = nn.Linear(5, 3), nn.Parameter(torch.zeros(3, 5)), False
        self.layer.requires_grad_(False)

    def train(self, mode: bool = True) -> "Merging":
        if mode == self.merged:
            self.layer.weight.data += (-1 if mode else 1) * self.up.data
            self.merged = not mode
        return super().train(mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) if self.merged else self.layer(x) + x @ self.up.T


@pytest.mark.parametrize("network", [Counting, Merging])
def test_a_look_leaves_buffers_attributes_and_merged_weights_alone(network: type[nn.Module]) -> None:
    def loop(dataset: Examples, *, seed: int, device: str) -> nn.Module:
        model = network().train()
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        x, y = torch.as_tensor(dataset.x).float(), torch.as_tensor(dataset.y)
        for epoch in range(4):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            ma.observe(model, epoch + 1)
        return model

    recipe = ma.CallableRecipe(data, train=loop, model=network)
    models = [made(replace(recipe, observe=wanted))[0] for wanted in (Observe(0), Observe("every epoch"))]
    assert np.array_equal(weights(models[0]), weights(models[1]))


def test_a_lazy_network_is_refused_as_a_look_would_draw_its_weights() -> None:
    with pytest.raises(ModelError, match="the network is lazy"), evaluating(nn.LazyLinear(3)):
        pass


def test_gradients_are_taken_in_inference_mode_too() -> None:
    torch.manual_seed(0)
    model = deep()
    found = []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        wanted = Observe([1], also=("gradient", "input_gradient", "curvature"))
        with watched(Observer(data(), wanted, {"outputs": None, "output": None})) as observer, mode():
            ma.observe(model, 1)
        found.append(next(iter(observer._looks.values())))
    assert all(np.array_equal(found[0][name], other[name]) for other in found[1:] for name in other)


@pytest.mark.parametrize("epoch", [float("nan"), float("inf"), -1, -0.5, 1e9, "two", None])
def test_an_epoch_that_is_no_number_of_passes_is_refused(epoch: Any) -> None:
    with watched(Observer(data(), Observe("every epoch"), {"outputs": None, "output": None})):
        with pytest.raises(RecipeError, match="give passes over the training set"):
            ma.observe(deep(), epoch)
        with pytest.raises(RecipeError, match="was called with epochs="):
            ma.observe(deep(), 1, 0 if epoch is None else epoch)


def test_two_networks_at_one_epoch_are_refused_and_one_after_the_other_is_not() -> None:
    teacher, student = deep(), deep()
    with watched(Observer(data(), Observe("every epoch"), {"outputs": None, "output": None})) as observer:
        ma.observe(teacher, 1)
        with pytest.raises(RecipeError, match="two networks at epoch 1"):
            ma.observe(student, 1)
        ma.observe(student, 2)
        with pytest.raises(ModelError, match="returned a dict"):
            observer.of({})


# --- Banks --------------------------------------------------------------------------------------------------------


def test_a_bank_is_the_same_bank_however_its_models_are_observed(tmp_path: Path) -> None:
    lines = [fingerprint(replace(RECIPE, observe=wanted), data(), 0) for wanted in (Observe(), *LOOKS)]
    assert lines[0] == lines[1] == lines[2]
    assert not any("observe" in name for name in lines[0])
    ma.fill(tmp_path / "bank", RECIPE, 2, device="cpu")
    bank = ma.fill(tmp_path / "bank", replace(RECIPE, observe=Observe(2)), 4, device="cpu")
    assert bank.tensors(0)["observed.loss"].shape == (1, COUNT), "the end alone, which costs nothing"
    assert bank.tensors(3)["observed.loss"].shape == (2, COUNT)


def test_a_bank_of_candidates_is_observed_in_the_order_of_its_signals(tmp_path: Path) -> None:
    """Its models are measured on the candidates alone."""
    recipe = replace(RECIPE, observe=Observe(2))
    members = np.arange(COUNT) < 8
    bank = ma.fill(tmp_path / "bank", recipe, 2, members=members, device="cpu")
    found = bank.tensors(0)
    assert found["observed.loss"].shape == (2, len(found["phi"])) != (2, COUNT)
    np.testing.assert_allclose(found["observed.loss"][-1], np.logaddexp(0, -found["phi"][:, 0]), rtol=2e-3, atol=1e-3)


# --- The target ---------------------------------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path: Path) -> Path:
    recipe = replace(RECIPE, observe=Observe(3))
    members = ma.draw_members(recipe)
    with ma.observing(recipe) as seen:
        model = ma.train(recipe, members, device="cpu")
    ma.save_target(model, tmp_path / "model.safetensors", members, recipe, observed=seen)
    return tmp_path / "model.safetensors"


def beside(model: Path) -> Path:
    return model.with_name(f"{model.name}.observed.safetensors")


def test_what_was_seen_of_a_target_is_stored_beside_it_and_read(target: Path) -> None:
    found = open_target(target, RECIPE, device="cpu")
    assert found.observed is not None
    assert found.observed.epochs.tolist() == [1, 2, 5]
    loss = np.logaddexp(0, -found.recorded["phi"][:, 0])
    np.testing.assert_allclose(found.observed.values["loss"][-1], loss, rtol=2e-3, atol=1e-3)
    assert np.array_equal(found.observed.values["correct"][-1], found.recorded["correct"])
    few = found.only(np.array([3, 1]))
    assert few.observed is not None
    assert np.array_equal(few.observed.values["loss"], found.observed.values["loss"][:, [3, 1]])
    design = Design.for_members(found.members & (np.arange(COUNT) < 20), 0)
    part = of_candidates(found, design)
    assert part.observed is not None
    rows = design.candidates[data().unit_of]
    assert np.array_equal(part.observed.values["loss"], found.observed.values["loss"][:, rows])


def test_a_target_that_is_saved_again_has_no_observations_of_another(target: Path) -> None:
    members = ma.draw_members(RECIPE)
    ma.save_target(ma.train(RECIPE, members, seed=1, device="cpu"), target, members, RECIPE)
    assert not beside(target).exists()
    assert open_target(target, RECIPE, device="cpu").observed is None


def test_observations_of_another_model_are_refused(target: Path) -> None:
    kept = beside(target).read_bytes()
    members = ma.draw_members(RECIPE)
    ma.save_target(ma.train(RECIPE, members, seed=1, device="cpu"), target, members, RECIPE)
    beside(target).write_bytes(kept)
    with pytest.raises(EvidenceError, match="recorded while another model was trained"):
        open_target(target, RECIPE, device="cpu")


def forged(target: Path, change: Callable[[dict[str, Array]], Any]) -> None:
    tensors = load_file(beside(target))
    change(tensors)
    save_file(tensors, beside(target), {"model.sha256": sha256(target)})


FORGERIES: dict[str, tuple[Callable[[dict[str, Array]], Any], str]] = {
    "other examples": (
        lambda t: t.update({name: v[:, :-1].copy() for name, v in t.items() if v.ndim == 2}),
        r"has shape \[3, 39\]",
    ),
    "one fewer time": (lambda t: t.update({"observed.epochs": t["observed.epochs"][:-1]}), r"not \[2, 40\]"),
    "NaN": (lambda t: t["observed.loss"].__setitem__((0, 0), np.nan), "loss is NaN or infinite"),
    "infinite": (lambda t: t["observed.el2n"].__setitem__((0, 0), np.inf), "el2n is NaN or infinite"),
    "negative": (lambda t: t["observed.entropy"].__setitem__((0, 0), -1), "entropy is negative"),
    "no loss": (lambda t: t.pop("observed.loss"), "loss or correct is missing"),
    "no epochs": (lambda t: t.pop("observed.epochs"), "it holds no epochs"),
    "strange": (lambda t: t.update({"observed.other": t["observed.loss"]}), "'other'"),
    "backwards": (lambda t: t.update({"observed.epochs": t["observed.epochs"][::-1].copy()}), "epochs grow from 0"),
    "NaN epoch": (lambda t: t["observed.epochs"].__setitem__(1, np.nan), "epochs are finite"),
    "wide": (lambda t: t.update({"observed.loss": t["observed.loss"].astype(np.float64)}), "float64"),
    "other answers": (
        lambda t: t["observed.correct"].__setitem__(-1, ~t["observed.correct"][-1]),
        "the loss or correctness of 40 of 40 examples at the end of training is not that",
    ),
    "shares": (lambda t: t.update({"observed.correct": t["observed.correct"].astype(np.float16)}), "of another kind"),
    "beyond all": (
        lambda t: t.update({"observed.correct": t["observed.correct"].astype(np.float16) + 1}),
        "correct is above 1",
    ),
    "below 0": (lambda t: t["observed.loss"].__setitem__((0, 0), -1), "loss is negative"),
    "other end": (lambda t: t["observed.loss"].__setitem__(-1, 0), "at the end of training is not that of the model"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_observations_that_are_no_models_are_refused_by_name(name: str, target: Path) -> None:
    change, said = FORGERIES[name]
    forged(target, change)
    with pytest.raises(EvidenceError, match=said):
        open_target(target, RECIPE, device="cpu")


def test_a_damaged_file_of_observations_is_refused_by_name(target: Path) -> None:
    beside(target).write_bytes(beside(target).read_bytes()[:100])
    with pytest.raises(EvidenceError, match=r"observed\.safetensors cannot be read"):
        open_target(target, RECIPE, device="cpu")


def test_observations_that_are_no_file_are_refused_without_reading(target: Path) -> None:
    beside(target).unlink()
    os.mkfifo(beside(target))
    with pytest.raises(EvidenceError, match="is no file"):
        open_target(target, RECIPE, device="cpu")


def test_only_what_observing_gives_is_stored(tmp_path: Path) -> None:
    members = ma.draw_members(RECIPE)
    with pytest.raises(EvidenceError, match="observed is a dict"):
        ma.save_target(deep(), tmp_path / "model.pt", members, RECIPE, observed={})
    assert not list(tmp_path.iterdir())


def test_observations_that_are_sound_have_no_problem() -> None:
    seen = Observed(np.array([0, 1], np.float32), {n: np.zeros((2, 3), np.float16) for n in ("loss", "correct")})
    assert problem_of(seen, 3) == ""


def test_an_audit_of_an_observed_target_is_that_of_one_that_was_not(target: Path, tmp_path: Path) -> None:
    """Whatever the file says, it decides no result but the proxies'."""
    recipe = replace(RECIPE, observe=Observe(0))
    ma.fill(tmp_path / "bank", recipe, 8, device="cpu")
    with_file = ma.audit(target, recipe, tmp_path / "bank", device="cpu").report
    beside(target).unlink()
    without = ma.audit(target, recipe, tmp_path / "bank", device="cpu").report
    assert with_file.results == without.results
    assert with_file.controls == without.controls
