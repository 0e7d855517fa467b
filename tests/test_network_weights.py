"""A network is given the numbers of the file, all of them and unchanged, and what its modules remember."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

import memaudit as ma
from memaudit.errors import ModelError, RecipeError
from memaudit.recipe import CallableRecipe, ClassifierRecipe, Examples, load_target, save_target
from memaudit.recipe.recipes import SGD
from memaudit.recipe.weights import put_weights, weights_of

State = dict[str, torch.Tensor]


def data() -> Examples:
    return Examples(np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), np.arange(40) % 2)


def of(model: Callable[[], nn.Module]) -> ClassifierRecipe:
    return ClassifierRecipe(data, model, epochs=1, batch_size=10, optimizer=SGD(lr=0.1))


def linear() -> nn.Module:
    return nn.Linear(3, 2)


# Numbers

BAD: dict[str, tuple[torch.Tensor, str]] = {
    "int8": (torch.ones(2, 3, dtype=torch.int8), r"weight holds integers \(int8\), and float32 in the network: quant"),
    "uint8": (torch.ones(2, 3, dtype=torch.uint8), r"weight holds integers \(uint8\)"),
    "int64": (torch.ones(2, 3, dtype=torch.int64), r"weight holds integers \(int64\)"),
    "bool": (torch.ones(2, 3, dtype=torch.bool), r"weight holds integers \(bool\)"),
    "float8": (torch.ones(2, 3).to(torch.float8_e4m3fn), "weight is float8_e4m3fn: quantised, without its scale"),
    "complex": (torch.ones(2, 3, dtype=torch.complex64), "weight is complex, and real in the network"),
    "NaN": (torch.full((2, 3), torch.nan), "weight is NaN or infinite"),
    "one infinity": (torch.tensor([[1.0, 2, 3], [4, 5, -torch.inf]]), "weight is NaN or infinite"),
    "too fine": (
        torch.full((2, 3), 0.1, dtype=torch.float64),
        "weight is float64 in the file and would lose digits as",
    ),
    "too large": (
        torch.full((2, 3), 1e300, dtype=torch.float64),
        "weight is float64 in the file and would lose digits",
    ),
    "meta": (torch.ones(2, 3, device="meta"), "weight has no numbers"),
    "sparse": (torch.eye(3)[:2].to_sparse(), "weight is sparse or quantised"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", BAD)
def test_numbers_that_are_not_the_networks_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    value, said = BAD[kind]
    torch.save({"weight": value, "bias": torch.zeros(2)}, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=rf"m\.pt: {said}"):
        load_target(tmp_path / "m.pt", of(linear))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_that_lose_nothing_may_have_another_type(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {"weight": torch.tensor([[0.5, 1, 2], [3, 4, 5]], dtype=dtype), "bias": torch.zeros(2, dtype=dtype)}
    save_file(state, tmp_path / "m.safetensors")
    loaded = load_target(tmp_path / "m.safetensors", of(linear))
    assert loaded.weight.dtype == torch.float32
    assert torch.equal(loaded.weight, state["weight"].float())


def test_a_network_in_half_precision_gets_its_own_numbers_and_no_rounded_ones(tmp_path: Path) -> None:
    torch.save(linear().half().state_dict(), tmp_path / "half.pt")
    assert load_target(tmp_path / "half.pt", of(lambda: linear().half())).weight.dtype == torch.float16
    torch.save({"weight": torch.full((2, 3), 0.1), "bias": torch.zeros(2)}, tmp_path / "single.pt")
    with pytest.raises(ModelError, match="weight is float32 in the file and would lose digits as float16"):
        load_target(tmp_path / "single.pt", of(lambda: linear().half()))


class Masked(nn.Module):
    """With a mask of infinities and a counter, as networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("mask", torch.zeros(3))
        self.register_buffer("count", torch.tensor(0))


def test_a_mask_may_be_infinite_and_a_counter_an_integer(tmp_path: Path) -> None:
    network = Masked()
    network.get_buffer("mask")[1], network.count = -torch.inf, torch.tensor(7)
    save_target(network, tmp_path / "m.pt", [])
    loaded = load_target(tmp_path / "m.pt", of(Masked))
    assert loaded.mask.tolist() == [0, -torch.inf, 0]
    assert int(loaded.count) == 7


