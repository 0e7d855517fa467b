"""What a report says, and what it must never do: load, run, hide or lose anything."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memaudit import reports
from memaudit.errors import EvidenceError, MemauditError
from memaudit.reports import figures, html, markdown, text
from memaudit.types import (
    Control,
    Curve,
    Estimate,
    Exposed,
    Figure,
    FigureKind,
    Finding,
    Limit,
    Report,
    Result,
    Skipped,
    Subject,
    Table,
    Verdict,
)


def _png(shade: int) -> str:
    """A picture of 8 by 8 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes((shade + 9 * x * y) % 256 for x in range(8)) for y in range(8))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _roc_figure() -> Figure:
    fpr = tuple(10 ** (-4 + 4 * i / 60) for i in range(61))

    def curve(label: str, power: float) -> Curve:
        tpr = tuple(x**power for x in fpr)
        low = tuple(max(0.0, y - 1.6 * math.sqrt(x * 40) * 0.02 / power) for x, y in zip(fpr, tpr, strict=True))
        high = tuple(min(1.0, y * 1.15) for y in tpr)
        return Curve(x=(0.0, *fpr), y=(0.0, *tpr), low=(0.0, *low), high=(0.004, *high), label=label)

    return Figure(
        kind=FigureKind.ROC,
        title="How many members are recognized at each rate of false accusations",
        x_label="False-positive rate",
        y_label="True-positive rate",
        curves=(curve("LiRA, 64 shadow models", 0.45), curve("loss threshold", 0.87)),
        alt="The curve of LiRA lies far above guessing: at 0.1% false accusations it recognizes 4.2% of the members.",
        unresolved=0.0004,
    )


def _link_figure() -> Figure:
    tpr, fpr = (0.0, 0.002, 0.008, 0.031, 0.12, 0.35, 0.72), (0.001, 0.0012, 0.0009, 0.0011, 0.001, 0.0, 0.0013)
    x = (0.01, 0.06, 0.17, 0.37, 0.62, 0.82, 0.95)
    spread = (0.0004, 0.0006, 0.002, 0.006, 0.02, 0.04, 0.06)

    def curve(label: str, y: tuple[float, ...], by: tuple[float, ...]) -> Curve:
        pairs = list(zip(y, by, strict=True))
        low, high = tuple(max(0.0, a - b) for a, b in pairs), tuple(a + b for a, b in pairs)
        return Curve(x=x, y=y, low=low, high=high, label=label)

    return Figure(
        kind=FigureKind.LINK,
        title="Who is recognized, by how strongly the example was memorized",
        x_label="Memorization of the example",
        y_label="Rate",
        curves=(curve("recognized members", tpr, spread), curve("false accusations", fpr, (0.0004,) * 7)),
        alt="Recognition climbs from nearly none of the unmemorized examples to 72% of the most memorized ones.",
        ticks=("below 0.02", "0.02–0.10", "0.10–0.25", "0.25–0.50", "0.50–0.75", "0.75–0.90", "above 0.90"),
    )


def _histogram_figure() -> Figure:
    edges = tuple(-6.0 + 0.5 * i for i in range(33))
    middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    out = tuple(float(round(2600 * math.exp(-((m - 0.2) ** 2) / 3.2))) for m in middles)
    inside = tuple(float(round(2000 * math.exp(-((m - 1.6) ** 2) / 6.5))) for m in middles)
    return Figure(
        kind=FigureKind.HISTOGRAM,
        title="Scores of members and of others",
        x_label="Attack score (larger = more like a member)",
        y_label="Examples",
        curves=(Curve(x=edges, y=inside, label="members"), Curve(x=edges, y=out, label="others")),
        alt="The scores of the two groups overlap widely; only members reach the right end.",
    )


