"""What a report says, and what it must never do: load, run, hide or lose anything."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from memaudit import reports
from memaudit.errors import EvidenceError, MemauditError
from memaudit.reports import figures, html, markdown, standing, text, wording
from memaudit.reports.blocks import Badges, Card, Facts, Grid, Panels, Paragraph, Picture, Section
from memaudit.reports.document import document
from memaudit.reports.overview import forest
from memaudit.reports.regulation import mapping
from memaudit.types import (
    Bounds,
    Context,
    Control,
    Curve,
    Figure,
    FigureKind,
    Limit,
    Mark,
    Report,
    Result,
    Rung,
    Skipped,
    Table,
    Verdict,
)

REPORT: Report = samples.sample_report()
_map = samples.changed


class _Page(HTMLParser):
    """What a browser would find: the elements with their attributes, and the text."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words += data

    def skeleton(self) -> list[tuple[str, frozenset[str]]]:
        """Return the elements, without those around intervals, which depend on the numbers."""
        elements = [element for element in self.elements if element != ("span", {"class": "unbroken"})]
        return [(tag, frozenset(attributes)) for tag, attributes in elements]


@functools.cache
def _sample_page() -> bytes:
    return html.render(REPORT)


# ---- json


def test_json_round_trip_is_exact(tmp_path: Path) -> None:
    reports.save(REPORT, tmp_path / "a.json")
    loaded = reports.load(tmp_path / "a.json")
    assert loaded == REPORT
    assert [type(cell) for cell in loaded.results[2].finding.tables[0].rows[2]] == [str, *[float] * 5, type(None)]
    reports.save(loaded, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert html.render(loaded) == _sample_page()


def test_json_keeps_bounds(tmp_path: Path) -> None:
    result = REPORT.results[0]
    bounds = (Bounds(confidence=0.95, low=0.1, high=0.2), Bounds(confidence=0.99, low=0.05, high=0.3))
    found = dataclasses.replace(result.finding, estimate=dataclasses.replace(result.finding.estimate, bounds=bounds))
    report = dataclasses.replace(REPORT, results=(dataclasses.replace(result, finding=found),))
    reports.save(report, tmp_path / "a.json")
    assert reports.load(tmp_path / "a.json") == report


def test_json_keeps_what_a_failed_control_overstates(tmp_path: Path) -> None:
    failed = dataclasses.replace(REPORT.controls[0], passed=False, overstates=("tpr",))
    report = dataclasses.replace(REPORT, controls=(failed,))
    reports.save(report, tmp_path / "a.json")
    assert reports.load(tmp_path / "a.json") == report


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False, allow_infinity=False))
def test_json_keeps_any_text_and_any_number(words: str, value: float) -> None:
    report = dataclasses.replace(_map(REPORT, lambda _: words), provenance={words: words})
    exposed = dataclasses.replace(REPORT.exposed[0], score=value, identifier=words)
    report = dataclasses.replace(report, exposed=(exposed,))
    fields = json.loads(reports.FORMATS["json"](report))
    assert fields.pop("verdict") == "fail"
    assert fields == json.loads(json.dumps(dataclasses.asdict(report)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_refused_by_place(value: float, tmp_path: Path) -> None:
    exposed = (REPORT.exposed[0], dataclasses.replace(REPORT.exposed[1], score=value))
    with pytest.raises(MemauditError, match=r"exposed\.1\.score: .*not a finite number"):
        reports.save(dataclasses.replace(REPORT, exposed=exposed), tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def test_text_that_is_not_unicode_is_refused_by_place() -> None:
    subject = dataclasses.replace(REPORT.subject, model="m\udcff.pt")
    with pytest.raises(MemauditError, match=r"subject\.model: .*not Unicode"):
        reports.FORMATS["json"](dataclasses.replace(REPORT, subject=subject))


def _edit(path: tuple[str | int, ...], value: object) -> Callable[[dict[str, Any]], None]:
    def apply(fields: dict[str, Any]) -> None:
        node: Any = fields
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (_edit(("schema",), "memaudit.report/2"), r"schema: found 'memaudit\.report/2'"),
        (_edit(("verdict",), "pass"), "verdict: the file says 'pass', but its results say 'fail'"),
        (_edit(("extra",), 1), r"extra: .*[Uu]nexpected"),
        (_edit(("skipped", 1, "extra"), 1), r"skipped\.1\.extra: .*[Uu]nexpected"),
        (_edit(("subject", "members"), "19000"), r"subject\.members: .*integer"),
        (_edit(("results", 0, "verdict"), "maybe"), r"results\.0\.verdict: "),
        (
            _edit(("results", 0, "finding", "estimate", "low"), math.nan),
            "not a memaudit report: NaN is not a finite number",
        ),
        (lambda fields: fields["subject"].pop("sha256"), r"subject\.sha256: "),
    ],
)
def test_a_changed_file_is_refused_by_place(
    change: Callable[[dict[str, Any]], None], place: str, tmp_path: Path
) -> None:
    fields = json.loads(reports.FORMATS["json"](REPORT))
    change(fields)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(MemauditError, match=rf"changed\.json: {place}"):
        reports.load(path)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{\n "schema": oops\n}', r":2:12: not JSON"),
        (b'{"schema": "', r":1:12: not JSON"),
        (b"\xff\xfe", r": not a memaudit report: .*utf-8"),
        (b"[" * 100_000, r": not a memaudit report: .*recursion"),
        (b"[]", r": not a memaudit report: the file holds no JSON object"),
        (None, r": the report cannot be read: No such file"),
    ],
)
def test_what_is_no_json_is_refused_by_place(content: bytes | None, place: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MemauditError, match=rf"broken\.json{place}"):
        reports.load(path)


