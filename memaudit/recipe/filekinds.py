"""What a file really is, by its first bytes: names and suffixes are what somebody called it."""

from __future__ import annotations

import ast
import json
import re
import zipfile
from enum import StrEnum
from pathlib import Path

from memaudit.errors import MemauditError, ModelError

_START = 1024  # bytes that are looked at


class Kind(StrEnum):
    """What a file can be. The value completes the sentence "<file> is …" and says what to do."""

    EMPTY = "empty: its copy or download did not finish; get it again"
    POINTER = "a git-lfs or git-annex pointer, not the file itself: run `git lfs pull` (or `git annex get`)"
    PAGE = "a web page (HTML or XML), not a model: download the file itself, not the page that shows it"
    INDEX = (
        "the index of a sharded checkpoint; its shards hold the weights. Save them as one file, so that the report's "
        "SHA-256 covers them"
    )
    XGBOOST = "a model of XGBoost; audit it with an EstimatorRecipe whose estimator is an XGBClassifier"
    LIGHTGBM = "a model of LightGBM; audit it with an EstimatorRecipe whose estimator is an LGBMClassifier"
    CATBOOST = "a model of CatBoost; audit it with an EstimatorRecipe whose estimator is a CatBoostClassifier"
    JSON = "JSON, not a model: perhaps a server's error message or a configuration; get the file itself"
    ARRAY = "a NumPy array"
    ARRAYS = "a NumPy archive (.npz)"
    TORCH = "a PyTorch checkpoint, which holds a network; audit it with a recipe that has model=..."
    TORCHSCRIPT = "a TorchScript program, which runs code when loaded"
    EXPORTED = "an exported program, which can run code when loaded"
    SAFETENSORS = "a safetensors file, which holds a network; audit it with a recipe that has model=..."
    SKOPS = "a skops file, which holds a scikit-learn estimator; audit it with an EstimatorRecipe"
    PICKLE = "a pickle, which runs code when loaded"
    KERAS = "a Keras model; load it with CallableRecipe(load=...)"
    HDF5 = "an HDF5 file (Keras?); load it with CallableRecipe(load=...)"
    TENSORFLOW = "a TensorFlow model; load it with CallableRecipe(load=...)"
    ONNX = "an ONNX model; load it with CallableRecipe(load=...), which runs it with onnxruntime"
    GGUF = "a GGUF file of llama.cpp, which is quantised; audit the model that it was made from"
    PARQUET = "a Parquet or Arrow table, not a model"
    ARCHIVE = "an archive or a compressed file; unpack it first"
    TEXT = "text, not a model"
    UNKNOWN = "of no known kind"


_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x93NUMPY", Kind.ARRAY),
    (0, b"\x89HDF\r\n\x1a\n", Kind.HDF5),
    (0, b"GGUF", Kind.GGUF),
    (0, b"ggml", Kind.GGUF),
    (0, b"lmgg", Kind.GGUF),
    (0, b"tjgg", Kind.GGUF),
    (4, b"TFL3", Kind.TENSORFLOW),
    (0, b"CBM1", Kind.CATBOOST),
    (0, b"{L\0\0\0\0", Kind.XGBOOST),  # UBJSON
    (0, b"binf", Kind.XGBOOST),
    (0, b"tree\n", Kind.LIGHTGBM),
    (0, b"tree\r\n", Kind.LIGHTGBM),
    (0, b"PAR1", Kind.PARQUET),
    (0, b"ARROW1", Kind.PARQUET),
    (0, b"\x1f\x8b", Kind.ARCHIVE),
    (0, b"BZh", Kind.ARCHIVE),
    (0, b"\xfd7zXZ\0", Kind.ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", Kind.ARCHIVE),
    (0, b"\x04\x22\x4d\x18", Kind.ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", Kind.ARCHIVE),
    (0, b"Rar!", Kind.ARCHIVE),
    (257, b"ustar", Kind.ARCHIVE),
)
_POINTERS = (b"version https://git-lfs.github.com/spec", b"version https://hawser.github.com/spec")
_PROTOBUF = re.compile(rb"\x08[\x01-\x14][\x12\x1a\x22\x2a\x32\x3a\x42]")  # ONNX: ir_version, then another field
_LARGEST_JSON, _LARGEST_HEADER = 2**26, 2**40  # text would be a larger number
# Folders, by a file that only such a folder has.
_FOLDERS = {
    "saved_model.pb": Kind.TENSORFLOW,
    "keras_metadata.pb": Kind.TENSORFLOW,
    ".metadata": "a distributed PyTorch checkpoint; save the weights as one file, for instance with "
    "torch.distributed.checkpoint.format_utils.dcp_to_torch_save",
    "zero_to_fp32.py": "a DeepSpeed checkpoint; save the weights as one file with its zero_to_fp32.py",
}


def kind_of(path: Path) -> Kind:
    """Return what a file is."""
    with path.open("rb") as file:
        start = file.read(_START)
    if not start:
        return Kind.EMPTY
    if start.startswith(_POINTERS) or (len(start) < _START and b"/annex/objects/" in start):
        return Kind.POINTER
    for place, magic, kind in _MAGIC:
        if start[place : place + len(magic)] == magic:
            return kind
    if start.startswith(b"PK"):
        return _archive(path)
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return Kind.PICKLE
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"<(!doctype|html|\?xml|head|!--)", text, re.IGNORECASE):
        return Kind.PAGE
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < _LARGEST_HEADER:
        return Kind.SAFETENSORS
    if text[:1] in (b"{", b"["):
        return _json(path)
    if _PROTOBUF.match(start):
        return Kind.ONNX
    return Kind.TEXT if len(start) > 1 and _printable(start) else Kind.UNKNOWN


