"""What the report can be evidence for: a dated list of what rules say, kept as data."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one rule says, what in a report bears on it (in which sections), and what the report leaves open.

    `seen` is where its words were read.
    """

    name: str
    says: str
    here: str
    sections: tuple[str, ...]
    gap: str
    seen: str
    adopted: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """The sources, as they were looked up on a day."""

    version: str
    date: date
    sources: tuple[Source, ...]


@cache
def mapping() -> Mapping:
    """Return the mapping that comes with this version of memaudit."""
    file = resources.files(__package__).joinpath("data", "regulation.toml")
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    sources = (Source(**entry | {"sections": tuple(entry["sections"])}) for entry in content["source"])
    return Mapping(version=content["version"], date=content["date"], sources=tuple(sources))
