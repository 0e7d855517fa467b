"""The digest of a model that is a folder: about all of it, and of no other folder."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from memaudit.auditing.folder import sha256
from memaudit.errors import MemauditError


def _linked(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "weights").write_bytes(b"leaky")
    (folder / "sub").symlink_to(folder.parent / "elsewhere")


def _broken(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def _dangling(folder: Path) -> None:
    (folder / "weights").symlink_to("nowhere")


def _merged(folder: Path) -> None:
    """One name that reads like two lines of the digest."""
    (folder / f"a {hashlib.sha256(b'1').hexdigest()}\nb").write_bytes(b"2")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_linked, "'sub' is a link to a folder"),
        (_broken, "'pipe' is neither a file nor a folder"),
        (_dangling, "'weights' is neither a file nor a folder"),
        (_merged, "is a name with a line break"),
    ],
)
def test_a_folder_that_no_digest_is_about_is_refused(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", "utf-8")
    spoil(folder)
    with pytest.raises(MemauditError, match=said):
        sha256(folder)


def test_files_that_are_links_count_with_their_content(tmp_path: Path) -> None:
    """As in the cache of a model hub. The digest is the one that earlier versions found."""
    (tmp_path / "blob").write_bytes(b"1")
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "a").symlink_to("../blob")
    (tmp_path / "model" / "sub" / "b").write_bytes(b"2")
    lines = "".join(f"{n} {hashlib.sha256(c).hexdigest()}\n" for n, c in (("a", b"1"), ("sub/b", b"2")))
    assert sha256(tmp_path / "model") == hashlib.sha256(lines.encode()).hexdigest()
    (tmp_path / "blob").write_bytes(b"3")
    assert sha256(tmp_path / "model") != hashlib.sha256(lines.encode()).hexdigest()