def refusal(path: Path, kind: Kind) -> str:
    """Return the sentence that says what a file is, and why it cannot be read as a model."""
    if kind is Kind.ARRAY:
        return f"{path} holds an array{_shape(path)}, as of a model's outputs, not weights; {_OUTPUTS}"
    if kind is Kind.ARRAYS:
        return f"{path} holds NumPy arrays (.npz), as of a model's outputs, not weights; {_OUTPUTS}"
    return f"{path} is {kind}"


_OUTPUTS = (
    "give the model itself. If only its outputs can be had, audit them: memaudit audit --outputs FILE --kind KIND"
)


def refuse_pointer(path: Path, error: type[MemauditError] = ModelError) -> None:
    """Raise an error of that kind if a file is a Git LFS or git-annex pointer, not the file itself."""
    if path.is_file() and kind_of(path) is Kind.POINTER:
        raise error(refusal(path, Kind.POINTER))


def folder_refusal(folder: Path) -> str | None:
    """Return the sentence that says what a folder is; None if it is of no kind that is known here."""
    for name, kind in _FOLDERS.items():
        if (folder / name).is_file():
            return f"{folder} is {kind}"
    return None


def _archive(path: Path) -> Kind:
    """Return what a zip file is, by the names in it; one that cannot be read is left to torch, which tells."""
    try:
        with zipfile.ZipFile(path) as archive:
            whole = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return Kind.TORCH
    names = whole | {name.partition("/")[2] for name in whole}
    if any(name.startswith("code/") for name in names) or "constants.pkl" in names:
        return Kind.TORCHSCRIPT
    if path.suffix == ".pt2" or "archive_format" in names:
        return Kind.EXPORTED
    if "schema.json" in whole:
        return Kind.SKOPS
    if "data.pkl" in names or not whole:
        return Kind.TORCH
    if "model.weights.h5" in whole:
        return Kind.KERAS
    return Kind.ARRAYS if all(name.endswith(".npy") for name in whole) else Kind.ARCHIVE


def _json(path: Path) -> Kind:
    if path.stat().st_size > _LARGEST_JSON:  # of JSON files, only a booster's is as large
        with path.open("rb") as file:
            return Kind.XGBOOST if b'"learner"' in file.read(_START) else Kind.JSON
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return Kind.TEXT
    keys = content.keys() if isinstance(content, dict) else set()
    if "weight_map" in keys:
        return Kind.INDEX
    return Kind.XGBOOST if {"learner", "version"} <= keys else Kind.JSON


def _shape(path: Path) -> str:
    with path.open("rb") as file:
        header = re.search(rb"\{.*?\}", file.read(_START), re.DOTALL)
    try:
        return f" of shape {ast.literal_eval(header[0].decode('latin-1'))['shape']}" if header else ""
    except (ValueError, SyntaxError, KeyError, TypeError):
        return ""


def _printable(start: bytes) -> bool:
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:  # a letter may be cut at the end
            return False
        text = start[: error.start].decode("utf-8")
    return all(letter.isprintable() or letter in "\r\n\t\f\ufeff" for letter in text)
