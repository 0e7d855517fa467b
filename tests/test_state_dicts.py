"""Which weights of a checkpoint are the model: one set that fits is taken, of several that differ none is guessed."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import Net, State, made, of, prefixed, same
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from memaudit.errors import ModelError
from memaudit.recipe import load_target, save_target


class Plain(nn.Module):
    """Parameters alone, without buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)


RAW, EMA = made(0), made(1)


def lit_ema(network: nn.Module) -> State:
    """As the LitEma module of the latent-diffusion code names its buffers: no dots, parameters alone."""
    return {f"model_ema.{name.replace('.', '')}": value.data for name, value in network.named_parameters()}


def pair(raw: nn.Module, ema: nn.Module) -> dict[str, tuple[Any, str, str]]:
    """Checkpoints with two models, and what the two are called."""
    a, b = raw.state_dict(), ema.state_dict()
    models, emas = prefixed("model.", raw), prefixed("model.", ema)
    counted = prefixed("module.", ema) | {"n_averaged": torch.tensor(3)}
    return {
        "model and model_ema": ({"model": a, "model_ema": b}, "model", "model_ema"),
        "state_dict and state_dict_ema": ({"state_dict": a, "epoch": 3, "state_dict_ema": b},
                                          "state_dict", "state_dict_ema"),
        "ema_state_dict": ({"model_state_dict": a, "ema_state_dict": b}, "model_state_dict", "ema_state_dict"),
        "swa_state_dict": ({"state_dict": a, "swa_state_dict": counted}, "state_dict", "swa_state_dict"),
        "module and module_ema": ({"module": a, "module_ema": b}, "module", "module_ema"),
        "generators": ({"generator": a, "generator_ema": b, "discriminator": nn.Linear(9, 1).state_dict()},
                       "generator", "generator_ema"),
        "deep": ({"ema": {"decay": 0.9, "module": b}, "model": {"module": a}}, "model", "ema"),
        "a callback's": ({"state_dict": models, "callbacks": {"EMA": {"weights": emas}}},
                         "state_dict", "callbacks.EMA"),
        "prefixes in one state dict": ({"state_dict": models | prefixed("model_ema.", ema)},
                                       "model", "model_ema"),
        "prefixes at the top": (prefixed("online_model.", raw) | prefixed("ema_model.", ema) | {"step": torch.ones(1)},
                                "online_model", "ema_model"),
        "one bare, one prefixed": (a | prefixed("ema.", ema), ".", "ema"),
        "underscores": ({"state_dict": a | prefixed("ema_", ema, lambda n: n.replace(".", "_"))}, "state_dict", "ema"),
        "best and last": ({"last": a, "best": b}, "last", "best"),
        "a list": ([a, b], "0", "1"),
    }  # fmt: skip


@pytest.mark.parametrize("which", pair(RAW, EMA))
def test_of_two_different_models_none_is_guessed_and_either_can_be_named(tmp_path: Path, which: str) -> None:
    content, raw, ema = pair(RAW, EMA)[which]
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"holds 2 different sets of weights .*--state-dict") as error:
        load_target(tmp_path / "m.pt", of())
    assert raw in str(error.value)
    assert ema in str(error.value)
    assert same(load_target(tmp_path / "m.pt", of(), state_dict=raw), RAW)
    assert same(load_target(tmp_path / "m.pt", of(), state_dict=ema), EMA)


@pytest.mark.parametrize("which", pair(RAW, EMA))
def test_two_equal_copies_are_one_model(tmp_path: Path, which: str) -> None:
    content, _, _ = pair(RAW, copy.deepcopy(RAW))[which]
    torch.save(content, tmp_path / "m.pt")
    assert same(load_target(tmp_path / "m.pt", of()), RAW)


def shadows(network: nn.Module, raw: nn.Module) -> dict[str, tuple[Any, str]]:
    """Averages that are kept without the buffers, or without names."""
    parameters, a = [value.data for value in network.parameters()], raw.state_dict()
    state = {"state": {n: {"exp_avg": value * 0, "ema": value} for n, value in enumerate(parameters)}}
    return {
        "LitEma": ({"state_dict": prefixed("model.", raw) | lit_ema(network)}, "model_ema"),
        "named parameters": ({"model": raw.state_dict(), "ema": dict(network.named_parameters())}, "ema"),
        "torch_ema": ({"model": a, "ema": {"decay": 0.9, "shadow_params": parameters}}, "ema.shadow_params"),
        "an optimizer's list": ({"model": raw.state_dict(), "optimizer": {"ema": tuple(parameters)}}, "optimizer.ema"),
        "an optimizer's state": ({"model": raw.state_dict(), "optimizer": state}, "optimizer.state.ema"),
    }  # fmt: skip


@pytest.mark.parametrize("which", shadows(EMA, RAW))
def test_an_average_of_the_parameters_alone_is_seen_and_not_mixed_with_other_buffers(
    tmp_path: Path, which: str
) -> None:
    content, name = shadows(EMA, RAW)[which]
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=f"2 different sets of weights.*{name}"):
        load_target(tmp_path / "m.pt", of())
    with pytest.raises(ModelError, match=r"holds the parameters alone and lacks body\.1\.running_mean"):
        load_target(tmp_path / "m.pt", of(), state_dict=name)