# ---- saving


def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(MemauditError, match=r"'\.docx'; use one of \.html, \.json, \.md"):
        reports.save(REPORT, tmp_path / "a.docx")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file_alone(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.MD"
    path.write_text("old")
    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(MemauditError, match="No space left on device"):
        reports.save(REPORT, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.MD"]


# ---- figures

_ZEROS = Curve(x=(0.0, 0.0, 1.0), y=(0.0, 0.0, 1.0), low=(0.0, 0.0, 0.9), high=(0.0, 0.1, 1.0), label="$x_{$ -- &<b>")
_EDGE_CASES = [
    samples.roc_figure(),
    samples.link_figure(),
    samples.histogram_figure(),
    samples.front_figure(),
    dataclasses.replace(samples.roc_figure(), curves=(_ZEROS,), unresolved=None),
    dataclasses.replace(samples.roc_figure(), curves=(), unresolved=1.0),
    dataclasses.replace(
        samples.link_figure(), curves=(dataclasses.replace(_ZEROS, x=(0.1, 0.2, 0.3)), _ZEROS), ticks=()
    ),
    dataclasses.replace(samples.link_figure(), curves=(Curve(x=(0.5,), y=(0.0,), label=""),)),
    dataclasses.replace(
        samples.histogram_figure(), curves=(Curve(x=(0.0, 1.0, 2.0, 3.0), y=(9e4, 0.0, 3.0), label="steep"),)
    ),
    dataclasses.replace(samples.histogram_figure(), curves=(Curve(x=(0.0, 1.0), y=(0.0,), label="empty"),)),
]


@pytest.mark.parametrize("theme", figures.Theme)
@pytest.mark.parametrize("figure", _EDGE_CASES, ids=lambda figure: str(figure.kind))
def test_every_figure_is_drawn_alike_twice(figure: Figure, theme: figures.Theme) -> None:
    svg = figures.render(figure, theme)
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert theme.value.paper.encode() in svg
    assert b"dc:date" not in svg
    assert svg == figures.render(figure, theme)


@pytest.mark.parametrize("figure", [*_EDGE_CASES, forest(REPORT)], ids=lambda figure: str(figure.kind))
def test_a_darkened_figure_is_the_one_that_is_drawn_for_the_dark(figure: Figure) -> None:
    def named_in_order(svg: bytes) -> bytes:
        """Names of parts depend on their colours."""
        names = dict.fromkeys(re.findall(rb' id="(\w+)"', svg))
        numbers = {name: str(number).encode() for number, name in enumerate(names)}
        return re.sub(rb'(?<=id=")\w+|(?<=#)\w+(?=["\)])', lambda name: numbers.get(name[0], name[0]), svg)

    light, dark = (figures.render(figure, theme) for theme in figures.Theme)
    assert named_in_order(figures.darkened(light)) == named_in_order(dark)


@pytest.mark.parametrize("figure", [*_EDGE_CASES, forest(REPORT)], ids=lambda figure: str(figure.kind))
def test_nothing_of_a_figure_is_cut_off_at_its_edges(figure: Figure) -> None:
    drawn = Image.open(io.BytesIO(figures.png(figure, figures.Theme.LIGHT))).convert("L")
    width, height = drawn.size
    ink = ImageChops.invert(drawn).getbbox()
    assert ink is not None
    assert ink[0] > 0 and ink[1] > 0 and ink[2] < width and ink[3] < height
    assert ink[2] - ink[0] > 0.9 * width and ink[3] - ink[1] > 0.9 * height  # and no room is lost


def test_zeros_are_drawn_at_the_edge_and_said_to_be() -> None:
    """matplotlib leaves out what a logarithm does not have; the picture's comments hold its words."""
    curve = Curve(x=(0.1, 0.2, 0.3), y=(0.0, 0.02, 0.5), label="rate")
    shown = figures.render(dataclasses.replace(samples.link_figure(), curves=(curve,)), figures.Theme.LIGHT).decode()
    hidden = figures.render(
        dataclasses.replace(samples.link_figure(), curves=(dataclasses.replace(curve, y=(0.015, 0.02, 0.5)),)),
        figures.Theme.LIGHT,
    ).decode()
    assert "are drawn at the edge" in shown
    assert "are drawn at the edge" not in hidden
    marks = re.findall(r'<use xlink:href="#(\w+)"[^>]*style="fill: #0072b2', shown)
    assert len(marks) == 4  # three points and one in the legend


def test_the_data_of_curves_over_one_x_stand_in_one_table() -> None:
    [table] = figures.data(samples.link_figure())
    assert table.columns == ("Memorization of the example", "recognized members", "non-members (FPR)")
    assert table.rows[4] == ("0.50–0.75", "12% (10–14%)", "0.1% (0.06–0.14%)")
    [table] = figures.data(samples.histogram_figure())
    assert table.rows[0] == (-6.0, -5.5, 0.0, 0.0)
    two = dataclasses.replace(samples.link_figure(), curves=(_ZEROS, dataclasses.replace(_ZEROS, x=(0.1, 0.2, 0.3))))
    assert len(figures.data(two)) == 2


def test_the_names_of_marks_that_are_near_do_not_cover_each_other() -> None:
    def places(*heights: float) -> list[str]:
        """On which side of the picture each name is written, by the picture's comments and coordinates."""
        marks = tuple(Mark(y=y, label=f"mark{i}") for i, y in enumerate(heights))
        curve = Curve(x=(0.0, 1.0), y=(0.0, 10.0), label="c")
        figure = dataclasses.replace(
            samples.link_figure(), kind=FigureKind.BITS, curves=(curve,), ticks=("a", "b"), marks=marks
        )
        svg = figures.render(figure, figures.Theme.LIGHT).decode()
        x = [float(re.search(rf"<!-- mark{i} -->.*?translate\(([\d.]+)", svg, re.DOTALL)[1]) for i in range(len(marks))]  # type: ignore[index]
        return ["left" if value < 150 else "right" for value in x]

    assert places(2.0, 5.0, 9.0) == ["right", "right", "right"]
    assert places(9.0, 9.1) == ["right", "left"]
    assert places(9.1, 9.0, 1.0) == ["left", "right", "right"]


def test_rows_below_a_heading_are_named_with_it() -> None:
    curve = Curve(x=(1.0, 2.0, 4.0), y=(0.2, 0.3, 0.4), low=(0.1, 0.2, 0.3), high=(0.3, 0.4, 0.5), label="TPR")
    ticks = ("smoker", "yes", "no", "member", "no")
    figure = Figure(kind=FigureKind.ROWS, title="t", x_label="s", y_label="Group", curves=(curve,), alt="", ticks=ticks)
    (table,) = figures.data(figure)
    assert table.columns == ("Group", "TPR")
    assert table.rows[0] == ("smoker = yes", "20% (10–30%)")
    assert [row[0] for row in table.rows] == ["smoker = yes", "smoker = no", "member = no"]
    svg = figures.render(figure, figures.Theme.DARK).decode()
    assert all(f"<!-- {tick} -->" in svg for tick in ticks) and "<!-- Group -->" not in svg


def test_a_legend_of_many_curves_leaves_the_axes_their_height() -> None:
    def height(count: int) -> float:
        curves = tuple(dataclasses.replace(_ZEROS, label=f"attack {i}") for i in range(count))
        svg = figures.render(dataclasses.replace(samples.roc_figure(), curves=curves), figures.Theme.LIGHT)
        patch = re.search(rb'id="patch_2">\s*<path d="M [\d.]+ ([\d.]+) \nL [\d.]+ [\d.]+ \nL [\d.]+ ([\d.]+)', svg)
        assert patch is not None
        return float(patch[1]) - float(patch[2])

    assert abs(height(8) - height(2)) < 0.05 * height(2)


def test_no_two_of_eight_curves_look_alike() -> None:
    curves = tuple(Curve(x=(0.1, 0.2), y=(0.1, 0.2), label=str(i)) for i in range(8))
    figure = dataclasses.replace(samples.roc_figure(), curves=curves)
    svg = figures.render(figure, figures.Theme.LIGHT).decode()
    drawn = set(
        re.findall(
            r'style="fill: none; (?:stroke-dasharray: [\d., ]+; )?(?:stroke-dashoffset: 0; )?stroke: (#\w+)', svg
        )
    )
    assert {"#0072b2", "#d55e00", "#007a5a", "#a3467c"} <= drawn
    lines = re.findall(r'<path d="[^"]*" clip-path="[^"]*" style="(fill: none; [^"]*)"', svg)
    assert (
        len(
            {
                re.sub(r"stroke-width: [\d.]+;? ?", "", line)
                for line in lines
                if "#d5d9de" not in line and "#6b727a" not in line
            }
        )
        == 8
    )


def test_a_users_own_matplotlib_settings_change_nothing() -> None:
    import matplotlib

    before = figures.render(samples.roc_figure(), figures.Theme.LIGHT)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none"}):
        assert figures.render(samples.roc_figure(), figures.Theme.LIGHT) == before
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize(
    "curve",
    [
        Curve(x=(0.1,), y=(0.1, 0.2), label="short"),
        Curve(x=(0.1, 0.2), y=(0.1, 0.2), low=(0.0, 0.1), label="one end"),
    ],
)
def test_coordinates_that_do_not_belong_together_are_refused(curve: Curve) -> None:
    with pytest.raises(EvidenceError, match=rf"'{samples.roc_figure().title}', curve '{curve.label}'"):
        figures.render(dataclasses.replace(samples.roc_figure(), curves=(curve,)), figures.Theme.LIGHT)


# ---- html

_HOSTILE = [
    "</style></script><script>alert(1)</script><img src=http://x.test onerror=alert(1)>",
    '" onload="alert(1)" x="',
    "{{ 7*7 }}{% raw %}{# #}",
    "\u202eetirw\u2066\u200f\ufeff\x00\x1b[31m\x85\u2028\U000e0041",
    "<!-- --> ]]> &lt; $x_{1}$ `code` | a\n\n# b",
    "a lone half \udcff",
    "字" * 80,
]


def _with_metrics(report: Report) -> Report:
    """The report with the metrics and attacks of the sample, which choose what is drawn."""
    results = tuple(
        dataclasses.replace(
            result,
            finding=dataclasses.replace(result.finding, metric=own.finding.metric, attack=own.finding.attack),
        )
        for result, own in zip(report.results, REPORT.results, strict=True)
    )
    return dataclasses.replace(report, results=results)


def test_hostile_strings_stay_text() -> None:
    poison = "".join(_HOSTILE)
    page = _Page(html.render(_with_metrics(_map(REPORT, lambda words: words + poison))))
    assert page.skeleton() == _Page(_sample_page()).skeleton()
    assert " ".join(text.visible(poison).split()) in " ".join(page.words.split())


@pytest.mark.parametrize("poison", _HOSTILE)
def test_hostile_labels_are_drawn(poison: str) -> None:
    figure = _map(dataclasses.replace(samples.link_figure(), title=""), lambda words: poison)
    ElementTree.fromstring(figures.render(figure, figures.Theme.LIGHT))


@given(st.text())
def test_visible_text_has_nothing_that_hides_or_reorders(words: str) -> None:
    shown = text.visible(words)
    shown.encode()
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]", shown
    )
    assert text.visible(shown) == shown


