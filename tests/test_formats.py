"""What pipelines read: every format fits its schema, says the same verdict, and lets no text do anything."""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from hypothesis import example, given, settings
from hypothesis import strategies as st
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from jsonschema import Draft202012Validator
from lxml import etree
from markdown_it import MarkdownIt

from memaudit import reports
from memaudit.errors import MemauditError
from memaudit.policy import exit_code
from memaudit.reports.outcomes import Effect, outcomes
from memaudit.reports.schema import schema
from memaudit.reports.text import visible
from memaudit.types import (
    REPORT_SCHEMA,
    Context,
    Control,
    Curve,
    Estimate,
    Exposed,
    Figure,
    FigureKind,
    Finding,
    Limit,
    OnInconclusive,
    Release,
    Report,
    Result,
    Skipped,
    Subject,
    Table,
    Verdict,
    Waived,
    Waiver,
    WaiverState,
)

Command = Callable[..., CompletedProcess[str]]

_SCHEMAS = Path(__file__).parent / "schemas"
_SARIF = Draft202012Validator(json.loads((_SCHEMAS / "sarif-2.1.0-part.json").read_text("utf-8")))
_GITLAB = Draft202012Validator(json.loads((_SCHEMAS / "gitlab-code-quality.json").read_text("utf-8")))
_REPORT = Draft202012Validator(schema())
_JUNIT = etree.XMLSchema(etree.parse(_SCHEMAS / "junit.xsd"))
_CYCLONEDX = [(version, JsonStrictValidator(version)) for version in (SchemaVersion.V1_6, SchemaVersion.V1_7)]
_PIPELINE = ("md", "junit", "sarif", "github", "gitlab", "intoto", "modelcard", "cyclonedx")


# ---- reports to render


def _gate(verdict: Verdict, attack: str = "lira-online", at_fpr: float | None = 0.01, **changes: Any) -> Result:
    finding = Finding(
        code="MIA001",
        title=f"Membership inference, {attack}, at {at_fpr} false positives",
        metric="tpr",
        attack=attack,
        at_fpr=at_fpr,
        estimate=Estimate(value=0.0417, low=0.0389, high=0.0446, unit="share", method="Clopper–Pearson"),
        sentence="An adversary recognizes between 3.89% and 4.46% of the members.",
        n=19_000,
        counted="members",
        source="Carlini et al. 2022",
    )
    limit = Limit(metric="tpr", attack=attack, at_fpr=at_fpr, max=0.04, source="conf/memaudit.toml", line=7)
    result = Result(finding=finding, limit=limit, verdict=verdict, reason="the interval says so")
    return dataclasses.replace(result, **changes)


_WAIVER = Waiver(
    gate="tpr",
    subject="9f86d081884c7d65" * 4,
    cap=0.05,
    reason="a pilot among ourselves",
    owner="Owner",
    approved_by="Approver",
    expires="2027-01-31",
)


def _undecided(counts_as: OnInconclusive) -> Result:
    result = _gate(Verdict.INCONCLUSIVE)
    assert result.limit is not None
    return dataclasses.replace(result, limit=dataclasses.replace(result.limit, on_inconclusive=counts_as))


def _control(passed: bool | None, code: str = "CTL001") -> Control:
    return Control(code=code, title=f"Control {code}", passed=passed, sentence="It was looked at.", source="s")


def _report(*results: Result, **changes: Any) -> Report:
    known: dict[str, Any] = {
        "created": "2026-11-22T10:15:00+00:00",
        "subject": Subject(
            model="model.pt", sha256="9f86d081884c7d65" * 4, members=19_000, nonmembers=9_000, shadows=64
        ),
        "skipped": (),
        "controls": (),
        "untested": ("Attribute inference.",),
        "limitations": ("One training run.",),
        "provenance": {"memaudit": "0.1.0"},
    }
    return Report(results=results, **known | changes)


_FULL = _report(
    _gate(Verdict.FAIL),
    _gate(Verdict.INCONCLUSIVE, "lira-offline"),
    _gate(Verdict.PASS, "lira-offline", 0.001),
    _gate(Verdict.FAIL, "lira-online", 0.001, waiver=_WAIVER),
    _gate(Verdict.NOTED, "global-threshold", limit=None),
    skipped=(
        Skipped(code="LIMIT", title="Limit: link ≤ 0.1", reason="nothing found", verdict=Verdict.INCONCLUSIVE),
        Skipped(code="CAN001", title="Canaries", reason="none were planted"),
    ),
    controls=(_control(True), _control(None, "CTL002")),
    waivers=(Waived(waiver=_WAIVER, state=WaiverState.APPLIED),),
    context=Context(release=Release.API, auditor="Mo Kane", owner="Zoe Ngo"),
)


