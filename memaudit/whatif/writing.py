"""A comparison written out: JSON for pipelines, Markdown, and a page as HTML or PDF."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from memaudit.reports.schema import schema_of
from memaudit.reports.text import markdown
from memaudit.types import Verdict
from memaudit.whatif.result import Comparison, Row, Unmeasured

SCHEMA = "memaudit.whatif/1"


def written(found: Comparison, suffix: str) -> bytes:
    """Return a comparison as a file with a suffix: `.json`, `.md`, `.html`, `.pdf`."""
    return WRITERS[suffix](found)


def as_json(found: Comparison) -> bytes:
    """Return it as JSON, with the schema's name and the sentence that comes first."""
    head = {"schema": SCHEMA, "sentence": found.sentence, "verdict": found.verdict}
    return (json.dumps(head | asdict(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `as_json`."""
    head = {
        "sentence": {"description": "What comes first, in words.", "type": "string"},
        "verdict": {"description": "Whether a variant, or the model as it is, keeps the limit.", "enum": list(Verdict)},
    }
    return schema_of(Comparison, SCHEMA, "memaudit comparison of variants", head)


def as_markdown(found: Comparison) -> bytes:
    """Return it as Markdown."""
    line = tuple("---" for _ in found.columns)
    rows = [found.columns, line, *(tuple(map(markdown, cells)) for cells in found.table)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    every: tuple[Row | Unmeasured, ...] = (*found.rows, *found.unmeasured)
    remedies = "\n".join(f"- **{markdown(row.name)}** {markdown(row.remedy)}" for row in every)
    notes = "".join(f"\n\n{markdown(note)}" for note in found.notes)
    parts = ("# What would help", found.sentence, table, remedies + notes, found.explanation)
    return ("\n\n".join(parts) + "\n").encode()


def as_html(found: Comparison) -> bytes:
    """Return it as a page."""
    from memaudit.reports import html
    from memaudit.whatif.page import document

    return html.page(document(found))


def as_pdf(found: Comparison) -> bytes:
    """Return it as PDF, with its JSON attached."""
    from memaudit.reports import pdf
    from memaudit.whatif.page import document, now

    created = now()
    return pdf.page(document(found, created), "whatif.json", as_json(found), created)


WRITERS = {".json": as_json, ".md": as_markdown, ".html": as_html, ".pdf": as_pdf}
