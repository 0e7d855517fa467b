"""Who a model was trained on: a file of ids, or of a mask, beside the model."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from memaudit.errors import EvidenceError
from memaudit.recipe.examples import Examples

Array = np.ndarray


def members_beside(path: str | Path) -> Path:
    """Returns where `save_target` writes the members of the model at `path`."""
    path = Path(path)
    return path.with_name(f"{path.name}.members.csv")


def write_members(model: str | Path, members: Iterable[Any]) -> None:
    """Writes who was trained on beside a model: ids under the heading `id`, or a mask under `member`."""
    values = np.asarray(list(members))
    mask = values.dtype == bool
    with members_beside(model).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["member" if mask else "id"])
        rows.writerows([int(v)] if mask else [v] for v in values)


def read_members(path: str | Path, examples: Examples) -> Bool[Array, " examples"]:
    """Returns the mask of the examples that a file names: one id a line, or a column `member` of 0 and 1.

    Raises:
        EvidenceError: There is no such file, a mask of another length, or an id that is no example's.
    """
    path = Path(path)
    if not path.is_file():
        raise EvidenceError(
            f"who was trained on? There is no {path}; give --members FILE with the ids of the training examples, one a "
            "line, or save the model with memaudit.save_target(model, path, members), which writes it"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            lines = [(f"{path}:{rows.line_num}", row[0].strip()) for row in rows if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise EvidenceError(f"{path} is not a text file of ids: {error}") from error
    header = lines[0][1] if lines else ""
    if header == "member":
        return _mask(path, lines[1:], len(examples))
    return _rows_of(lines[1:] if header == "id" else lines, examples)


def member_mask(members: Iterable[Any], examples: Examples) -> Bool[Array, " examples"]:
    """Returns the mask of members given as ids or as a mask.

    Raises:
        EvidenceError: A mask of another length, or an id that is no example's.
    """
    values = np.asarray(list(members))
    if values.dtype != bool:
        return _rows_of([(f"members[{n}]", str(v)) for n, v in enumerate(values)], examples)
    if len(values) != len(examples):
        raise EvidenceError(f"members: the mask has {len(values)} entries, but the recipe has {len(examples)} examples")
    return values


def _mask(path: Path, lines: list[tuple[str, str]], count: int) -> Bool[Array, " examples"]:
    if len(lines) != count:
        raise EvidenceError(f"{path}: the mask has {len(lines)} rows, but the recipe has {count} examples")
    for place, value in lines:
        if value not in ("0", "1"):
            raise EvidenceError(f"{place}: a mask holds 0 and 1, got {value!r}")
    return np.array([value for _, value in lines]) == "1"


def _rows_of(ids: list[tuple[str, str]], examples: Examples) -> Bool[Array, " examples"]:
    """Returns the mask of ids, each of which comes with the place where it stands."""
    row_of = {name: row for row, name in enumerate(examples.ids)}
    unknown = [place for place, name in ids if name not in row_of]
    if unknown:
        raise EvidenceError(
            f"{unknown[0]}: this id is no example's, and so for {len(unknown)} of the {len(ids)} ids; the recipe's "
            "examples() must hold the whole training set, under the same ids"
        )
    mask = np.zeros(len(examples), dtype=bool)
    mask[[row_of[name] for _, name in ids]] = True
    return mask