def _membership() -> Result:
    finding = Finding(
        code="MIA001",
        title="Members recognized at few false accusations",
        metric="tpr",
        attack="lira",
        at_fpr=0.001,
        estimate=Estimate(value=0.0417, low=0.0389, high=0.0446, unit="share", method="Clopper-Pearson, two-sided"),
        sentence="An attacker who wrongly accuses 1 in 1,000 outsiders recognizes between 3.89% and 4.46% of the "
        "people in the training data.",
        blind=0.001,
        n=19_000,
        source="Carlini et al. 2022, Membership Inference Attacks From First Principles, section 4",
        figures=(_roc_figure(), _histogram_figure()),
        tables=(
            Table(
                title="Attacks side by side",
                columns=("Attack", "FPR aimed at", "FPR measured", "TPR", "TPR low", "TPR high", "Queries"),
                rows=(
                    ("LiRA, empirical-Bayes variance", 0.001, 0.00093, 0.0417, 0.0389, 0.0446, 2),
                    ("LiRA, fixed variance", 0.001, 0.00101, 0.0361, 0.0335, 0.0388, 2),
                    ("loss threshold", 0.001, 0.00104, 0.0017, 0.0012, 0.0024, None),
                ),
                note="Thresholds were chosen on other models of the bank, never on this one.",
            ),
        ),
        notes=("The rate holds for the group; a single person’s risk depends on how unusual the example is.",),
    )
    limit = Limit(metric="tpr", attack="lira", at_fpr=0.001, max=0.01)
    reason = "The whole interval, from 3.89% to 4.46%, lies above the limit of 1%."
    return Result(finding=finding, limit=limit, verdict=Verdict.FAIL, reason=reason)