@pytest.mark.parametrize("scale", ["layer.weight_scale", "layer.SCB", "layer.weight.absmax"])
def test_a_quantised_file_is_called_so(tmp_path: Path, scale: str) -> None:
    torch.save({"layer.weight": torch.ones(6, 1, dtype=torch.uint8), scale: torch.ones(2)}, tmp_path / "m.pt")
    with pytest.raises(ModelError, match="The file is quantised"):
        load_target(tmp_path / "m.pt", of(Masked))


# Tied weights


class Tied(nn.Module):
    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        if tied:
            self.b.weight = self.a.weight


def without(network: nn.Module, name: str) -> State:
    return {n: v.clone() for n, v in network.state_dict().items() if n != name}


@pytest.mark.parametrize("gone", ["a.weight", "b.weight"])
def test_of_tied_weights_one_is_enough(tmp_path: Path, gone: str) -> None:
    network = Tied()
    save_model(network, str(tmp_path / "library.safetensors"))
    save_file(without(network, gone), tmp_path / "one.safetensors")
    save_target(network, tmp_path / "both.safetensors", [])
    torch.save({f"module.{name}": v for name, v in without(network, gone).items()}, tmp_path / "prefixed.pt")
    for name in ("library.safetensors", "one.safetensors", "both.safetensors", "prefixed.pt"):
        loaded = load_target(tmp_path / name, of(Tied))
        assert torch.equal(loaded.a.weight, network.a.weight)
        assert loaded.b.weight is loaded.a.weight


def test_two_weights_where_the_network_has_one_are_refused(tmp_path: Path) -> None:
    torch.save(Tied(tied=False).state_dict(), tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"a\.weight and b\.weight are one weight in the network"):
        load_target(tmp_path / "m.pt", of(Tied))


def test_a_weight_that_is_missing_and_not_tied_is_missing(tmp_path: Path) -> None:
    save_file(without(Tied(tied=False), "b.weight"), tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"b\.weight is missing"):
        load_target(tmp_path / "m.safetensors", of(lambda: Tied(tied=False)))


# What modules remember beside their weights


class Remembering(nn.Module):
    def __init__(self, state: Any = None) -> None:
        super().__init__()
        self.layer, self.state = nn.Linear(3, 2), state

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(x)
        return logits

    def get_extra_state(self) -> Any:
        return self.state

    def set_extra_state(self, state: Any) -> None:
        self.state = state


STATES: dict[str, Any] = {
    "dict": {"temperature": 1.5, "names": ["a", "b"], "deep": {"n": 3, "none": None}},
    "list": [1, 2.5, "ä"],
    "number": 0.1,
    "text": "config",
    "bytes": b"\x00\x01raw",
    "stream": io.BytesIO(b"raw"),
    "tensor": torch.tensor([1.0, 2.0]),
    "flag": False,
}


def plain(state: Any) -> Any:
    return state.getvalue() if isinstance(state, io.BytesIO) else state.tolist() if hasattr(state, "tolist") else state


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("kind", STATES)
def test_an_extra_state_is_saved_and_loaded(tmp_path: Path, kind: str, suffix: str) -> None:
    network = Remembering(STATES[kind])
    save_target(network, tmp_path / f"m.{suffix}", [])
    empty = type(STATES[kind])() if kind != "tensor" else torch.zeros(2)
    loaded = load_target(tmp_path / f"m.{suffix}", of(lambda: Remembering(empty)))
    assert plain(loaded.state) == plain(STATES[kind])
    assert torch.equal(loaded.layer.weight, network.layer.weight)
    other = Remembering(empty)
    save_file(weights_of(network), tmp_path / "bank.safetensors")
    put_weights(other, tmp_path / "bank.safetensors")
    assert plain(other.state) == plain(STATES[kind])


@pytest.mark.parametrize("kind", ["dict", "list", "number", "text", "tensor"])
def test_one_that_torch_saved_is_loaded(tmp_path: Path, kind: str) -> None:
    torch.save({"state_dict": Remembering(STATES[kind]).state_dict()}, tmp_path / "m.pt")
    empty = type(STATES[kind])() if kind != "tensor" else torch.zeros(2)
    assert plain(load_target(tmp_path / "m.pt", of(lambda: Remembering(empty))).state) == plain(STATES[kind])


@pytest.mark.parametrize("empty", [None, {}, b"", [], ""])
def test_an_empty_one_may_be_missing(tmp_path: Path, empty: Any) -> None:
    torch.save(nn.ModuleDict({"layer": linear()}).state_dict(), tmp_path / "m.pt")
    load_target(tmp_path / "m.pt", of(lambda: Remembering(empty)))


