"""A CycloneDX ML-BOM: the figures of an audit where an inventory of models keeps a model's measurements."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from memaudit.reports.outcomes import dump
from memaudit.reports.text import one_line, percent
from memaudit.reports.wording import headline
from memaudit.types import Report, Result

_LONG = 1000


def render(report: Report) -> bytes:
    """Return a CycloneDX 1.6 bill of materials with the model as its one component.

    Each finding is a performance metric of the component's model card, with its confidence interval; values are
    decimal text, as the format wants it. The metric's type names the method of the interval.

    Source: CycloneDX 1.6, modelCard.quantitativeAnalysis.performanceMetrics.
    """
    tool = {"type": "application", "name": "memaudit"}
    if version := one_line(report.provenance.get("memaudit", ""), 100):
        tool["version"] = version
    metadata: dict[str, Any] = {"tools": {"components": [tool]}}
    if moment := _moment(report.created):
        metadata = {"timestamp": moment, **metadata}
    return dump(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": metadata,
            "components": [_model(report)],
        }
    )


def _model(report: Report) -> dict[str, Any]:
    subject = report.subject
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": one_line(subject.model, _LONG),
    }
    if re.fullmatch("[0-9a-fA-F]{64}", subject.sha256):
        component["hashes"] = [{"alg": "SHA-256", "content": subject.sha256.lower()}]
    properties = [("verdict", report.verdict), ("meaning", headline(report))]
    properties += [("members", str(subject.members)), ("nonmembers", str(subject.nonmembers))]
    properties += [
        ("shadows", str(subject.shadows)),
        ("rung", str(int(report.rung))),
        *(("not tested", text) for text in report.untested),
    ]
    component["modelCard"] = {
        "quantitativeAnalysis": {"performanceMetrics": [_metric(result) for result in report.results]},
        "properties": [{"name": f"memaudit:{name}", "value": one_line(text, _LONG)} for name, text in properties],
    }
    return component


def _metric(result: Result) -> dict[str, Any]:
    finding, estimate = result.finding, result.finding.estimate
    made = f"{estimate.unit}; {percent(estimate.level)} interval by {estimate.method}"
    return {
        "type": one_line(f"{finding.code} {finding.title} ({made})", _LONG),
        "value": repr(float(estimate.value)),
        "slice": one_line(f"{finding.n} {finding.counted}", _LONG),
        "confidenceInterval": {
            "lowerBound": repr(float(estimate.low)),
            "upperBound": repr(float(estimate.high)),
        },
    }


def _moment(iso: str) -> str | None:
    """Return a point in time as RFC 3339 has it, in UTC; None for a text that is none."""
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return None
    if when.tzinfo is None:
        return None
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
