"""What an edition leaves out is gone: from every page, and from what is attached."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader

from memaudit import reports
from memaudit.errors import MemauditError
from memaudit.reports import figures, html, json, load, pdf
from memaudit.reports.editions import by_default, edition
from memaudit.types import Edition, FigureKind, Report

REPORT: Report = samples.sample_report()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are empty: they have tests of their own, and take most of the time."""
    monkeypatch.setattr(figures, "render", lambda figure, theme: b"<svg/>")


def _everything(report: Report) -> str:
    """All that is in a report, in its attachment and on its pages, in one text."""
    return repr(report) + json.render(report).decode() + html.render(report).decode()


# ---- what is gone


@pytest.mark.parametrize("name", [Edition.PUBLIC, Edition.INTERNAL])
@pytest.mark.usefixtures("drawn_once")
def test_only_the_restricted_edition_names_or_shows_examples(name: Edition) -> None:
    named = tuple(dataclasses.replace(e, identifier="PERSON", label="PERSON") for e in REPORT.exposed)
    marked = dataclasses.replace(REPORT, exposed=named, results=())
    assert "PERSON" in _everything(edition(marked, "restricted"))
    shown = edition(marked, name)
    assert "PERSON" not in _everything(shown)
    assert not any(example.thumbnail for example in shown.exposed)
    printed = PdfReader(io.BytesIO(pdf.render(shown)))
    assert b"PERSON" not in printed.attachments["report.json"][0]
    assert not any("PERSON" in page.extract_text() for page in printed.pages)


def test_the_internal_edition_says_how_exposed_they_are() -> None:
    shown = edition(REPORT, "internal").exposed
    assert [e.identifier for e in shown] == ["1", "2", "3", "4", "5", "6"]
    assert [e.score for e in shown] == [e.score for e in REPORT.exposed]


def test_the_internal_edition_keeps_keyed_hashes() -> None:
    hashed = dataclasses.replace(REPORT, provenance=REPORT.provenance | {"evidence": "hashed"})
    shown = edition(hashed, "internal").exposed
    assert [e.identifier for e in shown] == [e.identifier for e in REPORT.exposed]
    assert not any(e.thumbnail for e in shown)


@pytest.mark.parametrize("level", ["ids", "full", "", "HASHED"])
def test_what_may_be_ids_is_taken_for_ids(level: str) -> None:
    report = dataclasses.replace(REPORT, provenance=REPORT.provenance | {"evidence": level})
    assert [e.identifier for e in edition(report, "internal").exposed] == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.usefixtures("undrawn")
def test_the_public_edition_has_no_detail() -> None:
    """Marks everything that must be gone, so that nothing can slip through under another name."""

    def secret(words: str) -> str:
        return f"SECRET {words}"

    def marked(result: Any) -> Any:
        finding = result.finding
        fine = tuple(f for f in finding.figures if f.kind is not FigureKind.ROC)
        finding = dataclasses.replace(
            finding,
            tables=samples.changed(finding.tables, secret),
            figures=tuple(samples.changed(f, secret) if f in fine else f for f in finding.figures),
        )
        limit = result.limit and dataclasses.replace(result.limit, source="/home/SECRET/memaudit.toml", line=7)
        return dataclasses.replace(result, finding=finding, limit=limit)

    provenance = {f"SECRET {name}": f"SECRET {value}" for name, value in REPORT.provenance.items()}
    waiver = dataclasses.replace(samples.WAIVER, owner="SECRET", approved_by="SECRET")
    report = dataclasses.replace(
        REPORT,
        results=tuple(map(marked, REPORT.results)),
        controls=samples.changed(REPORT.controls, lambda words: words),
        exposed=samples.changed(REPORT.exposed, secret),
        provenance=provenance | {"memaudit": "0.1.0"},
        waivers=(dataclasses.replace(REPORT.waivers[0], waiver=waiver),),
        context=dataclasses.replace(REPORT.context, auditor="SECRET auditor", owner="SECRET owner"),
    )
    report = dataclasses.replace(
        report,
        controls=tuple(dataclasses.replace(c, tables=samples.changed(c.tables, secret)) for c in report.controls),
        results=tuple(
            dataclasses.replace(r, waiver=r.waiver and waiver, reason=r.reason.replace("Bo Li", "SECRET"))
            for r in report.results
        ),
    )
    public = edition(report, "public")
    assert "SECRET" in _everything(report)
    assert "SECRET" not in _everything(public)
    assert public.provenance == {"memaudit": "0.1.0"}
    assert public.context.release is REPORT.context.release is not None


@pytest.mark.usefixtures("undrawn")
def test_verdicts_waivers_and_reasons_are_in_every_edition() -> None:
    for name in Edition:
        shown = edition(REPORT, name)
        assert shown.verdict is REPORT.verdict
        assert [result.verdict for result in shown.results] == [result.verdict for result in REPORT.results]
        assert (shown.untested, shown.limitations) == (REPORT.untested, REPORT.limitations)
        assert [c.passed for c in shown.controls] == [c.passed for c in REPORT.controls]
        words = html.render(shown).decode()
        assert "FAIL, WAIVED" in words
        assert "waived until 2027-01-31" in words
        assert samples.WAIVER.reason in words
        assert f"{name} edition" in words