def test_the_page_refers_to_nothing_outside_itself() -> None:
    page = _Page(_sample_page())
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "svg"}
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert attributes.get("href", "#").startswith("#")
    for name, attributes in page.elements:
        if name == "img" and "svg" in attributes["src"]:
            svg = base64.b64decode(attributes["src"].partition(",")[2]).decode()
            assert not re.search(r'(href|src)="(?!#)|url\((?!#)|<script', svg)


def test_the_policy_allows_this_style_and_nothing_else() -> None:
    content = _sample_page().decode()
    policy = next(a["content"] for tag, a in _Page(content.encode()).elements if a.get("http-equiv"))
    style = content.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert content.index("Content-Security-Policy") < content.index("<style>")
    assert "url(" not in style
    assert "@import" not in style


def test_every_reference_inside_the_page_has_its_target() -> None:
    elements = _Page(_sample_page()).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    wanted = {a["href"][1:] for _, a in elements if "href" in a} | {
        a["aria-labelledby"] for _, a in elements if "aria-labelledby" in a
    }
    assert len(ids) == len(set(ids))
    assert wanted <= set(ids)


def _sources(thumbnail: str) -> list[str]:
    """The addresses of the images on a page with one example."""
    exposed = (dataclasses.replace(REPORT.exposed[0], thumbnail=thumbnail),)
    elements = _Page(html.render(dataclasses.replace(REPORT, results=(), exposed=exposed))).elements
    return [attributes["src"] for tag, attributes in elements if tag == "img"]


