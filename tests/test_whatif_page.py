"""The page of a comparison of variants: what it says, draws and attaches, and that none of it is markup or script."""

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import memaudit as ma
from memaudit.errors import EvidenceError
from memaudit.reports import figures, html
from memaudit.reports.blocks import Picture, Span
from memaudit.reports.labels import placed
from memaudit.types import Curve, Estimate, FigureKind, Scatter
from memaudit.whatif import Comparison, Row, Standing, Variant
from memaudit.whatif.page import document, figure
from memaudit.whatif.remedies import REMEDIES, EarlyStopping, WithoutMostExposed
from memaudit.whatif.writing import WRITERS, as_json, schema

WHEN = "2026-11-28T12:00:00+00:00"


def about(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, unit="share", method="t")


def row(name: str, accuracy: float, tpr: float, **more: Any) -> Row:
    return Row(
        name=name, models=16, utility=about(0.9 + accuracy, 0.01), leak=about(tpr, tpr / 4),
        memorization=about(0.03, 0.01), seconds=1.0, **{"units": 100} | more,
    )  # fmt: skip


def variant(name: str, accuracy: float, tpr: float, **more: Any) -> Row:
    """Returns a row with its changes from a baseline with a TPR of 8 %."""
    changes = {"utility_change": about(accuracy, 0.002), "leak_change": about(tpr - 0.08, 0.01)}
    return row(name, accuracy, tpr, **changes, memorization_change=about(-0.01, 0.02), **more)


def named(curve: Curve) -> tuple[str, ...]:
    assert isinstance(curve, Scatter)
    return curve.names


def comparison(**changes: Any) -> Comparison:
    rows = (
        row("baseline", 0.0, 0.08, standing=Standing.EXCEEDS, front=True),
        variant("early", -0.02, 0.03, standing=Standing.KEEPS, front=True, remedy="Train with epochs = 5."),
        variant("smooth", 0.01, 0.12, standing=Standing.EXCEEDS, front=True),
        variant("onion", -0.01, 0.05, standing=Standing.UNDECIDED, units=90),
    )
    whole = Comparison(attack="lira-online", fpr=0.01, limit=0.05, level=0.999, rows=rows)
    return dataclasses.replace(whole, **changes)


def test_the_picture_has_a_point_for_each_row_by_what_is_shown_of_it() -> None:
    found = comparison()
    drawn = figure(found)
    *groups, front = drawn.curves
    assert {curve.label: named(curve) for curve in groups} == {
        "keeps the limit": ("early",),
        "exceeds the limit": ("smooth",),
        "undecided": ("onion*",),
        "as it is": ("baseline",),
    }
    early = groups[0]
    assert isinstance(early, Scatter)
    assert (*early.x, *early.left, *early.right) == pytest.approx((-0.02, -0.022, -0.018))
    assert (early.y, early.low, early.high) == ((0.03,), (0.0225,), (0.0375,))
    assert front.x == (-0.02, 0.0, 0.01)
    assert [(mark.y, mark.label) for mark in drawn.marks] == [(0.05, "limit 5%"), (0.01, "guessing")]


def test_without_a_limit_all_variants_are_one_group_and_no_line_is_drawn() -> None:
    rows = tuple(dataclasses.replace(each, standing=Standing.NOT_ASKED) for each in comparison().rows)
    drawn = figure(comparison(limit=None, rows=rows))
    assert [curve.label for curve in drawn.curves] == ["variant", "as it is", "front"]
    assert [mark.label for mark in drawn.marks] == ["guessing"]


def test_a_variant_that_costs_too_much_has_a_group_where_a_cost_is_accepted() -> None:
    rows = (*comparison().rows, variant("dp", -0.3, 0.01, standing=Standing.COSTLY))
    labels = {c.label: named(c) for c in figure(comparison(rows=rows, at_most_cost=0.05)).curves}
    assert labels["costs too much"] == ("dp",)


def test_the_data_table_of_the_picture_has_every_point_once() -> None:
    (table,) = figures.data(figure(comparison()))
    assert [each[0] for each in table.rows] == ["early", "smooth", "onion*", "baseline"]
    assert table.rows[0][1:] == ("−2 (−2.2 to −1.8)", "3% (2.2–3.8%)", "keeps the limit")


def test_the_drawing_names_points_and_limit_and_is_the_same_each_time() -> None:
    drawn = figures.render(figure(comparison()), figures.Theme.LIGHT)
    comments = re.findall(rb"<!-- (.*?) -->", drawn)
    for name in (b"early", b"smooth", b"onion*", b"baseline", b"limit 5%", b"guessing", b"front"):
        assert name in comments
    assert drawn == figures.render(figure(comparison()), figures.Theme.LIGHT)


