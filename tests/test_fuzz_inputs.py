"""Whatever stands in a members file or a manifest of canaries: one message, no traceback, in bounded time."""

import copy
import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import SECONDS, call, places
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from memaudit.canaries import Manifest, make, plant
from memaudit.errors import EvidenceError
from memaudit.recipe import Examples, read_members
from memaudit.recipe.members_file import digest, with_ids

OFTEN = settings(max_examples=150, suppress_health_check=list(HealthCheck), derandomize=True)


# ---- members files

IDS = ["a", "b ", "c\r", "=1", "'d", "member", "é", "0", "1"]
EXAMPLES = Examples(np.arange(9.0)[:, None], np.arange(9) % 2, IDS)
SALT = "ab" * 16
DIGESTS = {name: digest(SALT, content) for name, content in EXAMPLES.contents()}


def members(place: Path, data: bytes) -> list[int] | str:
    """Returns how often each example was trained on, or the one message that says why that is not known."""
    file = place / "m.csv"
    file.write_bytes(data)
    began = time.process_time()
    try:
        counts = read_members(file, EXAMPLES)
    except EvidenceError as error:
        said = str(error)
        assert str(file) in said
        assert len(said) < 2_000
        assert "\x1b" not in said
        return said
    finally:
        assert time.process_time() - began < SECONDS
    assert counts.shape == (len(IDS),)
    assert counts.dtype == np.uint8
    return counts.tolist()


_CELLS = st.sampled_from([*IDS, "", "id", "times", "u1", "2", "256", "-1", "1.0", "１", "9" * 5000, "\x1b[2J", "\x00"])
_ROWS = st.lists(st.lists(_CELLS | st.text(max_size=5), max_size=3), max_size=12)
_HEADINGS = st.sampled_from(
    [[], ["id"], ["member"], ["times"], ["id", f"sha256 {SALT}"], ["id", "sha256"], ["x", "id"]]
)


