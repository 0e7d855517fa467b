"""The audited file: weights are loaded, programs are refused, and nothing in a file is ever run."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from torch import nn

from memaudit.errors import EvidenceError, ModelError, RecipeError
from memaudit.recipe import (
    CallableRecipe,
    ClassifierRecipe,
    EstimatorRecipe,
    Examples,
    load_target,
    member_counts,
    members_beside,
    read_members,
    save_target,
)
from memaudit.recipe.recipes import SGD

Array = np.ndarray
COUNT = 30


def data(ids: Any = None) -> Examples:
    rng = np.random.default_rng(0)
    return Examples(rng.normal(size=(COUNT, 3)).astype(np.float32), np.arange(COUNT) % 2, ids=ids)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


RECIPE = ClassifierRecipe(data, network, epochs=1, batch_size=10, optimizer=SGD(lr=0.1))
FORESTS = EstimatorRecipe(data, RandomForestClassifier(3))


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


# Loading


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_a_saved_network_is_loaded_as_it_was_and_in_evaluation_mode(tmp_path: Path, suffix: str) -> None:
    model = network()
    model(torch.randn(10, 3))  # batch statistics that are not the initial ones
    save_target(model, tmp_path / f"m{suffix}", data().ids[:10])
    loaded = load_target(tmp_path / f"m{suffix}", RECIPE)
    assert same(model, loaded)
    assert not loaded.training


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_may_hold_more_than_the_weights(tmp_path: Path, key: str) -> None:
    model = network()
    torch.save({"epoch": 3, key: model.state_dict(), "loss": 0.5}, tmp_path / "m.pt")
    assert same(model, load_target(tmp_path / "m.pt", RECIPE))


def test_tied_weights_are_saved_and_loaded(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
        model[1].weight = model[0].weight
        return model

    model = tied()
    recipe = ClassifierRecipe(data, tied, epochs=1, batch_size=10, optimizer=SGD(lr=0.1))
    save_target(model, tmp_path / "m.safetensors", [])
    assert same(model, load_target(tmp_path / "m.safetensors", recipe))


def test_an_estimator_is_saved_and_loaded(tmp_path: Path) -> None:
    examples = data()
    model = RandomForestClassifier(3, random_state=0).fit(examples.x, examples.y)
    save_target(model, tmp_path / "m.skops", examples.ids[:10])
    loaded = load_target(tmp_path / "m.skops", FORESTS)
    assert np.array_equal(loaded.predict_proba(examples.x), model.predict_proba(examples.x))


def test_a_users_own_loader_gets_the_path(tmp_path: Path) -> None:
    (tmp_path / "m.any").write_text("x", "utf-8")
    recipe = CallableRecipe(data, train=lambda *a, **k: None, load=lambda path: Path(path).read_text("utf-8"))
    assert load_target(tmp_path / "m.any", recipe) == "x"
    with pytest.raises(RecipeError, match=r"test_target.py:\d+: load\(.*\) failed: ZeroDivisionError"):
        load_target(tmp_path / "m.any", CallableRecipe(data, train=print, load=lambda path: 1 / 0))
    with pytest.raises(RecipeError, match=r"load=.* or model="):
        load_target(tmp_path / "m.any", CallableRecipe(data, train=print))


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


def _lying_header(path: Path, shape: list[int], end: int) -> None:
    header = json.dumps({"0.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))


def _flipped_in_half(path: Path) -> None:
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _exported(path: Path) -> None:
    torch.export.save(torch.export.export(network().eval(), (torch.zeros(2, 3),)), path)


def _script(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:  # the layout that torch.jit.save writes; that is deprecated and warns
        archive.writestr("m/data.pkl", b"")
        archive.writestr("m/constants.pkl", b"")
        archive.writestr("m/code/__torch__.py", "class Net: ...")


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("m.pt", lambda path: None, "there is no model"),
    "folder": ("m.pt", Path.mkdir, "is a folder; give the file"),
    "empty": ("m.pt", Path.touch, "is empty: its copy or download"),
    "one byte": ("m.pt", lambda path: path.write_bytes(b"x"), "damaged"),
    "text": ("m.pt", lambda path: path.write_text("hello world\n" * 20, "utf-8"), "is text, not a model"),
    "half a file": ("m.pt", _flipped_in_half, "damaged"),
    "pickle": ("m.pt", lambda path: path.write_bytes(pickle.dumps(Trap(path.with_name("sprung")))), "would run code"),
    "old pickle": (
        "m.pt",
        lambda path: path.write_bytes(pickle.dumps(Trap(path.with_name("sprung")), 2)),
        "would run code",
    ),
    "pickle in a checkpoint": (
        "m.pt",
        lambda path: torch.save({"state_dict": network().state_dict(), "x": Trap(path.with_name("sprung"))}, path),
        r"would run code when loaded \(.*system\)",
    ),
    "module": ("m.pt", lambda path: torch.save(network(), path), r"\(.*torch.nn.modules.container.Sequential.*\)"),
    "old module": (
        "m.pt",
        lambda path: torch.save(network(), path, _use_new_zipfile_serialization=False),
        "would run code",
    ),
    "TorchScript": ("m.pt", _script, "TorchScript program"),
    "exported": ("m.pt2", _exported, "exported program"),
    "exported under another name": ("m.pt", _exported, "exported program"),
    "a list": ("m.pt", lambda path: torch.save([1, 2], path), "holds no weights"),
    "numbers": ("m.pt", lambda path: torch.save({"a": 1}, path), "holds no weights"),
    "nothing": ("m.pt", lambda path: torch.save({}, path), "holds no weights"),
    "empty safetensors": ("m.safetensors", Path.touch, "is empty"),
    "endless header": ("m.safetensors", lambda p: p.write_bytes((2**40).to_bytes(8, "little")), "not a safetensors"),
    "header beyond the end": ("m.safetensors", lambda path: _lying_header(path, [2, 3], 2400), "not a safetensors"),
    "header of another size": ("m.safetensors", lambda path: _lying_header(path, [20, 30], 24), "not a safetensors"),
    "pickle as safetensors": (
        "m.safetensors",
        lambda path: path.write_bytes(pickle.dumps(Trap(path.with_name("sprung")))),
        "would run code",
    ),
    "other shapes": (
        "m.pt",
        lambda path: torch.save({k: torch.zeros(7) for k in network().state_dict()}, path),
        r"does not fit the recipe's model\(\): 0.weight is \(7,\) in the file and \(4, 3\) in the network.* 6 more",
    ),
    "more layers": (
        "m.pt",
        lambda path: torch.save(nn.Sequential(*network().children(), nn.Linear(2, 2)).state_dict(), path),
        "3.weight is not in the network; 3.bias is not in the network",
    ),
    "fewer layers": ("m.pt", lambda path: torch.save(nn.Linear(3, 4).state_dict(), path), "0.weight is missing"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("name", "make", "said"), BAD.values(), ids=BAD)
def test_what_is_no_weights_is_refused_and_never_run(
    tmp_path: Path, name: str, make: Callable[[Path], object], said: str
) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(ModelError, match=said) as error:
        load_target(path, RECIPE)
    assert str(path) in str(error.value)
    assert not (tmp_path / "sprung").exists()


def test_a_real_torchscript_program_is_refused(tmp_path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network().eval(), torch.zeros(2, 3)), tmp_path / "m.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match=r"TorchScript program.*memaudit\.save_target"):
        load_target(tmp_path / "m.pt", RECIPE)


class Stranger(BaseEstimator):  # type: ignore[misc]
    """An estimator that skops does not know."""

    def predict_proba(self, x: Array) -> Array:
        return np.full((len(x), 2), 0.5)


def _skops(content: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        from skops import io

        path.write_bytes(io.dumps(content))

    return write


BAD_ESTIMATORS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "joblib": ("m.joblib", lambda path: path.write_bytes(pickle.dumps(1)), r"read from a \.skops file.*save_target"),
    "pickle": ("m.pkl", lambda path: path.write_bytes(pickle.dumps(1)), r"pickle and joblib files run code"),
    "pickle as skops": (
        "m.skops",
        lambda path: path.write_bytes(pickle.dumps(Trap(path.with_name("sprung")))),
        "m.skops is a pickle and cannot be read",
    ),
    "empty": ("m.skops", Path.touch, "is empty"),
    "a stranger": ("m.skops", _skops(Stranger()), r"Stranger"),
    "a trap": ("m.skops", _skops([os.system]), "system"),
    "another archive": ("m.skops", lambda path: zipfile.ZipFile(path, "w").close(), "not a skops file"),
}


@pytest.mark.parametrize(("name", "make", "said"), BAD_ESTIMATORS.values(), ids=BAD_ESTIMATORS)
def test_what_is_no_estimator_is_refused_and_never_run(
    tmp_path: Path, name: str, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(ModelError, match=said):
        load_target(tmp_path / name, FORESTS)
    assert not (tmp_path / "sprung").exists()


def test_a_truncated_estimator_is_refused(tmp_path: Path) -> None:
    examples = data()
    save_target(LogisticRegression().fit(examples.x, examples.y), tmp_path / "m.skops", [])
    whole = (tmp_path / "m.skops").read_bytes()
    for size in (1, len(whole) // 2, len(whole) - 1):
        (tmp_path / "m.skops").write_bytes(whole[:size])
        with pytest.raises(ModelError, match="not a skops file"):
            load_target(tmp_path / "m.skops", FORESTS)


@pytest.mark.parametrize(
    ("model", "name"),
    [(network(), "m.bin"), (network(), "model"), (LogisticRegression(), "m.pt"), (3, "m.safetensors")],
)
def test_a_model_is_not_saved_under_a_name_it_cannot_be_loaded_from(tmp_path: Path, model: object, name: str) -> None:
    with pytest.raises(ModelError):
        save_target(model, tmp_path / name, [])
    assert not list(tmp_path.iterdir())


# Members


ODD_IDS = ["plain", "with space", 'say "hi"', "a,b", "größe", "日本", "1e3", "id2", "-", "'", "#x", "a;b", "=1+1"]


def test_members_come_back_from_the_file_by_id(tmp_path: Path) -> None:
    examples = data(ids=[*ODD_IDS, *range(COUNT - len(ODD_IDS))])
    members = [*ODD_IDS[::2], 3, 5]
    save_target(network(), tmp_path / "m.pt", members)
    assert members_beside(tmp_path / "m.pt") == tmp_path / "m.pt.members.csv"
    mask = read_members(tmp_path / "m.pt.members.csv", examples)
    assert set(examples.ids[mask > 0]) == {str(m) for m in members}
    assert np.array_equal(mask, member_counts(members, examples))


def test_members_come_back_from_the_file_as_a_mask(tmp_path: Path) -> None:
    examples, mask = data(), np.random.default_rng(0).random(COUNT) < 0.5
    save_target(network(), tmp_path / "m.pt", mask)
    assert np.array_equal(read_members(tmp_path / "m.pt.members.csv", examples), mask)
    assert np.array_equal(member_counts(mask, examples), mask)
    assert np.array_equal(member_counts(mask.tolist(), examples), mask)


@pytest.mark.parametrize(
    "text", ["id\n3\n5\n", "3\n5\n", "3\r\n5\r\n", "\ufeff3\n5\n", "3\n\n5\n\n", "id,name\n3,a\n5,b\n", "3\n5"]
)
def test_ids_are_read_from_files_of_many_makes(tmp_path: Path, text: str) -> None:
    (tmp_path / "ids.txt").write_bytes(text.encode())
    mask = read_members(tmp_path / "ids.txt", data(ids=range(COUNT)))
    assert np.flatnonzero(mask).tolist() == [3, 5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"id\n3\n99\n5\n77\n", r"ids\.csv:3: this id is no example's, and so for 2 of the 4 ids"),
        (b"3\n\n\n99\n", r"ids\.csv:4: this id is no example's, and so for 1 of the 2 ids"),
        (b"member\n0\n1\n", "the mask has 2 rows, but the recipe has 30 examples"),
        (b"member\n" + b"1\n" * 12 + b"\nyes\n" + b"0\n" * 17, r"ids\.csv:15: a mask holds 0 and 1, got 'yes'"),
        (b"\xff\xfe3\x00\n\x00", "not a text file"),
    ],
)
def test_members_that_do_not_fit_are_named_by_line(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "ids.csv").write_bytes(text)
    with pytest.raises(EvidenceError, match=said):
        read_members(tmp_path / "ids.csv", data(ids=range(COUNT)))


def test_an_id_is_not_printed_because_it_may_be_a_name(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("Jane Doe\n", "utf-8")
    with pytest.raises(EvidenceError) as error:
        read_members(tmp_path / "ids.csv", data())
    assert "Jane" not in str(error.value)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (np.ones(COUNT + 1, dtype=bool), "the mask has 31 entries, but the recipe has 30 examples"),
        (["0", "x"], r"members\[1\]: this id is no example's"),
    ],
)
def test_members_in_memory_that_do_not_fit_are_refused(members: Any, said: str) -> None:
    with pytest.raises(EvidenceError, match=said):
        member_counts(members, data(ids=range(COUNT)))


def test_no_members_file_says_what_to_do(tmp_path: Path) -> None:
    for path in (tmp_path / "ids.csv", tmp_path):
        with pytest.raises(EvidenceError, match=r"who was trained on\?.*--members FILE.*save_target"):
            read_members(path, data())


def test_an_empty_file_names_nobody(tmp_path: Path) -> None:
    for text in ("", "id\n", "\n\n"):
        (tmp_path / "ids.csv").write_text(text, "utf-8")
        assert not read_members(tmp_path / "ids.csv", data()).any()


def test_saving_again_replaces_model_and_members(tmp_path: Path) -> None:
    examples = data()
    for members in (examples.ids[:20], examples.ids[20:25]):
        model = network()
        save_target(model, tmp_path / "m.safetensors", members)
        assert same(model, load_target(tmp_path / "m.safetensors", RECIPE))
        assert int(read_members(tmp_path / "m.safetensors.members.csv", examples).sum()) == len(members)
    shutil.rmtree(tmp_path)