def test_thumbnails_reach_the_page_as_their_pixels_alone() -> None:
    from matplotlib.image import imread

    picture = samples.png(3)
    content = base64.b64decode(picture.partition(",")[2])
    secret = b"tEXtComment\0where the photograph was taken"
    chunk = struct.pack(">I", len(secret) - 4) + secret + struct.pack(">I", zlib.crc32(secret))
    talkative = content[:33] + chunk + content[33:]  # behind the header
    for thumbnail in (picture, picture.partition(",")[2], base64.b64encode(talkative).decode()):
        [source] = _sources(thumbnail)
        shown = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        assert (imread(io.BytesIO(shown))[..., 0] == imread(io.BytesIO(content))).all()
        assert b"photograph" not in shown


def _png_that_claims(side: int) -> str:
    content = base64.b64decode(samples.png(3).partition(",")[2])
    header = b"IHDR" + struct.pack(">II", side, side) + content[24:29]
    return base64.b64encode(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]).decode()


@pytest.mark.parametrize(
    "hostile",
    [
        "http://x.test/a.png",
        "data:image/svg+xml;base64,PHN2Zy8+",
        "PHN2Zy8+",
        '"><script>',
        "ключ",
        base64.b64encode(b"\x89PNG\r\n\x1a\n").decode(),
        base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"A" * 99).decode(),
        samples.png(3)[:90],
        _png_that_claims(8_000_000),
        _png_that_claims(900),
    ],
)
def test_what_is_no_png_does_not_reach_the_page(hostile: str) -> None:
    assert _sources(hostile) == []


def test_an_empty_report_explains_its_gaps() -> None:
    empty = dataclasses.replace(
        REPORT, results=(), skipped=(), controls=(), exposed=(), untested=(), limitations=(), provenance={}
    )
    words = _Page(html.render(empty)).words
    for sentence in (
        "No limit is set",
        "No check produced a result",
        "No controls were run",
        "No single examples are",
        "It needs a bank of shadow models",
    ):
        assert sentence in words
    assert "No check produced a result" in markdown.render(empty).decode()


@pytest.mark.parametrize("render", [html.render, markdown.render])
def test_a_failed_control_is_said_before_any_finding(render: Callable[[Report], bytes]) -> None:
    failed = dataclasses.replace(REPORT.controls[1], passed=False)
    content = render(dataclasses.replace(REPORT, controls=(failed,), skipped=())).decode()
    assert content.index("did not pass its own test") < content.index(REPORT.results[0].finding.title)
    assert "FAILED" in content


# ---- what stands in every report


