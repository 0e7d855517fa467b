"""Which files and environment variables the user's code reads while it trains."""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from memaudit.recipe.locality import is_own_file
from memaudit.recipe.variables import ABSENT, asking, before_training, is_of_the_machine, value_digest

CHANGING = "changed while it was read"
_Mark = tuple[int, int] | None
_FILE, _VARIABLE = "file ", "environment variable "
_MOST_IN_A_FOLDER = 256  # more are data, of which each model may read another part
_MOST_STEPS_UP = 2
_CLOCK_STEP = 20_000_000  # nanoseconds that the time of a file may be behind
_SETTINGS = {".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".env", ".py", ".properties", ".gin"}
_STATE = {".pt", ".pth", ".ckpt", ".bin", ".npz", ".npy", ".pkl", ".pickle", ".joblib", ".h5", ".keras", ".model"}
_IMPORTING = "<frozen importlib"
_SHOW_SOURCE = {"linecache.py", "tokenize.py", "inspect.py"}  # they open a .py file to show it
_SYSTEM = tuple(map(Path, ("/proc", "/sys", "/dev", "/etc", "/run", "/lib", "/lib64", "/usr/lib", "/usr/share")))


class Reads:
    """What the trainings of one recipe have read in this process: a later one may go on with an earlier one's reads."""

    def __init__(self) -> None:
        self.opened: dict[str, _Mark] = {}
        self.written: set[str] = set()
        self.reread: set[str] = set()  # after they were written in this training
        self.left: dict[str, _Mark] = {}  # by earlier trainings, which the clock cannot tell from those of this one
        self.files: dict[Path, str] = {}
        self.variables: dict[str, str | None] = {}  # as they were before training set them
        self.started = 0

    def start(self) -> None:
        """Begin a training, which has written nothing yet."""
        self.opened.clear()
        self.written.clear()
        self.reread.clear()
        self.started = time.time_ns() - _CLOCK_STEP

    def note(self, path: str) -> None:
        """Note a file that is read, unless training has written it, as torch.save does without Python's open()."""
        mark = _mark(path)
        if mark is not None and mark[0] >= self.started and mark != self.left.get(path):
            self.written.add(path)
            self.reread.add(path)
        else:
            self.opened[path] = mark


class _Listener:
    """Hears of every file that this process opens, and keeps those that are opened while someone listens."""

    def __init__(self) -> None:
        self.hooked = False
        self.all: dict[str, Reads] = {}
        self.now: list[Reads] = []

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note which file is opened; called by Python for every audit event of the process."""
        if not self.now:
            return
        if event == "subprocess.Popen":
            with suppress(OSError, ValueError, TypeError):  # which are for Popen to raise
                self._hear_command(arguments[1], arguments[2])
        if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100  # Path is slow, and this is in every open()
        reads, writes = self.now[-1], arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if path in reads.written and not writes:
            reads.reread.add(path)
        if path in reads.opened or path in reads.written:
            return
        if writes:
            reads.written.add(path)
            return
        opener = sys._getframe(1).f_code.co_filename
        shown = path.endswith(".py") and opener.rpartition(os.sep)[2] in _SHOW_SOURCE
        if not shown and not opener.startswith(_IMPORTING):
            reads.note(path)

    def _hear_command(self, command: Any, folder: Any) -> None:
        """Note the files that a command names: the script and the settings of a training in a process of its own."""
        words = shlex.split(command) if isinstance(command, str) else map(os.fsdecode, command)
        for word in list(words)[1:]:
            path = os.path.abspath(os.path.join(os.fsdecode(folder or ""), word))  # noqa: PTH100, PTH118
            if path not in self.now[-1].opened and os.path.isfile(path):  # noqa: PTH113
                self.now[-1].note(path)


_listener = _Listener()  # of the process, as is its hook, which Python cannot take off again


@contextmanager
def reading(name: str, *, settings_only: bool = False, without: str | Path | None = None) -> Iterator[None]:
    """Record what the user's code reads meanwhile.

    Args:
        name: Of the recipe.
        settings_only: Keep files of settings alone, as the content of the examples has a digest of its own.
        without: A file or folder that does not count, such as the model that is loaded.
    """
    if not _listener.hooked:
        sys.addaudithook(_listener.hear)
        _listener.hooked = True
    reads = _listener.all.setdefault(name, Reads())
    reads.start()
    _listener.now.append(reads)
    try:
        with asking(reads.variables):
            yield
    finally:
        _listener.now.pop()
        _settle(reads, settings_only, Path(without).absolute() if without else None)


def inputs(name: str, folder: Path) -> dict[str, str]:
    """Return what trainings of a recipe have read in this process.

    Covered are files that Python opens and variables that the user's own code asks for by name. Left out are Python's
    and installed packages' files, hidden folders, what training wrote itself, and folders with more than 256 files
    read: they are data.

    Args:
        name: Of the recipe, as in `reading`.
        folder: Where the recipe is; files near it are named from there, so that a project may move.

    Returns:
        Digests by `file NAME` and `environment variable NAME`.
    """
    reads = _listener.all.get(name, Reads())
    crowds = Counter(path.parent for path in reads.files)
    files = {
        _FILE + name_from(path, folder): digest
        for path, digest in reads.files.items()
        if crowds[path.parent] <= _MOST_IN_A_FOLDER and _counts(path, folder)
    }
    variables = {_VARIABLE + n: value_digest(v) for n, v in reads.variables.items() if not is_of_the_machine(n)}
    return dict(sorted((files | variables).items()))


def checkpoints(name: str, folder: Path) -> list[str]:
    """Return the files of weights that the last training of a recipe here has written and read back."""
    reads = _listener.all.get(name, Reads())
    found = (path for path in map(Path, reads.reread) if path.suffix.lower() in _STATE and _counts(path, folder))
    return sorted(name_from(path, folder) for path in found)


def current(name: str, folder: Path) -> str | None:
    """Return what an input is now; None of a file that is not there, as on another machine."""
    if name.startswith(_VARIABLE):
        variable = name.removeprefix(_VARIABLE)
        return value_digest(before_training(variable, os.environ.get(variable)))
    found = _digest(folder / name.removeprefix(_FILE))
    return None if found == ABSENT else found


def name_from(path: Path, folder: Path) -> str:
    """Return a path from a folder, if it is near it."""
    path = path.parent.resolve() / path.name  # the file itself may be a link to one without a name
    name = Path(os.path.relpath(path, folder)) if path.drive == folder.drive else path
    return path.as_posix() if name.parts.count("..") > _MOST_STEPS_UP else name.as_posix()


def _settle(reads: Reads, settings_only: bool, without: Path | None) -> None:
    """Take the digests of the files that were opened, which must be as they were then.

    A file that was not there and is now has been made by training itself, such as a cache.
    """
    for name, mark in reads.opened.items():
        path = Path(name)
        made = mark is None and path.exists()
        if made:
            reads.written.add(name)
        unwanted = made or (without is not None and path.is_relative_to(without))
        if unwanted or (settings_only and not _holds_settings(path, mark)):
            continue
        if (digest := _digest(path)) is not None:
            reads.files[path] = digest if _mark(name) == mark else CHANGING
    reads.left.update({name: _mark(name) for name in reads.written})


def _holds_settings(path: Path, mark: _Mark) -> bool:
    return (path.suffix.lower() in _SETTINGS or path.name.startswith(".env")) and (mark is None or mark[1] < 2**20)


def _mark(path: str) -> _Mark:
    """Return what changes with a file's content; None if there is no such file."""
    try:
        state = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


def _counts(path: Path, folder: Path) -> bool:
    """Return whether a file that was read is the user's own."""
    near = Path(name_from(path, folder))
    outside = near.is_absolute() or near.parts[0] == ".."  # where a hidden file is another program's, such as ~/.netrc
    parts = near.parts if outside and not near.name.startswith(".env") else near.parent.parts
    hidden = any(part.startswith(".") and part != ".." for part in parts)
    shared = [Path(prefix, name) for prefix in {sys.prefix, sys.base_prefix} for name in ("lib", "lib64", "share")]
    return not hidden and is_own_file(path) and not any(path.is_relative_to(f) for f in (*_SYSTEM, *shared))


def _digest(path: Path) -> str | None:
    """Return a file's SHA-256, `absent` if there is none, and None for what is no file or cannot be read."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return None
        return _content_digest(path, (state.st_mtime_ns, state.st_ctime_ns, state.st_size))
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError:
        return None


@lru_cache(4096)
def _content_digest(path: Path, state: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
