"""Writing so that a reader never meets half a file, whoever is killed when."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_synced(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Writes a new file and waits until it is on the disk; it may be left half-written."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file, or replaces it, in one step."""
    draft = _draft(path)
    try:
        write_synced(draft, data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_first(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Writes a file in one step unless it is there; of several processes that try, one succeeds, for all of them."""
    draft = _draft(path)
    try:
        write_synced(draft, data, mode)
        with contextlib.suppress(FileExistsError, FileNotFoundError):  # or the other has swept the draft away
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def move_folder(source: Path, destination: Path) -> None:
    """Renames a folder; one that is already at the destination stays."""
    try:
        source.rename(destination)
    except OSError:
        if not destination.is_dir():
            raise


def sync_folder(path: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _draft(path: Path) -> Path:
    # In the same folder: a rename from one disk to another is a copy, which can be half done.
    return path.with_name(f".{path.name}-{secrets.token_hex(4)}")
