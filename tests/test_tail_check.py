"""MEM005: what a report says of influences, on banks whose influences are known."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from memaudit.auditing.evidence import table
from memaudit.checks.classifier import ClassifierEvidence
from memaudit.checks.tail import influence_check
from memaudit.design import PairArrays, halves
from memaudit.policy.plausible import of_finding
from memaudit.types import Report, Subject

Array = np.ndarray


class _Bank(PairArrays):
    """Examples 0–9 are memorized and decide 10–19; 20–29 are memorized for nothing; the others are easy."""

    def __init__(self, pairs: int, helped: float, memorized: float = 0.8):
        rng = np.random.default_rng(pairs)
        members = halves(pairs, 2 * pairs, 60)
        inside, outside = np.ones(members.shape), np.full(members.shape, 0.95)
        outside[:, :10] = outside[:, 20:30] = 1 - memorized
        outside[:, 10:20] = 0.4 + helped * members[:, :10]
        inside[:, 10:20] = 0.4 + helped / 2
        correct = rng.random(members.shape) < np.where(members, inside, outside)
        signals = (rng.normal(size=(pairs, 60, 1)).astype(np.float32) for _ in range(2))
        super().__init__(*signals)
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "correct", correct)


def _evidence(bank: _Bank) -> ClassifierEvidence:
    rng = np.random.default_rng(0)
    return ClassifierEvidence(
        phi=rng.normal(size=(60, 1)).astype(np.float32),
        correct=np.ones(60, bool),
        members=rng.random(60) < 0.5,
        fprs=(0.1,),
        attacks=("lira-online",),
        bank=bank,  # type: ignore[arg-type]
        x=rng.normal(size=(60, 2)),
        y=rng.integers(0, 2, 60),
    )


def test_the_tail_is_split_into_useful_and_useless() -> None:
    """128 pairs: of 20 memorized examples the 10 useful ones are named, and the mean influence is half of .55.

    It is so within 5 standard errors (false alarm 6e-7), as its interval states them.
    """
    evidence = _evidence(_Bank(128, 0.55))
    (finding,), skipped = influence_check.run(evidence)
    assert not skipped
    found = evidence.influences
    assert set(found.training.tolist()) == set(range(10)) and set((found.measured - found.training).tolist()) == {10}
    error = (finding.estimate.high - finding.estimate.low) / 2 / 1.96
    assert abs(finding.estimate.value - 0.275) < 5 * error < 0.1
    counts = [row[1] for row in finding.tables[0].rows]
    assert counts[:2] == [10, 10] and counts[2] == 40
    assert "percentage points" in finding.sentence and "10 of 3,540 influences" in finding.notes[1]
    assert len(finding.figures) == 1 and len(finding.figures[0].curves) == 2
    members = int(evidence.members.sum())
    subject = Subject(model="m", sha256="0" * 64, members=members, nonmembers=60 - members, shadows=256)
    report = Report(created="", subject=subject, results=(), skipped=(), controls=(), provenance={})
    assert not list(of_finding(finding, report))


def test_the_evidence_names_whom_an_example_influences() -> None:
    names = [f"id{i}" for i in range(60)]
    rows = list(csv.DictReader(io.StringIO(table(_evidence(_Bank(128, 0.55)), names).decode())))
    assert [row["influences"] for row in rows] == [*(f"id{i + 10}" for i in range(10)), *[""] * 50]
    assert all(float(row["influence"]) > 0.3 for row in rows[:10])


def test_without_any_influence_none_is_named_and_no_column_is_there() -> None:
    evidence = _evidence(_Bank(32, 0.0))
    (finding,), _ = influence_check.run(evidence)
    assert finding.estimate.low <= 0 <= finding.estimate.high
    assert "not shown to be useful" in finding.sentence and "raises" not in finding.sentence
    assert "0 of 3,540 influences" in finding.notes[1]
    assert b"influences" not in table(evidence, [str(i) for i in range(60)])


@pytest.mark.parametrize(
    ("bank", "why"),
    [(_Bank(5, 0.5), "at least 12 shadow models"), (_Bank(32, 0.0, memorized=0.05), "no example is memorized")],
)
def test_the_reason_is_told_where_influence_cannot_be_measured(bank: _Bank, why: str) -> None:
    (), (skipped,) = influence_check.run(_evidence(bank))
    assert skipped.code == "MEM005" and why in skipped.reason
