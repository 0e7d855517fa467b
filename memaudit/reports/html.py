"""The report as one HTML file: no script, nothing loaded from elsewhere, and a policy in the page that forbids both."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from memaudit.reports import figures, text
from memaudit.reports.blocks import Document, Photo, Span
from memaudit.reports.document import document
from memaudit.types import Figure, Report

_INTERVAL = re.compile(r"\((?:&lt; )?[\d.,%–−]+(?: to [\d.,%−]+)?\)|^(?:&lt; )?[\d.,%–−]+(?: to [\d.,%−]+)?$")


def render(report: Report) -> bytes:
    """Return the report as one self-contained HTML page, the same bytes for the same report.

    Raises:
        EvidenceError: A figure's coordinates do not belong together.
    """
    return page(document(report))


def page(content: Document) -> bytes:
    """Return a document as one self-contained HTML page, the same bytes for the same document.

    Raises:
        EvidenceError: A figure's coordinates do not belong together.
    """
    style = resources.files(__package__).joinpath("templates", "report.css").read_text(encoding="utf-8")
    template = _environment().get_template("report.html")
    rendered = template.render(
        page=content,
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
    return rendered.encode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("memaudit.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["unbroken"] = _unbroken
    environment.globals |= {"kind": _kind, "svgs": _svgs, "png": _png, "is_photo": _is_photo, "is_span": _is_span}
    return environment


def _shown(value: object) -> object:
    """Return what an expression in the template puts on the page: no string gets there but through here."""
    return text.visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _unbroken(cell: object) -> object:
    """Return a cell in which no line ends inside an interval."""
    if not isinstance(cell, str):
        return cell
    return Markup(_INTERVAL.sub(r'<span class="unbroken">\g<0></span>', str(escape(text.visible(cell)))))


def _kind(block: object) -> str:
    """Return what sort of block the template is looking at."""
    return type(block).__name__


def _is_photo(cell: object) -> bool:
    return isinstance(cell, Photo)


def _is_span(cell: object) -> bool:
    return isinstance(cell, Span)


def _svgs(figure: Figure) -> dict[str, str]:
    """Return the figure as the address of an image for each theme."""
    light = figures.render(figure, figures.Theme.LIGHT)
    drawn = {"light": light, "dark": figures.darkened(light)}
    return {name: "data:image/svg+xml;base64," + base64.b64encode(svg).decode() for name, svg in drawn.items()}


def _png(photo: Photo) -> str:
    """Return the image as an address."""
    return "data:image/png;base64," + base64.b64encode(photo.content).decode()
