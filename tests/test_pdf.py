"""The report on paper, looked at with another library than the one that made it: pypdf."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
import samples
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

import memaudit
from memaudit.errors import EvidenceError, MemauditError
from memaudit.reports import figures, html, json, pdf
from memaudit.reports.blocks import Photo
from memaudit.reports.document import document
from memaudit.reports.overview import forest
from memaudit.types import Figure, Report, Table

REPORT: Report = samples.sample_report()
SMALL = dataclasses.replace(REPORT, results=REPORT.results[:2], provenance={"memaudit": "0.1.0"})


@functools.cache
def _sample() -> bytes:
    return pdf.render(REPORT)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are empty: they have tests of their own, and take most of the time."""
    blank = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    monkeypatch.setattr(figures, "render", lambda figure, theme: blank)


_FOOT = r"attachedreport\.json,SHA-256[0-9a-f]{64}\d+of\d+$"


def _reader(content: bytes) -> Any:  # indexed down to the leaves, which pypdf types as objects
    return PdfReader(io.BytesIO(content))


def _words(content: bytes) -> str:
    """All text of the pages without white space, feet, and all heads but one: lines and pages break anywhere."""
    first, *others = (re.sub(_FOOT, "", _squeezed(page.extract_text())) for page in _reader(content).pages)
    head = next((at for at, seen in enumerate(zip(*others, strict=False)) if len(set(seen)) > 1), 0)
    return first + "".join(page[head * (number > 0) :] for number, page in enumerate(others))


def _squeezed(words: str) -> str:
    return re.sub(r"\s+", "", words)