def test_every_part_of_a_report_was_given_its_place() -> None:
    """Who adds a field must say in `reports.editions` which readers may see it, and then here."""
    assert {field.name for field in dataclasses.fields(Report)} == {
        "schema", "created", "subject", "results", "skipped", "controls", "exposed", "untested", "limitations",
        "provenance", "edition", "attempt", "waivers", "context", "plan", "notices", "rung",
    }  # fmt: skip


# ---- numbers


def test_the_numbers_of_the_public_edition_have_three_digits() -> None:
    estimate = dataclasses.replace(
        REPORT.results[0].finding.estimate, value=0.0416666, low=0.99963, high=0.999999, unit="share"
    )
    finding = dataclasses.replace(REPORT.results[0].finding, estimate=estimate, blind=0.00123456)
    result = dataclasses.replace(REPORT.results[0], finding=finding)
    shown = edition(dataclasses.replace(REPORT, results=(result,)), "public").results[0].finding
    assert (shown.estimate.value, shown.estimate.low, shown.estimate.high) == (0.0417, 0.99963, 0.999999)
    assert shown.blind == 0.00123


@given(st.floats(-1e6, 1e6))
def test_rounding_keeps_the_sign_the_order_and_the_certain(value: float) -> None:
    from memaudit.reports.editions import _rounded

    rounded = _rounded(value)
    assert abs(rounded - value) <= max(0.0051 * min(abs(value), abs(1 - value)), 0 if abs(value) < 100 else 0.5)
    assert (rounded in (0.0, 1.0)) == (value in (0.0, 1.0))
    assert _rounded(rounded) == rounded or abs(_rounded(rounded) - rounded) < 0.01 * abs(rounded)
    assert math.isfinite(rounded)


def test_the_curves_of_the_public_edition_can_be_drawn() -> None:
    kept = [figure for result in edition(REPORT, "public").results for figure in result.finding.figures]
    assert [figure.kind for figure in kept] == [FigureKind.ROC]
    html.render(edition(REPORT, "public"))


# ---- from one edition to another


def test_an_edition_of_an_edition_is_the_same() -> None:
    for name in Edition:
        shown = edition(REPORT, name)
        assert edition(shown, name) == shown
        assert shown.edition is name
    assert edition(edition(REPORT, "internal"), "public") == edition(REPORT, "public")


@pytest.mark.parametrize(
    ("have", "want"), [("public", "internal"), ("public", "restricted"), ("internal", "restricted")]
)
def test_what_was_left_out_cannot_be_asked_for(have: str, want: str) -> None:
    with pytest.raises(MemauditError, match=rf"is the {have} edition: .* cannot be put back into {want}"):
        edition(edition(REPORT, have), want)


def test_a_page_is_internal_unless_it_shows_less_already() -> None:
    assert by_default(REPORT) == edition(REPORT, "internal")
    assert by_default(edition(REPORT, "public")) == edition(REPORT, "public")


@pytest.mark.parametrize("name", ["html", "md", "pdf"])
@pytest.mark.usefixtures("drawn_once")
def test_a_page_that_is_saved_is_internal_unless_another_edition_is_asked_for(tmp_path: Path, name: str) -> None:
    for asked, shown in ((None, Edition.INTERNAL), *((each, each) for each in Edition)):
        reports.save(REPORT, tmp_path / f"x.{name}", edition=asked)
        assert (tmp_path / f"x.{name}").read_bytes() == reports.FORMATS[name](edition(REPORT, shown))


@pytest.mark.parametrize("name", [name for name in reports.FORMATS if name not in ("html", "md", "pdf")])
def test_what_machines_read_is_whole_unless_an_edition_is_asked_for(name: str) -> None:
    assert reports.render(REPORT, name) == reports.FORMATS[name](REPORT)
    assert reports.render(REPORT, name, "public") == reports.FORMATS[name](edition(REPORT, "public"))


def test_an_unknown_edition_names_the_known_ones() -> None:
    with pytest.raises(MemauditError, match="no edition 'secret'; there are: public, internal, restricted"):
        edition(REPORT, "secret")


def test_an_edition_survives_its_file(tmp_path: Path) -> None:
    for name in Edition:
        (tmp_path / "report.json").write_bytes(json.render(edition(REPORT, name)))
        assert load(tmp_path / "report.json") == edition(REPORT, name)


def test_a_report_from_before_there_were_editions_is_whole(tmp_path: Path) -> None:
    import json as standard

    fields = standard.loads(json.render(REPORT))
    for name in ("edition", "attempt", "waivers"):
        fields.pop(name)
    for result in fields["results"]:
        result.pop("waiver")
    (tmp_path / "old.json").write_text(standard.dumps(fields))
    assert load(tmp_path / "old.json").edition is Edition.RESTRICTED
