"""The JSON Schema of a report file, made from the types that the file is made of."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from memaudit.metrics import METRICS
from memaudit.types import REPORT_SCHEMA, Report, Verdict


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a report's JSON: what it allows, `reports.load` reads."""
    verdict = {"description": "The worst verdict of all, as it follows from the rest.", "enum": list(Verdict)}
    found = schema_of(Report, REPORT_SCHEMA, "memaudit report", {"verdict": verdict})
    for name in ("Finding", "Limit"):  # a check of another package has metrics of its own
        found["$defs"][name]["properties"]["metric"]["examples"] = list(METRICS)
    return found


def schema_of(kind: type, name: str, title: str, head: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a file that holds a dataclass, after the schema's name and what follows from it."""
    content = TypeAdapter(kind).json_schema()
    definitions = content.pop("$defs")
    for definition in (content, *definitions.values()):
        _tidy(definition)
    content["properties"].pop("schema", None)
    content["properties"] = {"schema": {"const": name}, **head, **content["properties"]}
    content["required"] = ["schema", *content["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{name.replace('/', ':')}",
        "title": title,
        **{key: value for key, value in content.items() if key != "title"},
        "$defs": definitions,
    }


def _tidy(definition: dict[str, Any]) -> None:
    """Forbids unknown keys, and takes away the titles that only repeat the names."""
    if definition["type"] == "object":
        definition["additionalProperties"] = False
        for value in definition["properties"].values():
            value.pop("title", None)
