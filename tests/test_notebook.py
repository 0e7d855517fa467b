"""What a notebook shows: small, escaped, without script, and without anybody's example."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from samples import sample_report

from memaudit import notebook
from memaudit.auditing import Audit
from memaudit.bank import Bank

REPORT = sample_report()
TAGS = {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}


class _Page(HTMLParser):
    """The tags of a piece of HTML, and its text."""

    def __init__(self, content: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(shown: object) -> _Page:
    """What a notebook shows of an object, once it is sound."""
    found = _Page(shown._repr_html_())  # type: ignore[attr-defined]
    assert not found.open
    assert set(found.tags) <= TAGS
    assert found.attributes <= {"class", "style"}
    return found


def test_a_report_shows_verdict_findings_controls_and_what_could_not_run() -> None:
    text = page(REPORT).text
    for words in ("FAIL: privacy audit of model.pt", "64 shadow models", "rung 2", "tpr of lira"):
        assert words in text
    for result in REPORT.results:
        assert result.finding.sentence in text
    for control in REPORT.controls:
        assert control.sentence in text
    for skipped in REPORT.skipped:
        assert skipped.reason in text
    assert page(Audit(REPORT, None)).text == text


def test_no_single_example_is_shown() -> None:
    assert REPORT.exposed
    content = REPORT._repr_html_()
    assert not [e for e in REPORT.exposed if e.identifier in content or (e.thumbnail and e.thumbnail in content)]


def test_a_result_shows_its_limit_and_reason_and_a_finding_its_source() -> None:
    result = REPORT.results[2]
    assert "FAIL (limit: tpr of lira at 0.001 FPR ≤ 0.01)" in page(result).text
    assert result.reason in page(result).text
    assert "(no limit)" in page(REPORT.results[0]).text
    assert f"Source: {result.finding.source}" in page(result.finding).text


@pytest.mark.parametrize(
    "words", ["<script>alert(1)</script>", "</td></table><img src=x>", '" onclick="x', "&lt;b&gt;"]
)
def test_text_of_others_is_shown_as_text(words: str) -> None:
    hostile = replace(REPORT, subject=replace(REPORT.subject, model=words))
    found = page(hostile)
    assert words in found.text
    assert found.tags == page(REPORT).tags


def test_what_cannot_be_printed_is_replaced_and_what_is_long_is_cut() -> None:
    assert notebook.shown("a\u202eb\x00") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert len(notebook.shown("x" * 10**6)) == 1001


def test_a_bank_shows_what_is_in_it(workplace: Path) -> None:
    bank = Bank.open(workplace / "bank")
    text = page(bank).text
    for words in ("Bank bank", "16 (8 complete pairs)", "200", "seed0", "recipe"):
        assert words in text
    assert str(workplace) not in text