def _section(report: Report, name: str) -> Section:
    """The section of a page with that id, wherever it is."""

    def walk(sections: tuple[Any, ...]) -> Iterator[Section]:
        for section in sections:
            if isinstance(section, Section):
                yield section
                yield from walk(section.content)

    return next(section for section in walk(document(report).sections) if section.id == name)


def test_the_first_page_asks_how_many_who_and_whether_to_trust_it() -> None:
    page = document(REPORT)
    (many, who), (trust,), *_ = page.front
    pictures = [block for section in (many, who) for block in section.content if isinstance(block, Picture)]
    assert [picture.figure.kind for picture in pictures] == [FigureKind.FOREST, FigureKind.LINK]
    link = next(r.finding for r in REPORT.results if r.finding.code == "LNK001")
    assert link.sentence in [block.words for block in who.content if isinstance(block, Paragraph)]
    (row,) = [block for block in trust.content if isinstance(block, Badges)]
    assert [badge.label for badge in row.badges] == [control.title for control in REPORT.controls]
    assert page.number is not None
    assert (page.number.value, page.number.interval) == ("4.2%", "95% CI 3.9–4.5%")


def test_the_forest_plot_shows_every_attack_beside_chance_and_limit_by_what_it_needs() -> None:
    limits = [Limit(metric="tpr", at_fpr=0.01, max=0.1, id="a"), Limit(metric="tpr", attack="rmia", max=0.2, id="b")]
    found = [samples.found("lira-online", 20), samples.found("rmia", 30), samples.found("rmia", 10, fpr=0.001)]
    figure = forest(samples.audited(limits, *found))
    assert figure is not None
    assert figure.ticks == ("+ shadow models", "LiRA (online)", "RMIA (online)")
    measured, chance, limit = figure.curves
    assert (measured.x, measured.y) == ((1.0, 2.0), (0.02, 0.03))
    assert (measured.low, measured.high) == tuple(
        tuple(getattr(finding.estimate, end) for finding in found[:2]) for end in ("low", "high")
    )
    assert chance.y == (0.01, 0.01)
    assert limit.y == (0.1, 0.1)  # the strictest of those about it
    [table] = figures.data(figure)
    assert table.rows[0] == ("LiRA (online)", "2% (1.2–3.1%)", "1%", "10%")
    for theme in figures.Theme:
        assert figures.render(figure, theme) == figures.render(figure, theme)


def test_attacks_at_another_rate_and_what_is_no_share_are_not_in_the_forest_plot() -> None:
    figure = forest(samples.audited([], samples.found("rmia", 30, fpr=0.001), samples.found("rmia", 60)))
    assert figure is not None
    assert figure.curves[0].y == (0.03,)
    assert forest(dataclasses.replace(REPORT, results=REPORT.results[:1])) is None


def test_what_was_not_linked_says_what_it_needs_and_shows_no_empty_panel() -> None:
    unlinked = dataclasses.replace(REPORT, results=REPORT.results[1:])
    who = document(unlinked).front[0][1]
    assert [type(block) for block in who.content] == [Paragraph]
    assert "memaudit bank fill" in str(who)
    why = Skipped(code="LNK001", title="Memorization and attack", reason="it needs at least 12 shadow models")
    who = document(dataclasses.replace(unlinked, skipped=(why,))).front[0][1]
    assert "Not measured: it needs at least 12 shadow models." in str(who)


def test_notices_are_on_the_first_page_and_in_every_summary() -> None:
    words = "7 of the 20 examples are exact copies of others."
    noticed = dataclasses.replace(REPORT, notices=(words,))
    assert words in [point.words for point in document(noticed).alerts]
    for name in ("md", "modelcard"):
        assert words in reports.FORMATS[name](noticed).decode()


def test_a_finding_that_two_limits_are_about_has_its_evidence_once() -> None:
    first = next(result for result in REPORT.results if result.finding.figures)
    bare = dataclasses.replace(first.finding, figures=(), tables=(), notes=())
    limit = Limit(metric=bare.metric, max=0.5, id="second")
    second = Result(finding=bare, limit=limit, verdict=Verdict.FAIL, reason="so it is")  # comes first on the page
    page = html.render(dataclasses.replace(REPORT, results=(first, second)))
    evidence = page.decode().partition('<h2 id="link">')[2].partition('<h3 id="exposed">')[0]
    assert evidence.count("<h3") == 1
    assert evidence.count("<figcaption") == len(first.finding.figures) - 1  # the first is on the first page
    assert "second" in page.decode()


@pytest.mark.parametrize(
    ("codes", "first_three"),
    [
        ((), ["not tested", "could not run", "not tested"]),
        (("MIA003",), ["tested", "could not run", "not tested"]),
        (("EXT001", "CAN002"), ["not tested", "tested", "tested"]),
    ],
)
def test_a_kind_of_attack_was_tested_if_something_was_found_out(codes: tuple[str, ...], first_three: list[str]) -> None:
    results = tuple(
        dataclasses.replace(REPORT.results[1], finding=dataclasses.replace(REPORT.results[1].finding, code=code))
        for code in codes
    )
    words = _Page(html.render(dataclasses.replace(REPORT, results=results, skipped=REPORT.skipped[1:]))).words
    table = words.partition("The attacker needs")[2].partition("Tested: by")[0]
    found = [line.strip() for line in table.splitlines() if line.strip() in ("tested", "not tested", "could not run")]
    assert found == [*first_three, *["not tested"] * 3]  # of the other three there is no check


