"""Model files that mean harm, through the command line: nothing in them runs, nothing hangs, and each is refused.

Every trap touches the file `sprung` when it is loaded as its format usually is; the first tests show that it would.
"""

import io
import json
import logging
import os
import pickle
import shutil
import signal
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from memaudit.errors import ModelError
from memaudit.recipe import CallableRecipe, LanguageModelRecipe, load_recipe, load_target

Complaint = Callable[..., str]
Make = Callable[[Path], object]

_SECONDS = 30  # longer than any refusal takes, even on a busy machine


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Fails a test that hangs: opening a pipe, for one, waits for ever."""

    def hung(*_: object) -> None:
        raise AssertionError("the command hangs")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 10))


def sprung(path: Path) -> Path:
    return path.with_name("sprung")


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(sprung(path))))


def _old_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(sprung(path)), 2))


def _checkpoint(path: Path) -> None:
    torch.save({"state_dict": network().state_dict(), "optimizer": Trap(sprung(path))}, path)


class Net(nn.Sequential):
    """A module whose pickle is a trap."""

    trap: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trap}",)


def _module(path: Path) -> None:
    module = Net(nn.Linear(12, 10))
    module.trap = sprung(path)
    torch.save(module, path)


def _plain_module(path: Path) -> None:
    torch.save(network(), path)


def _exported(path: Path) -> None:
    """An exported program whose sample inputs are a trap; the loader takes them with weights_only=False at last."""
    trap = io.BytesIO()
    torch.save(Trap(sprung(path)), trap)
    harmless = path.with_name("harmless.pt2")
    torch.export.save(torch.export.export(nn.Linear(3, 2), (torch.zeros(2, 3),)), harmless)
    with zipfile.ZipFile(harmless) as source, zipfile.ZipFile(path, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, trap.getvalue() if "sample_inputs" in name else source.read(name))
    harmless.unlink()


def _script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network().eval(), torch.zeros(2, 12)), path)  # type: ignore[no-untyped-call]


LOADERS: dict[str, tuple[Make, Callable[[Path], object]]] = {
    "pickle": (_pickle, lambda path: pickle.loads(path.read_bytes())),
    "old pickle": (_old_pickle, lambda path: pickle.loads(path.read_bytes())),
    "checkpoint": (_checkpoint, lambda path: torch.load(path, weights_only=False)),
    "module": (_module, lambda path: torch.load(path, weights_only=False)),
    "exported": (_exported, torch.export.load),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "make", [pytest.param(name, marks=[pytest.mark.slow] if name == "exported" else []) for name in LOADERS]
)
def test_the_traps_are_live(tmp_path: Path, make: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    path = tmp_path / "m.pt2"
    LOADERS[make][0](path)
    assert not sprung(path).exists()
    try:
        LOADERS[make][1](path)
    except Exception:
        assert make == "exported", "it complains, but too late"
    assert sprung(path).exists()


def header(entries: object, data: bytes = bytes(64), length: int | None = None) -> Make:
    text = json.dumps(entries).encode() if not isinstance(entries, bytes) else entries
    size = (len(text) if length is None else length).to_bytes(8, "little")
    return lambda path: path.write_bytes(size + text + data)


def tensor(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def _link(target: str) -> Make:
    return lambda path: path.symlink_to(target)


def _zip(content: bytes) -> Make:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/data.pkl", content)

    return write


def _damaged_contents(path: Path) -> None:
    """A program in a zip file whose table of contents cannot be read."""
    _script(path)
    path.write_bytes(path.read_bytes().replace(b"PK\x01\x02", b"PK\xff\xff", 1))


def _schema(content: object) -> Make:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("schema.json", json.dumps(content))

    return write


HOSTILE: dict[str, tuple[str, Make, str]] = {
    "pickle": ("m.pt", _pickle, "would run code"),
    "old pickle": ("m.pth", _old_pickle, "would run code"),
    "pickle under another name": ("m.bin", _pickle, "would run code"),
    "pickle without a name": ("m", _pickle, "would run code"),
    "pickle as exported": ("m.pt2", _pickle, "would run code"),
    "pickle in a checkpoint": ("m.pt", _checkpoint, "would run code"),
    "module with a trap": ("m.pt", _module, "would run code"),
    "module": ("m.pt", _plain_module, "would run code"),
    "exported": ("m.pt2", _exported, "exported program"),
    "exported under another name": ("m.pt", _exported, "exported program"),
    "TorchScript": ("m.pt", _script, "TorchScript program"),
    "TorchScript as safetensors": ("m.safetensors", _script, "TorchScript program"),
    "pickle as safetensors": ("m.safetensors", _pickle, "would run code"),
    "offsets beyond the file": ("m.safetensors", header({"a": tensor([1000], 0, 4000)}), "not a safetensors file"),
    "offsets that end before they start": (
        "m.safetensors",
        header({"a": tensor([4], 32, 16)}),
        "not a safetensors file",
    ),
    "offsets that wrap round": ("m.safetensors", header({"a": tensor([4], 2**64 - 16, 0)}), "not a safetensors file"),
    "overlapping offsets": (
        "m.safetensors",
        header({"a": tensor([8], 0, 32), "b": tensor([8], 16, 48)}, bytes(48)),
        "not a safetensors file",
    ),
    "a hole between tensors": (
        "m.safetensors",
        header({"a": tensor([4], 0, 16), "b": tensor([4], 48, 64)}),
        "not a safetensors file",
    ),
    "data behind the tensors": ("m.safetensors", header({"a": tensor([4], 0, 16)}), "not a safetensors file"),
    "a shape too large for its bytes": (
        "m.safetensors",
        header({"a": tensor([2**31, 2**31, 2**31], 0, 64)}),
        "not a safetensors file",
    ),
    "a negative shape": ("m.safetensors", header({"a": tensor([-4, -4], 0, 64)}), "not a safetensors file"),
    "an unknown type": ("m.safetensors", header({"a": tensor([16], 0, 64, "PICKLE")}), "not a safetensors file"),
    "a type that torch has not": ("m.safetensors", header({"a": tensor([128], 0, 64, "F4")}), "m.safetensors"),
    "one name twice": (
        "m.safetensors",
        header(b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},"a":{"dtype":"F32","shape":[16],'
               b'"data_offsets":[0,64]}}'),
        "m.safetensors",
    ),
    "a header of 2⁴⁰ bytes": ("m.safetensors", header({}, length=2**40), "not a safetensors file"),
    "a header of 2⁶⁴ − 1 bytes": ("m.safetensors", header({}, length=2**64 - 1), "not a safetensors file"),
    "a header that is longer than the file": ("m.safetensors", header({}, b"", 1000), "not a safetensors file"),
    "a header that is no text": ("m.safetensors", header(b"\xff" * 40), "not a safetensors file"),
    "a header that is no object": ("m.safetensors", header([1, 2]), "not a safetensors file"),
    "a header of brackets": ("m.safetensors", header(b"[" * 100_000), "not a safetensors file"),
    "one byte": ("m.pt", lambda path: path.write_bytes(b"\x80"), "damaged"),
    "one byte of safetensors": ("m.safetensors", lambda path: path.write_bytes(b"\x80"), "not a safetensors file"),
    "nothing": ("m.pt", Path.touch, "is empty"),
    "an empty zip": ("m.pt", lambda path: zipfile.ZipFile(path, "w").close(), "damaged"),
    "a zip of nonsense": ("m.pt", _zip(b"nonsense"), "m.pt"),
    "a zip whose contents lie": ("m.pt", _damaged_contents, "damaged"),
    "a directory": ("m.pt", Path.mkdir, "is a folder; give the file"),
    "a directory of safetensors": ("m.safetensors", Path.mkdir, "is a folder; give the file"),
    "a link to /dev/zero": ("m.pt", _link("/dev/zero"), "is no file but a pipe, a device"),
    "a link to /dev/zero as safetensors": ("m.safetensors", _link("/dev/zero"), "is no file but a pipe, a device"),
    "a link to the terminal": ("m.pt", _link("/dev/stdin"), "m.pt"),
    "a link to nowhere": ("m.pt", _link("nowhere"), "there is no model"),
    "a link to itself": ("m.pt", _link("m.pt"), "there is no model"),
    "a pipe": ("m.pt", os.mkfifo, "is no file but a pipe, a device"),
    "a pipe as safetensors": ("m.safetensors", os.mkfifo, "is no file but a pipe, a device"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("name", "make", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_model_is_refused_and_never_run(
    project: Path, complaint: Complaint, name: str, make: Make, said: str
) -> None:
    """Exit code 2 and a message that names the file; `sprung` is not there; no report is written."""
    make(project / name)
    message = complaint("audit", name, "--members", "model.safetensors.members.csv", "-q")
    assert name in message
    assert said in message
    assert not (project / "sprung").exists()
    assert not (project / "audit").exists()


ESTIMATORS: dict[str, tuple[str, Make, str]] = {
    "joblib": ("m.joblib", _pickle, r"pickle and joblib files run code"),
    "pickle as skops": ("m.skops", _pickle, "is a pickle and cannot be read"),
    "one byte": ("m.skops", lambda path: path.write_bytes(b"P"), "not a skops file"),
    "no object": ("m.skops", _schema([1, 2]), "not a skops file"),
    "no types": ("m.skops", _schema({}), "not a skops file"),
    "odd types": ("m.skops", _schema({"__loader__": 3, "__class__": [], "__module__": None}), "not a skops file"),
    "a class that is a function": (
        "m.skops",
        _schema({"__loader__": "TypeNode", "__class__": "system", "__module__": "os", "__id__": 1, "protocol": 2}),
        "m.skops",
    ),
    "pipe": ("m.skops", os.mkfifo, "a pipe, a device"),
    "/dev/zero": ("m.skops", _link("/dev/zero"), "a pipe, a device"),
    "directory": ("m.skops", Path.mkdir, "is a folder"),
}


@pytest.mark.parametrize(("name", "make", "said"), ESTIMATORS.values(), ids=ESTIMATORS)
def test_a_hostile_estimator_is_refused_and_never_run(
    project: Path, complaint: Complaint, name: str, make: Make, said: str
) -> None:
    (project / "recipe.py").write_text(
        "import numpy as np, memaudit as ma\nfrom sklearn.tree import DecisionTreeClassifier\n"
        "def examples():\n    return ma.Examples(np.arange(400.0).reshape(200, 2), np.arange(200) % 2)\n"
        "recipe = ma.EstimatorRecipe(examples, DecisionTreeClassifier())\n",
        "utf-8",
    )
    make(project / name)
    assert said in complaint("audit", name, "--members", "model.safetensors.members.csv", "-q")
    assert not (project / "sprung").exists()


@pytest.fixture
def language() -> LanguageModelRecipe:
    recipe = load_recipe(str(Path(__file__).parent / "recipes" / "language.py"))
    assert isinstance(recipe, LanguageModelRecipe)
    return recipe


FOLDERS: dict[str, tuple[str, Make, str]] = {
    "weights that are a pipe": ("model.safetensors", os.mkfifo, "a pipe, a device"),
    "weights that never end": ("model.safetensors", _link("/dev/zero"), "a pipe, a device"),
    "a description that is a pipe": ("config.json", os.mkfifo, "a pipe, a device"),
    "a pipe further down": ("tokenizer/merges.txt", os.mkfifo, "a pipe, a device"),
    "pickled weights": ("pytorch_model.bin", _pickle, "pytorch_model.bin, a pickle, which can run code"),
    "a pickle as weights": ("model.safetensors", _pickle, "cannot be loaded as a causal language model"),
    "one byte of weights": ("model.safetensors", lambda path: path.write_bytes(b"x"), "cannot be loaded"),
}


@pytest.mark.parametrize(("name", "make", "said"), FOLDERS.values(), ids=FOLDERS)
def test_a_hostile_language_model_is_refused_and_never_run(
    tmp_path: Path, language: LanguageModelRecipe, name: str, make: Make, said: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if name != "config.json":
        (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}', "utf-8")
    (folder / name).parent.mkdir(exist_ok=True)
    make(folder / name)
    from memaudit.training import population

    with pytest.raises(ModelError, match=said):
        load_target(folder, language, population(language))  # type: ignore[arg-type]
    assert not (folder / "sprung").exists()


def test_code_that_comes_with_a_language_model_is_refused(tmp_path: Path, language: LanguageModelRecipe) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    settings = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "own.py").write_text(f"open({str(folder / 'sprung')!r}, 'w').close()\n", "utf-8")
    header({"a": tensor([16], 0, 64)})(folder / "model.safetensors")
    from memaudit.training import population

    with pytest.raises(ModelError, match="trust_remote_code"):
        load_target(folder, language, population(language))  # type: ignore[arg-type]
    assert not (folder / "sprung").exists()


def test_a_users_own_loader_gets_no_pipe_either(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.any")
    recipe = CallableRecipe(lambda: None, train=print, load=lambda path: Path(path).read_bytes())  # type: ignore[arg-type,return-value]
    with pytest.raises(ModelError, match="a pipe"):
        load_target(tmp_path / "m.any", recipe)


def test_a_link_to_a_model_is_a_model(project: Path, command: Callable[..., Any]) -> None:
    """As in the cache of a model hub."""
    shutil.move(project / "model.safetensors", project / "blob")
    (project / "model.safetensors").symlink_to("blob")
    assert command("audit", "model.safetensors", "-q").returncode == 0
