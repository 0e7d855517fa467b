"""An in-toto statement that says which gates a model passed, to be signed and kept with the model."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from memaudit.errors import MemauditError
from memaudit.reports import canonical
from memaudit.reports import json as as_json
from memaudit.reports.outcomes import Effect, dump, outcomes
from memaudit.reports.text import one_line
from memaudit.types import Report, Verdict

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
REPORT = "report.json"  # the name of the report among what the audit rests on
_LISTS = {
    Effect.KEPT: "passedTests",
    Effect.UNDECIDED: "warnedTests",
    Effect.TOLERATED: "warnedTests",
    Effect.BROKEN: "failedTests",
}


def render(report: Report) -> bytes:
    """Return an unsigned in-toto Statement v1 with the predicate "test result"; its subject is the model's digest.

    The result is WARNED when it is inconclusive, when a broken limit was waived, and when no limit was set: then
    nothing was tested. The tests are the gates and the controls that were run. The configuration is the limits
    themselves. Of a model that is a folder the digest is over the names and digests of its files, as in the report.
    GitHub's action `attest` takes the predicate alone, as `jq .predicate` prints it.

    Raises:
        MemauditError: The model's digest is no SHA-256: a statement about nothing must not be signed.

    Source: in-toto attestation framework, Statement v1; predicate "Test Result" 0.1.
    """
    return dump(_statement(report, [_limits(report)]))


def whole(report: Report) -> bytes:
    """Return the statement to be signed: as `render` does, with all that the audit rests on as its configuration.

    By digest: the limits, the report in the canonical form of RFC 8785, the plan, the entry in the ledger of audits,
    and the keyed commitments to examples and members. And the versions.

    Raises:
        MemauditError: The model's digest is no SHA-256, or the report cannot be written as JSON.
    """
    return dump(_statement(report, [_limits(report), *_resources(report)]))


def _statement(report: Report, configuration: list[dict[str, object]]) -> dict[str, Any]:
    digest = report.subject.sha256.lower()
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise MemauditError(f"subject.sha256: {digest[:80]!r} is no SHA-256, so that no statement can be made about it")
    tests: dict[str, list[str]] = {"passedTests": [], "warnedTests": [], "failedTests": []}
    for outcome in outcomes(report):
        if outcome.effect in _LISTS:
            tests[_LISTS[outcome.effect]].append(outcome.key)
    passed = "PASSED" if report.verdict is Verdict.PASS else "WARNED"
    predicate: dict[str, Any] = {"result": "FAILED" if tests["failedTests"] else passed}
    return {
        "_type": STATEMENT,
        "subject": [{"name": one_line(report.subject.model, 1000), "digest": {"sha256": digest}}],
        "predicateType": PREDICATE,
        "predicate": predicate | {"configuration": configuration} | tests,
    }


def subjects(statement: object) -> dict[str, object]:
    """Return the digests of the model and the report that a statement is about; of another statement, fewer.

    Each must be named once: a statement about two models is about neither.
    """
    fields = statement if isinstance(statement, dict) else {}
    predicate = fields.get("predicate")
    resources = predicate.get("configuration") if isinstance(predicate, dict) else None
    resources = resources if isinstance(resources, list) else []
    reports = [r for r in resources if isinstance(r, dict) and r.get("name") == REPORT]
    models = fields.get("subject")
    of_ours = fields.get("_type") == STATEMENT and fields.get("predicateType") == PREDICATE
    found = {"model": models, "report": reports} if of_ours else {}
    return {name: _sha256(given[0]) for name, given in found.items() if isinstance(given, list) and len(given) == 1}


def _sha256(resource: object) -> object:
    digest = resource.get("digest") if isinstance(resource, dict) else None
    return digest.get("sha256") if isinstance(digest, dict) else None


def report_digest(report: Report) -> str:
    """Return the digest of a report's JSON, as in `report.digest` beside it."""
    return canonical.digest(as_json.render(report))


def _resources(report: Report) -> Iterator[dict[str, object]]:
    """Yield what the audit rests on beside its limits, as resource descriptors of in-toto."""
    yield {"name": REPORT, "digest": {"sha256": report_digest(report)}, "annotations": {"form": "RFC 8785"}}
    if report.attempt is not None:
        said = {"attempt": report.attempt.number, "audits of the model": report.attempt.of_model}
        yield {"name": "ledger entry", "digest": {"sha256": report.attempt.entry}, "annotations": said}
    if report.plan is not None:
        yield {"name": "plan", "digest": {"sha256": report.plan.sha256}}
    for name, value in report.provenance.items():
        if name.startswith("commitment."):
            yield {"name": one_line(name, 100), "digest": {"hmac-sha256": one_line(value, 100)}}
    versions = {
        one_line(name, 100): one_line(value, 1000)
        for name, value in report.provenance.items()
        if name in ("memaudit", "platform", "git commit of the recipe") or name.startswith("package.")
    }
    yield {"name": "versions", "annotations": versions}


def _limits(report: Report) -> dict[str, object]:
    """Return the limits that the findings were compared with, as a resource that carries its own content."""
    limits = [result.limit for result in report.results] + [skipped.limit for skipped in report.skipped]
    given = [asdict(limit) for limit in dict.fromkeys(limits) if limit is not None]
    content = json.dumps(given, separators=(",", ":")).encode()
    return {
        "name": "limits",
        "digest": {"sha256": hashlib.sha256(content).hexdigest()},
        "content": base64.b64encode(content).decode(),
        "mediaType": "application/json",
    }
