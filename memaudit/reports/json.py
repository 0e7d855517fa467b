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
from memaudit.reports.canonical import parse
from memaudit.reports.text import one_line
from memaudit.types import REPORT_SCHEMA, Report

_LARGEST = 64 * 2**20  # bytes; a report with pictures of its most exposed examples has less than one
_MOST = 10_000  # findings, refusals or controls; an audit of every attack at ten rates under ten limits has 3,000
_EXACT = 2**53  # whole numbers beyond are no doubles, and have no canonical form
_SHOWN = 200  # characters of what others wrote


@cache
def _adapter() -> TypeAdapter[Report]:
    return TypeAdapter(Report)


def render(report: Report) -> bytes:
    """Return the report as indented JSON in the order of its fields, so that two reports can be compared line by line.

    Raises:
        MemauditError: It holds a number that is not finite, or text that is not Unicode: JSON has neither.
    """
    fields = dataclasses.asdict(report)
    _refuse_blemishes(fields, "the report cannot be written as JSON")
    content = {"schema": fields.pop("schema"), "verdict": report.verdict, **fields}
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load(path: str | os.PathLike[str]) -> Report:
    """Return the report that a JSON file holds, equal to the one that was saved.

    Raises:
        MemauditError: The file cannot be read or is not such a report; the message names the file and the place.
    """
    path = Path(path)
    fields = _fields(path)
    if fields.get("schema") != REPORT_SCHEMA:
        raise MemauditError(
            f"{path}: schema: found {one_line(repr(fields.get('schema')), _SHOWN)}, but this version reads "
            f"{REPORT_SCHEMA!r}; make the report again, or use the version of memaudit that wrote it"
        )
    stated = fields.pop("verdict", None)
    try:
        _refuse_blemishes(fields, str(path))
        report = _adapter().validate_json(json.dumps(fields), strict=True, extra="forbid")
    except RecursionError:
        raise MemauditError(f"{path}: not a memaudit report: it is nested too deeply") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = one_line(".".join(map(str, first["loc"])), _SHOWN)
        raise MemauditError(f"{path}: {place}: not as in a memaudit report: {first['msg']}") from None
    if stated not in (None, report.verdict.value):
        raise MemauditError(
            f"{path}: verdict: the file says {one_line(repr(stated), _SHOWN)}, but its results say "
            f"{report.verdict.value!r}; it was changed after it was written"
        )
    return report


def _fields(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise MemauditError(f"{path}: not a memaudit report: it has more than {_LARGEST // 2**20} MiB")
        fields = parse(content.decode("utf-8"))
    except OSError as error:
        raise MemauditError(f"{path}: the report cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise MemauditError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of 5,000 digits, or 10,000 nested brackets
        raise MemauditError(f"{path}: not a memaudit report: {error}") from None
    if not isinstance(fields, dict):
        raise MemauditError(f"{path}: not a memaudit report: the file holds no JSON object")
    for name in ("results", "skipped", "controls", "exposed"):
        if isinstance(fields.get(name), list) and len(fields[name]) > _MOST:
            raise MemauditError(f"{path}: {name}: not a memaudit report: it has more than {_MOST:,} entries")
    return fields


def _refuse_blemishes(fields: dict[str, Any], complaint: str) -> None:
    for place, problem in _blemishes(fields, ()):
        raise MemauditError(f"{complaint}: {one_line('.'.join(place), _SHOWN)}: {problem}")


def _blemishes(node: object, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the places of what JSON cannot represent, and what it is."""
    if isinstance(node, float) and not math.isfinite(node):
        yield place, f"{node} is not a finite number"
    elif isinstance(node, int) and abs(node) > _EXACT:
        yield place, "a whole number that no double holds exactly"
    elif isinstance(node, str) and any("\ud800" <= character <= "\udfff" for character in node):
        yield place, f"{one_line(repr(node), _SHOWN)} is not Unicode text"
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _blemishes(key, place)
            yield from _blemishes(value, (*place, str(key)))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _blemishes(value, (*place, str(index)))
