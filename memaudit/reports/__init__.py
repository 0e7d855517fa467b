"""A report to bytes: one function per format, in a dict by name. What a page says comes from the Report alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from memaudit.errors import MemauditError, hint
from memaudit.files import write_whole
from memaudit.reports import cyclonedx, editions, github, gitlab, intoto, json, junit, markdown, modelcard, sarif
from memaudit.reports.json import load
from memaudit.types import Edition, Report

__all__ = ["FOLDER", "FORMATS", "SUFFIXES", "load", "render", "renderer", "save"]


def _html(report: Report) -> bytes:
    from memaudit.reports import html  # matplotlib takes a second to import, and a CI gate needs no figures

    return html.render(report)


def _pdf(report: Report) -> bytes:
    from memaudit.reports import pdf

    return pdf.render(report)


FORMATS: dict[str, Callable[[Report], bytes]] = {
    "html": _html,
    "json": json.render,
    "md": markdown.render,
    "pdf": _pdf,
    "junit": junit.render,
    "sarif": sarif.render,
    "github": github.render,
    "gitlab": gitlab.render,
    "intoto": intoto.render,
    "modelcard": modelcard.render,
    "cyclonedx": cyclonedx.render,
}
SUFFIXES = {".html": "html", ".json": "json", ".md": "md", ".pdf": "pdf"}  # the format that a path alone names
FOLDER = ("html", "json", "md")  # what every audit writes, as report.html and so on
_PAGES = ("html", "md", "pdf")  # for people: single examples must not reach unintended readers


def renderer(name: str) -> Callable[[Report], bytes]:
    """Return a format: of FORMATS, or of an installed package, which names its own as entry points.

        [project.entry-points."memaudit.formats"]
        anything = "their_package.module:render"

    Raises:
        MemauditError: There is no such format.
    """
    if name in FORMATS:
        return FORMATS[name]
    found = entry_points(group="memaudit.formats")
    if name not in found.names:
        raise MemauditError(f"there is no format {name!r}; {hint(name, [*FORMATS, *found.names])}")
    plugin: Callable[[Report], bytes] = found[name].load()
    return plugin


def render(report: Report, name: str, edition: Edition | str | None = None) -> bytes:
    """Return the report in a format of FORMATS.

    Args:
        report: What is rendered.
        name: The format.
        edition: What its readers may see; by default pages for people and formats of other packages are internal, and
            everything else is whole.

    Raises:
        MemauditError: The report cannot be rendered, or is an edition already that shows less.
    """
    if edition is not None:
        report = editions.edition(report, edition)
    elif name in _PAGES or name not in FORMATS:
        report = editions.by_default(report)
    return renderer(name)(report)


def _names_examples(report: Report, name: str, edition: Edition | str | None) -> bool:
    """Return whether a format shows single examples: only the restricted edition, in a format that has them."""
    asked = name in _PAGES or name not in FORMATS
    whole = edition == Edition.RESTRICTED if asked else name == "json" and edition in (None, Edition.RESTRICTED)
    return whole and report.edition is Edition.RESTRICTED


def save(
    report: Report, path: str | os.PathLike[str], name: str | None = None, edition: Edition | str | None = None
) -> None:
    """Write the report in a format of FORMATS; the file is complete or not there at all.

    Args:
        report: What is written.
        path: Where to.
        name: The format; by default the one that the path's suffix names.
        edition: What its readers may see, as in `render`.

    Raises:
        MemauditError: The suffix names no format, the report cannot be rendered, or the file cannot be written.
    """
    path = Path(path)
    name = SUFFIXES.get(path.suffix.lower()) if name is None else name
    if name is None:
        raise MemauditError(f"{path}: a report cannot be written as {path.suffix!r}; use one of {', '.join(SUFFIXES)}")
    content = render(report, name, edition)
    try:
        write_whole(path, content, private=_names_examples(report, name, edition))
    except OSError as error:
        raise MemauditError(f"{path} cannot be written: {error.strerror}") from error
