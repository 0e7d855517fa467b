"""The tables [[gate]] and [[waiver]]: limits and temporary exceptions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from memaudit.attack_names import ATTACKS_BY_METRIC
from memaudit.errors import hint
from memaudit.metrics import METRICS, problems, require_attack, require_metric
from memaudit.policy.waivers import self_approved
from memaudit.types import Limit, OnInconclusive, Waiver

LONGEST = timedelta(days=180)

Place = tuple[str | int, ...]


class GateSettings(BaseModel):
    """One table [[gate]]: the most that a metric may be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = ""
    metric: str
    attack: str | None = None
    at_fpr: Annotated[float, Field(gt=0, lt=1)] | None = None
    max: Annotated[float, Field(allow_inf_nan=False)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    on_inconclusive: Literal["inconclusive", "fail", "warn"] = "inconclusive"
    required: bool = True

    @field_validator("id")
    @classmethod
    def _nameable(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
            raise ValueError(f"an id has 1 to 80 letters, digits and . _ -, the first no sign, got {name!r}")
        return name

    @field_validator("metric")
    @classmethod
    def _measured(cls, metric: str) -> str:
        return metric if metric in METRICS else require_metric(metric, _of_plugins())

    @field_validator("attack")
    @classmethod
    def _known(cls, attack: str | None, info: ValidationInfo) -> str | None:
        metric = info.data.get("metric")
        return require_attack(attack, metric) if attack is not None and metric in ATTACKS_BY_METRIC else attack

    @model_validator(mode="after")
    def _about_something(self) -> Self:
        for problem in problems(self.limit()):
            raise ValueError(problem)
        return self

    def limit(self, source: str | None = None, line: int | None = None) -> Limit:
        """Return the limit that the table sets, with its file and line."""
        fields = self.model_dump() | {"on_inconclusive": OnInconclusive(self.on_inconclusive)}
        return Limit(**fields, source=source, line=line)


class WaiverSettings(BaseModel):
    """One table [[waiver]]: a gate that one model may break for a while, and who is responsible."""

    model_config = ConfigDict(extra="forbid", strict=True)

    gate: str
    subject: str
    cap: Annotated[float, Field(allow_inf_nan=False)]
    reason: str
    owner: str
    approved_by: str
    expires: date

    @field_validator("subject")
    @classmethod
    def _one_model(cls, subject: str) -> str:
        digest = subject.removeprefix("sha256:").lower()
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(
                "a waiver is for one model, named by its SHA-256 as the report states it (64 digits, 0-9 and a-f), "
                f"got {subject!r}"
            )
        return digest

    @field_validator("reason", "owner", "approved_by")
    @classmethod
    def _said(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("must not be empty")
        return text

    @field_validator("expires")
    @classmethod
    def _soon(cls, expires: date) -> date:
        latest = datetime.now(UTC).date() + LONGEST
        if expires > latest:
            raise ValueError(
                f"a waiver holds for at most {LONGEST.days} days, until {latest} at present, got {expires}"
            )
        return expires

    def waiver(self) -> Waiver:
        """Return the waiver that the table grants."""
        return Waiver(**self.model_dump() | {"expires": self.expires.isoformat()})


def _of_plugins() -> list[str]:
    """Return the metrics of the checks of other packages."""
    from memaudit.checks import all_checks  # takes a second, which known metrics need not wait for

    return [check.metric for check in all_checks()]


def disagreements(gates: Sequence[GateSettings], waivers: Sequence[WaiverSettings]) -> Iterator[tuple[Place, str]]:
    """Yield what is wrong with tables that are right one by one: where, and what."""
    limits = [gate.limit() for gate in gates]
    names = [limit.name for limit in limits]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield ("gate", number), f"there is a gate {name!r} already; give this one an id of its own"
    granted: set[tuple[str, str]] = set()
    for number, waiver in enumerate(waivers):
        if waiver.gate not in names:
            yield ("waiver", number, "gate"), f"there is no gate {waiver.gate!r}; {hint(waiver.gate, names)}"
        elif waiver.cap <= (top := limits[names.index(waiver.gate)].max):
            yield ("waiver", number, "cap"), f"waives nothing: the gate's own limit is {top:g}, got {waiver.cap:g}"
        if (waiver.gate, waiver.subject) in granted:
            yield ("waiver", number), f"the gate {waiver.gate!r} has a waiver for this model already"
        granted.add((waiver.gate, waiver.subject))


def void(waivers: Sequence[WaiverSettings]) -> Iterator[tuple[Place, str]]:
    """Yield which waivers excuse nothing, whatever was measured: where, and what to do."""
    for number, waiver in enumerate(waivers):
        if waiver.expires < datetime.now(UTC).date():
            yield ("waiver", number, "expires"), f"expired on {waiver.expires}; take the waiver out, or renew it"
        if self_approved(waiver.owner, waiver.approved_by):
            said = f"{waiver.approved_by!r} is the owner; another person must approve the waiver"
            yield ("waiver", number, "approved_by"), said
