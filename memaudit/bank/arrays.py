"""Arrays that other programs wrote: NumPy files and archives, safetensors, and tables. Nothing is unpickled.

By name: `outputs`, `members`, `labels`, and optionally `ids`, `inputs` and `correct`. They are in one archive (.npz,
.safetensors), in a folder with a file for each (outputs.npy, members.npy, …), or in one long table (.csv, .parquet).

A table has a row for each model and example: the columns `model` (not for an audited model), `example` (its id),
`member` (0 or 1), `label`, optionally `correct`, and then the outputs, a column for each class, or a single one.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError

from memaudit.errors import EvidenceError
from memaudit.recipe.filekinds import refuse_pointer

Array = np.ndarray

NAMES = ("outputs", "members", "labels", "ids", "inputs", "correct")
ARCHIVES, TABLES = (".npz", ".safetensors"), (".csv", ".parquet")
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".p")
_KEYS = ("model", "example", "member", "label", "correct")
_INDEX = ("Unnamed: ", "__index_level_")  # what pandas calls an index that it wrote and read again
_WAY_OUT = "Save the arrays without pickling: numpy.savez(path, outputs=outputs, members=members, labels=labels)"


@dataclass(frozen=True, slots=True)
class Arrays:
    """Arrays by name, and a SHA-256 of what they were read from: the file's own, where it is one."""

    values: dict[str, Array]
    sha256: str

    def __getitem__(self, name: str) -> Array:
        """Return an array.

        Raises:
            EvidenceError: It is missing.
        """
        if name not in self.values:
            raise EvidenceError(f"the array {name!r} is missing; there are: {', '.join(sorted(self.values)) or 'none'}")
        return self.values[name]

    def get(self, name: str) -> Array | None:
        """Return an array; None if it is missing."""
        return self.values.get(name)


def read_arrays(source: Path | None, single: dict[str, Path]) -> Arrays:
    """Return the arrays of an archive, a folder or a table, and those that have a file of their own.

    Args:
        source: The archive, folder or table; none if every array has a file of its own.
        single: The files of single arrays by name; they take the place of those in the source.

    Raises:
        EvidenceError: A file is missing, damaged, or of a kind that is not read; the message names it.
    """
    found: dict[str, Array] = {}
    digests: list[bytes] = []
    for path in _files(source):
        digests.append(_digest(path))
        found |= _several(path) if path == source else {path.stem: _one(path)}
    for name, path in sorted(single.items()):
        digests.append(_digest(path))
        found[name] = _one(path)
    whole = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
    return Arrays(found, whole.hex())


def digest_of(values: dict[str, Array]) -> str:
    """Return a SHA-256 of arrays in memory, over their names, types, shapes and contents."""
    total = hashlib.sha256()
    for name, value in sorted(values.items()):
        total.update(f"{name} {value.dtype.str} {value.shape}\0".encode() + np.ascontiguousarray(value).tobytes())
    return total.hexdigest()


def _files(source: Path | None) -> list[Path]:
    if source is None:
        return []
    if not source.exists():
        raise EvidenceError(f"there is no {source}")
    if not source.is_dir():
        return [source]
    files = [path for name in NAMES for suffix in (".npy", ".csv") if (path := source / f"{name}{suffix}").is_file()]
    if twice := [path.stem for path, other in itertools.pairwise(files) if path.stem == other.stem]:
        raise EvidenceError(f"{source} has both {twice[0]}.npy and {twice[0]}.csv; keep the one that is meant")
    if files:
        return files
    pickled = sorted(path.name for path in source.iterdir() if path.suffix in _PICKLES)
    if pickled:
        raise EvidenceError(
            f"{source} holds pickles ({', '.join(pickled[:3])}), which run code when they are loaded and are not read. "
            f"{_WAY_OUT}"
        )
    raise EvidenceError(f"{source} has none of the files outputs.npy, members.npy and labels.npy")


def _several(path: Path) -> dict[str, Array]:
    """Return all arrays of a file that can hold several."""
    refuse_pointer(path, EvidenceError)
    if path.suffix in TABLES:
        return _of_table(path)
    if path.suffix in ARCHIVES:
        return _of_archive(path)
    if path.suffix == ".npy":
        return {"outputs": _npy(path)}
    raise EvidenceError(_unread(path))


def _one(path: Path) -> Array:
    """Return the array of a file that holds just one."""
    if not path.is_file():
        raise EvidenceError(f"there is no file {path}")
    refuse_pointer(path, EvidenceError)
    if path.suffix == ".npy":
        return _npy(path)
    if path.suffix == ".csv":
        return _matrix(path)
    if path.suffix not in ARCHIVES:
        raise EvidenceError(_unread(path))
    found = _of_archive(path)
    if len(found) != 1:
        raise EvidenceError(f"{path} holds {len(found)} arrays ({', '.join(found)}); give a file that holds just one")
    return next(iter(found.values()))


