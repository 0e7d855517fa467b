"""A file that is no model is called by its right name, whatever its suffix, by its first bytes."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from memaudit.errors import EvidenceError, ModelError, RecipeError
from memaudit.recipe import CallableRecipe, ClassifierRecipe, EstimatorRecipe, Examples, load_target, read_members
from memaudit.recipe.recipes import SGD
from memaudit.recipe.rendering import Renderer, Rendering

Make = Callable[[Path], object]

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 12345\n"
SUFFIXES = ("m.pt", "m.pth", "m.safetensors", "m.skops", "m.bin", "m", "m.ckpt", "m.npy", "m.json", "m.onnx")


def data() -> Examples:
    return Examples(np.arange(60, dtype=np.float32).reshape(20, 3), np.arange(20) % 2)


NETWORKS = ClassifierRecipe(data, lambda: nn.Linear(3, 2), epochs=1, batch_size=10, optimizer=SGD(lr=0.1))
ESTIMATORS = EstimatorRecipe(data, LogisticRegression())


def _zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pt"))
    return file.getvalue()


def _npy(value: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(value))
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, logits=np.zeros((4, 2)))
    return file.getvalue()


KINDS: dict[str, tuple[bytes, str]] = {
    "a pointer": (POINTER, "git-lfs or git-annex pointer, not the file itself: run `git lfs pull`"),
    "an annexed file": (b"/annex/objects/SHA256E-s12--ab.pt\n", "git-annex pointer"),
    "nothing": (b"", "is empty: its copy or download did not finish"),
    "a page": (b"\n<!DOCTYPE html>\n<html><title>Sign in</title>", "is a web page"),
    "a page of another make": (b"<html lang=en>", "is a web page"),
    "XML": (b"<?xml version='1.0'?><Error>NoSuchKey</Error>", "is a web page"),
    "an error": (b'{"error": "Repository not found"}', "is JSON, not a model"),
    "an index": (json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}).encode(), "index of a sharded"),
    "outputs": (
        _npy(np.zeros((100, 10))),
        r"holds an array of shape \(100, 10\), as of a model's outputs, not weights",
    ),
    "outputs by name": (_npz(), r"holds NumPy arrays \(\.npz\), as of a model's outputs"),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x052.0.0", "is an ONNX model"),
    "GGUF": (b"GGUF\x03\0\0\0", "is a GGUF file of llama.cpp"),
    "HDF5": (b"\x89HDF\r\n\x1a\n\0\0", "is an HDF5 file"),
    "Keras": (_zip("config.json", "model.weights.h5", "metadata.json"), "is a Keras model"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3", "is a TensorFlow model"),
    "CatBoost": (b"CBM1\0\0", "is a model of CatBoost"),
    "Parquet": (b"PAR1\x15\x04", "is a Parquet or Arrow table"),
    "gzip": (gzip.compress(b"model"), "is an archive or a compressed file; unpack it first"),
    "tar": (_tar(), "is an archive"),
    "another zip": (_zip("checkpoint/model.pt", "README.md"), "is an archive"),
    "text": ("id\n17\nÄpfel\n".encode() * 100, "is text, not a model"),
}


@pytest.mark.parametrize("name", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_called_by_its_right_name(tmp_path: Path, kind: str, name: str) -> None:
    content, said = KINDS[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=said) as error:
        load_target(tmp_path / name, NETWORKS)
    assert str(tmp_path / name) in str(error.value)
    if kind in ("gzip", "tar", "another zip"):
        said = r"from a \.skops file"
    with pytest.raises(ModelError, match=said):
        load_target(tmp_path / name, ESTIMATORS)


def test_outputs_come_with_what_is_possible(tmp_path: Path) -> None:
    """They are audited as outputs; a loader that returns the recorded rows is possible too."""
    shares = np.linspace(0.1, 0.9, 20)
    np.save(tmp_path / "outputs.npy", np.column_stack([shares, 1 - shares]))
    with pytest.raises(ModelError, match="audit them: memaudit audit --outputs FILE --kind KIND"):
        load_target(tmp_path / "outputs.npy", NETWORKS)

    class Recorded:
        def __init__(self, path: str) -> None:
            self.row_of = dict(zip(map(bytes, data().x), np.load(path), strict=True))

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return np.array([self.row_of[bytes(row)] for row in x])

    from memaudit.signals import measure

    found = load_target(tmp_path / "outputs.npy", CallableRecipe(data, train=print, load=Recorded))
    assert measure(found, data())["phi"].shape == (20, 1)


def test_weights_under_any_suffix_are_read_by_what_they_are(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    torch.save(network.state_dict(), tmp_path / "zip.safetensors")
    torch.save(network.state_dict(), tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
    save_file(network.state_dict(), tmp_path / "safe.pt")
    save_file(network.state_dict(), tmp_path / "safe.bin")
    for path in tmp_path.iterdir():
        assert torch.equal(load_target(path, NETWORKS).weight, network.weight)


def test_a_network_for_an_estimators_recipe_and_the_other_way_round_is_told(tmp_path: Path) -> None:
    from memaudit.recipe import save_target

    save_target(nn.Linear(3, 2), tmp_path / "n.pt", [])
    save_target(nn.Linear(3, 2), tmp_path / "n.safetensors", [])
    save_target(LogisticRegression().fit(data().x, data().y), tmp_path / "e.skops", [])
    for name in ("n.pt", "n.safetensors"):
        with pytest.raises(ModelError, match=r"which holds a network; audit it with a recipe that has model="):
            load_target(tmp_path / name, ESTIMATORS)
    with pytest.raises(ModelError, match=r"is a skops file, .*audit it with an EstimatorRecipe"):
        load_target(tmp_path / "e.skops", NETWORKS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("saved_model.pb", "is a TensorFlow model"),
        (".metadata", "is a distributed PyTorch checkpoint"),
        ("x", "a folder"),
    ],
)
def test_a_folder_is_called_by_its_right_name(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ModelError, match=said):
        load_target(tmp_path, NETWORKS)
    loaded = load_target(tmp_path, CallableRecipe(data, train=print, load=lambda path: Path(path).name))
    assert loaded == tmp_path.name


def test_a_pointer_in_the_place_of_another_file_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_bytes(POINTER)
    with pytest.raises(EvidenceError, match=r"ids\.csv is a git-lfs"):
        read_members(tmp_path / "ids.csv", data())
    (tmp_path / "m.any").write_bytes(POINTER)
    with pytest.raises(ModelError, match="git-lfs"):
        load_target(tmp_path / "m.any", CallableRecipe(data, train=print, load=lambda path: 1 / 0))
    (tmp_path / "tokenizer.json").write_bytes(POINTER)
    with pytest.raises(RecipeError, match=r"tokenizer\.json is a git-lfs"):
        Renderer(Rendering(tokenizer=tmp_path, context=8))


def test_a_sharded_checkpoints_part_is_told_as_one(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2, 3)}, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(ModelError, match=r"bias is missing\. It is one shard of several"):
        load_target(tmp_path / "model-00001-of-00002.safetensors", NETWORKS)


def test_a_pickle_of_an_early_protocol_is_no_text_that_is_read(tmp_path: Path) -> None:
    for protocol in (0, 1):
        (tmp_path / "m.pt").write_bytes(pickle.dumps({"a": 1}, protocol))
        with pytest.raises(ModelError, match=r"m\.pt is"):
            load_target(tmp_path / "m.pt", NETWORKS)


def test_the_command_line_says_what_outputs_are(project: Path, complaint: Callable[..., str]) -> None:
    np.save(project / "outputs.npy", np.zeros((400, 3)))
    message = complaint("audit", "outputs.npy", "--members", "model.safetensors.members.csv", "-q")
    assert "outputs.npy holds an array of shape (400, 3), as of a model's outputs, not weights" in message
