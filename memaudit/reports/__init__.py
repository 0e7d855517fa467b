"""A report to bytes: one function per format, in a dict by suffix. What a page says comes from the Report alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from memaudit.errors import MemauditError
from memaudit.files import write_whole
from memaudit.reports import json, markdown
from memaudit.reports.json import load
from memaudit.types import Report

__all__ = ["FORMATS", "load", "save"]


def _html(report: Report) -> bytes:
    from memaudit.reports import html  # matplotlib takes a second to import, and a CI gate needs no figures

    return html.render(report)


FORMATS: dict[str, Callable[[Report], bytes]] = {".html": _html, ".json": json.render, ".md": markdown.render}


def save(report: Report, path: str | os.PathLike[str]) -> None:
    """Writes the report in the format that the path's suffix names; the file is complete or not there at all.

    Raises:
        MemauditError: The suffix is unknown, the report cannot be rendered, or the file cannot be written.
    """
    path = Path(path)
    render = FORMATS.get(path.suffix.lower())
    if render is None:
        raise MemauditError(f"{path}: a report cannot be written as {path.suffix!r}; use one of {', '.join(FORMATS)}")
    content = render(report)
    try:
        write_whole(path, content)
    except OSError as error:
        raise MemauditError(f"{path} cannot be written: {error.strerror}") from error
