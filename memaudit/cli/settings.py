"""memaudit.toml: found like a linter's, checked to the last key, and overridden by flags."""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from memaudit.cli.policy_settings import GateSettings, WaiverSettings, disagreements, void
from memaudit.errors import SettingsError
from memaudit.metrics import require_attack
from memaudit.reports.text import one_line
from memaudit.types import UNBOUNDED_EPSILON, Context, Limit, Release, Waiver

FILE = "memaudit.toml"
_LARGEST, _LONGEST = 2**18, 5_000  # bytes of a file and a line; the time that long keys take grows with the square
_MOST = 20  # problems that are shown


class AuditSettings(BaseModel):
    """The table [audit]: what is audited, and how."""

    model_config = ConfigDict(extra="forbid", strict=True)

    recipe: str = "recipe.py:recipe"
    members: str | None = None
    state_dict: str | None = None
    trust: list[str] = []
    bank: str = "bank"
    store: str | None = None
    out: str = "audit"
    shadows: Annotated[int, Field(ge=0, multiple_of=2)] = 64
    references: list[str] = []
    seed: Annotated[int, Field(ge=0)] = 0
    workers: Annotated[int, Field(ge=1)] | None = None
    executor: str | None = None
    device: str = "auto"
    weights: bool = True
    fpr: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)] = [0.01, 0.001]
    attacks: Annotated[list[Annotated[str, AfterValidator(require_attack)]], Field(min_length=1)] | None = None
    access: Literal["labels", "boundary", "confidences", "weights", "all"] | None = None
    evidence: Literal["none", "hashed", "ids", "full"] = "hashed"
    plan: str | None = None
    ledger: str | None = None
    manifest: str | None = None
    before: str | None = None
    before_members: str | None = None
    poisoned: str | None = None
    poisoned_recipe: str = "recipe.py:poisoned"
    subgroups: list[str] | None = None
    attribute: list[str] = []
    smallest_group: Annotated[int, Field(ge=10)] = 10


class DpSettings(BaseModel):
    """The table [dp]: the differential privacy that is claimed of the training."""

    model_config = ConfigDict(extra="forbid", strict=True)

    epsilon: Annotated[float, Field(ge=0, lt=UNBOUNDED_EPSILON)] | None = None
    delta: Annotated[float, Field(ge=0, lt=1)]
    record: str | None = None
    unit: Literal["record", "unit"] = "record"
    draw: Annotated[int, Field(ge=0)] = 0


class FilesSettings(BaseModel):
    """The table [files]: who may read what is written about people; by default its owner alone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    shared: bool = False


class BudgetSettings(BaseModel):
    """The table [budget]: what training the shadow models may take; more needs --yes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    disk_gb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class ReportSettings(BaseModel):
    """The table [report]: what the report says of the model that no audit can find out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    release: Literal["internal", "api", "api-with-logits", "open-weights"] | None = None
    auditor: str = ""
    owner: str = ""


class WhatIfSettings(BaseModel):
    """The table [whatif]: how variants are compared."""

    model_config = ConfigDict(extra="forbid", strict=True)

    shadows: Annotated[int, Field(ge=8, multiple_of=2)] = 32
    attack: Annotated[str, AfterValidator(require_attack)] = "slira"
    at_most_cost: Annotated[float, Field(ge=0, lt=1)] | None = None


class VariantSettings(BaseModel):
    """A table [[variant]]: its name, and a remedy with its parameters, a recipe or a derivation."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: str

    @property
    def parameters(self) -> dict[str, Any]:
        """All but the name; what there may be is for the remedy to say."""
        return dict(self.model_extra or {})


