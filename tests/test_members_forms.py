"""The forms in which users hand over members, ids and groups: each is read as it is meant, or refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memaudit.errors import EvidenceError, RecipeError
from memaudit.recipe import Examples, membership

Array = np.ndarray
COUNT = 30
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(COUNT, 3)), np.arange(COUNT) % 2
MASK = RNG.random(COUNT) < 0.5
ROWS = np.flatnonzero(MASK)
NAMES = [f"u{row}" for row in range(COUNT)]
PEOPLE, NUMBERED = Examples(X, Y, NAMES), Examples(X, Y, range(COUNT))


def told(kind: str) -> list[tuple[str, Any]]:
    """A line for each example, in another order than examples() has: its id, and what is said of it."""
    return [(NAMES[row], {"0/1": int(MASK[row]), "times": 3 * int(MASK[row])}[kind]) for row in range(COUNT)][::-1]


@pytest.mark.parametrize(
    ("heading", "kind", "id_first"),
    [
        ("id,member", "0/1", True),
        ("member,id", "0/1", False),
        ("id,times", "times", True),
        ("times,id", "times", False),
    ],
)
def test_a_file_with_ids_and_a_mask_is_read_by_its_ids(tmp_path: Path, heading: str, kind: str, id_first: bool) -> None:
    lines = [f"{name},{value}" if id_first else f"{value},{name}" for name, value in told(kind)]
    (tmp_path / "m.csv").write_text("\n".join([heading, *lines]), "utf-8")
    counts = membership(tmp_path / "m.csv", PEOPLE).counts
    np.testing.assert_array_equal(counts, MASK * (3 if kind == "times" else 1))


def test_the_column_of_ids_may_stand_anywhere(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("\n".join([",id", *(f"{n},u{row}" for n, row in enumerate(ROWS))]), "utf-8")
    np.testing.assert_array_equal(membership(tmp_path / "m.csv", PEOPLE).counts, MASK)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,split\nu1,train\nu2,test\n", "'split' may say which"),
        ("id,is_member\nu1,1\nu2,0\n", "'is_member' may say which"),
        ("name,member\nu1,1\nu2,0\n", "call it 'id'"),
        ("id,member\nu1,yes\n", "m.csv:2: a mask holds 0 and 1, got 'yes'"),
        ("member,id\n1\n", "m.csv:2: this line has 1 columns"),
        ("user_id\nu1\nu2\n", "if the first line is a heading, write it as `id`"),
        ("3\n5\n", r"numbers of rows are no ids: give examples.ids\[rows\]"),
    ],
)
def test_a_file_that_may_mean_something_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.csv").write_text(text, "utf-8")
    with pytest.raises(EvidenceError, match=said):
        membership(tmp_path / "m.csv", PEOPLE)


@pytest.mark.parametrize("members", [torch.tensor(MASK), torch.tensor(ROWS), torch.tensor(MASK).to(torch.uint8)])
def test_members_may_be_a_tensor(members: torch.Tensor) -> None:
    people = PEOPLE if members.dtype == torch.uint8 else NUMBERED
    np.testing.assert_array_equal(membership(members, people).counts, MASK)


class Table:
    """As a data frame: its elements are the names of its columns."""

    columns = ("id",)

    def __iter__(self) -> Any:
        return iter(self.columns)


@pytest.mark.parametrize(
    ("members", "people", "said"),
    [
        (MASK * 3, NUMBERED, "may be ids of examples"),
        (MASK * 3, PEOPLE, "look like a mask or like counts"),
        (MASK.astype(float), PEOPLE, "look like a mask"),
        (ROWS, PEOPLE, r"give examples.ids\[rows\]"),
        (Table(), PEOPLE, "one column of a table"),
        (5, PEOPLE, "int is no list"),
    ],
)
def test_members_that_may_mean_something_else_are_refused(members: Any, people: Examples, said: str) -> None:
    with pytest.raises(EvidenceError, match=said):
        membership(members, people)


@pytest.mark.parametrize("ids", [torch.arange(COUNT), np.arange(COUNT)])
def test_ids_may_be_a_tensor(ids: Any) -> None:
    assert list(Examples(X, Y, ids).ids) == list(map(str, range(COUNT)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Examples(X, Y, set(NAMES)), "ids are a set"),
        (lambda: Examples(X, Y, groups=set(NAMES)), "groups are a set"),
        (lambda: Examples(X, Y, groups=[float("nan")] * 10 + NAMES[10:]), "10 rows have the group 'nan'"),
        (lambda: Examples(X, Y, groups=[None] * 10 + NAMES[10:]), "10 rows have the group 'None'"),
    ],
)
def test_ids_and_groups_that_are_none_are_refused(make: Callable[[], Examples], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        make()