@pytest.mark.parametrize("which", shadows(made(1, Plain), made(0, Plain)))
def test_such_an_average_can_be_named_where_there_are_no_buffers(tmp_path: Path, which: str) -> None:
    content, name = shadows(made(1, Plain), made(0, Plain))[which]
    torch.save(content, tmp_path / "m.pt")
    assert same(load_target(tmp_path / "m.pt", of(Plain), state_dict=name), made(1, Plain))


def test_moments_of_an_optimizer_are_no_second_model(tmp_path: Path) -> None:
    optimizer = torch.optim.AdamW(RAW.parameters())
    RAW(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    torch.save({"model": RAW.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "m.pt")
    assert same(load_target(tmp_path / "m.pt", of()), RAW)


@pytest.mark.parametrize("asked", ["nothing", "mode", "model_ema.x"])
def test_a_name_that_is_not_in_the_file_lists_those_that_are(tmp_path: Path, asked: str) -> None:
    torch.save({"model": RAW.state_dict(), "model_ema": EMA.state_dict()}, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=f"no weights '{asked}' that fit.*there are: model, model_ema"):
        load_target(tmp_path / "m.pt", of(), state_dict=asked)


# Prefixes and wrappers


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "net.", "network.", "module._orig_mod.", "model.module.", "a.b.c."]
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_prefix_of_all_names_is_no_obstacle(tmp_path: Path, prefix: str, suffix: str) -> None:
    save = torch.save if suffix == "pt" else save_file
    save(prefixed(prefix, RAW), tmp_path / f"m.{suffix}")
    assert same(load_target(tmp_path / f"m.{suffix}", of()), RAW)


WRAPPED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "torch.compile": lambda network: torch.compile(network),  # type: ignore[dict-item,return-value]
    "AveragedModel": AveragedModel,
    "one part of it": lambda network: _with_part_wrapped(network),
    "a module around it": lambda network: nn.ModuleDict({"model": network}),
}


def _with_part_wrapped(network: nn.Module) -> nn.Module:
    assert isinstance(network, Net)
    network.body = nn.Sequential(nn.DataParallel(network.body[0]), network.body[1])
    return network


@pytest.mark.parametrize("how", WRAPPED)
def test_a_wrapper_is_taken_off_and_put_on(tmp_path: Path, how: str) -> None:
    """The file was saved from a wrapped network and the recipe's is not; then the other way round."""
    wrapped = WRAPPED[how](copy.deepcopy(RAW))
    save_target(wrapped, tmp_path / "wrapped.safetensors", [])
    assert same(load_target(tmp_path / "wrapped.safetensors", of()), RAW)
    save_target(RAW, tmp_path / "bare.safetensors", [])
    loaded = load_target(tmp_path / "bare.safetensors", of(lambda: WRAPPED[how](Net())))
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), RAW.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(list(loaded.buffers())[-3:], list(RAW.buffers())[-3:], strict=True))


def test_names_that_do_not_fit_are_told_of_both_sides(tmp_path: Path) -> None:
    state = prefixed("module.", RAW)
    state["module.head.extra"] = torch.zeros(1)
    del state["module.head.bias"]
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"body\.0\.weight is missing.*module\.body\.0\.weight is not in the network"):
        load_target(tmp_path / "m.pt", of())


def test_more_than_the_network_in_the_file_is_refused_until_its_part_is_named(tmp_path: Path) -> None:
    """A layer beside the model may change what it says, such as one that scales its inputs."""
    torch.save(prefixed("model.", RAW) | {"scale.mean": torch.ones(3)}, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"scale\.mean is not in the network\. If .*--state-dict model"):
        load_target(tmp_path / "m.pt", of())
    assert same(load_target(tmp_path / "m.pt", of(), state_dict="model"), RAW)


def test_a_layer_that_fits_is_not_taken_out_of_a_larger_network(tmp_path: Path) -> None:
    torch.save({"model": nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 7)).state_dict()}, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"1\.weight is not in the network"):
        load_target(tmp_path / "m.pt", of(lambda: nn.Linear(3, 2)))


def test_a_checkpoint_that_holds_itself_is_read_once(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": RAW.state_dict(), "list": []}
    content["self"] = content
    content["list"] += [content, content["list"], {"deep": content}]
    torch.save(content, tmp_path / "m.pt")
    assert same(load_target(tmp_path / "m.pt", of()), RAW)


# The command line


def test_the_choice_is_asked_for_before_training_and_written_into_the_report(
    project: Path, complaint: Callable[..., str], command: Callable[..., Any]
) -> None:
    from safetensors.torch import load_file

    raw = load_file(project / "model.safetensors")
    noise = {name: value + 1 for name, value in raw.items()}
    torch.save({"model": noise, "model_ema": raw}, project / "m.pt")
    members = ("--members", "model.safetensors.members.csv", "-q")
    assert re.search("different sets of weights.*model, model_ema", complaint("audit", "m.pt", *members))
    assert not (project / "audit").exists()
    (project / "memaudit.toml").write_text(
        '[audit]\nshadows = 16\nworkers = 1\nfpr = [0.02]\nstate_dict = "model_ema"\n', "utf-8"
    )
    assert command("audit", "m.pt", *members).returncode == 0
    from memaudit import reports

    assert reports.load(project / "audit" / "report.json").provenance["state dict"] == "model_ema"
    assert "no weights 'other'" in complaint("audit", "m.pt", "--state-dict", "other", *members)
    assert "--state-dict model: it is for a network's checkpoint" in complaint(
        "audit", ".", "--state-dict", "model", *members
    )