def test_a_front_that_is_no_scatter_is_refused() -> None:
    plain = Curve(x=(0.0,), y=(0.1,), label="c")
    wrong = dataclasses.replace(figure(comparison()), curves=(plain,))
    short = dataclasses.replace(figure(comparison()), curves=(Scatter(x=(0.0,), y=(0.1,), label="c", names=("a",)),))
    for each in (wrong, short, dataclasses.replace(wrong, curves=())):
        assert each.kind is FigureKind.FRONT
        with pytest.raises(EvidenceError):
            figures.render(each, figures.Theme.LIGHT)


def test_the_page_says_the_sentence_first_and_everything_else_after_it() -> None:
    found = comparison()
    page = document(found, WHEN)
    sentence = "early keeps the limit of 5% for the TPR at a 1% FPR at the least cost in accuracy: −2 (−2.2 to −1.8)"
    assert page.headline.replace("\N{NO-BREAK SPACE}", " ").startswith(sentence)
    assert page.number is not None
    assert page.number.value == "3%"
    (first,) = page.front[0][0].content
    assert isinstance(first, Picture)
    assert "onion changes the TPR by −3 points" in first.reading
    shown = html.page(page).decode()
    assert "<script" not in shown
    assert "default-src 'none'" in shown
    assert shown.count('<svg class="span"') == 9
    order = ("early keeps", "data:image/svg", "Train with epochs = 5.", "Utility, leak", "How it was", "What was not")
    places = [shown.rindex(words) if words in order[3:] else shown.index(words) for words in order]
    assert places == sorted(places)


def test_bars_of_a_column_share_a_scale_that_holds_them_and_zero() -> None:
    grid: Any = document(comparison(), WHEN).sections[0].content[0]
    for column in (1, 2, 3):
        spans = [cells[column] for cells in grid.rows if isinstance(cells[column], Span)]
        assert len(spans) == 3
        assert len({span.zero for span in spans}) == 1
        for span in spans:
            assert 0 <= span.low <= span.value <= span.high <= 1
            assert 0 <= span.zero <= 1
    early = grid.rows[1][1]  # accuracy: −2.2 to 1.2 points are the whole scale
    assert (early.low, early.value, early.zero) == pytest.approx((0, 0.2 / 3.4, 2.2 / 3.4))
    assert early.change == "−2.0 (−2.2\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}−1.8)"


def test_what_a_remedy_says_is_text_in_every_format() -> None:
    evil = "<script>alert(1)</script> | **bold**"
    rows = (*comparison().rows, variant("x", 0.0, 0.02, remedy=evil))
    found = comparison(rows=rows)
    assert b"<script" not in WRITERS[".html"](found)
    assert b"\\*\\*bold\\*\\*" in WRITERS[".md"](found)
    assert b"<script" not in WRITERS[".md"](found)


def test_the_json_is_what_the_schema_allows() -> None:
    content = json.loads(as_json(comparison()))
    jsonschema.validate(content, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | {"more": 1}, schema())
    assert content["verdict"] == "pass"
    assert content["rows"][1]["leak_change"]["value"] == pytest.approx(-0.05)


def test_the_pdf_holds_the_json() -> None:
    pytest.importorskip("typst")
    pypdf = pytest.importorskip("pypdf")
    found = comparison()
    attached = pypdf.PdfReader(io.BytesIO(WRITERS[".pdf"](found))).attachments
    assert attached == {"whatif.json": [as_json(found)]}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6, unique=True))
def test_names_of_points_that_are_apart_do_not_cover_each_other(grid: list[tuple[int, int]]) -> None:
    points = [(30.0 + 100 * x, 30.0 + 40 * y) for x, y in grid]
    size = (40.0, 11.0)
    corners = placed(points, [size] * len(points), [(x - 4, y - 4, x + 4, y + 4) for x, y in points], (0, 0, 1000, 450))
    for index, (x, y) in enumerate(corners):
        assert 0 <= x <= 1000 - size[0]
        assert 0 <= y <= 450 - size[1]
        for other_x, other_y in corners[:index]:
            assert abs(x - other_x) >= size[0] or abs(y - other_y) >= size[1]


def test_every_remedy_is_on_the_page_of_the_documentation() -> None:
    text = (Path(__file__).parent.parent / "docs" / "whatif.md").read_text("utf-8")
    assert not [name for name in REMEDIES if f"| `{name}` |" not in text]


def _halved(recipe: Any) -> Any:
    """Train for half as long.

    More is not said.
    """
    return recipe


def test_a_variant_is_described_by_its_docstring_and_its_parameters() -> None:
    prune = ma.Derivation(ma.derivations.Prune(0.8), data="none")
    words: dict[str, Any] = {
        "Train for fewer epochs; a schedule of the learning rate ends with them (epochs = 5).": EarlyStopping(5),
        "Train with epochs = 5.": {"epochs": 5},
        "Train for half as long.": _halved,
        "Train by another recipe.": lambda recipe: recipe,
    }
    assert [Variant("v", remedy).words for remedy in words.values()] == list(words)
    assert Variant("v", prune).words.endswith("(share = 0.8).")
    assert "share = 0.1" in Variant("v", WithoutMostExposed(0.1)).words