def _with_people(report: Report) -> Report:
    """The same report with single examples wherever it can name them."""
    estimate = Estimate(value=0.9, low=0.8, high=1, unit="share", method="PERSON")
    people = (
        Exposed(identifier="PERSON", label="PERSON", member=True, score=77.7, memorization=estimate, margin=8.8),
        Exposed(identifier="PERSON2", label="x", member=False, score=66.6, memorization=estimate, margin=5.5),
    )
    table = Table(title="PERSON", columns=("id",), rows=(("PERSON",),), note="PERSON")
    curve = Curve(x=(0.0, 1.0), y=(0.0, 1.0), label="PERSON")
    figure = Figure(kind=FigureKind.ROC, title="PERSON", x_label="x", y_label="y", curves=(curve,), alt="PERSON")

    def shown(result: Result) -> Result:
        finding = dataclasses.replace(result.finding, tables=(table,), figures=(figure,), notes=("PERSON",))
        return dataclasses.replace(result, finding=finding)

    controls = tuple(dataclasses.replace(control, tables=(table,)) for control in report.controls)
    return dataclasses.replace(report, exposed=people, results=tuple(map(shown, report.results)), controls=controls)


_HOSTILE = (
    "</testcase></style></script><script>alert(1)</script><img src=x onerror=alert(1)>",
    '" onload="alert(1)" \' x="',
    "<![CDATA[ ]]> <!-- --> &lt; &#0; &amp;",
    "{{ 7*7 }}{% raw %}{# #} ${x} {0} %s",
    '#import "@preview/x:0.1.0" $x_1$ #text[a] \\',
    "[a](http://x.test) ![b](c) **d** `e` _f_ | g ~h~ <http://x.test>",
    "- a", "1. b", "+ c", "> d", "# e", "===", "---", "    f", "* g", "\t- h", "|-|-|", "10) i", "```", "[x]: /url",
    "\u202eetirw\u2066\u200f\ufeff\x00\x1b[31m\x7f\x85\u2028\u2029\U000e0041\ufffe",
    "%0A::error::x%0D\n::error file=a,line=1::b\r\n::set-output name=c::d",
    "a lone half \udcff\ud800",
    "👩‍👩‍👧 字 ñ é क्षि",
    "=HYPERLINK(1)",
    "../../etc/passwd", "/etc/passwd", "C:\\x\\y", "//x.test/y", "javascript:alert(1)",
    " ", "", "\n\n", ".", "/",
)  # fmt: skip

_words = st.one_of(
    st.sampled_from(_HOSTILE),
    st.text(st.characters(), max_size=40),
    st.lists(st.sampled_from(_HOSTILE), max_size=4).map("".join),
)
_numbers = st.floats(-1e300, 1e300)
_estimates = st.builds(Estimate, value=_numbers, low=_numbers, high=_numbers, unit=_words, method=_words)
_limits = st.builds(
    Limit,
    metric=_words,
    attack=st.none() | _words,
    at_fpr=st.none() | st.floats(0, 1),
    max=_numbers,
    source=st.none() | _words,
    line=st.none() | st.integers(-3, 10**6),
    id=_words,
    on_inconclusive=st.sampled_from(list(OnInconclusive)),
)
_waivers = st.builds(
    Waiver,
    gate=_words,
    subject=_words,
    cap=_numbers,
    reason=_words,
    owner=_words,
    approved_by=_words,
    expires=_words,
)
_findings = st.builds(
    Finding,
    code=_words,
    title=_words,
    metric=_words,
    attack=st.none() | _words,
    at_fpr=st.none() | st.floats(0, 1),
    estimate=_estimates,
    sentence=_words,
    n=st.integers(0, 10**9),
    counted=_words,
    source=_words,
    notes=st.lists(_words, max_size=1).map(tuple),
)
_verdicts = st.sampled_from(list(Verdict))
_results = st.builds(
    Result,
    finding=_findings,
    limit=st.none() | _limits,
    verdict=_verdicts,
    reason=_words,
    waiver=st.none() | _waivers,
)
_skips = st.builds(Skipped, code=_words, title=_words, reason=_words, verdict=_verdicts, limit=st.none() | _limits)
_controls = st.builds(
    Control, code=_words, title=_words, passed=st.none() | st.booleans(), sentence=_words, source=_words
)
_subjects = st.builds(
    Subject,
    model=_words,
    sha256=st.just("9f86d081884c7d65" * 4),
    members=st.integers(0, 10**6),
    nonmembers=st.integers(0, 10**6),
    shadows=st.integers(0, 1000),
)


