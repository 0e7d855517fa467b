"""The report as JSON and back, exactly. The file is the `Report`, plus its verdict at the top for pipelines."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from memaudit.errors import MemauditError
from memaudit.types import REPORT_SCHEMA, Report


@cache
def _adapter() -> TypeAdapter[Report]:
    return TypeAdapter(Report)


def render(report: Report) -> bytes:
    """Returns the report as indented JSON in the order of its fields, so that two reports can be compared line by line.

    Raises:
        MemauditError: It holds a number that is not finite, or text that is not Unicode: JSON has neither.
    """
    fields = dataclasses.asdict(report)
    _refuse_blemishes(fields, "the report cannot be written as JSON")
    content = {"schema": fields.pop("schema"), "verdict": report.verdict, **fields}
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load(path: str | os.PathLike[str]) -> Report:
    """Returns the report that a JSON file holds, equal to the one that was saved.

    Raises:
        MemauditError: The file cannot be read or is not such a report; the message names the file and the place.
    """
    path = Path(path)
    fields = _fields(path)
    if fields.get("schema") != REPORT_SCHEMA:
        raise MemauditError(
            f"{path}: schema: found {fields.get('schema')!r}, but this version reads {REPORT_SCHEMA!r}; "
            "make the report again, or use the version of memaudit that wrote it"
        )
    stated = fields.pop("verdict", None)
    _refuse_blemishes(fields, str(path))
    try:
        report = _adapter().validate_json(json.dumps(fields), strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise MemauditError(f"{path}: {place}: not as in a memaudit report: {first['msg']}") from None
    if stated not in (None, report.verdict.value):
        raise MemauditError(
            f"{path}: verdict: the file says {stated!r}, but its results say {report.verdict.value!r}; "
            "it was changed after it was written"
        )
    return report


def _fields(path: Path) -> dict[str, Any]:
    """Returns the JSON object in the file."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MemauditError(f"{path}: the report cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise MemauditError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of 5,000 digits, or 10,000 nested brackets
        raise MemauditError(f"{path}: not a memaudit report: {error}") from None
    if not isinstance(fields, dict):
        raise MemauditError(f"{path}: not a memaudit report: the file holds no JSON object")
    return fields


def _refuse_blemishes(fields: dict[str, Any], complaint: str) -> None:
    for place, problem in _blemishes(fields, ()):
        raise MemauditError(f"{complaint}: {'.'.join(place)}: {problem}")


def _blemishes(node: object, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields where something stands that JSON cannot carry, and what it is."""
    if isinstance(node, float) and not math.isfinite(node):
        yield place, f"{node} is not a finite number"
    elif isinstance(node, str) and any("\ud800" <= character <= "\udfff" for character in node):
        yield place, f"{node!r} is not Unicode text"
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _blemishes(key, place)
            yield from _blemishes(value, (*place, str(key)))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _blemishes(value, (*place, str(index)))
