"""The JSON Schema of a report file, made from the types that the file is made of."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from memaudit.metrics import METRICS
from memaudit.types import REPORT_SCHEMA, Report, Verdict


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a report's JSON: what it allows, `reports.load` reads."""
    content = TypeAdapter(Report).json_schema()
    definitions = content.pop("$defs")
    for definition in (content, *definitions.values()):
        _tidy(definition)
    for name in ("Finding", "Limit"):
        definitions[name]["properties"]["metric"]["examples"] = list(METRICS)  # a check of another package has its own
    properties = content["properties"]
    properties["schema"] = {"const": REPORT_SCHEMA}
    verdict = {"description": "The worst verdict of all, as it follows from the rest.", "enum": list(Verdict)}
    content["properties"] = {"schema": properties.pop("schema"), "verdict": verdict, **properties}
    content["required"] = ["schema", *content["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{REPORT_SCHEMA.replace('/', ':')}",
        "title": "memaudit report",
        **{name: value for name, value in content.items() if name != "title"},
        "$defs": definitions,
    }


def _tidy(definition: dict[str, Any]) -> None:
    """Forbids unknown keys, and takes away the titles that only repeat the names."""
    if definition["type"] == "object":
        definition["additionalProperties"] = False
        for value in definition["properties"].values():
            value.pop("title", None)