def _few(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=3).map(tuple)


_reports = st.builds(
    Report,
    schema=st.just(REPORT_SCHEMA),
    created=_words | st.datetimes().map(lambda moment: moment.isoformat()),
    subject=_subjects,
    results=_few(_results),
    skipped=_few(_skips),
    controls=_few(_controls),
    exposed=st.just(()),
    waivers=_few(st.builds(Waived, waiver=_waivers, state=st.sampled_from(list(WaiverState)))),
    untested=_few(_words),
    limitations=_few(_words),
    provenance=st.dictionaries(st.just("memaudit") | _words, _words, max_size=2),
    edition=st.just(_FULL.edition),
    attempt=st.none(),
    context=st.builds(Context, release=st.none() | st.sampled_from(list(Release)), auditor=_words, owner=_words),
)


# ---- the official schemas, whatever the report


def _rendered(name: str, report: Report) -> Any:
    content = reports.FORMATS[name](report)
    assert not content.startswith(b"\xef\xbb\xbf")  # GitLab refuses a byte order mark
    return json.loads(content)


def _sarif_fits_the_standard_and_what_github_asks_for(report: Report) -> None:
    log = _rendered("sarif", report)
    _SARIF.validate(log)
    run = log["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [result["ruleId"] for result in run["results"]] == [rules[r["ruleIndex"]] for r in run["results"]]
    assert len(set(rules)) == len(rules)
    marks = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]
    assert len(set(marks)) == len(marks)


def _junit_is_xml_1_0_and_its_counts_add_up(report: Report) -> None:
    root = etree.fromstring(reports.FORMATS["junit"](report))
    _JUNIT.assertValid(root)
    suites = list(root)
    for suite in suites:
        found = Counter(outcome.tag for case in suite.findall("testcase") for outcome in case)
        assert suite.get("tests") == str(found.total())
        counts = [suite.get(count) for count in ("failures", "errors", "skipped")]
        assert counts == [str(found[tag]) for tag in ("failure", "error", "skipped")]
    for count in ("tests", "failures", "errors"):
        assert int(root.get(count)) == sum(int(suite.get(count)) for suite in suites)


def _gitlab_gets_what_it_documents(report: Report) -> None:
    entries = _rendered("gitlab", report)
    _GITLAB.validate(entries)
    assert len({entry["fingerprint"] for entry in entries}) == len(entries)


def _the_statement_is_one_that_in_toto_reads(report: Report) -> None:
    fields = _rendered("intoto", report)
    Statement.copy_from_pb(json_format.ParseDict(fields, statement_pb2.Statement())).validate()
    predicate = json_format.ParseDict(fields["predicate"], test_result_pb2.TestResult())
    assert fields["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    (limits,) = predicate.configuration
    assert hashlib.sha256(limits.content).hexdigest() == limits.digest["sha256"]


def _the_bill_of_materials_fits_cyclonedx(report: Report) -> None:
    fields = _rendered("cyclonedx", report)
    for version, validator in _CYCLONEDX:
        number = version.to_version()
        fields |= {"specVersion": number, "$schema": f"http://cyclonedx.org/schema/bom-{number}.schema.json"}
        assert validator.validate_str(json.dumps(fields)) is None


def _the_json_fits_its_schema(report: Report) -> None:
    try:
        content = reports.FORMATS["json"](report)
    except MemauditError as error:
        assert "not Unicode" in str(error)
    else:
        _REPORT.validate(json.loads(content))


def _nothing_that_hides_or_reorders_is_written(report: Report) -> None:
    hidden = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
    for name in _PIPELINE:
        assert not re.search(hidden, reports.FORMATS[name](report).decode())


def _no_format_calls_a_report_passed_that_is_not(report: Report) -> None:
    assert (_says("intoto", report)[0] == "PASSED") == (report.verdict is Verdict.PASS)
    if report.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        assert set(_says("junit", report)) & {"failure", "error", "skipped"}
        assert _says("gitlab", report)
        assert _says("github", report)


def _what_counts_as_broken_is_what_the_exit_code_says(report: Report) -> None:
    """Where no control failed: there every pass is taken back here, and by memaudit.policy before."""
    report = dataclasses.replace(report, controls=())
    broken = any(outcome.effect is Effect.BROKEN for outcome in outcomes(report))
    assert broken == (exit_code(report) == 1)


_RULES = (
    _sarif_fits_the_standard_and_what_github_asks_for,
    _junit_is_xml_1_0_and_its_counts_add_up,
    _gitlab_gets_what_it_documents,
    _the_statement_is_one_that_in_toto_reads,
    _the_bill_of_materials_fits_cyclonedx,
    _the_json_fits_its_schema,
    _nothing_that_hides_or_reorders_is_written,
    _no_format_calls_a_report_passed_that_is_not,
    _what_counts_as_broken_is_what_the_exit_code_says,
)


@pytest.mark.parametrize("rule", _RULES)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(report=_reports)
@example(report=_FULL)
@example(report=_with_people(_FULL))
def test_a_rule_holds_for_every_report(rule: Callable[[Report], None], report: Report) -> None:
    rule(report)


@pytest.mark.slow
@pytest.mark.parametrize("rule", _RULES)
@settings(max_examples=300, deadline=None)
@given(report=_reports)
def test_a_rule_holds_for_very_many_reports(rule: Callable[[Report], None], report: Report) -> None:
    rule(report)


# ---- the JSON Schema


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema())


