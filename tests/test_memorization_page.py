"""docs/memorization.md names codes, calls and proxies that exist, and leaves none out."""

import inspect
import re
from operator import attrgetter
from pathlib import Path

import pytest

import memaudit
import memaudit.checks.noisy_labels
from memaudit.checks import by_code
from memaudit.memorization.proxies import all_proxies

PAGE = Path(__file__).parent.parent / "docs" / "memorization.md"
LINES = [line.strip("|") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
TABLES = [row for row in ([cell.strip() for cell in line.split(" | ")] for line in LINES) if len(row) == 4]
BY = [row[1] for row in TABLES if row[1] != "by"]
NAMED = [name for by in BY for name in re.findall(r"`([^`]+)`", by)]
CODES = [name for name in NAMED if re.fullmatch(r"[A-Z]{3}\d{3}", name)]
CALLS = [name for name in NAMED if name.startswith("ma.")]
BESIDE = {"share", "candidates", "removed", "leave_one_out", "label_noise", "label_suspicion", "c_score"}  # and columns


def test_the_page_has_a_row_for_each_measure() -> None:
    assert len(BY) > 45
    assert all(all(row) for row in TABLES), "no cell is empty"
    assert all("`" in by or by == "not built" for by in BY)


def test_every_code_exists_and_every_memorization_code_is_there() -> None:
    every = by_code()
    assert CODES and set(CODES) <= set(every)
    assert {code for code in every if code.startswith("MEM")} <= set(CODES)


@pytest.mark.parametrize("name", sorted(set(CALLS)))
def test_every_call_exists(name: str) -> None:
    assert inspect.getdoc(attrgetter(name.removeprefix("ma."))(memaudit))


def test_every_proxy_exists_and_is_there() -> None:
    proxies = {proxy.name for proxy in all_proxies()}
    others = set(NAMED) - set(CODES) - set(CALLS) - BESIDE
    assert others == proxies


def test_what_is_not_built_says_why() -> None:
    gone = [row for row in TABLES if row[1] == "not built"]
    assert gone
    assert all(row[2] == "–" and len(row[3]) > 30 for row in gone)


def test_every_argument_of_a_design_exists() -> None:
    assert BESIDE - {"label_suspicion", "c_score"} <= set(inspect.signature(memaudit.Subsets).parameters)
