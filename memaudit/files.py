"""Writing so that a reader never meets half a file, whichever process is killed, on file systems of every kind.

What is about people is written for its owner alone, and for the group where MEMAUDIT_SHARED is set (`shared` in the
table [files] of memaudit.toml sets it). Where a file system has no hard links or no flock, a lock file is used instead;
where it cannot wait until the names in a folder are on the disk, they are there when the machine does not crash.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SHARED = "MEMAUDIT_SHARED"
_LACKING = {
    getattr(errno, name)
    for name in ("EPERM", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "ENOLCK", "EINVAL", "EBADF", "EMLINK", "EXDEV", "EISDIR")
    if hasattr(errno, name)
}  # what file systems answer to what they cannot do
_SHOWN = 200  # characters of a name
_STALE, _PAUSE = 30.0, 0.02  # seconds: a lock file is held for milliseconds


def private_mode(folder: bool = False) -> int:
    """Return the permissions of a file or folder that is about people: its owner's, and the group's where shared."""
    return (0o770 if folder else 0o660) if _shared() else (0o700 if folder else 0o600)


def make_private_folder(path: Path) -> None:
    """Make a folder for what is about people, unless it is there; those around it are made as usual."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(private_mode(folder=True), exist_ok=True)
        if _shared():
            path.chmod(private_mode(folder=True))


def open_private(path: Path, flags: int, mode: int | None = None) -> int:
    """Return a handle of a file; one that is made has these permissions, by default a private file's."""
    mode = private_mode() if mode is None else mode
    made = bool(flags & os.O_CREAT) and not path.exists()
    handle = os.open(path, flags, mode)
    if made and _shared() and mode == private_mode():
        path.chmod(mode)  # whatever the umask: the group was asked for
    return handle


def write_synced(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a new file and waits until it is on the disk; it may be left half-written."""
    with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        _sync(file.fileno())


def write_whole(path: Path, data: bytes, private: bool = False) -> None:
    """Write a file, or replaces it, in one step; a device, a pipe or a folder is never replaced."""
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is no plain file")
    draft = _draft(path)
    try:
        write_synced(draft, data, private_mode() if private else 0o666)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_first(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a private file in one step unless it is there; of several processes that try, one succeeds, for all."""
    draft = _draft(path)
    try:
        write_synced(draft, data, private_mode() if mode is None else mode)
        with contextlib.suppress(FileExistsError, FileNotFoundError):  # or the other has swept the draft away
            try:
                os.link(draft, path)
            except OSError as error:
                if error.errno not in _LACKING | {errno.EACCES}:
                    raise
                with _lock_file(path):
                    if not path.exists():
                        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, handle: int, shared: bool = False) -> Iterator[None]:
    """Lock an open file against other processes, or with `shared` against those that write.

    Without flock a writer is held off by a lock file, and a reader by nothing: it may meet a line that is not whole.
    """
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no flock")
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)  # until the handle is closed
    except OSError as error:
        if error.errno not in _LACKING:
            raise
        with contextlib.nullcontext() if shared else _lock_file(path):
            yield
        return
    yield


def rehearse(draft: Path) -> None:
    """Make, fill, rename and remove a small folder, to find out early whether the disk can do it."""
    renamed = draft.with_name(f"{draft.name}0")
    try:
        draft.mkdir(private_mode(folder=True))
        write_synced(draft / "probe", b"probe", private_mode())
        sync_folder(draft)
        draft.rename(renamed)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(renamed, ignore_errors=True)


def move_folder(source: Path, destination: Path) -> None:
    """Rename a folder; one that is already at the destination stays."""
    try:
        source.rename(destination)
    except OSError:
        if not destination.is_dir():
            raise


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system can do that."""
    with contextlib.suppress(PermissionError):  # Windows opens no folder
        handle = os.open(path, os.O_RDONLY)
        try:
            _sync(handle)
        finally:
            os.close(handle)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or over the names and digests of a folder's files.

    Raises:
        ValueError: The folder holds what such a digest cannot be about: links to folders, which are not followed, and
            what is no file; or a name with a line break, by which another folder would have the same digest.
    """
    if path.is_dir():
        lines = [f"{name} {sha256(path / name)}\n" for name in _inside(path)]
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of those in it, by name from there."""
    for entry in sorted(folder.rglob("*")):
        name = entry.relative_to(folder)
        shown = f"{folder}: {repr(str(name))[:_SHOWN]}"
        if len(str(name).splitlines()) > 1 or str(name).endswith("\n"):
            raise ValueError(f"{shown} is a name with a line break; rename it")
        if entry.is_dir() and entry.is_symlink():
            raise ValueError(f"{shown} is a link to a folder, which a digest cannot cover. Copy the files here")
        if not (entry.is_dir() or entry.is_file()):
            raise ValueError(f"{shown} is neither a file nor a folder. Remove it")
        if entry.is_file():
            yield name


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _LACKING:
            raise


@contextlib.contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    """Hold a file that only one process can make; one left by a killed process is removed after a while."""
    lock = path.with_name(f".{path.name}.lock")
    seen, since = None, time.monotonic()
    while True:
        try:
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            break
        except FileExistsError:
            now = _identity(lock)  # by our own clock: the server's may differ
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > _STALE:
                lock.unlink(missing_ok=True)
            time.sleep(_PAUSE)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
        return found.st_ino, found.st_mtime_ns
    except OSError:
        return None


def _shared() -> bool:
    return os.environ.get(SHARED, "").lower() in ("1", "true", "yes")


def _draft(path: Path) -> Path:
    # In the same folder: a rename from one disk to another is a copy, which can be half done.
    return path.with_name(f".{path.name}-{secrets.token_hex(4)}")
