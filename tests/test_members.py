"""Who is a member: ids come back exactly, content is compared, and what may mean two things is refused."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import memaudit as ma
from memaudit.auditing.target import open_target
from memaudit.errors import EvidenceError, RecipeError
from memaudit.recipe import EstimatorRecipe, Examples, member_counts, members_beside, membership, read_members
from memaudit.recipe.members import write_members
from memaudit.recipe.members_file import parsed, with_ids

Array = np.ndarray
COUNT = 40
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(COUNT, 3)), np.arange(COUNT) % 2


def people(ids: Any = range(COUNT)) -> Examples:
    return Examples(X, Y, ids)


# Ids are compared exactly

ODD = [
    "u1", "u1 ", " u1", "u1\r", "u1\n", "u1\t", "u1\xa0", "\ufeffu1", "u1\u200b", "u,1", 'u"1', "'u1", "=1+1", "+1",
    "-1", "@x", "", "id", "member", "times", "sha256", "e\u0301", "\u00e9", "\u2028x",
]  # fmt: skip


@pytest.mark.parametrize("known", [True, False], ids=["with examples", "ids alone"])
@pytest.mark.parametrize("members", [ODD, ODD[1::2], ODD[::-1], ["id"], [""], ["u1\r"], ["\ufeffu1"]])
def test_every_id_comes_back_from_the_file_as_itself(tmp_path: Path, members: list[str], known: bool) -> None:
    examples = people([*ODD, *range(COUNT - len(ODD))])
    write_members(tmp_path / "m", members, examples if known else None)
    counts = read_members(members_beside(tmp_path / "m"), examples)
    assert set(examples.ids[counts > 0]) == set(members)


def test_no_cell_of_the_file_is_a_formula(tmp_path: Path) -> None:
    write_members(tmp_path / "m", ["=1+1", "+a", "-a", "@x"])
    lines = members_beside(tmp_path / "m").read_text("utf-8").splitlines()
    assert all(line.startswith("'") for line in lines[1:])


@pytest.mark.parametrize("text", ["u1 \nu2\n", "u1\xa0\n", '"u1\r"\n', "\u200bu1\n"])
def test_an_id_with_another_blank_is_refused_with_a_hint(tmp_path: Path, text: str) -> None:
    (tmp_path / "ids.txt").write_text(text, "utf-8")
    with pytest.raises(EvidenceError, match=r"ids\.txt:\d: this id is no example's.*blanks, line ends"):
        read_members(tmp_path / "ids.txt", people(["u1", "u2", *range(COUNT - 2)]))


def test_a_list_of_other_examples_says_so() -> None:
    with pytest.raises(EvidenceError, match="for 3 of the 3 ids; none of them is: the list is of other examples"):
        member_counts(["a", "b", "c"], people())


@pytest.mark.parametrize("heading", ["id", "member", "times"])
def test_a_heading_that_is_an_id_too_is_refused(tmp_path: Path, heading: str) -> None:
    (tmp_path / "ids.txt").write_text(f"{heading}\n3\n", "utf-8")
    with pytest.raises(EvidenceError, match=f"the first line, '{heading}', is a heading and also the id of an example"):
        read_members(tmp_path / "ids.txt", people([heading, *range(1, COUNT)]))


def test_a_comma_without_quotation_marks_is_refused(tmp_path: Path) -> None:
    """Not read as the id in front of it, which may be another person's."""
    (tmp_path / "ids.txt").write_text("Roe, Ada\nRoe\n", "utf-8")
    with pytest.raises(EvidenceError, match=r"ids\.txt:1: this line has 2 columns and the file has no heading"):
        read_members(tmp_path / "ids.txt", people(["Roe, Ada", "Roe", *range(COUNT - 2)]))


@pytest.mark.parametrize("odd", ["a\0", "a\ud800"])
def test_an_id_that_no_file_can_hold_is_refused_at_once(odd: str) -> None:
    with pytest.raises(RecipeError, match="the id of row 0 ends with a NUL, or holds half a character"):
        people([odd, *range(1, COUNT)])
    with pytest.raises(RecipeError, match="the id of row 0 ends with a NUL, or holds half a character"):
        ma.Documents([f"text number {n}" for n in range(8)], [odd, *range(1, 8)])


# Whole numbers are ids or counts, and nobody guesses


@pytest.mark.parametrize(
    "members",
    [
        np.arange(COUNT, dtype=np.uint8),
        np.arange(COUNT, dtype=np.uint8)[::-1] % 2,
        (np.arange(COUNT) % 2),
        (np.arange(COUNT) % 2).tolist(),
    ],
    ids=["uint8 ids", "uint8 counts", "mask of int", "list of 0 and 1"],
)
def test_whole_numbers_that_may_be_both_are_refused(tmp_path: Path, members: Any) -> None:
    with pytest.raises(EvidenceError, match=r"may be ids of examples, or say for each .*memaudit\.Counts"):
        member_counts(members, people())
    with pytest.raises(EvidenceError, match=r"may be ids of examples, or say for each .*memaudit\.Counts"):
        write_members(tmp_path / "m", members, people())
    assert not members_beside(tmp_path / "m").exists()


def test_uint8_ids_are_ids_where_they_can_be_nothing_else() -> None:
    assert np.flatnonzero(member_counts(np.array([3, 5, 7], np.uint8), people())).tolist() == [3, 5, 7]


def test_uint8_counts_are_counts_where_they_can_be_nothing_else() -> None:
    names = [f"p{n}" for n in range(COUNT)]
    assert np.array_equal(member_counts(np.arange(COUNT, dtype=np.uint8), people(names)), np.arange(COUNT))


