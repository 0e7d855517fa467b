"""A report's fingerprint, which does not depend on how its JSON is laid out.

The digest of a report is the SHA-256 of its JSON value in the canonical form of RFC 8785 (JSON Canonicalization
Scheme): no white space, keys sorted by their UTF-16 code units, strings with as few escapes as possible, numbers as
ECMAScript writes them, UTF-8. Any other implementation of RFC 8785 finds the same digest for `report.json`, whether
that was indented, reordered or rendered again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from decimal import Decimal
from typing import Any

from memaudit.reports.text import one_line

_FIXED_FROM, _FIXED_TO = -7, 21  # powers of ten between which ECMAScript writes a number without an exponent


def digest(content: bytes) -> str:
    """Return the SHA-256, in hexadecimal, of the canonical form of a JSON document, such as a report's.

    Raises:
        ValueError: It is no JSON, or holds what has no canonical form.
    """
    return hashlib.sha256(canonical(parse(content))).hexdigest()


def parse(content: bytes | str) -> Any:
    """Return a JSON value in which no key occurs twice and every number is finite.

    Raises:
        ValueError: It is no such JSON; other readers would take another of the values, or none.
        RecursionError: It is nested too deeply.
    """
    return json.loads(content, object_pairs_hook=_once, parse_constant=_finite)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {one_line(repr(twice), 200)} occurs twice in one object")
    return found


def _finite(constant: str) -> Any:
    raise ValueError(f"{constant} is not a finite number")


def canonical(value: object) -> bytes:
    """Return a JSON value in canonical form.

    Raises:
        ValueError: It holds a number that is not finite, a whole number that is no double, or text that is not Unicode.
        TypeError: It holds something that JSON has not.

    Source: RFC 8785, section 3.2.
    """
    return _text(value).encode()


def _text(value: object) -> str:
    if value is None or isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        pairs = sorted(value.items(), key=lambda pair: pair[0].encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_text(key)}:{_text(entry)}" for key, entry in pairs) + "}"
    raise TypeError(f"JSON has no {type(value).__name__}")


def _number(value: int | float) -> str:
    """Return a number as ECMAScript writes it (ECMA-262, Number::toString): the fewest digits that mean it alone."""
    try:
        exact = math.isfinite(value) and float(value) == value
    except OverflowError:  # of 400 digits
        exact = False
    if not exact:
        raise ValueError(f"{one_line(str(value), 100)} has no exact form in JSON")
    if value == 0:
        return "0"  # of either sign
    sign, digits, exponent = Decimal(repr(float(value))).normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    point = len(text) + exponent  # the place of the decimal point among the digits
    if _FIXED_FROM < point - 1 < _FIXED_TO:
        if exponent >= 0:
            text += "0" * exponent
        else:
            text = f"{text[:point]}.{text[point:]}" if point > 0 else f"0.{'0' * -point}{text}"
    else:
        text = f"{text[0]}.{text[1:]}".rstrip(".") + f"e{point - 1:+d}"
    return "-" * sign + text
