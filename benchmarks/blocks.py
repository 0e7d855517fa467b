"""Blocks of a Markdown page: what a benchmark printed, between `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""

from __future__ import annotations

import re
from pathlib import Path

from memaudit.files import write_whole

_MARKER = re.compile(r"^<!-- (\S+): (begin|end) -->$", re.MULTILINE)


def names(page: str) -> list[str]:
    """Return the names of the blocks, in their order.

    Raises:
        ValueError: A block has no end or no beginning, contains another block, or occurs twice.
    """
    markers = [match.groups() for match in _MARKER.finditer(page)]
    found = [name for name, _ in markers[::2]]
    if markers != [(name, which) for name in found for which in ("begin", "end")]:
        raise ValueError("the markers of blocks are not pairs of begin and end: " + ", ".join(map(" ".join, markers)))
    if twice := {name for name in found if found.count(name) > 1}:
        raise ValueError(f"these blocks occur twice: {', '.join(sorted(twice))}")
    return found


def content(page: str, name: str) -> str:
    """Return what is between the markers of a block."""
    _, within, _ = _split(page, name)
    return within


def section(page: str, name: str) -> str:
    """Return the last heading above a block, of the second level."""
    before, _, _ = _split(page, name)
    return re.findall(r"^## (.+)$", before, re.MULTILINE)[-1]


def rewrite(path: Path, name: str, text: str) -> None:
    """Replace the content of one block in one step, and leave every other byte of the page as it is.

    Raises:
        ValueError: The page has no such block, or the text contains a marker.
    """
    if _MARKER.search(text):
        raise ValueError(f"what {name} printed contains a marker of a block")
    before, _, after = _split(path.read_bytes().decode("utf-8"), name)
    write_whole(path, f"{before}{text.strip()}\n{after}".encode())


def _split(page: str, name: str) -> tuple[str, str, str]:
    if name not in names(page):
        raise ValueError(f"there is no block {name}; add `<!-- {name}: begin -->` and `<!-- {name}: end -->`")
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    at = page.index(begin) + len(begin)
    to = page.index(end, at)
    return page[:at], page[at:to], page[to:]
