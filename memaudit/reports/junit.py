"""JUnit XML, which nearly every CI server reads: a gate is a test case, and so is a control."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from memaudit.reports.outcomes import Effect, Outcome, outcomes
from memaudit.reports.text import one_line
from memaudit.types import Report, Verdict


def render(report: Report) -> bytes:
    """Return JUnit XML: a broken limit is a failure, an undecided or waived one skipped, a failed control an error.

    An undecided limit that counts as broken is an error too. Figures without a limit are no test cases. Most CI
    servers show a run with skipped tests as a good one: hold the pipeline by the exit code. Characters that XML 1.0
    does not have are spelled out, as in ‹U+0000›.

    Source: what the Jenkins xUnit plug-in accepts (junit-10.xsd); the format has no standard.
    """
    found = outcomes(report)
    root = ElementTree.Element("testsuites", name="memaudit")
    suites = [
        _suite(report, "gates", [outcome for outcome in found if not outcome.control]),
        _suite(report, "controls", [outcome for outcome in found if outcome.control]),
    ]
    root.extend(suites)
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.attrib[count]) for suite in suites)))
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _tag(outcome: Outcome) -> str | None:
    if outcome.effect is Effect.KEPT:
        return None
    if outcome.effect is Effect.BROKEN:
        return "failure" if outcome.verdict is Verdict.FAIL else "error"
    return "error" if outcome.control and outcome.effect is Effect.UNDECIDED else "skipped"


def _suite(report: Report, name: str, found: Sequence[Outcome]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=f"memaudit {name}", timestamp=one_line(report.created, 100))
    properties = ElementTree.SubElement(suite, "properties")
    subject = {"model": report.subject.model, "sha256": report.subject.sha256, "verdict": report.verdict}
    for key, value in subject.items():
        ElementTree.SubElement(properties, "property", name=key, value=one_line(value, 1000))
    for outcome in found:
        case = ElementTree.SubElement(suite, "testcase", classname=f"memaudit.{name}", name=outcome.title)
        if (tag := _tag(outcome)) is not None:
            ElementTree.SubElement(case, tag, type=outcome.label, message=outcome.message).text = outcome.message
        else:
            ElementTree.SubElement(case, "system-out").text = outcome.message
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(found)))
    return suite