def test_the_mapping_is_dated_and_points_at_sections_that_are_there() -> None:
    found = mapping()
    assert found.version
    assert found.date.year >= 2026
    assert all(set(source.sections) <= wording.TITLES.keys() for source in found.sources)
    assert all(source.seen for source in found.sources)


def test_the_mapping_repeats_no_claim_that_is_never_made() -> None:
    """Whoever reads "compliant" or "certified" beside a law reads it as a promise."""
    for source in mapping().sources:
        for words in (source.here, source.gap):
            assert not re.search(r"complian|complies|certif|anonymous|guarantee|fulfil|satisf", words)


def test_every_page_has_the_mapping_and_room_for_signatures() -> None:
    words = _Page(_sample_page()).words
    for source in mapping().sources:
        assert source.name in words
        assert source.says in words
    assert f"version {mapping().version}" in words
    assert all(role in words for role in wording.signatures(REPORT.context))


def _grids(report: Report, section: str) -> dict[str, tuple[tuple[Any, ...], ...]]:
    return {block.title: block.rows for block in _section(report, section).content if isinstance(block, Grid)}


def test_what_was_said_of_the_model_is_filled_in_and_the_rest_is_not() -> None:
    filled, bare = (_grids(report, "signatures") for report in (REPORT, dataclasses.replace(REPORT, context=Context())))
    release = "Release"
    assert [row[1] for row in filled[release]] == ["[    ]", "[    ]", "[ × ]", "[    ]"]
    assert {row[1] for row in bare[release]} == {"[    ]"}
    assert [row[1:] for row in filled["Signatures"]] == [
        (name, "", "") for name in ("Mo Kane", "Example Corp, Zoe Ngo", "")
    ]
    assert {row[1:] for row in bare["Signatures"]} == {("", "", "")}


def test_the_first_page_names_the_model_the_limits_and_what_was_not_said() -> None:
    front = document(REPORT).front[-1][0].content[0]
    assert isinstance(front, Facts)
    facts = {fact.name: fact.value for fact in front.facts}
    assert facts["SHA-256"] == REPORT.subject.sha256
    assert facts["Limits"] == "memorized_share ≤ 0.1; tpr of lira at 0.001 FPR ≤ 0.01"
    assert facts["Release"] == "API with probabilities"
    assert document(REPORT).title == "Privacy audit of model.pt (API with probabilities)"
    assert "Not provided" not in facts
    bare = document(dataclasses.replace(REPORT, context=Context())).front[-1][0].content[0]
    assert isinstance(bare, Facts)
    assert "auditor" in {fact.name: fact.value for fact in bare.facts}["Not provided"]


def test_the_link_and_memorization_have_sections_of_their_own_after_what_was_found() -> None:
    whole = ["found", "link", "memorization", "trust", "next", "about"]
    assert [section.id for section in document(REPORT).sections] == whole
    title = next(r.finding.title for r in REPORT.results if r.finding.code == "LNK001")
    found, link = (
        [s.title for s in _section(REPORT, name).content if isinstance(s, Section)] for name in ("found", "link")
    )
    assert title in link
    assert title not in found
    unlinked = dataclasses.replace(REPORT, results=REPORT.results[1:])
    assert "Who is found was not measured" in str(_section(unlinked, "link"))


def test_memorization_shows_its_pictures_first_and_repeats_nothing() -> None:
    memorized = next(r for r in REPORT.results if r.finding.code == "MEM001")
    pictured = [
        dataclasses.replace(
            memorized.finding, figures=(samples.roc_figure(),), title="Pictured", sentence="It is seen."
        ),
        dataclasses.replace(memorized.finding, figures=(samples.roc_figure(),), title="Also", sentence="It is shown."),
    ]
    more = tuple(dataclasses.replace(memorized, finding=finding) for finding in pictured)
    report = dataclasses.replace(REPORT, results=(*REPORT.results, *more))
    findings = [memorized.finding, *pictured]
    section = _section(report, "memorization")
    _, panels, *details = section.content
    assert isinstance(panels, Panels)
    assert [panel.title for panel in panels.sections] == [finding.title for finding in pictured]
    assert all(isinstance(panel.content[0], Picture) for panel in panels.sections)
    assert len(details) == len(findings) and all(isinstance(d, Section) and d.folded for d in details)
    assert all(str(section).count(finding.sentence) == 1 for finding in findings)
    assert str(section).count("Picture(") == len(pictured)
    bare = dataclasses.replace(REPORT, results=tuple(r for r in REPORT.results if r is not memorized))
    assert "Memorization was not measured" in str(_section(bare, "memorization"))


def test_checks_that_say_nothing_for_one_reason_stand_together() -> None:
    one, other = REPORT.skipped
    again = dataclasses.replace(one, title="The same at another rate")
    cards = _section(dataclasses.replace(REPORT, skipped=(one, other, again)), "unsaid").content
    assert [card.title for card in cards if isinstance(card, Card)] == [
        "2 measurements, same reason",
        f"{other.title} ({other.code})",
    ]
    page = html.render(dataclasses.replace(REPORT, skipped=(one, other, again))).decode()
    assert f"<li>{again.title} ({again.code})</li>" in page
    assert "same reason" not in html.render(REPORT).decode()