def _file(rows: list[list[str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return file.getvalue().encode("utf-8", "surrogatepass")


@OFTEN
@given(heading=_HEADINGS, rows=_ROWS)
@example(heading=["times"], rows=[["9" * 5000]] * 9)
@example(heading=["times"], rows=[["1"]] * 8 + [["x" * 100_000]])
@example(heading=["id"], rows=[["\x1b[2J" * 100]])
def test_a_members_file_with_anything_in_its_cells(tmp_path_factory: Any, heading: Any, rows: Any) -> None:
    members(tmp_path_factory.getbasetemp(), _file([heading, *rows] if heading else rows))


@OFTEN
@given(data=st.binary(max_size=300))
def test_bytes_as_a_members_file(tmp_path_factory: Any, data: bytes) -> None:
    members(tmp_path_factory.getbasetemp(), data)


@OFTEN
@given(at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_members_file_with_one_byte_changed_names_nobody_else(tmp_path_factory: Any, at: float, byte: int) -> None:
    """With digests, another id is another example, and so refused: what is read is a part of what was written."""
    listed = IDS[:5]
    data = bytearray(with_ids([(name, DIGESTS[name]) for name in listed], SALT))
    right = members(tmp_path_factory.getbasetemp(), bytes(data))
    assert right == [1] * 5 + [0] * 4
    head = data.index(b"\n") + 1
    data[head + int(at * (len(data) - head))] = byte
    found = members(tmp_path_factory.getbasetemp(), bytes(data))
    assert isinstance(found, str) or all(now <= before for now, before in zip(found, right, strict=True))


def test_members_files_that_are_too_much(tmp_path: Path) -> None:
    too_much = {
        "a long cell": b"x" * 10_000_000,
        "many columns": b"a," * 1_000_000,
        "many unknown": b"id\n" + b"u1\n" * 500_000,
        "a quotation without end": b'id\n"' + b"a\n" * 1_000_000,
        "a number of 5,000 digits": b"times\n" + (b"9" * 5000 + b"\n") * 9,
        "another encoding": "id\na\n".encode("utf-16"),
        "half a character": b"id\n\xed\xa0\x80\n",
    }
    for name, data in too_much.items():
        assert isinstance(members(tmp_path, data), str), name
    assert members(tmp_path, b"id\n" + b"a\n" * 500_000) == [255] + [0] * 8


# ---- manifests of canaries


@pytest.fixture(scope="module")
def made() -> Manifest:
    canaries = make(4, seed=3)
    doses = {canary.name: n % 3 for n, canary in enumerate(canaries)}
    return plant([f"text {n}" for n in range(20)], canaries, doses, seed=5)[1]


def ended(*arguments: object) -> int:
    """Returns the exit code of a command line that has little to say."""
    code, told, said = call(*arguments)
    assert len(told + said) < 20_000
    return code


def check(place: Path, public: bytes, manifest: bytes) -> int:
    (place / "public.json").write_bytes(public)
    (place / "manifest.json").write_bytes(manifest)
    return ended("canary", "check", place / "public.json", place / "manifest.json")


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from([-1, 0, 2**64, 10**4000, 10**300])
    | st.text(max_size=10)
    | st.sampled_from(["", "\x1b[2J", "\ud800", "A" * 5_000, "memaudit.canaries/1"])
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@OFTEN
@given(data=st.data())
def test_a_manifest_with_anything_in_the_place_of_anything(
    made: Manifest, tmp_path_factory: Any, data: st.DataObject
) -> None:
    """Whatever was changed, on either side, the two do not agree any more; or nothing was changed."""
    halves = [made.public(), made.to_json()]
    before = json.dumps(halves)
    half = data.draw(st.sampled_from(halves))
    for _ in range(data.draw(st.integers(1, 3))):
        way = data.draw(st.sampled_from(list(places(half))))
        node: Any = half
        for key in way[:-1]:
            node = node[key]
        if data.draw(st.booleans()):
            node[way[-1]] = data.draw(_VALUES)
        else:
            del node[way[-1]]
        if not half:
            break
    same = json.dumps(halves) == before
    code = check(tmp_path_factory.getbasetemp(), *(json.dumps(each).encode() for each in halves))
    assert code == (0 if same else 2)


@OFTEN
@given(text=st.binary(max_size=200), value=_VALUES)
def test_what_is_no_manifest_is_refused(made: Manifest, tmp_path_factory: Any, text: bytes, value: Any) -> None:
    place = tmp_path_factory.getbasetemp()
    public, whole = (json.dumps(each).encode() for each in (made.public(), made.to_json()))
    for other in (text, json.dumps(value).encode()):
        assert check(place, public, other) == 2
        assert check(place, other, whole) == 2


def test_a_manifest_that_is_one_is_taken(made: Manifest, tmp_path: Path) -> None:
    assert check(tmp_path, *(json.dumps(each).encode() for each in (made.public(), made.to_json()))) == 0


@pytest.mark.parametrize("number", [4_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_manifests_that_are_too_much(made: Manifest, tmp_path: Path, number: int) -> None:
    public, whole = made.public(), made.to_json()
    wide, deep, many = (copy.deepcopy(whole) for _ in range(3))
    wide["canaries"][0] |= {"alphabets": [["0", "1"]] * 20_000, "secret": [0] * 20_000, "size": 2}
    deep["canaries"][0]["alphabets"] = "deep"
    many["canaries"] = [{**many["canaries"][0], "name": f"{n}", "prefix": f"{n}"} for n in range(number)]
    many["canaries"].append(many["canaries"][0])
    brackets = "[" * 50_000 + "]" * 50_000
    nested = json.dumps(deep).replace('"deep"', brackets).encode()
    too_much = {
        "nested": brackets.encode(),
        "nested in a manifest": nested,
        "a space of 2^20,000 secrets": json.dumps(wide).encode(),
        "many canaries": json.dumps(many).encode(),
        "a long name": json.dumps(whole).replace(whole["canaries"][0]["name"], "x" * 5_000_000, 1).encode(),
        "a number of 5,000 digits": json.dumps(whole | {"seed": "SEED"}).replace('"SEED"', "9" * 5000).encode(),
        "another encoding": json.dumps(whole).encode("utf-16")[:-1],
        "nothing": b"",
    }  # fmt: skip
    for name, text in too_much.items():
        assert check(tmp_path, json.dumps(public).encode(), text) == 2, name
        assert check(tmp_path, text, json.dumps(whole).encode()) == 2, name
    (tmp_path / "whole.json").write_text(json.dumps(whole), "utf-8")
    assert ended("canary", "check", "/dev/zero", tmp_path / "whole.json") == 2


@pytest.mark.parametrize("field", ["name", "family", "prefix", "suffix", "alphabets", "commitment", "salt"])
@pytest.mark.parametrize("text", ["\ud800", "\x1b[2J", "\u202e", "x" * 100_000])
def test_a_text_that_is_none_in_every_field_of_a_canary(made: Manifest, tmp_path: Path, field: str, text: str) -> None:
    whole = made.to_json()
    whole["canaries"][0][field] = [[text], ["0", "1"]] if field == "alphabets" else text
    whole["canaries"][0][f"key {text}"] = text
    assert check(tmp_path, json.dumps(made.public()).encode(), json.dumps(whole).encode()) == 2
    assert check(tmp_path, json.dumps(whole).encode(), json.dumps(made.to_json()).encode()) == 2
    public = {name: value for name, value in whole.items() if name != "seed"}
    assert check(tmp_path, json.dumps(public).encode(), json.dumps(made.to_json()).encode()) == 2
