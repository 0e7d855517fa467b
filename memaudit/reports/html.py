"""The report as one HTML file: no script, nothing loaded from elsewhere, and a policy in the page that forbids both."""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

from memaudit.reports import figures, text, wording
from memaudit.types import Figure, Report, Table

_PNG = "data:image/png;base64,"


def render(report: Report) -> bytes:
    """Returns the report as one self-contained HTML page, the same bytes for the same report.

    Raises:
        EvidenceError: A figure's coordinates do not belong together.
    """
    style = resources.files(__package__).joinpath("templates", "report.css").read_text(encoding="utf-8")
    template = _environment().get_template("report.html")
    page = template.render(
        report=report,
        verdict=wording.VERDICTS[report.verdict],
        warning=wording.control_warning(report),
        results=wording.by_severity(report),
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
    return page.encode()


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
    environment.filters |= {
        "cell": text.cell,
        "moment": text.moment,
        "percent": text.percent,
        "number": text.number,
        "quantity": text.quantity,
        "interval": text.interval,
    }
    environment.globals |= {
        "verdicts": wording.VERDICTS,
        "skipped_label": wording.skipped_label,
        "control_labels": wording.CONTROL_LABELS,
        "themes": figures.Theme,
        "numeric": _numeric,
        "svg": _svg,
        "png": _png,
        "data": figures.data,
        "readings": wording.READINGS,
    }
    return environment


def _shown(value: object) -> object:
    """Returns what an expression in the template puts on the page: no string gets there but through here."""
    return text.visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _numeric(table: Table) -> list[bool]:
    """Returns whether each column holds numbers: they stand on the right, where their digits can be compared."""
    columns = itertools.zip_longest(table.columns, *table.rows)
    return [any(isinstance(value, (int, float)) and not isinstance(value, bool) for value in c) for c in columns]


def _svg(figure: Figure, theme: figures.Theme) -> str:
    """Returns the figure as the address of an image."""
    return "data:image/svg+xml;base64," + base64.b64encode(figures.render(figure, theme)).decode()


def _png(thumbnail: str) -> str | None:
    """Returns a thumbnail as the address of an image, or None for what is not a PNG in base64."""
    payload = thumbnail.removeprefix(_PNG)
    try:
        content = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        return None
    return _PNG + payload if content.startswith(b"\x89PNG\r\n\x1a\n") else None
