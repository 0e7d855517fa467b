"""A sentence has the numbers of its finding: on findings that are made here."""

from dataclasses import replace

import pytest
from samples import sample_report

from memaudit.policy.words import otherwise_said, rounds
from memaudit.types import Edition, Estimate, Finding, Report, Result, Table, Verdict


def _report(sentence: str, version: str = "0.3.0", edition: Edition = Edition.RESTRICTED) -> Report:
    table = Table(title="Canaries", columns=("Planted", "Exact p"), rows=(("all", "2.9e-05"),))
    finding = Finding(
        code="CAN010",
        title="Planted",
        metric="planted-exposure",
        attack="raw",
        estimate=Estimate(value=4.781, low=1.918, high=9.764, unit="bits", method="m"),
        sentence=sentence,
        blind=1.443,
        n=6,
        source="s",
        tables=() if edition is Edition.PUBLIC else (table,),
    )
    result = Result(finding=finding, verdict=Verdict.NOTED, reason="r")
    provenance = {"attacks": "slira", "memaudit": version}
    return replace(sample_report(), results=(result,), provenance=provenance, edition=edition)


HONEST = "The 6 canaries have 4.78 bits (95% CI 1.92 to 9.76); others have 1.44. Exact p-value: 2.9e-05."


@pytest.mark.parametrize("edition", [Edition.RESTRICTED, Edition.PUBLIC])
def test_honest_words_are_honest(edition: Edition) -> None:
    assert not list(otherwise_said(_report(HONEST, edition=edition)))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2.9e-05", "2.9e-01", "has 2.9e-01, which is no number"),
        ("2.9e-05", "0.51", "has 0.51, which is no number"),
        ("4.78", "1.40", "other numbers than its estimate"),
        ("1.92", "0.00", "other numbers than its estimate"),
        ("9.76", "2.00", "other numbers than its estimate"),
        ("others have 1.44", "others have 4.61", "has 4.61"),
        ("The 6", "The 60", "has 60, which"),
    ],
)
def test_a_number_that_only_the_words_have_is_found(old: str, new: str, said: str) -> None:
    assert old in HONEST
    (found,) = otherwise_said(_report(HONEST.replace(old, new)))
    assert found.startswith("CAN010 Planted: ")
    assert said in found


def test_the_words_of_older_reports_are_compared_for_true_positive_rates_alone() -> None:
    assert not list(otherwise_said(_report("other words", version="0.2.0")))


@pytest.mark.parametrize(
    ("text", "value", "yes"),
    [
        ("2.9e-05", 2.94e-5, True), ("2.9e-05", 2.96e-5, False), ("3e-12", 2.6e-12, True), ("10", 9.6, True),
        ("0.17", 0.166, True), ("0.17", 0.176, False), ("7", 7.4, True),
    ],
)  # fmt: skip
def test_a_number_is_written_as_it_rounds(text: str, value: float, yes: bool) -> None:
    assert rounds(text, value) is yes