def test_an_empty_stream_as_of_transformer_engine_is_no_obstacle(tmp_path: Path) -> None:
    torch.save(Remembering(io.BytesIO()).state_dict(), tmp_path / "m.pt")
    load_target(tmp_path / "m.pt", of(lambda: Remembering(io.BytesIO())))
    assert "_extra_state" not in weights_of(Remembering(io.BytesIO()))


def test_one_that_is_missing_or_not_the_networks_is_refused(tmp_path: Path) -> None:
    torch.save(nn.ModuleDict({"layer": linear()}).state_dict(), tmp_path / "m.pt")
    with pytest.raises(ModelError, match="_extra_state is missing"):
        load_target(tmp_path / "m.pt", of(lambda: Remembering({"scale": 2})))
    torch.save(Remembering({"scale": 2}).state_dict(), tmp_path / "m.pt")
    with pytest.raises(ModelError, match="_extra_state is not in the network"):
        load_target(tmp_path / "m.pt", of(lambda: nn.ModuleDict({"layer": linear()})))


PICKLE = pickle.dumps({"scale": 1})


@pytest.mark.parametrize("state", [PICKLE, io.BytesIO(PICKLE), torch.frombuffer(bytearray(PICKLE), dtype=torch.uint8)])
def test_a_pickle_in_an_extra_state_is_not_handed_to_the_module(tmp_path: Path, state: Any) -> None:
    """Some libraries' set_extra_state() unpickles it."""
    torch.save(
        nn.ModuleDict({"layer": linear()}).state_dict() | {"_extra_state": plain_bytes(state)}, tmp_path / "m.pt"
    )
    given: list[Any] = []

    class Trusting(Remembering):
        def set_extra_state(self, state: Any) -> None:
            given.append(state)

    with pytest.raises(ModelError, match="_extra_state is a pickle, which can run code"):
        load_target(
            tmp_path / "m.pt", of(lambda: Trusting(type(state)(b"x") if not hasattr(state, "shape") else state))
        )
    assert not given


def plain_bytes(state: Any) -> Any:
    return io.BytesIO(state) if isinstance(state, bytes) else state


@pytest.mark.parametrize("state", [{1: 2}, (1, 2), object(), {"a": torch.zeros(1)}, PICKLE, {"a": float("nan")}])
def test_one_that_cannot_be_stored_is_refused_before_anything_is_trained(tmp_path: Path, state: Any) -> None:
    recipe = of(lambda: Remembering(state))
    with pytest.raises(
        RecipeError, match=r"weights of model\(\) cannot be stored: _extra_state is a .*weights = false"
    ):
        ma.fill(tmp_path / "bank", recipe, 2, device="cpu")
    assert not (tmp_path / "bank").exists()
    with pytest.raises(ModelError, match="_extra_state is a"):
        save_target(Remembering(state), tmp_path / "m.pt", [])
    assert ma.fill(tmp_path / "bank", recipe, 2, device="cpu", weights=False).models() == [0, 1]


def test_a_bank_of_networks_that_remember_is_filled_and_audited(tmp_path: Path) -> None:
    recipe = of(lambda: Remembering({"temperature": 1.5}))
    mask = np.random.default_rng(0).random(40) < 0.5
    save_target(ma.train(recipe, mask, device="cpu"), tmp_path / "m.pt", mask)
    bank = ma.fill(tmp_path / "bank", recipe, 6, device="cpu")
    assert ma.audit(tmp_path / "m.pt", recipe, bank, fprs=[0.1], device="cpu").report.subject.shadows == 6


# Lazy modules


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.LazyLinear(2))


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_lazy_network_takes_its_shapes_from_the_file(tmp_path: Path, prefix: str) -> None:
    network = lazy()
    network(torch.randn(8, 3))
    torch.save({prefix + name: value for name, value in network.state_dict().items()}, tmp_path / "m.pt")
    x = torch.randn(5, 3)
    for recipe in (of(lazy), CallableRecipe(data, train=print, model=lazy)):
        assert torch.equal(load_target(tmp_path / "m.pt", recipe)(x), network.eval()(x))


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_a_lazy_network_that_was_never_run_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"0\.weight has no numbers yet: run the network once"):
        save_target(lazy(), tmp_path / "m.pt", [])
