"""Checkpoints as training libraries write them: the right weights, or one clear refusal."""

import json
from argparse import Namespace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import State, made, of, prefixed, same
from safetensors.torch import save_file

from memaudit.errors import ModelError
from memaudit.recipe import load_target

PREFIXES = ("module.", "_orig_mod.", "_module.", "model.", "_fsdp_wrapped_module.")


RAW, EMA = made(0), made(1)
RECIPE = of()


@pytest.mark.parametrize("prefix", [*PREFIXES, *map("".join, permutations(PREFIXES, 2)), "".join(PREFIXES)])
@pytest.mark.parametrize("nested", [(), ("state_dict",), ("checkpoint", "model")])
def test_every_nesting_and_combination_of_prefixes_is_read(
    tmp_path: Path, prefix: str, nested: tuple[str, ...]
) -> None:
    content: Any = prefixed(prefix, RAW)
    for name in reversed(nested):
        content = {name: content, "epoch": 3}
    torch.save(content, tmp_path / "m.pt")
    assert same(load_target(tmp_path / "m.pt", RECIPE), RAW)


@pytest.mark.parametrize(
    "wrapper", ["module", "_orig_mod", "_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"]
)
def test_a_wrapper_in_the_middle_of_names_is_no_obstacle(tmp_path: Path, wrapper: str) -> None:
    """As where one block is compiled, checkpointed or sharded by itself."""
    state = {name.replace("body.0.", f"body.{wrapper}.0."): value for name, value in RAW.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "m.pt")
    assert same(load_target(tmp_path / "m.pt", RECIPE), RAW)


def lightning(**more: Any) -> State:
    return {
        "epoch": 2,
        "global_step": 80,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": prefixed("model.", RAW),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 2}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": None, "dirpath": "x"}},
        "optimizer_states": [torch.optim.Adam(RAW.parameters()).state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "widths": [3, 4]},
        **more,
    }


def test_a_checkpoint_of_lightning_with_hyperparameters_is_read(tmp_path: Path) -> None:
    torch.save(lightning(), tmp_path / "m.ckpt")
    assert same(load_target(tmp_path / "m.ckpt", RECIPE), RAW)


def test_hyperparameters_that_are_objects_are_named_in_the_refusal(tmp_path: Path) -> None:
    torch.save(lightning(hyper_parameters=Namespace(lr=0.1)), tmp_path / "m.ckpt")
    with pytest.raises(ModelError, match=r"would run code when loaded \(argparse\.Namespace\).*save the weights alone"):
        load_target(tmp_path / "m.ckpt", RECIPE)


def test_a_real_checkpoint_of_lightning_is_read(tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch")

    class Module(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = made(0)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    trainer = pl.Trainer(
        max_epochs=0, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    module = Module()
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "m.ckpt", weights_only=False)
    assert same(load_target(tmp_path / "m.ckpt", RECIPE), RAW)


@pytest.mark.parametrize(
    ("content", "raw", "ema"),
    [
        ({"state_dict": prefixed("", RAW), "state_dict_ema": prefixed("module.", EMA)}, "state_dict", "state_dict_ema"),
        (
            lightning(state_dict=prefixed("model.", RAW) | prefixed("ema_model.module.", EMA)),
            "model",
            "ema_model",
        ),
        ({"model": prefixed("_orig_mod.", RAW), "model_ema": prefixed("_orig_mod.module.", EMA)}, "model", "model_ema"),
    ],
)
def test_an_average_beside_the_weights_is_asked_for_and_never_guessed(
    tmp_path: Path, content: State, raw: str, ema: str
) -> None:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"2 different sets of weights that fit the network.*--state-dict"):
        load_target(tmp_path / "m.pt", RECIPE)
    assert same(load_target(tmp_path / "m.pt", RECIPE, state_dict=raw), RAW)
    assert same(load_target(tmp_path / "m.pt", RECIPE, state_dict=ema), EMA)


# --- Folders of the transformers library's trainer --------------------------------------------------------------------


def trainer_folder(folder: Path, shards: int, prefix: str = "") -> Path:
    """As `Trainer` writes checkpoint-500: safetensors, and beside them pickles that nobody needs to read."""
    place = folder / "checkpoint-500"
    place.mkdir()
    state = {name: value.clone() for name, value in prefixed(prefix, RAW).items()}
    if shards == 1:
        save_file(state, place / "model.safetensors")
    else:
        names = [f"model-{n + 1:05d}-of-{shards:05d}.safetensors" for n in range(shards)]
        of = {key: names[number % shards] for number, key in enumerate(state)}
        for name in names:
            save_file({key: state[key] for key in state if of[key] == name}, place / name)
        (place / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": of}), "utf-8")
    torch.save({"lr": object}, place / "training_args.bin")
    (place / "trainer_state.json").write_text("{}", "utf-8")
    return place


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_folder_of_the_trainer_is_read_with_all_its_shards(tmp_path: Path, shards: int, prefix: str) -> None:
    assert same(load_target(trainer_folder(tmp_path, shards, prefix), RECIPE), RAW)


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    place = trainer_folder(tmp_path, 3)
    (place / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks 1 of the 3 files that its index names: model-00002-of-00003"):
        load_target(place, RECIPE)


def test_a_weight_that_is_in_no_shard_is_named(tmp_path: Path) -> None:
    place = trainer_folder(tmp_path, 2)
    index = json.loads((place / "model.safetensors.index.json").read_text("utf-8"))
    index["weight_map"]["head.other"] = "model-00001-of-00002.safetensors"
    (place / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    with pytest.raises(ModelError, match=r"head\.other is in its index and in none of its files"):
        load_target(place, RECIPE)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 3}'])
def test_a_damaged_index_is_refused(tmp_path: Path, content: str) -> None:
    place = trainer_folder(tmp_path, 2)
    (place / "model.safetensors.index.json").write_text(content, "utf-8")
    with pytest.raises(ModelError, match="is damaged"):
        load_target(place, RECIPE)


@pytest.mark.parametrize("name", ["../m.safetensors", "/etc/passwd", "a/b.safetensors"])
def test_an_index_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    place = trainer_folder(tmp_path, 2)
    save_file({"head.weight": torch.zeros(1)}, tmp_path / "m.safetensors")
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"head.weight": name}}), "utf-8")
    with pytest.raises(ModelError, match="lacks 1 of the 1 files"):
        load_target(place, RECIPE)


def test_one_shard_alone_and_a_folder_without_weights_are_told(tmp_path: Path) -> None:
    place = trainer_folder(tmp_path, 2)
    with pytest.raises(ModelError, match="one shard of several"):
        load_target(place / "model-00001-of-00002.safetensors", RECIPE)
    with pytest.raises(ModelError, match="index of a sharded checkpoint"):
        load_target(place / "model.safetensors.index.json", RECIPE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="is a folder; give the file"):
        load_target(tmp_path / "empty", RECIPE)