def test_a_mask_of_whole_numbers_asks_for_bool() -> None:
    with pytest.raises(
        EvidenceError, match=r"look like a mask or like counts; give a mask as bool \(members\.astype\(bool\)\)"
    ):
        member_counts(np.arange(COUNT) % 2, people([f"p{n}" for n in range(COUNT)]))


def test_announced_counts_are_counts(tmp_path: Path) -> None:
    counts = ma.Counts(np.arange(COUNT) % 3)
    assert np.array_equal(member_counts(counts, people()), np.arange(COUNT) % 3)
    write_members(tmp_path / "m", counts, people())
    assert np.array_equal(read_members(members_beside(tmp_path / "m"), people()), np.arange(COUNT) % 3)
    with pytest.raises(EvidenceError, match="counts are whole numbers from 0 to 255"):
        ma.Counts([1, 256])


# The examples of the audit are those of the training


def test_another_example_under_an_id_is_refused(tmp_path: Path) -> None:
    write_members(tmp_path / "m", range(0, COUNT, 2), people())
    order = RNG.permutation(COUNT)
    with pytest.raises(EvidenceError, match=r"another example now than at training.*is not stable"):
        read_members(members_beside(tmp_path / "m"), Examples(X[order], Y[order], range(COUNT)))
    same = membership(members_beside(tmp_path / "m"), people())
    assert (same.listed, same.compared) == (COUNT // 2, COUNT // 2)


@pytest.mark.parametrize(
    "changed",
    [
        lambda: Examples(np.where(np.arange(COUNT)[:, None] == 4, X + 1e-9, X), Y, range(COUNT)),
        lambda: Examples(X, np.where(np.arange(COUNT) == 4, 1 - Y, Y), range(COUNT)),
        lambda: Examples(X.astype(np.float32), Y, range(COUNT)),
    ],
    ids=["one value", "one label", "type"],
)
def test_content_is_compared_to_the_last_bit(tmp_path: Path, changed: Callable[[], Examples]) -> None:
    write_members(tmp_path / "m", [2, 4, 6], people())
    with pytest.raises(EvidenceError, match="another example now than at training"):
        read_members(members_beside(tmp_path / "m"), changed())


def test_digests_of_one_example_differ_from_file_to_file(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_members(tmp_path / name, [2, 4], people())
    one, other = (members_beside(tmp_path / name).read_text("utf-8").splitlines()[1:] for name in ("one", "other"))
    assert all(a.split(",")[0] == b.split(",")[0] and a != b for a, b in zip(one, other, strict=True))


def test_ids_that_are_hashes_of_the_content_need_no_digest() -> None:
    own = Examples(X, Y)
    assert membership(own.ids[:10], own).compared == 10
    assert membership([str(n) for n in range(10)], people()).compared == 0


def test_a_training_set_is_its_own_list_of_members(tmp_path: Path) -> None:
    write_members(tmp_path / "m", people().take(np.arange(0, COUNT, 4)))
    found = membership(members_beside(tmp_path / "m"), people())
    assert np.flatnonzero(found.counts).tolist() == list(range(0, COUNT, 4))
    assert found.compared == COUNT // 4


def shuffled() -> Examples:
    order = np.random.default_rng().permutation(COUNT)
    return Examples(X[order], Y[order], range(COUNT))


STABLE = EstimatorRecipe(people, LogisticRegression())
UNSTABLE = EstimatorRecipe(shuffled, LogisticRegression())


def test_drawn_members_are_written_with_digests(tmp_path: Path) -> None:
    members = ma.draw_members(STABLE, seed=3)
    ma.save_target(ma.train(STABLE, members, seed=1), tmp_path / "m.skops", members)
    target = open_target(tmp_path / "m.skops", STABLE)
    assert np.array_equal(target.counts, members)
    assert target.membership is not None
    assert target.membership.compared == target.membership.listed == int(np.asarray(members).sum())


def test_members_drawn_for_an_order_that_has_gone_are_refused_in_training() -> None:
    with pytest.raises(EvidenceError, match="drawn for other examples, or for the same in another order"):
        ma.train(UNSTABLE, ma.draw_members(UNSTABLE))


@pytest.mark.parametrize("members", [range(20), np.arange(COUNT) < 20], ids=["ids by position", "mask"])
def test_an_order_that_is_not_stable_is_refused_without_digests_too(tmp_path: Path, members: Any) -> None:
    ma.save_target(ma.train(UNSTABLE, members, seed=1), tmp_path / "m.skops", members)
    with pytest.raises(RecipeError, match="or the same in another order, when it was called a second time"):
        open_target(tmp_path / "m.skops", UNSTABLE)
    found = open_target(tmp_path / "m.skops", STABLE)
    assert found.membership is not None
    assert found.membership.compared == 0


def test_an_older_members_file_is_read_as_before(tmp_path: Path) -> None:
    (tmp_path / "m.members.csv").write_text("id\n3\n=5\n'7\n", "utf-8")
    examples = people([*range(4), "=5", "'7", *range(6, COUNT)])
    assert set(examples.ids[read_members(tmp_path / "m.members.csv", examples) > 0]) == {"3", "=5", "'7"}


def test_a_recipe_with_other_estimator_settings_is_still_the_same_examples() -> None:
    other = replace(STABLE, estimator=LogisticRegression(C=2))
    assert ma.train(other, ma.draw_members(STABLE)).C == 2


# Whatever the file holds


@given(st.lists(st.text(st.characters(codec="utf-8")), unique=True, max_size=8))
def test_any_ids_come_back(names: list[str]) -> None:
    rows = [(name, "") for name in names]
    found = parsed(Path("m"), with_ids(rows, "salt"))
    assert [line.value for line in found.lines] == names


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_file_is_a_traceback(data: bytes) -> None:
    with contextlib.suppress(EvidenceError):
        parsed(Path("m"), data)