def test_provenance_is_grouped_under_readable_names() -> None:
    facts = {"bank.recipe.batch_size": "50", "package.torch": "2", "bank.seed": "1", "anything_else": "x"}
    section = _section(dataclasses.replace(REPORT, provenance=facts), "reproduce")
    shown = {
        block.title: [
            (fact.name, fact.value) for facts in block.content if isinstance(facts, Facts) for fact in facts.facts
        ]
        for block in section.content
        if isinstance(block, Section)
    }
    assert shown == {
        standing.PROVENANCE["bank.recipe."]: [("batch size", "50")],
        standing.PROVENANCE["package."]: [("torch", "2")],
        standing.PROVENANCE["bank."]: [("seed", "1")],
    }
    general = next(block for block in section.content if isinstance(block, Facts))
    assert ("anything else", "x") in [(fact.name, fact.value) for fact in general.facts]


def test_every_page_says_what_helps_and_promises_no_amount() -> None:
    words = _Page(_sample_page()).words
    assert standing.MITIGATIONS_FOR in words
    for row in standing.MITIGATIONS:
        assert all(cell in words for cell in row)
        assert not re.search(r"\d+(\.\d+)? ?%|\bby half\b|\d times", " ".join(row))


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("(5.73% to 9.26%)", "(5.73%\u00a0to\u00a09.26%)"),
        ("7.4% (5.7–9.3%)", "7.4% (5.7–9.3%)"),
        ("(6.1% to 8.15%; bootstrap)", "(6.1%\u00a0to\u00a08.15%; bootstrap)"),
        ("0.06 (-0.05 to 0.20)", "0.06 (−0.05\u00a0to\u00a00.20)"),
        ("-5.521", "−5.521"),
        ("(curve 0.985, 0.980 to 0.989)", "(curve 0.985, 0.980\u00a0to\u00a00.989)"),
        *((same, same) for same in ("2026-11-22", "lira-online", "AI 100-2", "--fpr 0.1", "3-4", "from 1 to 3 pages")),
    ],
)
def test_numbers_are_set_as_numbers(words: str, shown: str) -> None:
    assert text.typeset(words) == shown
    assert text.typeset(shown) == shown


def test_ten_megabytes_of_text_anywhere_do_not_swell_the_page() -> None:
    """In words, in cells, in names, and in a figure, which is drawn."""
    long = "long \u202e" * (10 * 2**20 // 6)
    result = next(r for r in REPORT.results if r.finding.code == "LNK001")
    table = Table(title=long, columns=(long, "x"), rows=((long, 1), ("y", long)), note=long)
    drawn = result.finding.figures[0]
    curves = tuple(dataclasses.replace(curve, label=long) for curve in drawn.curves)
    figure = dataclasses.replace(
        drawn, title=long, alt=long, x_label=long, y_label=long, ticks=(long, *drawn.ticks[1:]), curves=curves
    )
    finding = dataclasses.replace(result.finding, title=long, sentence=long, figures=(figure,), tables=(table,))
    swollen = dataclasses.replace(
        REPORT,
        created=long,
        subject=dataclasses.replace(REPORT.subject, model=long),
        context=Context(auditor=long),
        provenance={long: long},
        results=(dataclasses.replace(result, finding=finding),),
    )
    assert len(html.render(swollen)) < 2 * len(_sample_page())


# ---- markdown


def test_the_summary_says_nothing_about_single_examples() -> None:
    marked = dataclasses.replace(
        REPORT, exposed=tuple(_map(example, lambda words: f"PERSON{words}") for example in REPORT.exposed)
    )
    assert markdown.render(marked) == markdown.render(dataclasses.replace(REPORT, exposed=()))


@pytest.mark.parametrize("poison", _HOSTILE)
def test_hostile_strings_are_no_markup_in_the_summary(poison: str) -> None:
    def shape(content: bytes) -> list[tuple[str, int, int]]:
        """Of each line its beginning, its table cells, and its unescaped signs of markup."""
        bare = [re.sub(r"\\.", "", line) for line in content.decode().splitlines()]
        return [(line[:2], line.count("|"), len(re.findall(r"[`<\[\]]", line))) for line in bare]

    assert shape(markdown.render(_map(REPORT, lambda words: words + poison))) == shape(markdown.render(REPORT))


def test_the_summary_stays_short() -> None:
    many = dataclasses.replace(REPORT, results=REPORT.results * 200, untested=("long " * 9000,))
    content = markdown.render(many)
    assert len(content) < 30_000
    assert content.decode().rstrip().endswith("the HTML report has the rest.")


# ---- words and numbers


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.001, "0.1%"),
        (0.417, "42%"),
        (0.0002, "0.02%"),
        (0.000837, "0.08%"),
        (0.0389, "3.9%"),
        (0.0, "0%"),
        (1.0, "100%"),
        (0.9996, "99.96%"),
        (1e-9, "< 0.001%"),
        (1 - 1e-9, "> 99.999%"),
        (-0.25, "−25%"),
    ],
)
def test_percentages(share: float, shown: str) -> None:
    assert text.percent(share) == shown


