"""SARIF 2.1.0, which code-scanning pages read: one result per gate and control, at the policy's line."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from memaudit.reports.outcomes import Outcome, dump, fingerprint, outcomes, place
from memaudit.reports.text import one_line
from memaudit.types import Report, Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_KIND = {
    Verdict.FAIL: "fail",
    Verdict.INCONCLUSIVE: "open",
    Verdict.PASS: "pass",
    Verdict.NOTED: "notApplicable",
}


def render(report: Report) -> bytes:
    """Return a SARIF log with one run: `fail` at level error, `open` for inconclusive, `pass`; never single examples.

    A control that failed is open too: it leaves undecided what the gates say. One that was not run is not applicable.
    A waived failure is a failure with an accepted suppression.
    GitHub lists what it reads of a SARIF file, and `kind` is not among it: whether it hides what passed is not known.

    Source: OASIS SARIF 2.1.0, sections 3.27.9 and 3.27.10 (kind and level), 3.11.5 and 3.11.6 (text of messages);
    what else GitHub asks for, its documentation, "SARIF support for code scanning".
    """
    found = outcomes(report)
    driver: dict[str, Any] = {"name": "memaudit", "rules": [_rule(outcome) for outcome in found]}
    if version := one_line(report.provenance.get("memaudit", ""), 100):
        driver["version"] = version
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "memaudit/"},
        "invocations": [{"executionSuccessful": True}],
        "results": [_result(report, outcome, index) for index, outcome in enumerate(found)],
        "properties": {
            "verdict": report.verdict,
            "model": one_line(report.subject.model, 1000),
            "sha256": one_line(report.subject.sha256, 100),
        },
    }
    return dump({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(outcome: Outcome) -> dict[str, Any]:
    code = outcome.key.partition("/")[0]
    about = f"The command “memaudit explain {code}” says what is measured and how."
    return {
        "id": outcome.key,
        "shortDescription": {"text": _literal(outcome.title)},
        "fullDescription": {"text": _literal(outcome.title)},
        "help": {"text": _literal(f"{about} Source: {outcome.source}" if outcome.source else about)},
        "properties": {"tags": ["privacy", "control" if outcome.control else "gate"]},
    }


def _result(report: Report, outcome: Outcome, index: int) -> dict[str, Any]:
    path, line = place(report, outcome)
    mark = fingerprint(report, outcome)
    waived = {"kind": "external", "status": "accepted", "justification": outcome.waiver}
    return {
        **({} if outcome.waiver is None else {"suppressions": [waived]}),
        "ruleId": outcome.key,
        "ruleIndex": index,
        "kind": _KIND[outcome.verdict],
        "level": "error" if outcome.verdict is Verdict.FAIL else "none",
        "message": {"text": _literal(outcome.message)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(path)},
                    "region": {"startLine": line, "startColumn": 1, "endLine": line, "endColumn": 2},
                }
            }
        ],
        "partialFingerprints": {"gate/v1": mark, "primaryLocationLineHash": mark},  # GitHub reads the second only
    }


def _literal(text: str) -> str:
    """Return the text so that no viewer finds a link or a placeholder in it."""
    return text.replace("{", "{{").replace("}", "}}").replace("](", "] (")
