"""A comparison written out: JSON for pipelines, Markdown, and a page."""

from __future__ import annotations

import json
from dataclasses import asdict

from memaudit.whatif.result import COLUMNS, Comparison

SCHEMA = "memaudit.whatif/1"


def written(found: Comparison, suffix: str) -> str:
    """Return a comparison as the text of a file with a suffix: `.json`, `.md`, `.html`."""
    return _WRITERS[suffix](found)


def as_json(found: Comparison) -> str:
    """Return it as JSON, with the schema's name and the sentence that comes first."""
    return json.dumps(
        {"schema": SCHEMA, "sentence": found.sentence, "verdict": found.verdict} | asdict(found), indent=2
    )


def as_markdown(found: Comparison) -> str:
    """Return it as Markdown."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(row.cells for row in found.rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"# What would help\n\n{found.sentence}\n\n{table}\n\n{found.explanation}\n"


def as_html(found: Comparison) -> str:
    """Return it as a page."""
    from memaudit.whatif.page import page

    return page(found)


_WRITERS = {".json": as_json, ".md": as_markdown, ".html": as_html}
