"""What an audit prints: a table that fits the terminal, sentences on request, and what must be known beside them."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
import samples

from memaudit.cli import results, terminal
from memaudit.cli.audit_command import _told
from memaudit.types import Limit, Report, Verdict, word

LIMITS = [Limit(metric="tpr", attack="lira-online", at_fpr=0.01, max=0.05)]
REPORT = samples.audited(LIMITS, samples.found("lira-online", 10), samples.found("lira-offline", 200))
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def _printed(
    report: Report, monkeypatch: pytest.MonkeyPatch, columns: int = 80, *, sentences: bool = False
) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    return [line for text in _told(report, sentences) for line in COLOUR.sub("", text).splitlines()]


def test_a_result_is_a_row_with_value_interval_limit_and_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    head, first, second = [line for line in _printed(REPORT, monkeypatch) if line][:3]
    assert head.split() == ["Finding", "Value", "95%", "CI", "Limit", "Verdict"]
    assert re.split(r"\s{2,}", first) == ["MIA001 LiRA (online), TPR at 1% FPR", "1%", "0.48–1.8%", "≤ 5%", "PASS"]
    assert re.split(r"\s{2,}", second) == ["MIA002 LiRA (offline), TPR at 1% FPR", "20%", "18–23%", "-", "-"]


@pytest.mark.parametrize("columns", [80, 60, 200])
def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    result = REPORT.results[0]
    finding = dataclasses.replace(result.finding, metric="own", attack=None, title="A very long title " * 6)
    report = dataclasses.replace(REPORT, results=(dataclasses.replace(result, finding=finding), *REPORT.results))
    assert all(len(line) <= columns for line in _printed(report, monkeypatch, columns))


def test_sentences_are_printed_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(" ".join(_printed(REPORT, monkeypatch, sentences=True)).split())
    assert REPORT.results[1].finding.sentence in text
    assert "Finding Value" not in text
    assert REPORT.results[1].finding.sentence not in " ".join(" ".join(_printed(REPORT, monkeypatch)).split())


def test_what_must_be_known_is_printed_beside_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = dataclasses.replace(REPORT.controls[0], passed=False, sentence="It does not look alike.")
    report = dataclasses.replace(REPORT, notices=("7 of the 20 examples are exact copies.",), controls=(failed,))
    lines = _printed(report, monkeypatch, 200)
    assert "note          7 of the 20 examples are exact copies." in lines
    assert "control       It does not look alike." in lines
    assert any(line.startswith("above a limit The limit “tpr of lira-online") for line in lines)


def test_an_encoding_without_the_signs_keeps_the_columns() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    head, row, long = terminal.table(("A", "B", "C"), [("≤", "1–2", "x"), ("abc", "1-2", "y")], stream)
    assert (row, long) == ("<=   1-2  x", "abc  1-2  y")
    assert [line.isascii() for line in (head, row, long)] == [True] * 3


def test_colour_is_left_out_on_request_and_hostile_text_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    assert "\x1b[" in "".join(terminal.table(("A", "V"), [("a", "FAIL")], stream))
    monkeypatch.setenv("NO_COLOR", "1")
    lines = terminal.table(("A", "V"), [("[red]a[/red]", "FAIL")], stream)
    assert lines[1] == "[red]a[/red]  FAIL"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_text_beside_a_label_is_wrapped_in_a_terminal_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    entries = [("report", "one two three four five six seven eight nine")]
    assert results.wrapped(entries, stream=io.StringIO()) == ["report        " + entries[0][1]]
    (shown,) = results.wrapped(entries, stream=_Terminal())
    first, *others = shown.split("\n")
    assert first.startswith("report        one") and others
    assert all(len(line) <= 40 for line in (first, *others))
    assert all(line.startswith(" " * 14) for line in others)


def test_a_verdict_is_one_word_for_scripts() -> None:
    assert [word(verdict) for verdict in Verdict] == ["fail", "inconclusive", "pass", "no-limit-set"]
