"""Whatever stands in report.json and memaudit.toml: no traceback, no verdict on what is no report, in bounded time."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from fuzzing import call, places
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memaudit.auditing.folder import DIGEST, REPORT, SUMS

LIMITS = '[[gate]]\nid = "found"\nmetric = "tpr"\nat_fpr = 0.02\nmax = 0.5\n'
OFTEN = settings(max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module")
def content(real_report: Any) -> Any:
    """The report of a real audit."""
    return real_report


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "memaudit.toml").write_text(LIMITS, "utf-8")
    return folder


def judge(place: Path, text: bytes) -> set[int]:
    """Returns how the commands that read a report end, one folder with digest and sums and all."""
    file = place / REPORT
    for name in (DIGEST, SUMS):
        (place / name).unlink(missing_ok=True)
    file.write_bytes(text)
    gate, *_ = call("gate", file, "--config", place / "memaudit.toml", "--out", f"junit={place / 'x.xml'}")
    render, *_ = call("report", file, "-o", f"md={place / 'x.md'},sarif={place / 'x.sarif'},json={place / 'x.json'}")
    compared, *_ = call("diff", file, file)
    (place / SUMS).write_text(f"{'0' * 64}  {REPORT}\n", "utf-8")
    verified, *_ = call("verify", place)
    assert verified == 2
    return {gate, render, compared} if gate == 2 else {gate}


# ---- report.json

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 2**31, 2**53, 2**53 + 1, 10**300, -(10**18)])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1e308, -1e308, 5e-324, 7.0, -0.5])
    | st.text(max_size=20)
    | st.sampled_from(["", "\x1b[2J", "\u202e", "tpr", "pass", "share", "bits", "1999-01-01", "9999-12-31T23:59:59Z"])
    | st.just("A" * 10_000)
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@OFTEN
@given(data=st.data())
def test_a_report_with_anything_in_the_place_of_anything(content: Any, place: Path, data: st.DataObject) -> None:
    changed = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 3))):
        way = data.draw(st.sampled_from(list(places(changed))))
        node = changed
        for key in way[:-1]:
            node = node[key]
        if data.draw(st.booleans()):
            node[way[-1]] = data.draw(_VALUES)
        else:
            del node[way[-1]]
        if not changed:
            break
    assert judge(place, json.dumps(changed).encode()) <= {0, 1, 2, 3}


@OFTEN
@given(value=_VALUES | st.dictionaries(st.sampled_from(["schema", "verdict", "results", "subject"]), _VALUES))
def test_json_that_is_no_report_is_no_verdict(place: Path, value: Any) -> None:
    assert judge(place, json.dumps(value).encode()) == {2}


@OFTEN
@given(text=st.binary(max_size=200))
def test_bytes_that_are_no_report_are_no_verdict(place: Path, text: bytes) -> None:
    assert judge(place, text) == {2}


@OFTEN
@given(at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_report_with_one_byte_changed(content: Any, place: Path, at: float, byte: int) -> None:
    text = bytearray(json.dumps(content).encode())
    text[int(at * len(text))] = byte
    assert judge(place, bytes(text)) <= {0, 1, 2, 3}


def _with(content: Any, name: str, value: Any) -> bytes:
    return json.dumps(content | {name: value}).encode()


@pytest.mark.slow
def test_a_report_that_is_too_much(content: Any, place: Path) -> None:
    whole = json.dumps(content)
    deep = "[" * 900 + "]" * 900
    results, controls, exposed = content["results"], content["controls"], content["exposed"]
    too_much = {
        "nested": b"[" * 1_000_000,
        "nested in a report": whole.replace('"untested": [', f'"untested": [{deep}, ', 1).encode(),
        "nested objects": b'{"a":' * 100_000,
        "a million findings": _with(content, "results", results[:1] * 11_000),
        "a million controls": _with(content, "controls", controls[:1] * 1_000_000),
        "a million examples": _with(content, "exposed", exposed[:1] * 100_000),
        "a million numbers": _with(content, "results", [0] * 1_000_000),
        "a number of 4,000 digits": whole.replace('"members": 100', f'"members": {"9" * 4000}').encode(),
        "a surrogate": whole.replace('"model.safetensors"', '"\\ud800"').encode(),
        "a key that is one": whole.replace('"provenance": {', '"provenance": {"\\ud800": "", ').encode(),
        "spaces": whole.encode() + b" " * (65 * 2**20),
        "another encoding": whole.encode("utf-16"),
        "a byte order mark": b"\xef\xbb\xbf" + whole.encode(),
        "nothing": b"",
    }
    for text in too_much.values():
        assert judge(place, text) == {2}


@pytest.mark.slow
def test_long_lists_and_texts_in_a_report_take_no_longer_than_they_are(content: Any, place: Path) -> None:
    text = "x" * 5_000_000
    assert judge(place, _with(content, "limitations", [text])) <= {0, 1, 3}
    assert judge(place, _with(content, "untested", ["x"] * 200_000)) <= {0, 1, 3}
    assert judge(place, _with(content, "results", content["results"][:1] * 9_000)) <= {0, 1, 2, 3}
    assert judge(place, _with(content, "provenance", {str(n): "x" for n in range(200_000)})) <= {0, 1, 3}


# ---- memaudit.toml

_TOML = st.sampled_from(
    ["nan", "inf", "-inf", "1e400", "1" + "0" * 400, "-1", "0", "0.5", "true", "'x'", '""', '"\\u0000"', "1979-05-27",
     "07:32:00", "1979-05-27T07:32:00Z", "[]", "[1, 'a']", "{}", "{ a = 1 }", "[" * 200 + "]" * 200, "0xFF",
     "'" + "x" * 5000 + "'", "9223372036854775808", '"tpr"', '"lira-online"', "[[1]]", '"sha256:' + "ab" * 32 + '"']
)  # fmt: skip
_KEYS = st.sampled_from(
    ["metric", "attack", "at_fpr", "max", "confidence", "id", "required", "on_inconclusive", "gate", "subject", "cap",
     "reason", "owner", "approved_by", "expires", "shadows", "fpr", "hours", '"\\u001b"', "a.b.c"]
)  # fmt: skip
_TABLES = st.sampled_from(
    [
        "[audit]",
        "[[gate]]",
        "[[waiver]]",
        "[report]",
        "[budget]",
        "[gate]",
        "[[audit]]",
        "[x]",
        "[a.b]",
        '["\\u001b[2J"]',
    ]
)


@st.composite
def _settings(draw: st.DrawFn) -> str:
    lines = [LIMITS]
    for _ in range(draw(st.integers(0, 4))):
        lines.append(draw(_TABLES))
        lines += [f"{draw(_KEYS)} = {draw(_TOML)}" for _ in range(draw(st.integers(0, 5)))]
    return "\n".join(lines)


def read(place: Path, text: bytes) -> set[int]:
    file = place / "other.toml"
    file.write_bytes(text)
    return {call("policy", file)[0], call("gate", place / "good.json", "--config", file)[0]}


@OFTEN
@given(text=_settings())
def test_settings_with_anything_as_anything(content: Any, place: Path, text: str) -> None:
    (place / "good.json").write_text(json.dumps(content), "utf-8")
    assert read(place, text.encode()) <= {0, 1, 2, 3}


@OFTEN
@given(text=st.binary(max_size=200))
def test_bytes_as_settings_are_refused(content: Any, place: Path, text: bytes) -> None:
    (place / "good.json").write_text(json.dumps(content), "utf-8")
    assert 2 in read(place, text)


def test_settings_that_are_too_much(content: Any, place: Path) -> None:
    (place / "good.json").write_text(json.dumps(content), "utf-8")
    too_much = {
        "nested": b"a = " + b"[" * 100_000,
        "nested tables": b"a = " + b"{a = " * 100_000,
        "a long key": b".".join([b"a"] * 100_000) + b" = 1",
        "long keys": b"".join(b".".join([b"a%d" % n] * 1000) + b" = 1\n" for n in range(40)),
        "a long table": b"[" + b".".join([b"a"] * 100_000) + b"]",
        "many tables": b"[[gate]]\n" * 20_000,
        "many keys": b"".join(b"a%d = 1\n" % n for n in range(20_000)),
        "a number in another base": b"max = 0x" + b"f" * 4900,
        "a long line": b"a = '" + b"x" * 10_000_000 + b"'",
        "spaces": b" " * 10_000_000,
        "a number of 5,000 digits": b"max = " + b"9" * 5000,
        "a file without end": None,
    }
    for name, text in too_much.items():
        if text is None:
            assert call("policy", "/dev/zero")[0] == 2
        else:
            assert read(place, text) == {2}, name
