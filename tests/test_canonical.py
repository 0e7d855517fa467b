"""The canonical form of JSON against RFC 8785's own examples, and the digest of a report."""

import json
import math
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memaudit.reports.canonical import canonical, digest
from memaudit.reports.json import render
from memaudit.types import Report, Subject

# RFC 8785, appendix B: the bits of a number, and how it is written.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize(("bits", "written"), NUMBERS.items())
def test_numbers_are_written_as_in_the_rfc(bits: str, written: str) -> None:
    assert canonical(struct.unpack(">d", bytes.fromhex(bits))[0]) == written.encode()


def test_the_example_of_the_rfc() -> None:
    """Section 3.2.3: keys by UTF-16 code units, so that one beyond U+FFFF stands before one just below."""
    keys = {
        "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
        "\U0001f600": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis",
    }  # fmt: skip
    order = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(keys))) == order
    text = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f"
    assert canonical([56, {"d": True, "10": None, "1": []}, text]) == (
        '[56,{"1":[],"10":null,"d":true},"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"]'.encode()
    )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(JSON)
def test_the_form_holds_the_same_value_and_is_its_own_form(value: object) -> None:
    """Read as ECMAScript reads it: every number is a double."""
    form = canonical(value)
    back = json.loads(form, parse_int=float)
    assert back == value
    assert canonical(back) == form
    assert canonical(json.loads(json.dumps(value, indent=3))) == form


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_exactly(value: float) -> None:
    assert float(canonical(value)) == value
    assert canonical(int(value)) == canonical(float(int(value)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**53 + 1, 1 - 2**60, "\ud800", {"\ud800": 1}])
def test_what_json_cannot_say_exactly_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"no exact form|surrogates not allowed"):
        canonical(value)


@pytest.mark.parametrize("value", [{1: 2}, {None: 2}, b"x", object(), {"a": {3}}])
def test_what_json_has_not_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="JSON has no"):
        canonical(value)


REPORT = Report(
    created="2026-11-23T10:00:00+00:00",
    subject=Subject(model="größe.pt", sha256="ab" * 32, members=3, nonmembers=4, shadows=8),
    results=(),
    skipped=(),
    controls=(),
    provenance={"b": "2", "a": "1"},
)


def test_a_reports_digest_does_not_depend_on_how_it_is_laid_out() -> None:
    import hashlib

    first = digest(render(REPORT))
    assert first == hashlib.sha256(canonical(json.loads(render(REPORT)))).hexdigest()
    assert first == digest(render(replace(REPORT, provenance={"a": "1", "b": "2"})))
    assert first != digest(render(replace(REPORT, provenance={"a": "1", "b": "3"})))
    assert first != digest(render(replace(REPORT, subject=replace(REPORT.subject, members=4))))
