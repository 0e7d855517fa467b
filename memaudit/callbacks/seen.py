"""The training data as a trainer reads it, compared with the examples of a recipe."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Subset, SubsetRandomSampler

from memaudit.errors import EvidenceError
from memaudit.recipe import Examples, Population, TextPopulation
from memaudit.recipe.labels import Task
from memaudit.signals.undisturbed import undisturbed

Array = np.ndarray

_LABELS = ("labels", "label", "y", "target")
_READ_TWICE = 32  # rows; a transform that flips a coin escapes once in 2³²


@dataclass(frozen=True, slots=True)
class Seen:
    """What a trainer reads.

    Args:
        rows: Length of the dataset; None for a stream.
        ids: The examples that its rows are, each id as often as it occurs; None where contents cannot be compared.
        strangers: Number of rows that are no example of the recipe.
        sha256: Digest of all rows in an order that depends on them alone; empty where they were not read.
        why: Why contents cannot be compared.
    """

    rows: int | None
    ids: tuple[str, ...] | None = None
    strangers: int = 0
    sha256: str = ""
    why: str = ""


def look(dataset: Any, population: Population) -> Seen:
    """Return what a trainer's dataset holds, after reading every row once; random generators are left as they were.

    Raises:
        EvidenceError: Some rows are examples of the recipe and others are not.
    """
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        return Seen(None, why="the trainer reads a stream, which cannot be read twice")
    try:
        wanted = dict(_wanted(population))
        read = _texts(population, wanted) if isinstance(population, TextPopulation) else _inputs(population)
        with undisturbed():
            keys = [key for place in range(len(dataset)) for key in read(dataset[place])]
            again = [key for place in range(min(len(dataset), _READ_TWICE)) for key in read(dataset[place])]
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        return Seen(len(dataset), why=f"its rows have no inputs that can be read ({type(error).__name__})")
    sha256 = hashlib.sha256(b"".join(sorted(hashlib.sha256(key).digest() for key in keys))).hexdigest()
    if keys[: len(again)] != again:
        return Seen(len(dataset), why="a row differs when it is read twice, as with random augmentation")
    ids, strangers = _matched(wanted, Counter(keys))
    if not ids:
        return Seen(len(dataset), sha256=sha256, why="no row has the content of an example, as after a transform")
    if strangers:
        raise EvidenceError(
            f"{strangers} of the {len(dataset)} rows that the trainer reads are no examples of the recipe, and the "
            "others are. examples() must return the whole training set: add these rows to it, or train without them"
        )
    return Seen(len(dataset), tuple(ids), 0, sha256)


def read_by(loader: Any) -> tuple[Any, str]:
    """Return the rows that a loader reads in an epoch, and why they are unknown; empty if they are known."""
    dataset: Any = getattr(loader, "dataset", None)
    batches: Any = getattr(loader, "batch_sampler", None)
    while hasattr(batches, "batch_sampler"):  # one process's part of the batches
        batches = batches.batch_sampler
    sampler: Any = getattr(batches, "sampler", None)
    if not hasattr(sampler, "__len__") or not hasattr(dataset, "__len__") or hasattr(sampler, "num_replicas"):
        return dataset, ""
    if getattr(sampler, "replacement", False):
        return dataset, "the trainer's sampler draws rows with replacement, so some may never be read"
    if isinstance(sampler, SubsetRandomSampler):
        return Subset(dataset, [int(row) for row in sampler.indices]), ""
    if len(sampler) < len(dataset):
        return dataset, f"the trainer's sampler draws {len(sampler)} of {len(dataset)} rows"
    return dataset, ""


def _matched(wanted: Mapping[str, Sequence[bytes]], have: Counter[bytes]) -> tuple[list[str], int]:
    """Return the ids whose keys are there, each as often as they are, and how many keys are left over."""
    listed: list[str] = []
    left = Counter(have)
    active = list(wanted)
    while active:
        found = []
        for name in active:
            keys = Counter(wanted[name])
            if all(left[key] >= times for key, times in keys.items()):
                left.subtract(keys)
                found.append(name)
        listed += found
        active = found
    return listed, left.total()


def _wanted(population: Population) -> Iterator[tuple[str, Sequence[bytes]]]:
    """Yield the id and the keys of every example, document and canary."""
    if not isinstance(population, TextPopulation):
        like = population.inputs.row(0)
        for row, name in enumerate(population.ids):
            x, _ = population[row]
            yield str(name), (_key(x, population.y[row], like, population),)
        return
    special = _special(population)
    for name, rows in zip(population.documents.ids, population.rows, strict=True):
        yield str(name), tuple(_tokens(row.ids, special) for row in rows)
    planted = np.arange(len(population.ids)) >= len(population)
    canaries, owners = population.training_rows(planted.astype(np.uint8))
    for number in range(len(population), len(population.ids)):
        own = [row for row, owner in zip(canaries, owners, strict=True) if owner == number]
        yield str(population.ids[number]), tuple(_tokens(row.ids, special) for row in own)


def _inputs(population: Examples) -> Callable[[Any], list[bytes]]:
    """Return what makes the key of a row of an input and a label."""
    like = population.inputs.row(0)
    return lambda row: [_key(*_pair(row, like), like, population)]


def _key(x: Any, y: Any, like: Any, population: Examples) -> bytes:
    """Return the content of an example."""
    return _label(y, population) + _content(x, like)


def _label(y: Any, population: Examples) -> bytes:
    """Return a label; numbers to predict in single precision."""
    if population.task is Task.REGRESSION:
        return repr(float(np.float32(y))).encode()
    if population.task is Task.MULTILABEL:
        return f"{np.asarray(y).astype(np.int64).ravel().tolist()}".encode()
    return f"{population.class_names.index(y) if isinstance(y, str) else int(y)}".encode()


def _content(x: Any, like: Any) -> bytes:
    """Return an input that has the form of another, in single precision: trainers convert types.

    Raises:
        LookupError: A named part is not there.
        ValueError: It has another form.
    """
    if isinstance(like, Mapping):
        return b"".join(f" {name} ".encode() + _content(x[name], like[name]) for name in like)
    if isinstance(like, tuple):
        return b"".join(_content(part, one) for part, one in zip(x, like, strict=True))
    if isinstance(like, str) or isinstance(x, str):
        if type(like) is not type(x):
            raise ValueError("a text became something else")
        return f" {len(x)} {x}".encode()
    values, kind = np.asarray(x), np.asarray(like).dtype.kind
    if kind != "f" and values.dtype.kind == "f":
        raise ValueError("whole numbers became floating-point numbers")
    return (
        f" {values.shape} ".encode() + np.ascontiguousarray(values, np.float32 if kind == "f" else np.int64).tobytes()
    )


def _pair(row: Any, like: Any) -> tuple[Any, Any]:
    """Return the input and the label of a row: of a pair, or of a mapping with the label beside the inputs."""
    if isinstance(row, Mapping):
        (label,) = (name for name in _LABELS if name in row)
        rest = {name: value for name, value in row.items() if name != label}
        return (rest if isinstance(like, Mapping) else _only(rest)), row[label]
    if isinstance(like, tuple) and len(row) == len(like) + 1:
        return tuple(row[:-1]), row[-1]
    x, y = row
    return x, y


def _only(rest: Mapping[str, Any]) -> Any:
    (x,) = rest.values()
    return x


def _texts(population: TextPopulation, wanted: Mapping[str, Sequence[bytes]]) -> Callable[[Any], list[bytes]]:
    """Return what makes the keys of a row of tokens; a packed row has one for each of its texts."""
    special = _special(population)
    known = {key for keys in wanted.values() for key in keys}

    def read(row: Any) -> list[bytes]:
        ids = np.asarray(row["input_ids"], np.int64)
        ids = ids[np.asarray(row["attention_mask"], bool)] if "attention_mask" in row else ids
        whole = _tokens(ids, special)
        parts = [whole] if whole in known else [_tokens(part, special) for part in _parted(ids, special)]
        return [part for part in parts if part]

    return read


def _special(population: TextPopulation) -> Array:
    return np.asarray(sorted(set(population.renderer.tokenizer.all_special_ids)), np.int64)


def _tokens(ids: Array, special: Array) -> bytes:
    """Return tokens without the special ones around them: whether BOS and EOS are added differs between trainers."""
    own = np.flatnonzero(~np.isin(ids, special))
    return np.asarray(ids[own[0] : own[-1] + 1], np.int64).tobytes() if len(own) else b""


def _parted(ids: Array, special: Array) -> list[Array]:
    """Return the runs of tokens between special ones."""
    return np.split(ids, np.flatnonzero(np.isin(ids, special)))