def _tags(content: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The tags of the structure tree in reading order, with their attributes."""

    def walk(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        node = node.get_object()
        if isinstance(node, list):
            for item in node:
                yield from walk(item)
        elif isinstance(node, dict):
            if "/S" in node:
                yield str(node["/S"]), node
            if "/K" in node:
                yield from walk(node["/K"])

    return list(walk(_reader(content).trailer["/Root"]["/StructTreeRoot"]))


# ---- what kind of file it is


def test_the_file_says_that_it_is_archival_and_accessible() -> None:
    root = _reader(_sample()).trailer["/Root"]
    metadata = ElementTree.fromstring(root["/Metadata"].get_object().get_data())
    found = {element.tag: element.text for element in metadata.iter() if "id/}" in element.tag}
    assert found["{http://www.aiim.org/pdfa/ns/id/}part"] == "3"
    assert found["{http://www.aiim.org/pdfa/ns/id/}conformance"] == "A"
    assert found["{http://www.aiim.org/pdfua/ns/id/}part"] == "1"
    assert root["/OutputIntents"]


def test_it_has_a_title_a_language_and_the_date_of_the_audit() -> None:
    reader = _reader(_sample())
    root = reader.trailer["/Root"]
    assert root["/Lang"] == "en"
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert reader.metadata is not None
    assert reader.metadata.title == "Privacy audit of model.pt: FAIL"
    assert reader.metadata.creation_date is not None
    assert reader.metadata.creation_date.isoformat() == "2026-11-22T10:15:00+00:00"


def test_every_font_is_in_the_file() -> None:
    fonts = {}
    for page in _reader(_sample()).pages:
        for font in page["/Resources"]["/Font"].values():
            descendant = font["/DescendantFonts"][0].get_object()
            fonts[str(font["/BaseFont"])] = descendant["/FontDescriptor"].get_object().keys()
    assert {name.partition("+")[2] for name in fonts} == {
        "Inter-Regular",
        "Inter-SemiBold",
        "NotoSansMono-Regular",
    }
    assert all({"/FontFile2", "/FontFile3"} & keys for keys in fonts.values())


def test_the_attachment_is_the_json_and_its_digest_stands_on_every_page() -> None:
    reader = _reader(_sample())
    attached = json.render(REPORT)
    assert reader.attachments == {"report.json": [attached]}
    [file] = reader.trailer["/Root"]["/AF"]
    assert file.get_object()["/AFRelationship"] == "/Source"
    digest = hashlib.sha256(attached).hexdigest()
    assert all(digest in _squeezed(page.extract_text()) for page in reader.pages)


def test_pages_are_numbered() -> None:
    pages = _reader(_sample()).pages
    for number, page in enumerate(pages, 1):
        assert f"{number} of {len(pages)}" in page.extract_text()


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    """In another process too, with another seed for hashes and another working directory."""
    (tmp_path / "report.json").write_bytes(json.render(REPORT))
    code = (
        "import hashlib; from memaudit import reports; from memaudit.reports import pdf;"
        "print(hashlib.sha256(pdf.render(reports.load('report.json'))).hexdigest())"
    )
    package = str(Path(memaudit.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": package, "PYTHONHASHSEED": "77", "HOME": str(tmp_path), "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == hashlib.sha256(_sample()).hexdigest()


# ---- who cannot see it


def test_everything_is_tagged() -> None:
    root = _reader(_sample()).trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    tags = Counter(tag for tag, _ in _tags(_sample()))
    grids = sum(len(result.finding.tables) for result in REPORT.results)
    grids += sum(len(control.tables) for control in REPORT.controls)
    assert tags["/Table"] >= grids
    assert tags["/Table"] == tags["/THead"] == tags["/TBody"]
    assert tags["/TH"] > 0
    assert tags["/Title"] == 1
    assert {"/H1", "/H2", "/L", "/LI", "/TOC", "/Caption"} <= tags.keys()


def test_every_picture_says_in_words_what_it_shows() -> None:
    alts = [str(node["/Alt"]) for tag, node in _tags(_sample()) if tag == "/Figure"]
    drawn = [figure.alt for result in REPORT.results for figure in result.finding.figures]
    plot = forest(REPORT)
    assert plot is not None
    drawn.append(plot.alt)
    pictured = [f"Example {example.identifier}" for example in REPORT.exposed if example.thumbnail]
    assert sorted(alts) == sorted(drawn + pictured)


def test_a_figure_without_a_table_beside_it_has_its_numbers_printed() -> None:
    words = _words(_sample())
    assert "40%(30–50%)" in words  # a height of the figure of shares, which has no table of its own
    assert "9.3(8.1–10)" not in words  # one of the figure of bits, which has


# ---- what it says


def test_the_first_page_says_the_verdict_what_to_do_and_what_was_not_tested() -> None:
    first = _squeezed(_reader(_sample()).pages[0].extract_text())
    for words in (
        "The model leaks more than the limit allows, with 95% confidence.",
        REPORT.results[2].finding.sentence,
        "FAIL, WAIVED",
        "audit number 3",
        "Do not release this model",
        *REPORT.untested,
    ):
        assert _squeezed(words) in first


def _said(node: Any) -> Iterator[str]:
    """All words of a page but names for styles and anchors, and the tables of figures, which paper shows in part."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, tuple):
        for item in node:
            yield from _said(item)
    elif dataclasses.is_dataclass(node) and not isinstance(node, Figure | Photo):
        for field in dataclasses.fields(node):
            if field.name not in ("id", "tone", "data", "alt"):
                yield from _said(getattr(node, field.name))


def test_paper_and_screen_say_the_same() -> None:
    printed = _words(_sample())
    shown = _squeezed(unescape(re.sub(r"<[^>]*>", "", html.render(REPORT).decode())))
    for words in _said(document(REPORT)):
        assert _squeezed(words) in printed, words
        assert _squeezed(words) in shown, words


# ---- what others wrote

_HOSTILE = (
    '#import "@preview/x:1.0.0": *  #read("/etc/passwd")  #{ panic() }',
    "$ integral_0 ^oo $ *bold* _soft_ `raw` <label> @label // gone /* gone */ \\ ~ -- ---",
    "= Heading\n\n+ item\n/ Term: words\n#pagebreak()",
    "</script><script>alert(1)</script> {{ 7*7 }} %PDF-1.7 endstream endobj",
    "\u202eetirw\u2066\u200f\ufeff\x00\x1b[31m\x85\u2028\U000e0041\u00ad",
    "字漢 العربية עברית हिन्दी ไทย",
    "👩‍👩‍👧 🏴‍☠️ \U0001f600\ufe0f é e\u0301",
    "Z" + "\u0301\u0335\u20dd" * 30,
    "unbroken" * 400,
    "fi ffi -> => :: <- ≥ 1/2 st",
)


_SHAPE = ("/Table", "/TH", "/TD", "/Figure", "/H1", "/H2", "/LI", "/Title")  # a longer text may have more spans


def _shape(content: bytes) -> Counter[str]:
    return Counter(tag for tag, _ in _tags(content) if tag in _SHAPE)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("poison", _HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(poison: str) -> None:
    content = pdf.render(samples.changed(SMALL, lambda words: f"{words} {poison}"))
    assert _shape(content) == _shape(pdf.render(SMALL))
    words = _squeezed("".join(page.extract_text() for page in _reader(content).pages[:2]))
    hidden = "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
    assert not re.search(hidden, words)
    for character in set(normalize("NFC", poison)) - set(" \n"):  # an accent is set as part of its letter
        assert character in normalize("NFC", words) or f"‹U+{ord(character):04X}›" in words


@pytest.mark.usefixtures("undrawn")
@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_can_be_printed(words: str) -> None:
    """A glyph that is missing, an empty heading, or markup that is not inert would be an error of the compiler."""
    pdf.render(samples.changed(SMALL, lambda _: words))


@pytest.mark.usefixtures("undrawn")
def test_what_the_fonts_lack_is_spelled_out() -> None:
    subject = dataclasses.replace(REPORT.subject, model="模型\u0000.pt")
    assert "Privacyauditof‹U+6A21›‹U+578B›‹U+0000›.pt" in _words(
        pdf.render(dataclasses.replace(REPORT, subject=subject))
    )


@pytest.mark.usefixtures("undrawn")
def test_a_text_without_end_is_cut_and_says_so() -> None:
    endless = dataclasses.replace(SMALL, untested=("word " * 2_000_000,), limitations=("x" * 10_000_000,))
    content = pdf.render(endless)
    assert "cuthere;theJSONfilehas9,998,000charactersmore" in _words(content)
    assert len(_reader(content).pages) < 2 * len(_reader(pdf.render(SMALL)).pages)


@pytest.mark.usefixtures("undrawn")
def test_a_table_too_large_for_paper_says_what_is_missing() -> None:
    table = Table(title="Wide", columns=tuple(f"c{i}" for i in range(40)), rows=((1,) * 40,) * 3000)
    finding = dataclasses.replace(REPORT.results[1].finding, tables=(table,))
    report = dataclasses.replace(SMALL, results=(dataclasses.replace(REPORT.results[1], finding=finding),))
    assert "intheattachedJSONfile:2,800rowsand30columns" in _words(pdf.render(report))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("rows", [None, (), ((),), (("a",),), (("a", 1, "b", "c"),)])
def test_a_ragged_table_is_printed(rows: tuple[tuple[str | int, ...], ...] | None) -> None:
    table = Table(title="Ragged", columns=() if rows is None else ("one", "two"), rows=rows or ())
    finding = dataclasses.replace(REPORT.results[1].finding, tables=(table,))
    report = dataclasses.replace(SMALL, results=(dataclasses.replace(REPORT.results[1], finding=finding),))
    assert "Ragged" in _words(pdf.render(report))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("created", ["", "yesterday", "0001-01-01T00:00:00", "9999-12-31T23:59:59-14:00", "2026-11-22"])
def test_a_date_that_is_none_is_not_taken_from_the_clock(created: str) -> None:
    report = dataclasses.replace(SMALL, created=created)
    assert pdf.render(report) == pdf.render(report)
    metadata = _reader(pdf.render(report)).metadata
    assert metadata is not None
    assert metadata.creation_date is not None
    assert metadata.creation_date.year in (1970, 2026)
    assert (metadata.creation_date.year == 2026) == (created == "2026-11-22")


@pytest.mark.usefixtures("undrawn")
def test_an_empty_report_is_printed() -> None:
    empty = dataclasses.replace(
        REPORT, results=(), skipped=(), controls=(), exposed=(), untested=(), limitations=(), provenance={}, waivers=()
    )
    assert "Nocheckproducedaresult" in _words(pdf.render(empty))


# ---- errors


def test_what_json_lacks_is_refused() -> None:
    subject = dataclasses.replace(REPORT.subject, model="m\udcff.pt")
    with pytest.raises(MemauditError, match=r"subject\.model: .*not Unicode"):
        pdf.render(dataclasses.replace(REPORT, subject=subject))


def test_a_figure_that_cannot_be_drawn_is_refused() -> None:
    figure = samples.roc_figure()
    curve = dataclasses.replace(figure.curves[0], y=(0.1,))
    finding = dataclasses.replace(REPORT.results[0].finding, figures=(dataclasses.replace(figure, curves=(curve,)),))
    report = dataclasses.replace(SMALL, results=(dataclasses.replace(REPORT.results[0], finding=finding),))
    with pytest.raises(EvidenceError, match="cannot be drawn"):
        pdf.render(report)


@pytest.mark.usefixtures("undrawn")
def test_without_typst_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(MemauditError, match="pip install typst"):
        pdf.render(REPORT)