def _unread(path: Path) -> str:
    if path.suffix in _PICKLES:
        return f"{path} is a pickle, which runs code when it is loaded, and is not read. {_WAY_OUT}"
    return f"{path}: arrays are read from .npy, .npz, .safetensors, .csv and .parquet"


def _npy(path: Path) -> Array:
    try:
        with path.open("rb") as file:
            return np.asarray(np.load(file, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise EvidenceError(_damaged(path, error)) from error


def _of_archive(path: Path) -> dict[str, Array]:
    try:
        if path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        from safetensors.numpy import load_file

        return dict(load_file(path))
    except (ValueError, OSError, EOFError, KeyError, TypeError, zipfile.BadZipFile, SafetensorError) as error:
        raise EvidenceError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    if "allow_pickle" in str(error) or "pickled" in str(error):
        return f"{path} holds pickled objects, which run code when they are loaded, and is not read. {_WAY_OUT}"
    return f"{path} cannot be read: {error}"


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise EvidenceError(f"{path} cannot be read: {error.strerror}") from error


def _matrix(path: Path) -> Array:
    """Return the numbers, or the names, of a CSV file without a heading: one row a line; one column is a vector."""
    rows = _csv_rows(path)
    try:
        values = np.array(rows, np.float64)
    except ValueError:
        values = np.array(rows)
    if values.ndim != 2:
        raise EvidenceError(f"{path}: the lines have different numbers of cells")
    return values[:, 0] if values.shape[1] == 1 else values


def _csv_rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvidenceError(f"{path} cannot be read: {error}") from error


def _of_table(path: Path) -> dict[str, Array]:
    """Return the arrays of a long table."""
    names, columns = _parquet(path) if path.suffix == ".parquet" else _csv_columns(path)
    table = dict(zip(names, columns, strict=True))
    _require_headings(path, names)
    outputs = [name for name in names if name not in _KEYS]
    lacking = [name for name in ("example", "label") if name not in table] + ([] if outputs else ["of outputs"])
    if lacking:
        raise EvidenceError(f"{path} has no column {lacking[0]}; it needs model, example, member, label, and outputs")
    ids, example = _numbered(table["example"])
    models, model = _numbered(table["model"]) if "model" in table else (("",), np.zeros(len(example), np.int64))
    if len(example) != len(models) * len(ids) or len(np.unique(model * len(ids) + example)) < len(example):
        raise EvidenceError(
            f"{path} has {len(example)} rows; {len(models)} models and {len(ids)} examples need one row for each model "
            "and example"
        )
    place = model * len(ids) + example

    def laid(name: str) -> Array:
        values = np.empty(len(place), np.float64)
        values[place] = _floats(path, name, table[name])
        return values.reshape(len(models), len(ids))

    labels = laid("label")
    if (labels != labels[:1]).any():
        raise EvidenceError(f"{path}: an example has different labels in the rows of different models")
    stacked = np.stack([laid(name) for name in outputs], axis=-1)
    found = {"outputs": stacked[..., 0] if len(outputs) == 1 else stacked, "labels": labels[0], "ids": np.array(ids)}
    found |= {array: laid(name) for array, name in (("members", "member"), ("correct", "correct")) if name in table}
    if "model" not in table:
        found |= {name: found[name][0] for name in ("outputs", "members", "correct") if name in found}
    return found


def _require_headings(path: Path, names: Sequence[str]) -> None:
    """Raise EvidenceError if a column has the heading of another, or is an index that a table of pandas left."""
    for name in names:
        if not name.strip() or name.startswith(_INDEX):
            raise EvidenceError(
                f"{path} has a column {name!r}, which is an index rather than outputs: write the table without it "
                "(index=False)"
            )
        if names.count(name) > 1:
            raise EvidenceError(f"{path} has several columns {name!r}; give each its own heading")


def _numbered(values: Sequence[Any]) -> tuple[tuple[str, ...], Int[Array, " rows"]]:
    """Return the different names in the order of their first appearance, and the number of each row's."""
    number: dict[str, int] = {}
    rows = np.array([number.setdefault(str(value), len(number)) for value in values], np.int64)
    return tuple(number), rows


def _floats(path: Path, name: str, values: Sequence[Any]) -> Array:
    try:
        return np.asarray(values, np.float64)
    except (ValueError, TypeError) as error:
        raise EvidenceError(f"{path}: the column {name} holds something other than numbers: {error}") from error


def _csv_columns(path: Path) -> tuple[list[str], list[list[str]]]:
    heading, *rows = _csv_rows(path) or [[]]
    short = next((number for number, row in enumerate(rows, 2) if len(row) != len(heading)), None)
    if short is not None:
        raise EvidenceError(f"{path}: row {short} has another number of cells than the heading")
    return heading, [list(column) for column in zip(*rows, strict=True)] or [[] for _ in heading]


def _parquet(path: Path) -> tuple[list[str], list[Any]]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise EvidenceError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from error
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise EvidenceError(f"{path} cannot be read: {error}") from error
    return list(table.column_names), [column.to_numpy() for column in table.columns]
