"""memaudit.toml: found like a linter's, checked to the last key, and overridden by flags."""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from memaudit.errors import SettingsError
from memaudit.types import Limit

FILE = "memaudit.toml"


class AuditSettings(BaseModel):
    """The table [audit]: what is audited, and how."""

    model_config = ConfigDict(extra="forbid", strict=True)

    recipe: str = "recipe.py:recipe"
    members: str | None = None
    bank: str = "bank"
    out: str = "audit"
    shadows: Annotated[int, Field(ge=2, multiple_of=2)] = 64
    seed: Annotated[int, Field(ge=0)] = 0
    workers: Annotated[int, Field(ge=1)] | None = None
    device: str = "auto"
    weights: bool = True
    fpr: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)] = [0.01, 0.001]
    attacks: Annotated[list[str], Field(min_length=1)] | None = None
    evidence: Literal["none", "hashed", "full"] = "hashed"


class GateSettings(BaseModel):
    """One table [[gate]]: the most that a metric may be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    metric: Literal[
        "tpr",
        "memorization",
        "link",
        "exposure",
        "canaries",
        "secrets",
        "extraction",
        "extraction-link",
        "exact-memorization",
    ]
    attack: str | None = None
    at_fpr: Annotated[float, Field(gt=0, lt=1)] | None = None
    max: Annotated[float, Field(allow_inf_nan=False)]

    @model_validator(mode="after")
    def _about_something(self) -> Self:
        if self.metric not in ("tpr", "extraction") and self.attack is not None:
            raise ValueError(f"a gate on {self.metric} has no attack")
        if self.metric != "tpr" and self.at_fpr is not None:
            raise ValueError(f"a gate on {self.metric} has no at_fpr")
        return self

    def limit(self) -> Limit:
        """Returns the limit that the table sets."""
        return Limit(metric=self.metric, attack=self.attack, at_fpr=self.at_fpr, max=self.max)


class Settings(BaseModel):
    """All of memaudit.toml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    audit: AuditSettings = AuditSettings()
    gate: list[GateSettings] = []


def find(start: Path) -> Path | None:
    """Returns the nearest memaudit.toml, or pyproject.toml with [tool.memaudit], in a folder or those above it."""
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder / FILE
        project = folder / "pyproject.toml"
        if project.is_file() and re.search(rb"^\[+tool\.memaudit\b", project.read_bytes(), re.MULTILINE):
            return project
    return None


def read(path: Path) -> Settings:
    """Returns the settings of a file.

    Raises:
        SettingsError: The file is no TOML, or a key is unknown or wrong; names file, line and key.
    """
    try:
        text = path.read_text("utf-8")
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    prefix = ("tool", "memaudit") if path.name == "pyproject.toml" else ()
    for key in prefix:
        content = content.get(key, {})
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        lines = _lines(text)
        raise SettingsError("\n".join(_told(path, lines, prefix, problem) for problem in error.errors())) from None


def _told(path: Path, lines: dict[tuple[str | int, ...], int], prefix: tuple[str, ...], problem: Any) -> str:
    place = tuple(part for part in problem["loc"])
    exact = (*prefix, *place)
    line = next((lines[exact[:n]] for n in range(len(exact), 0, -1) if exact[:n] in lines), 1)
    dotted = ".".join(str(part) for part in place)
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(str(place[-1]), _known_keys(place), 1)
        message = "there is no such key" + (f"; did you mean {near[0]!r}?" if near else "")
    elif problem["type"] == "missing":
        message = "is missing"
    elif problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
    else:
        message = f"{problem['msg'][0].lower()}{problem['msg'][1:]}, got {problem['input']!r}"
    return f"{path}:{line}: {dotted}: {message}"


def _known_keys(place: tuple[Any, ...]) -> list[str]:
    tables: dict[Any, type[BaseModel]] = {"audit": AuditSettings, "gate": GateSettings}
    table = tables.get(place[0], Settings) if len(place) > 1 else Settings
    return list(table.model_fields)


def _lines(text: str) -> dict[tuple[str | int, ...], int]:
    """Returns the line of every table and key; the TOML reader of the standard library keeps none."""
    found: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)\s*([\w.\-\"]+)\s*\]", line):
            table = tuple(header[2].replace('"', "").split("."))
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            found.setdefault(table, number)
        elif key := re.match(r"\s*([\w.\-\"]+)\s*=", line):
            found.setdefault((*table, *key[1].replace('"', "").split(".")), number)
    return found