class Settings(BaseModel):
    """All of memaudit.toml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    audit: AuditSettings = AuditSettings()
    report: ReportSettings = ReportSettings()
    budget: BudgetSettings = BudgetSettings()
    files: FilesSettings = FilesSettings()
    executor: dict[str, Any] = {}
    dp: DpSettings | None = None
    gate: list[GateSettings] = []
    whatif: WhatIfSettings = WhatIfSettings()
    variant: list[VariantSettings] = []
    waiver: list[WaiverSettings] = []
    _source: str | None = PrivateAttr(None)
    _lines: dict[tuple[str | int, ...], int] = PrivateAttr({})

    def limits(self) -> tuple[Limit, ...]:
        """Return the limits that the gates set, each with its file and line."""
        return tuple(
            gate.limit(self._source, self._lines.get(("gate", number))) for number, gate in enumerate(self.gate)
        )

    def context(self) -> Context:
        """Return what the settings say about the model."""
        said = self.report
        release = None if said.release is None else Release(said.release)
        return Context(release=release, auditor=said.auditor, owner=said.owner)

    def waivers(self) -> tuple[Waiver, ...]:
        """Return the waivers that are granted."""
        return tuple(waiver.waiver() for waiver in self.waiver)


def find(start: Path) -> Path | None:
    """Return the nearest memaudit.toml, or pyproject.toml with [tool.memaudit], in a folder or those above it."""
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder / FILE
        project = folder / "pyproject.toml"
        if project.is_file() and re.search(rb"^\[+tool\.memaudit\b", project.read_bytes(), re.MULTILINE):
            return project
    return None


def read(path: Path, *, in_force: bool = False) -> Settings:
    """Return the settings of a file.

    Args:
        path: The file.
        in_force: Refuse a waiver that has expired or that its owner approved; an audit goes on without it, and says so.

    Raises:
        SettingsError: The file is no TOML, or a key is unknown or wrong; names file, line and key.
    """
    try:
        text = _text(path)
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:  # no TOML, or a number of 5,000 digits
        raise SettingsError(f"{path}: {error}") from error
    prefix = ("tool", "memaudit") if path.name == "pyproject.toml" else ()
    for key in prefix:
        content = content.get(key, {}) if isinstance(content, dict) else content
    lines = {place[len(prefix) :]: line for place, line in _lines(text).items() if place[: len(prefix)] == prefix}
    try:
        settings = Settings.model_validate(content)
        problems = [
            *disagreements(settings.gate, settings.waiver),
            *(void(settings.waiver) if in_force else ()),
        ]
    except ValidationError as error:
        problems = [(problem["loc"], _told(problem)) for problem in error.errors()]
    if problems:
        told = [f"{path}:{_line(lines, place)}: {_dotted(place)}: {words}" for place, words in problems[:_MOST]]
        more = [f"and {len(problems) - _MOST} more"] if problems[_MOST:] else []
        raise SettingsError("\n".join([*told, *more]))
    settings._source, settings._lines = _in_repository(path), lines
    return settings


def _text(path: Path) -> str:
    """Return what a file of settings holds; a pipe or a device would be read for ever."""
    if path.exists() and not path.is_file():
        raise SettingsError(f"{path} cannot be read: it is no file")
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise SettingsError(f"{path} cannot be read: it has more than {_LARGEST // 2**10} KiB")
    if max(map(len, content.split(b"\n"))) > _LONGEST:
        raise SettingsError(f"{path} cannot be read: a line has more than {_LONGEST:,} bytes")
    return content.decode("utf-8-sig")  # Windows editors put a mark in front


def _line(lines: dict[tuple[str | int, ...], int], place: tuple[str | int, ...]) -> int:
    """Return the line of a place, or of the nearest around it that has one."""
    return next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 1)


def _dotted(place: tuple[str | int, ...]) -> str:
    return one_line(".".join(map(str, place)), 200) or "tool.memaudit"


def _in_repository(path: Path) -> str:
    """Return the path from the root of the repository that it is in; outside of any, the name."""
    path = path.resolve()
    root = next((folder for folder in path.parents if (folder / ".git").exists()), path.parent)
    return path.relative_to(root).as_posix()


def _told(problem: Any) -> str:
    """Return what is wrong with a value, in words."""
    place = problem["loc"]
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(str(place[-1]), _known_keys(place), 1)
        return "there is no such key" + (f"; did you mean {near[0]!r}?" if near else "")
    if problem["type"] == "missing":
        return "is missing"
    if problem["type"] == "model_type":
        return f"must be a table, got {_shown(problem['input'])}"
    if problem["type"] == "value_error":
        return one_line(str(problem["ctx"]["error"]), 1000)
    return f"{problem['msg'][0].lower()}{problem['msg'][1:]}, got {_shown(problem['input'])}"


def _shown(value: object) -> str:
    """Return a value as it is written, cut short; no number has so many digits that it cannot be written."""
    try:
        return one_line(repr(value), 200)
    except ValueError:
        return "a number of thousands of digits"


def _known_keys(place: tuple[Any, ...]) -> list[str]:
    tables: dict[Any, type[BaseModel]] = {
        "audit": AuditSettings,
        "report": ReportSettings,
        "budget": BudgetSettings,
        "files": FilesSettings,
        "dp": DpSettings,
        "whatif": WhatIfSettings,
        "gate": GateSettings,
        "waiver": WaiverSettings,
    }
    table = tables.get(place[0], Settings) if len(place) > 1 else Settings
    return list(table.model_fields)


def _lines(text: str) -> dict[tuple[str | int, ...], int]:
    """Return the line of every table and key; the TOML reader of the standard library keeps none."""
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
