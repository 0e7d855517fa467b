"""An in-toto statement that says which gates a model passed, to be signed and kept with the model."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import asdict
from typing import Any

from memaudit.errors import MemauditError
from memaudit.reports.outcomes import Effect, dump, outcomes
from memaudit.reports.text import one_line
from memaudit.types import Report, Verdict

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
_LISTS = {
    Effect.KEPT: "passedTests",
    Effect.UNDECIDED: "warnedTests",
    Effect.TOLERATED: "warnedTests",
    Effect.BROKEN: "failedTests",
}


def render(report: Report) -> bytes:
    """Returns an unsigned in-toto Statement v1 with the predicate "test result"; its subject is the model's digest.

    The result is WARNED when it is inconclusive, when a broken limit was waived, and when no limit was set: then
    nothing was tested. The tests are the gates and the controls that were run. The configuration is the limits
    themselves. Of a model that is a folder the digest is over the names and digests of its files, as in the report.
    GitHub's action `attest` takes the predicate alone, as `jq .predicate` prints it.

    Raises:
        MemauditError: The model's digest is no SHA-256: a statement about nothing must not be signed.

    Source: in-toto attestation framework, Statement v1; predicate "Test Result" 0.1.
    """
    digest = report.subject.sha256.lower()
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise MemauditError(f"subject.sha256: {digest[:80]!r} is no SHA-256, so that no statement can be made about it")
    tests: dict[str, list[str]] = {"passedTests": [], "warnedTests": [], "failedTests": []}
    for outcome in outcomes(report):
        if outcome.effect in _LISTS:
            tests[_LISTS[outcome.effect]].append(outcome.key)
    passed = "PASSED" if report.verdict is Verdict.PASS else "WARNED"
    predicate: dict[str, Any] = {"result": "FAILED" if tests["failedTests"] else passed}
    return dump(
        {
            "_type": STATEMENT,
            "subject": [{"name": one_line(report.subject.model, 1000), "digest": {"sha256": digest}}],
            "predicateType": PREDICATE,
            "predicate": predicate | {"configuration": [_limits(report)]} | tests,
        }
    )


def _limits(report: Report) -> dict[str, object]:
    """Returns the limits that the findings were held against, as a resource that carries its own content."""
    limits = [result.limit for result in report.results] + [skipped.limit for skipped in report.skipped]
    given = [asdict(limit) for limit in dict.fromkeys(limits) if limit is not None]
    content = json.dumps(given, separators=(",", ":")).encode()
    return {
        "name": "limits",
        "digest": {"sha256": hashlib.sha256(content).hexdigest()},
        "content": base64.b64encode(content).decode(),
        "mediaType": "application/json",
    }
