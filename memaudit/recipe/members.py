"""Who a model was trained on: a file of ids, or of a mask, beside the model."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from memaudit.errors import EvidenceError
from memaudit.files import write_whole
from memaudit.recipe.examples import Examples
from memaudit.recipe.filekinds import refuse_pointer
from memaudit.recipe.population import TextPopulation
from memaudit.recipe.recipes import MOST_COPIES

Array = np.ndarray

Population = Examples | TextPopulation


def members_beside(path: str | Path) -> Path:
    """Returns where `save_target` writes the members of the model at `path`."""
    path = Path(path)
    return path.with_name(f"{path.name}.members.csv")


def write_members(model: str | Path, members: Iterable[Any]) -> None:
    """Writes who was trained on beside a model: ids under `id`, a mask under `member`, or counts under `times`."""
    values = np.asarray(list(members))
    heading = "member" if values.dtype == bool else "times" if values.dtype == np.uint8 else "id"
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow([heading])
    rows.writerows([v if heading == "id" else int(v)] for v in values)
    write_whole(members_beside(model), file.getvalue().encode(), private=True)


def read_members(path: str | Path, population: Population) -> UInt8[Array, " ids"]:
    """Returns how often each example was trained on, by a file: one id a line, or a column `member` or `times`.

    An id that stands in several lines was trained on as often. `member` and `times` have a line for each example.

    Raises:
        EvidenceError: There is no such file, a column of another length, or an id that is no example's.
    """
    path = Path(path)
    if not path.is_file():
        raise EvidenceError(
            f"who was trained on? There is no {path}; give --members FILE with the ids of the training examples, one a "
            "line, or save the model with memaudit.save_target(model, path, members), which writes it"
        )
    refuse_pointer(path, EvidenceError)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            lines = [(f"{path}:{rows.line_num}", row[0].strip()) for row in rows if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise EvidenceError(f"{path} is not a text file of ids: {error}") from error
    header = lines[0][1] if lines else ""
    if header in ("member", "times"):
        return _column(path, lines[1:], len(population.ids), 1 if header == "member" else MOST_COPIES)
    return _counts_of(lines[1:] if header == "id" else lines, population)


def member_counts(members: Iterable[Any], population: Population) -> UInt8[Array, " ids"]:
    """Returns how often each example was trained on, from ids, a mask, or counts (an array of uint8).

    Raises:
        EvidenceError: A mask or counts of another length, or an id that is no example's.
    """
    values = np.asarray(list(members))
    if values.dtype not in (bool, np.uint8):
        return _counts_of([(f"members[{n}]", str(v)) for n, v in enumerate(values)], population)
    if len(values) != len(population.ids):
        raise EvidenceError(
            f"members: the mask has {len(values)} entries, but the recipe has {len(population.ids)} examples"
        )
    return values.astype(np.uint8)


def _column(path: Path, lines: list[tuple[str, str]], count: int, most: int) -> UInt8[Array, " ids"]:
    if len(lines) != count:
        raise EvidenceError(f"{path}: the mask has {len(lines)} rows, but the recipe has {count} examples")
    for place, value in lines:
        if not (value.isdecimal() and value.isascii() and int(value) <= most):
            rule = "a mask holds 0 and 1" if most == 1 else f"a count lies between 0 and {most}"
            raise EvidenceError(f"{place}: {rule}, got {value!r}")
    return np.array([int(value) for _, value in lines], np.uint8)


def _counts_of(ids: list[tuple[str, str]], population: Population) -> UInt8[Array, " ids"]:
    """Returns the counts of ids, each of which comes with the place where it stands."""
    row_of = population.rows_by_id
    unknown = [place for place, name in ids if name not in row_of]
    if unknown:
        raise EvidenceError(
            f"{unknown[0]}: this id is no example's, and so for {len(unknown)} of the {len(ids)} ids; the recipe's "
            "examples() must hold the whole training set, under the same ids"
        )
    counts = np.zeros(len(population.ids), dtype=np.uint8)
    for name, times in Counter(name for _, name in ids).items():
        row = row_of[name]
        counts[row] = max(counts[row], min(times, MOST_COPIES))  # copies of one document are one unit
    return counts
