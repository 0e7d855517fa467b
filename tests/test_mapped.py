"""Recordings of a large bank are mapped from a file without a name."""

from __future__ import annotations

import errno
import mmap
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from memaudit.bank import Recordings, recordings
from memaudit.bank.mapped import Mapped
from memaudit.design import by_pair, halves
from memaudit.errors import BankError

Array = np.ndarray

PAIRS, EXAMPLES, QUERIES = 4, 50, 2


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    members = halves(0, 2 * PAIRS, EXAMPLES)
    phi = rng.normal(size=(2 * PAIRS, EXAMPLES, QUERIES)).astype(np.float32)
    return {"members": members, "phi": phi, "correct": phi[..., 0] > 0}


@pytest.fixture
def files(tmp_path: Path, whole: dict[str, Array]) -> tuple[Path, ...]:
    found = tuple(tmp_path / f"{model}.safetensors" for model in range(2 * PAIRS))
    for model, file in enumerate(found):
        save_file({name: np.ascontiguousarray(values[model]) for name, values in whole.items()}, file)
    return found


@pytest.fixture
def large(files: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> Recordings:
    """Return recordings of a bank that counts as too large to be kept in memory."""
    monkeypatch.setattr(recordings, "_KEPT", 0)
    return Recordings(files)


def same(found: Recordings, whole: dict[str, Array], pairs: list[int]) -> None:
    inside, outside = by_pair(whole["phi"], whole["members"])
    models = [model for t in pairs for model in (2 * t, 2 * t + 1)]
    for start, stop in ((0, 5), (3, 50), (49, 50), (0, 50), (7, 7)):
        for side, expected in zip(found.block(slice(start, stop)), (inside, outside), strict=True):
            assert np.array_equal(side, expected[pairs, start:stop])
    for name in ("members", "correct"):
        assert np.array_equal(getattr(found, name), whole[name][models])


def test_mapped_recordings_are_those_of_the_files(large: Recordings, whole: dict[str, Array]) -> None:
    same(large, whole, [0, 1, 2, 3])
    assert large._signals is not None
    for pairs in ([0, 2], [3, 1], [1, 2, 3], [2]):
        same(large.take(np.array(pairs)), whole, pairs)
    same(large.take(np.array([0, 1, 3])).take(np.array([2, 0])), whole, [3, 0])


def test_every_file_is_opened_once_for_each_thing_that_is_mapped(
    large: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def counted(path: Path, framework: str) -> Any:
        opened.append(path)
        return safe_open(path, framework)

    monkeypatch.setattr(recordings, "safe_open", counted)
    for some in (large, large.take(np.array([0, 1])), large.take(np.array([3, 0]))):
        for start in range(0, EXAMPLES, 7):
            some.block(slice(start, start + 7))
    assert len(opened) == 1 + 2 * PAIRS + 2 * PAIRS  # the shape, members and signals


def test_what_is_mapped_cannot_be_written_to_and_leaves_no_file(large: Recordings, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    inside, _ = large.block(slice(0, 5))
    assert sorted(tmp_path.iterdir()) == before
    for array in (inside, large.members):
        with pytest.raises(ValueError, match="read-only"):
            array += 1


def test_pages_that_are_given_back_are_read_again(
    large: Recordings, whole: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memaudit.bank.recordings._HELD", 100)
    first, _ = large.block(slice(0, 5))
    kept = first.copy()
    same(large, whole, [0, 1, 2, 3])
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("full_after", [0, 3])
def test_where_no_file_can_be_written_spans_are_read(
    large: Recordings, whole: dict[str, Array], monkeypatch: pytest.MonkeyPatch, full_after: int
) -> None:
    """A read-only folder, or a disk that is full halfway: the same numbers, from the models' files."""

    class Full:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.rows = 0

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, _: Any) -> None:
            self.rows += 1
            if self.rows > full_after:
                raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    same(large, whole, [0, 1, 2, 3])
    same(large.take(np.array([3, 1])), whole, [3, 1])
    assert large._signals is None


def test_a_folder_that_cannot_be_written_is_replaced_by_the_systems(tmp_path: Path) -> None:
    rows = np.arange(12.0).reshape(3, 4)
    found = Mapped.of(lambda: iter(rows), tmp_path / "is not there")
    assert found is not None
    assert np.array_equal(found.array, rows)


def test_rows_of_another_shape_or_type_are_not_mapped(tmp_path: Path) -> None:
    def rows() -> Iterator[Array]:
        yield np.zeros(3)
        yield np.zeros(4)

    assert Mapped.of(rows, tmp_path) is None
    assert Mapped.of(lambda: iter([np.zeros(3), np.zeros(3, np.float32)]), tmp_path) is None


def test_a_file_that_goes_bad_is_named(large: Recordings, files: tuple[Path, ...]) -> None:
    files[3].write_bytes(b"short")
    with pytest.raises(BankError, match=r"3.safetensors cannot be read"):
        large.block(slice(0, 5))


def test_what_changes_after_it_was_mapped_has_no_effect(
    large: Recordings, files: tuple[Path, ...], whole: dict[str, Array]
) -> None:
    """Checksums are verified before; whoever rewrites a model's file afterwards changes nothing in this audit."""
    same(large, whole, [0, 1, 2, 3])
    files[0].write_bytes(files[2].read_bytes())
    same(large, whole, [0, 1, 2, 3])


def test_a_system_without_madvise_works(
    large: Recordings, whole: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memaudit.bank.recordings._HELD", 0)
    monkeypatch.delattr(mmap, "MADV_DONTNEED", raising=False)
    same(large, whole, [0, 1, 2, 3])


def test_correct_by_pair_is_the_same_mapped_or_kept(
    files: tuple[Path, ...], whole: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kept in (2**28, 0):
        monkeypatch.setattr(recordings, "_KEPT", kept)
        for side, expected in zip(
            Recordings(files).correct_by_pair, by_pair(whole["correct"], whole["members"]), strict=True
        ):
            assert np.array_equal(side, expected)