def _memorization() -> Result:
    finding = Finding(
        code="MEM001",
        title="Examples that the model knows by heart",
        metric="memorized_share",
        estimate=Estimate(value=0.083, low=0.071, high=0.112, unit="share", method="cluster bootstrap over pairs"),
        sentence="About 8.3% of the training examples are memorized: the model gets them right only because it has "
        "seen them.",
        n=32,
        source="Feldman and Zhang 2020, What Neural Networks Memorize and Why, equation 1",
    )
    limit = Limit(metric="memorized_share", max=0.1)
    reason = "The interval reaches from 7.1% to 11.2% and the limit of 10% lies inside it."
    return Result(finding=finding, limit=limit, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _link() -> Result:
    finding = Finding(
        code="LNK001",
        title="Memorized examples are the ones that are recognized",
        metric="link",
        estimate=Estimate(value=0.61, low=0.58, high=0.64, unit="correlation", method="Fisher z, Bonett-Wright"),
        sentence="Memorization and recognition go together: 84% of all recognized members are memorized examples.",
        n=19_000,
        source="Spearman 1904",
        figures=(_link_figure(),),
    )
    return Result(finding=finding, verdict=Verdict.NOTED, reason="No limit is set for this measurement.")


def sample_report() -> Report:
    """A realistic report in which everything that a report can hold occurs."""
    controls = (
        Control(
            code="CTL001",
            title="A planted leak is found",
            passed=True,
            sentence="A model over-fitted on purpose was recognized as leaking: 61% at 0.1% false accusations.",
            source="Jagielski et al. 2020",
        ),
        Control(
            code="CTL002",
            title="No leak is found where there is none",
            passed=True,
            sentence="0.09% flagged, 0.1% expected.",
        ),
        Control(
            code="CTL004",
            title="The model looks like its shadow models",
            passed=None,
            sentence="Could not be run: the recipe does not report its training loss.",
        ),
    )
    exposed = tuple(
        Exposed(
            identifier=hashlib.sha256(bytes([i])).hexdigest()[:16],
            label=("cat", "dog", "lorry")[i % 3],
            member=i % 4 != 3,
            score=9.1 - 0.7 * i,
            memorization=Estimate(
                value=0.98 - 0.03 * i, low=0.8 - 0.03 * i, high=1.0, unit="share", method="Newcombe–Wilson"
            ),
            margin=6.2 - 0.5 * i,
            thumbnail=_png(20 * i) if i != 2 else "",
        )
        for i in range(6)
    )
    return Report(
        created="2026-11-22T10:15:00Z",
        subject=Subject(model="model.pt", sha256="9f86d081884c7d65" * 4, members=19_000, nonmembers=21_000, shadows=64),
        results=(_link(), _memorization(), _membership()),
        skipped=(
            Skipped(
                code="MIA002",
                title="Members recognized at 1 false accusation in 10,000",
                reason="21,000 non-members cannot resolve a rate of 0.01%; it takes at least 29,956.",
                verdict=Verdict.INCONCLUSIVE,
            ),
            Skipped(code="CAN001", title="Planted secrets", reason="No secrets were planted in this training set."),
        ),
        controls=controls,
        exposed=exposed,
        untested=(
            "Attribute inference: guessing what is unknown about a person who is known to be in the data.",
            "Model inversion and reconstruction of training examples.",
            "An attacker who sees only the predicted label, or who can take part in the training.",
        ),
        limitations=(
            "The intervals describe this one trained model; another training run would give other figures.",
            "The attacker is assumed to have data like the training data and to know how the model was trained.",
        ),
        provenance={
            "command": "memaudit audit model.pt --evidence full",
            "memaudit": "0.1.0",
            "recipe": "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
            "python": "3.11.2",
            "torch": "2.15.0",
            "bank seed": "20261122",
        },
    )


REPORT = sample_report()


def _map(node: Any, change: Callable[[str], str]) -> Any:
    """The same report with every string changed that is not empty, except the choices, the schema and the pictures."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        kept = {"schema", "thumbnail"}
        fields = {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
        return dataclasses.replace(node, **{k: _map(v, change) for k, v in fields.items() if k not in kept})
    if isinstance(node, tuple):
        return tuple(_map(item, change) for item in node)
    if isinstance(node, dict):
        return {change(key): change(value) for key, value in node.items()}
    return change(node) if node and isinstance(node, str) and not isinstance(node, (Verdict, FigureKind)) else node


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
        return [(tag, frozenset(attributes)) for tag, attributes in self.elements]


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


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False, allow_infinity=False))
def test_json_keeps_any_text_and_any_number(words: str, value: float) -> None:
    report = dataclasses.replace(_map(REPORT, lambda _: words), provenance={words: words})
    exposed = dataclasses.replace(REPORT.exposed[0], score=value, identifier=words)
    report = dataclasses.replace(report, exposed=(exposed,))
    fields = json.loads(reports.FORMATS[".json"](report))
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
        reports.FORMATS[".json"](dataclasses.replace(REPORT, subject=subject))


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
        (_edit(("results", 0, "finding", "estimate", "low"), math.nan), r"results\.0\.finding\.estimate\.low: nan"),
        (lambda fields: fields["subject"].pop("sha256"), r"subject\.sha256: "),
    ],
)
def test_a_changed_file_is_refused_by_place(
    change: Callable[[dict[str, Any]], None], place: str, tmp_path: Path
) -> None:
    fields = json.loads(reports.FORMATS[".json"](REPORT))
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
    _roc_figure(),
    _link_figure(),
    _histogram_figure(),
    dataclasses.replace(_roc_figure(), curves=(_ZEROS,), unresolved=None),
    dataclasses.replace(_roc_figure(), curves=(), unresolved=1.0),
    dataclasses.replace(_link_figure(), curves=(dataclasses.replace(_ZEROS, x=(0.1, 0.2, 0.3)), _ZEROS), ticks=()),
    dataclasses.replace(_link_figure(), curves=(Curve(x=(0.5,), y=(0.0,), label=""),)),
    dataclasses.replace(_histogram_figure(), curves=(Curve(x=(0.0, 1.0, 2.0, 3.0), y=(9e4, 0.0, 3.0), label="steep"),)),
    dataclasses.replace(_histogram_figure(), curves=(Curve(x=(0.0, 1.0), y=(0.0,), label="empty"),)),
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


def test_zeros_are_drawn_at_the_edge_and_said_to_be() -> None:
    """matplotlib leaves out what a logarithm does not have; the picture's comments hold its words."""
    curve = Curve(x=(0.1, 0.2, 0.3), y=(0.0, 0.02, 0.5), label="rate")
    shown = figures.render(dataclasses.replace(_link_figure(), curves=(curve,)), figures.Theme.LIGHT).decode()
    hidden = figures.render(
        dataclasses.replace(_link_figure(), curves=(dataclasses.replace(curve, y=(0.015, 0.02, 0.5)),)),
        figures.Theme.LIGHT,
    ).decode()
    assert "is drawn at the edge" in shown
    assert "is drawn at the edge" not in hidden
    marks = re.findall(r'<use xlink:href="#(\w+)"[^>]*style="fill: #0072b2', shown)
    assert len(marks) == 4  # three points and one in the legend


def test_a_users_own_matplotlib_settings_change_nothing() -> None:
    import matplotlib

    before = figures.render(_roc_figure(), figures.Theme.LIGHT)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none"}):
        assert figures.render(_roc_figure(), figures.Theme.LIGHT) == before
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize(
    "curve",
    [
        Curve(x=(0.1,), y=(0.1, 0.2), label="short"),
        Curve(x=(0.1, 0.2), y=(0.1, 0.2), low=(0.0, 0.1), label="one end"),
    ],
)
def test_coordinates_that_do_not_belong_together_are_refused(curve: Curve) -> None:
    with pytest.raises(EvidenceError, match=rf"'{_roc_figure().title}', curve '{curve.label}'"):
        figures.render(dataclasses.replace(_roc_figure(), curves=(curve,)), figures.Theme.LIGHT)


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


def test_hostile_strings_stay_text() -> None:
    poison = "".join(_HOSTILE)
    page = _Page(html.render(_map(REPORT, lambda words: words + poison)))
    assert page.skeleton() == _Page(_sample_page()).skeleton()
    assert " ".join(text.visible(poison).split()) in " ".join(page.words.split())


@pytest.mark.parametrize("poison", _HOSTILE)
def test_hostile_labels_are_drawn(poison: str) -> None:
    figure = _map(dataclasses.replace(_link_figure(), title=""), lambda words: poison)
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


def test_only_png_thumbnails_reach_the_page() -> None:
    def sources(thumbnail: str) -> list[str]:
        exposed = (dataclasses.replace(REPORT.exposed[0], thumbnail=thumbnail),)
        elements = _Page(html.render(dataclasses.replace(REPORT, results=(), exposed=exposed))).elements
        return [attributes["src"] for tag, attributes in elements if tag == "img"]

    picture = _png(3)
    assert sources(picture) == sources(picture.partition(",")[2]) == [picture]
    for hostile in ("http://x.test/a.png", "data:image/svg+xml;base64,PHN2Zy8+", "PHN2Zy8+", '"><script>', "ключ"):
        assert sources(hostile) == []


def test_an_empty_report_explains_its_gaps() -> None:
    empty = dataclasses.replace(
        REPORT, results=(), skipped=(), controls=(), exposed=(), untested=(), limitations=(), provenance={}
    )
    words = _Page(html.render(empty)).words
    for sentence in (
        "No limit was set",
        "No check produced a finding",
        "No controls were run",
        "No single examples are",
    ):
        assert sentence in words
    assert "No check produced a finding" in markdown.render(empty).decode()


@pytest.mark.parametrize("render", [html.render, markdown.render])
def test_a_failed_control_is_said_before_any_finding(render: Callable[[Report], bytes]) -> None:
    failed = dataclasses.replace(REPORT.controls[1], passed=False)
    content = render(dataclasses.replace(REPORT, controls=(failed,), skipped=())).decode()
    assert content.index("did not pass its own test") < content.index(REPORT.results[0].finding.title)
    assert "FAILED" in content


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
        (0.417, "41.7%"),
        (0.0002, "0.02%"),
        (0.0389, "3.89%"),
        (0.0, "0%"),
        (1.0, "100%"),
        (0.9996, "99.96%"),
        (1e-9, "< 0.0001%"),
        (1 - 1e-9, "> 99.9999%"),
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
        (0.6123, "correlation", "0.612"),
        (-3.2, "bits", "−3.2 bits"),
        (12345.6, "nats", "12,346 nats"),
        (0.0, "nats", "0 nats"),
    ],
)
def test_quantities(value: float, unit: str, shown: str) -> None:
    assert text.quantity(value, unit).replace("\N{NO-BREAK SPACE}", " ") == shown