def _places(node: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield from _places(node[key], (*place, key))


def _variants(fields: Any, place: tuple[Any, ...], values: tuple[Any, ...]) -> Iterator[Any]:
    """Yields the fields without what is at a place, with other values there, and with an unknown key beside it."""
    for change in ("without", "beside", *values):
        variant = copy.deepcopy(fields)
        node = variant
        for key in place[:-1]:
            node = node[key]
        if change == "without":
            node.pop(place[-1])
        elif change == "beside" and isinstance(node, dict):
            node["unknown"] = 1
        else:
            node[place[-1]] = change
        yield variant


@pytest.mark.parametrize(
    "values", [(None, {}), pytest.param(("x", 3, 0.5, True, []), marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_the_schema_allows_what_the_reader_reads_and_nothing_else(values: tuple[Any, ...], tmp_path: Path) -> None:
    whole = _with_people(_FULL)
    small = dataclasses.replace(whole, results=whole.results[3:4], skipped=(), exposed=(), controls=whole.controls[:1])
    fields = json.loads(reports.FORMATS["json"](small))
    del fields["verdict"]  # the reader holds it against the rest, which no schema can
    path = tmp_path / "report.json"
    seen = Counter[bool]()
    for place in _places(fields):
        for variant in _variants(fields, place, values):
            path.write_text(json.dumps(variant), "utf-8")
            try:
                reports.load(path)
                read = True
            except MemauditError:
                read = False
            assert _REPORT.is_valid(variant) == read, (place, variant)
            seen[read] += 1
    assert min(seen[True], seen[False]) > 20


# ---- what each format says


def _says(name: str, report: Report) -> Any:
    """What a pipeline makes of a format: the outcome of each gate or control, in the format's own words."""
    content = reports.FORMATS[name](report)
    if name == "junit":
        return [case[0].tag for case in etree.fromstring(content).iter("testcase")]
    if name == "sarif":
        return [(r["kind"], r["level"]) for r in json.loads(content)["runs"][0]["results"]]
    if name == "github":
        return re.findall(r"^::(\w+)", content.decode(), re.MULTILINE)[:-1]
    if name == "gitlab":
        return [entry["severity"] for entry in json.loads(content)]
    tests = json.loads(content)["predicate"]
    return tests["result"], *(len(tests[k]) for k in ("passedTests", "warnedTests", "failedTests"))


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (_report(_gate(Verdict.PASS)),
         {"junit": ["system-out"], "sarif": [("pass", "none")], "github": [], "gitlab": [],
          "intoto": ("PASSED", 1, 0, 0)}),
        (_report(_gate(Verdict.FAIL)),
         {"junit": ["failure"], "sarif": [("fail", "error")], "github": ["error"], "gitlab": ["critical"],
          "intoto": ("FAILED", 0, 0, 1)}),
        (_report(_gate(Verdict.INCONCLUSIVE)),
         {"junit": ["skipped"], "sarif": [("open", "none")], "github": ["warning"], "gitlab": ["major"],
          "intoto": ("WARNED", 0, 1, 0)}),
        (_report(_gate(Verdict.NOTED, limit=None)),
         {"junit": [], "sarif": [], "github": [], "gitlab": [], "intoto": ("WARNED", 0, 0, 0)}),
        (_report(_gate(Verdict.FAIL, waiver=_WAIVER)),
         {"junit": ["skipped"], "sarif": [("fail", "error")], "github": ["warning"], "gitlab": ["info"],
          "intoto": ("WARNED", 0, 1, 0)}),
        (_report(_undecided(OnInconclusive.FAIL)),
         {"junit": ["error"], "sarif": [("open", "none")], "github": ["error"], "gitlab": ["critical"],
          "intoto": ("FAILED", 0, 0, 1)}),
        (_report(_undecided(OnInconclusive.WARN)),
         {"junit": ["skipped"], "sarif": [("open", "none")], "github": ["warning"], "gitlab": ["info"],
          "intoto": ("WARNED", 0, 1, 0)}),
        (_report(skipped=_FULL.skipped),
         {"junit": ["skipped"], "sarif": [("open", "none")], "github": ["warning"], "gitlab": ["major"],
          "intoto": ("WARNED", 0, 1, 0)}),
        (_report(controls=(_control(True),)),
         {"junit": ["system-out"], "sarif": [("pass", "none")], "github": [], "gitlab": [],
          "intoto": ("WARNED", 1, 0, 0)}),
        (_report(controls=(_control(None),)),
         {"junit": ["skipped"], "sarif": [("notApplicable", "none")], "github": [], "gitlab": [],
          "intoto": ("WARNED", 0, 0, 0)}),
        (_report(_gate(Verdict.PASS), controls=(_control(False),)),  # a pass that nobody may rely on
         {"junit": ["skipped", "error"], "sarif": [("open", "none")] * 2, "github": ["warning"] * 2,
          "gitlab": ["major"] * 2, "intoto": ("WARNED", 0, 2, 0)}),
        (_report(_gate(Verdict.PASS), _gate(Verdict.FAIL, "lira-offline"), controls=(_control(False),)),
         {"junit": ["failure", "skipped", "error"], "sarif": [("fail", "error"), ("open", "none"), ("open", "none")],
          "github": ["error", "warning", "warning"], "gitlab": ["critical", "major", "major"],
          "intoto": ("FAILED", 0, 2, 1)}),
    ],
)  # fmt: skip
def test_every_format_says_what_the_verdicts_are(report: Report, said: dict[str, Any]) -> None:
    assert {name: _says(name, report) for name in said} == said


def test_a_waiver_is_printed_with_its_reason() -> None:
    report = _report(_gate(Verdict.FAIL, waiver=_WAIVER, reason="above; waived until 2027-01-31 by Approver"))
    (result,) = _rendered("sarif", report)["runs"][0]["results"]
    assert result["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "a pilot among ourselves"}
    ]
    for name in ("junit", "github", "gitlab", "md"):
        content = reports.FORMATS[name](report).decode()
        assert "FAIL, WAIVED" in content.replace("%2C", ",")
        assert "waived until 2027-01-31 by Approver" in content


@pytest.mark.parametrize("state", WaiverState)
def test_the_summary_prints_every_waiver_whatever_it_did(state: WaiverState) -> None:
    report = _report(_gate(Verdict.PASS), waivers=(Waived(waiver=_WAIVER, state=state),))
    line = f"- **{state.upper()}** tpr, through 2027-01-31, up to 0.05: a pilot among ourselves\n"
    assert line in reports.FORMATS["md"](report).decode()


def test_a_finding_under_two_limits_is_two_gates() -> None:
    one = _gate(Verdict.PASS)
    other = dataclasses.replace(one, limit=Limit(metric="tpr", max=0.001, id="strict"), verdict=Verdict.FAIL)
    keys = {outcome.key for outcome in outcomes(_report(one, other))}
    assert keys == {"MIA001/tpr/lira-online/0.01", "MIA001/tpr/lira-online/0.01/strict"}


def test_a_result_stands_at_the_line_of_the_policy() -> None:
    report = _report(_gate(Verdict.FAIL))
    location = _rendered("sarif", report)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert (location["artifactLocation"]["uri"], location["region"]["startLine"]) == ("conf/memaudit.toml", 7)
    assert _rendered("gitlab", report)[0]["location"] == {"path": "conf/memaudit.toml", "lines": {"begin": 7}}
    assert reports.FORMATS["github"](report).startswith(b"::error file=conf/memaudit.toml,line=7,title=")


@pytest.mark.parametrize(
    ("source", "path"),
    [
        (None, "model.pt"),
        ("memaudit.toml", "memaudit.toml"),
        ("./a/b.toml", "a/b.toml"),
        ("a\\b.toml", "a/b.toml"),
        ("/home/somebody/memaudit.toml", "memaudit.toml"),
        ("C:\\Users\\somebody\\memaudit.toml", "memaudit.toml"),
        ("../../outside/memaudit.toml", "memaudit.toml"),
        ("//host/share/memaudit.toml", "memaudit.toml"),
        ("a b/ü.toml", "a b/ü.toml"),
        ("", "model.pt"),
        ("..", "model.pt"),
    ],
)
def test_no_path_leads_out_of_the_repository(source: str | None, path: str) -> None:
    limit = Limit(metric="tpr", max=0.1, source=source)
    report = _report(_gate(Verdict.FAIL, limit=limit))
    assert _rendered("gitlab", report)[0]["location"] == {"path": path, "lines": {"begin": 1}}
    _SARIF.validate(_rendered("sarif", report))


def test_a_fingerprint_depends_on_the_gate_and_the_model_and_not_on_the_outcome() -> None:
    def mark(result: Result, **changes: Any) -> str:
        return _rendered("gitlab", _report(result, **changes))[0]["fingerprint"]

    before = _gate(Verdict.FAIL)
    estimate = Estimate(value=0.5, low=0.1, high=0.9, unit="share", method="m")
    finding = dataclasses.replace(before.finding, estimate=estimate, sentence="s", n=1)
    subject = dataclasses.replace(_FULL.subject, sha256="0" * 64, members=5)
    limit = Limit(metric="tpr", attack="lira-online", at_fpr=0.01, max=0.9, source="elsewhere.toml", line=99)
    assert mark(
        Result(finding=finding, limit=limit, verdict=Verdict.INCONCLUSIVE, reason="r"), subject=subject
    ) == mark(before)
    others = [
        mark(_gate(Verdict.FAIL, "lira-offline")),
        mark(_gate(Verdict.FAIL, at_fpr=0.001)),
        mark(before, subject=dataclasses.replace(_FULL.subject, model="other.pt")),
    ]
    assert len({mark(before), *others}) == 4


def test_a_statement_about_no_file_is_refused() -> None:
    report = dataclasses.replace(_FULL, subject=dataclasses.replace(_FULL.subject, sha256="unknown"))
    with pytest.raises(MemauditError, match=r"subject\.sha256: 'unknown' is no SHA-256"):
        reports.FORMATS["intoto"](report)


def test_the_statement_carries_the_limits() -> None:
    (limits,) = _rendered("intoto", _FULL)["predicate"]["configuration"]
    assert json.loads(base64.b64decode(limits["content"])) == [
        dataclasses.asdict(result.limit) for result in _FULL.results if result.limit is not None
    ]


def test_the_bill_of_materials_has_every_figure_with_its_interval() -> None:
    component = _rendered("cyclonedx", _FULL)["components"][0]
    metrics = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert len(metrics) == len(_FULL.results)
    for metric in metrics:
        interval = metric["confidenceInterval"]
        numbers = (metric["value"], interval["lowerBound"], interval["upperBound"])
        assert tuple(map(float, numbers)) == (0.0417, 0.0389, 0.0446)
        assert "95% interval by Clopper–Pearson" in metric["type"]
    assert component["hashes"] == [{"alg": "SHA-256", "content": _FULL.subject.sha256}]


def test_the_model_card_section_can_stand_in_any_card() -> None:
    section = reports.FORMATS["modelcard"](_FULL).decode()
    assert section.startswith("## Privacy audit\n")
    assert not re.search(r"^(---|\+\+\+|# )", section, re.MULTILINE)
    for words in ("4.2%", "3.9–4.5%", "Attribute inference.", "One training run.", "FAIL", _FULL.subject.sha256):
        assert words in section


# ---- the same bytes, and nobody's example


@pytest.mark.parametrize("name", ["html", "json", *_PIPELINE])
def test_the_same_report_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    reports.save(_FULL, tmp_path / "a.json")
    assert reports.FORMATS[name](reports.load(tmp_path / "a.json")) == reports.FORMATS[name](_FULL)


@pytest.mark.parametrize("name", _PIPELINE)
def test_nothing_about_single_examples_reaches_a_pipeline(name: str) -> None:
    assert reports.FORMATS[name](_with_people(_FULL)) == reports.FORMATS[name](_FULL)


def test_every_format_is_either_for_pipelines_or_for_readers() -> None:
    assert set(reports.FORMATS) == {"html", "json", "pdf", *_PIPELINE}


# ---- hostile content


def _poisoned(node: Any, change: Callable[[str], str]) -> Any:
    """The same with every text changed, except those that are choices, names, digests, dates, codes or paths."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        kept = {"schema", "sha256", "created", "code", "metric", "attack"} | (
            {"source"} if isinstance(node, Limit) else set()
        )
        fields = {f.name: getattr(node, f.name) for f in dataclasses.fields(node) if f.name not in kept}
        return dataclasses.replace(node, **{name: _poisoned(value, change) for name, value in fields.items()})
    if isinstance(node, tuple):
        return tuple(_poisoned(item, change) for item in node)
    if isinstance(node, dict):
        return {key: change(value) for key, value in node.items()}
    return change(node) if type(node) is str else node


class _Skeleton(HTMLParser):
    """The tags of a page, their attributes' names, and its words; without what keeps intervals unbroken."""

    def __init__(self, content: str):
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.words = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if (tag, attrs) != ("span", [("class", "unbroken")]):
            self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def _json_shape(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _json_shape(value) for key, value in node.items()}
    return [_json_shape(item) for item in node] if isinstance(node, list) else type(node).__name__


def _markdown_shape(content: str) -> tuple[Any, str]:
    """The block and inline elements of a text as CommonMark with tables reads it, and its words."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(content)
    shape, words = [], []
    for token in tokens:
        inner = [(t.type, t.attrs.get("href")) for t in token.children or () if t.type not in ("text", "text_special")]
        shape.append((token.type, token.tag, tuple(inner)))
        words += [t.content for t in token.children or ()]
    return shape, "".join(words)


def _unescaped(text: str) -> str:
    for code, character in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, character)
    return text


def _parsed(name: str, content: bytes) -> tuple[Any, str]:
    """The structure of a format, and all the text in it as its reader sees it."""
    if name == "html":
        page = _Skeleton(content.decode())
        return page.tags, page.words
    if name in ("md", "modelcard"):
        return _markdown_shape(content.decode())
    if name == "junit":
        root = etree.fromstring(content)
        text = " ".join([*root.itertext(), *(value for node in root.iter() for value in node.attrib.values())])
        return [(node.tag, tuple(node.attrib)) for node in root.iter()], text
    if name == "github":
        lines = [re.fullmatch(r"::(\w+) ([^:]*)::(.*)", line) for line in content.decode().split("\n")[:-1]]
        assert all(lines)
        parts = [line.groups() for line in lines if line]
        properties = [re.findall(r"(?:^|,)([a-z]+)=", shown) for _, shown, _ in parts]
        return [(p[0], names) for p, names in zip(parts, properties, strict=True)], _unescaped(content.decode())
    fields = json.loads(content)
    text = json.dumps(fields, ensure_ascii=False).replace("{{", "{").replace("}}", "}").replace("] (", "](")
    return _json_shape(fields), text


_TEXTUAL = ("html", *_PIPELINE)


def _require_the_same_structure(name: str, poison: str) -> None:
    """Both in front of a text, where it could open a block, and behind it, where it could close one."""
    expected, _ = _parsed(name, reports.FORMATS[name](_FULL))
    for change in (lambda words: f"{poison}{words}", lambda words: f"{words}{poison}"):
        shape, _ = _parsed(name, reports.FORMATS[name](_poisoned(_FULL, change)))
        assert shape == expected, poison


@pytest.mark.parametrize("name", _TEXTUAL)
def test_hostile_text_changes_no_structure(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pictures, which a page holds as base64; hostile labels are drawn below and in test_reports.py."""
    monkeypatch.setattr("memaudit.reports.figures.render", lambda figure, theme: b"<svg/>")
    for poison in _HOSTILE:
        _require_the_same_structure(name, poison)


@pytest.mark.slow
@pytest.mark.parametrize("name", _TEXTUAL)
@settings(max_examples=200, deadline=None)
@given(poison=_words)
def test_no_text_changes_the_structure(name: str, poison: str) -> None:
    _require_the_same_structure(name, poison)


@pytest.mark.parametrize("poison", [words for words in _HOSTILE if words.strip()])
@pytest.mark.parametrize("name", ["html", "md", "junit", "github", "modelcard"])
@pytest.mark.usefixtures("drawn_once")
def test_hostile_text_is_read_back_as_text(name: str, poison: str) -> None:
    _, words = _parsed(name, reports.FORMATS[name](_poisoned(_FULL, lambda words: f"{words} {poison} end")))
    assert " ".join(visible(poison).split()) in " ".join(words.split())


@pytest.mark.parametrize("poison", [words for words in _HOSTILE if words.strip()])
@pytest.mark.parametrize("name", ["sarif", "gitlab", "cyclonedx"])
def test_hostile_text_is_read_back_from_json(name: str, poison: str) -> None:
    fields = _rendered(name, _poisoned(_FULL, lambda words: f"{words} {poison} end"))
    texts = [fields[0]["description"]] if name == "gitlab" else []
    if name == "sarif":
        text = fields["runs"][0]["results"][0]["message"]["text"]
        texts = [text.replace("{{", "{").replace("}}", "}").replace("] (", "](")]
    if name == "cyclonedx":
        texts = [fields["components"][0]["name"]]
    assert all(" ".join(visible(poison).split()) in text for text in texts)


@pytest.mark.parametrize("name", _PIPELINE)
def test_ten_megabytes_of_text_do_not_swell_a_report(name: str) -> None:
    long = "long \u202e" * (10 * 2**20 // 6)
    finding = dataclasses.replace(_FULL.results[0].finding, title=long)
    results = (dataclasses.replace(_FULL.results[0], finding=finding), *_FULL.results[1:])
    assert len(reports.FORMATS[name](dataclasses.replace(_FULL, results=results))) < 30_000


# ---- the command line


@pytest.fixture
def report_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    reports.save(_FULL, tmp_path / "report.json")
    return tmp_path / "report.json"


def test_several_formats_at_once(report_file: Path, command: Command) -> None:
    named = "junit=a.xml,sarif=b.sarif,github=c=d,e.txt"
    done = command("report", report_file, "-o", named, "-o", "e.md", "--out", "modelcard=-")
    assert done.returncode == 0
    files = {"junit": "a.xml", "sarif": "b.sarif", "github": "c=d,e.txt", "md": "e.md"}
    for name, file in files.items():
        assert Path(file).read_bytes() == reports.FORMATS[name](_FULL)
    assert done.stdout.encode() == reports.FORMATS["modelcard"](_FULL)
    assert done.stderr.split() == list(files.values())
    assert command("report", report_file, "-o", "f.md").stdout == "f.md\n"


def test_an_edition_leaves_out_before_it_is_rendered(tmp_path: Path, command: Command) -> None:
    reports.save(_with_people(_FULL), tmp_path / "report.json")
    done = command("report", tmp_path / "report.json", "--edition", "public", "-o", "json=-")
    assert done.returncode == 0
    fields = json.loads(done.stdout)
    assert (fields["edition"], fields["exposed"]) == ("public", [])


@pytest.mark.parametrize(
    ("output", "complaint_part"),
    [
        ("junitt=a.xml", "there is no format 'junitt'; did you mean 'junit'?"),
        ("xyz=a", "there is no format 'xyz'; there are: html, json"),
        ("a.docx", "a.docx: the suffix names no format; use one of .html, .json, .md"),
        ("junit=", "junit= names no file"),
        ("junit=report.json/a.xml", "report.json/a.xml: report.json is no folder"),
        ("md=-,junit=-", "two outputs cannot both go to standard output"),
        ("md=a,junit=a", "two outputs cannot both go to a"),
    ],
)
def test_a_wrong_output_is_refused_before_anything_is_written(
    output: str, complaint_part: str, report_file: Path, complaint: Callable[..., str]
) -> None:
    assert complaint_part in complaint("report", report_file, "-o", "md=first.md", "-o", output)
    assert not Path("first.md").exists()


def test_an_audit_refuses_a_wrong_output_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complaint: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "did you mean 'sarif'?" in complaint("audit", "model.pt", "--out", "sariff=a")
    assert "the report goes into one folder, got a and b" in complaint("audit", "model.pt", "--out", "a", "--out", "b")


@pytest.mark.slow
def test_an_audit_writes_what_was_asked_for_beside_its_folder(project: Path, command: Command) -> None:
    named = "junit=a/report.xml,gitlab=b/c/g.json,github=-"
    done = command("audit", "model.safetensors", "-q", "--out", "a", "--out", named)
    assert done.returncode in (0, 1, 3), done.stderr
    report = reports.load("a/report.json")
    assert Path("a/report.xml").read_bytes() == reports.FORMATS["junit"](report)
    assert Path("b/c/g.json").read_bytes() == reports.FORMATS["gitlab"](report)
    assert done.stdout.encode() == reports.FORMATS["github"](report)
    assert done.returncode == exit_code(report)


def test_the_schema_is_printed(command: Command) -> None:
    done = command("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout) == schema()


def test_rendering_for_pipelines_needs_no_arrays_and_no_pictures(report_file: Path) -> None:
    code = (
        "import sys; from memaudit import reports\n"
        "report = reports.load(sys.argv[1])\n"
        "for name in sys.argv[2:]: reports.FORMATS[name](report)\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'matplotlib', 'jinja2', 'typst'} & sys.modules.keys()))"
    )
    arguments = [sys.executable, "-c", code, str(report_file), *_PIPELINE]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_outcomes_stand_with_the_worst_first() -> None:
    assert [o.verdict for o in outcomes(_FULL)] == [
        *(Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        Verdict.FAIL,  # waived
        *(Verdict.PASS, Verdict.PASS, Verdict.NOTED),
    ]