@given(st.floats(0, 1))
def test_only_certainty_is_shown_as_0_or_100_percent(share: float) -> None:
    shown = text.percent(share).removesuffix("%")
    assert (shown in ("0", "100")) == (share in (0.0, 1.0))


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.6123, "correlation", "0.61"),
        (-3.2, "bits", "−3.2 bits"),
        (12345.6, "nats", "12,346 nats"),
        (0.0, "nats", "0 nats"),
    ],
)
def test_quantities(value: float, unit: str, shown: str) -> None:
    assert text.quantity(value, unit).replace("\N{NO-BREAK SPACE}", " ") == shown


# ---- short pages, and plain answers on the first one


def test_what_specialists_need_is_folded_on_the_page_and_whole_in_its_text() -> None:
    page = document(REPORT)
    about, found, memorized = (
        next(s for s in page.sections if s.id == name) for name in ("about", "found", "memorization")
    )
    assert all(isinstance(part, Section) and part.folded for part in about.content)
    evidence = [part for part in (*found.content, *memorized.content) if isinstance(part, Section) and not part.id]
    assert evidence and all(part.folded for part in evidence)
    content = html.render(REPORT).decode()
    assert content.count('<details class="fold">') == len(about.content) + len(evidence)
    assert "<details open" not in content


def test_controls_are_folded_only_if_all_passed() -> None:
    assert not _section(REPORT, "controls").folded, "one of the sample's controls failed"
    passed = tuple(dataclasses.replace(control, passed=True) for control in REPORT.controls)
    assert _section(dataclasses.replace(REPORT, controls=passed), "controls").folded
    assert not _section(dataclasses.replace(REPORT, controls=()), "controls").folded


@pytest.mark.parametrize(
    ("hits", "passed", "said"),
    [
        (200, True, "The whole interval is above guessing, which shows a leak."),
        (200, False, "The whole interval is above guessing."),
        (10, True, "The interval includes guessing: this result neither shows nor excludes a leak."),
    ],
)
def test_the_first_page_says_in_numbers_what_an_attack_finds(hits: int, passed: bool, said: str) -> None:
    finding = dataclasses.replace(samples.found("lira-online", hits), counted="training examples")
    report = samples.audited([], finding)
    report = dataclasses.replace(report, controls=(Control(code="CTL001", title="x", sentence="x", passed=passed),))
    words = [block.words for block in document(report).front[0][0].content if isinstance(block, Paragraph)]
    assert words[-1].endswith(said)
    assert f"In numbers: about {hits} (" in words[-1]
    assert "of the 1,000 members tested; guessing finds 10." in words[-1]


def test_without_shadow_models_no_step_says_that_they_are_reused() -> None:
    report = samples.audited([], samples.found("lira-online", 10))
    assert "reused" in str(document(report).front[2])
    steps = str(document(dataclasses.replace(report, rung=Rung.TARGET)).front[2])
    assert "reused" not in steps
    assert "bank fill --shadows 64" in steps


def test_no_word_of_a_forest_plot_is_cut_at_its_edges() -> None:
    """Long names make the axis narrow, and a label below it would reach over the edge."""
    low = [samples.found(name, 1) for name in ("lira-online", "rmia")]
    estimate = dataclasses.replace(low[0].estimate, value=1e-4, low=0.0)
    figure = forest(samples.audited([], *(dataclasses.replace(f, estimate=estimate) for f in low)))
    assert figure is not None
    ticks = tuple("Modified-entropy threshold per class" if n else tick for n, tick in enumerate(figure.ticks))
    drawn = figures.png(dataclasses.replace(figure, ticks=ticks), figures.Theme.LIGHT)
    image = np.asarray(Image.open(io.BytesIO(drawn)).convert("L"))
    assert image[:, :2].min() == image[:, -2:].min() == 255


# --- rates and units --------------------------------------------------------------------------------------------------


def test_a_row_at_another_rate_than_the_pictures_says_so() -> None:
    members = samples.found("lira-online", 10)
    canaries = dataclasses.replace(members, code="CAN002", metric="canaries", attack="raw", at_fpr=0.001)
    figure = forest(samples.audited([], members, canaries))
    assert figure is not None
    assert figure.title == "Members identified at a 1% FPR; canaries and texts found"
    assert {"LiRA (online)", "Canaries, raw, 0.1% FPR"} <= set(figure.ticks)
    alone = forest(samples.audited([], members))
    assert alone is not None
    assert alone.title == "Members identified at a 1% FPR"


def test_a_language_model_was_trained_on_documents() -> None:
    members = samples.found("lira-online", 10)
    texts = dataclasses.replace(members, code="EXT001", metric="extraction", attack="greedy", at_fpr=None)
    assert "examples it was trained on" in document(samples.audited([], members)).lead
    assert "documents it was trained on" in document(samples.audited([], members, texts)).lead


def test_the_reason_of_a_check_that_could_not_run_is_a_sentence() -> None:
    refused = Skipped(code="CAN003", title="Exposed secrets", reason="no key was found")
    report = dataclasses.replace(samples.audited([]), skipped=(refused,))
    assert "No key was found." in html.render(report).decode()


@pytest.mark.parametrize("share", [0.00125, 5e-7, 0.01, 1.0])
def test_a_chosen_rate_has_no_exponent(share: float) -> None:
    written = text.rate(share)
    assert re.fullmatch(r"\d+(\.\d+)?%", written)
    assert float(written[:-1]) == pytest.approx(100 * share, rel=1e-9)
