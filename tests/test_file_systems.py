"""File systems that lack something: each works, or is refused by its right name before anything is trained."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from samples import LEDGER_ENTRY as ENTRY

from memaudit import files
from memaudit.auditing.evidence import Key
from memaudit.auditing.ledger import FILE, append, read
from memaudit.bank import Bank
from memaudit.errors import BankError
from memaudit.reports import load

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]
ROOT = Path(__file__).parents[1]

LINKLESS = {"SMB": errno.EOPNOTSUPP, "FAT": errno.EPERM, "BeeGFS": errno.EXDEV, "FUSE": errno.ENOSYS}
LOCKLESS = {"NFS": errno.ENOLCK, "Lustre": errno.ENOSYS, "FUSE": errno.EOPNOTSUPP}
SYNCLESS = {"SMB": errno.EINVAL, "FUSE": errno.EBADF}


def answering(number: int) -> Callable[..., None]:
    """Returns a system call that fails."""

    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def syncing_no_folder(number: int) -> Callable[[int], None]:
    sync = os.fsync

    def call(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        sync(handle)

    return call


@pytest.fixture
def poor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with no hard links, no flock and no fsync of folders."""
    monkeypatch.setattr(os, "link", answering(errno.EOPNOTSUPP))
    monkeypatch.setattr(fcntl, "flock", answering(errno.ENOLCK))
    monkeypatch.setattr(os, "fsync", syncing_no_folder(errno.EINVAL))


# Without hard links


@pytest.mark.parametrize("number", LINKLESS.values(), ids=LINKLESS)
def test_without_hard_links_the_first_still_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "link", answering(number))
    files.write_first(tmp_path / "bank.json", b"first")
    files.write_first(tmp_path / "bank.json", b"second")
    assert (tmp_path / "bank.json").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["bank.json"]
    assert Bank.create(tmp_path / "bank", 4, {"seed": "0"}).examples == 4
    assert Key(tmp_path / "bank").name == Key(tmp_path / "bank").name


def test_a_full_disk_is_not_taken_for_missing_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", answering(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        files.write_first(tmp_path / "bank.json", b"first")
    assert not list(tmp_path.iterdir())


def _first(place: tuple[Path, int]) -> bytes:
    path, number = place
    os.link = answering(errno.EPERM)
    files.write_first(path, f"{number}".encode() * 10_000)
    return path.read_bytes()


def test_of_processes_without_hard_links_one_succeeds_for_all(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        for turn in range(10):
            path = tmp_path / f"{turn}.json"
            found = pool.map(_first, [(path, number) for number in range(4)], chunksize=1)
            assert len(set(found)) == 1
            assert len(found[0]) == 10_000


def test_a_lock_that_a_killed_process_left_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", answering(errno.EPERM))
    monkeypatch.setattr(files, "_STALE", 0.2)
    (tmp_path / ".bank.json.lock").touch()
    started = time.monotonic()
    files.write_first(tmp_path / "bank.json", b"first")
    assert time.monotonic() - started >= 0.2
    assert [path.name for path in tmp_path.iterdir()] == ["bank.json"]


# Without flock


@pytest.mark.parametrize("number", LOCKLESS.values(), ids=LOCKLESS)
def test_without_flock_a_ledger_is_written_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", answering(number))
    assert [append(tmp_path / FILE, ENTRY).attempt().number for _ in range(3)] == [1, 2, 3]
    assert len(read(tmp_path / FILE).entries) == 3
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_without_the_module_of_flock_a_ledger_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "fcntl", None)  # as on Windows
    assert [append(tmp_path / FILE, ENTRY).attempt().number for _ in range(3)] == [1, 2, 3]


def _appended(path: Path) -> list[int]:
    fcntl.flock = answering(errno.ENOSYS)
    return [append(path, ENTRY).attempt().number for _ in range(10)]


def test_processes_without_flock_count_every_attempt_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        numbers = [n for found in pool.map(_appended, [tmp_path / FILE] * 4, chunksize=1) for n in found]
    assert sorted(numbers) == list(range(1, 41))
    assert read(tmp_path / FILE).torn == 0


# Without fsync of folders


@pytest.mark.parametrize("number", SYNCLESS.values(), ids=SYNCLESS)
def test_without_fsync_of_folders_a_model_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", syncing_no_folder(number))
    bank = Bank.create(tmp_path / "bank", 4, {"seed": "0"})
    bank.require_writable()
    bank.write(0, {}, None, {})
    assert bank.models() == [0]
    assert append(tmp_path / FILE, ENTRY).attempt().number == 1


def test_a_broken_disk_is_not_taken_for_one_that_cannot_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = Bank.create(tmp_path / "bank", 4, {"seed": "0"})
    monkeypatch.setattr(os, "fsync", syncing_no_folder(errno.EIO))
    with pytest.raises(BankError, match="Input/output error"):
        bank.write(0, {}, None, {})


# All of it at once, and what cannot work


def test_an_audit_from_nothing_on_a_poor_file_system(empty_bank: Path, poor: None, command: Command) -> None:
    done = command("audit", "model.safetensors", "--shadows", 6, "-q")
    assert done.returncode in (0, 3), done.stderr
    assert load("audit/report.json").attempt is not None


@pytest.mark.parametrize(
    ("call", "number", "name"),
    [
        ("rename", errno.ENOSYS, "Function not implemented"),
        ("mkdir", errno.EROFS, "Read-only file system"),
        ("open", errno.EACCES, "Permission denied"),
    ],
)
def test_a_disk_that_cannot_hold_models_is_refused_before_training(
    empty_bank: Path, call: str, number: int, name: str, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(os, call)

    def failing(path: object, *arguments: Any, **options: Any) -> Any:
        if ".writing" in str(path) and (call != "open" or arguments[0] & os.O_CREAT):
            raise OSError(number, os.strerror(number))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, call, failing)
    monkeypatch.setattr("memaudit.training.filling.Workshop.make", answering(errno.EIO))  # nothing is trained
    told = complaint("audit", "model.safetensors", "-q")
    assert name in told
    assert "--bank FOLDER" in told
    assert not list(empty_bank.glob("models/*"))


def without_permission(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Makes folders look as on a disk that is mounted read-only: root may write whatever the permissions say."""
    write, make, access, rename = os.open, os.mkdir, os.access, os.rename

    def inside(path: object) -> bool:
        return any(Path(str(path)).resolve().is_relative_to(folder.resolve()) for folder in folders)

    def refused(path: object) -> None:
        if inside(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            refused(path)
        return write(path, flags, *arguments, **options)

    def made(path: Any, *arguments: Any, **options: Any) -> None:
        if not Path(str(path)).exists():
            refused(path)
        make(path, *arguments, **options)

    def renamed(path: Any, *arguments: Any, **options: Any) -> None:
        refused(path)
        rename(path, *arguments, **options)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "mkdir", made)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK and inside(path)) and access(path, mode))


def test_a_project_that_cannot_be_written_is_audited_with_a_ledger_elsewhere(
    project: Path, tmp_path: Path, command: Command, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_permission(monkeypatch, project)
    made = []
    monkeypatch.setattr("memaudit.training.filling.Workshop.make", lambda *_: made.append(1))
    out = tmp_path / "out"
    told = complaint("audit", "model.safetensors", "--out", out)
    assert FILE in told
    assert "--ledger FILE" in told
    told = complaint("audit", "model.safetensors", "--ledger", tmp_path / "kept" / FILE)
    assert "the report cannot be written into" in told
    assert "--out FOLDER" in told
    arguments = ("audit", "model.safetensors", "--out", out, "--ledger", tmp_path / "kept" / FILE)
    assert command(*arguments).returncode == 0
    assert command(*arguments).returncode == 0
    attempt = load(out / "report.json").attempt
    assert attempt is not None
    assert (attempt.number, attempt.lost) == (2, False)
    assert not (project / "bank" / "evidence.key").exists()
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {FILE, "memaudit.ledger.key"}
    assert not made
    assert command("verify", out, "--ledger", tmp_path / "kept" / FILE).returncode == 0


def test_a_bank_that_cannot_be_written_is_audited(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bank on a shared disk, mounted read-only inside a project that is not."""
    without_permission(monkeypatch, project / "bank")
    assert command("audit", "model.safetensors").returncode == 0
    assert command("audit", "model.safetensors").returncode == 0
    attempt = load(project / "audit" / "report.json").attempt
    assert attempt is not None
    assert (attempt.number, attempt.lost) == (2, False)


def test_the_ledger_of_the_settings_starts_from_their_file(
    project: Path, command: Command, edit: Callable[[Path, str, str], None]
) -> None:
    edit(project / "memaudit.toml", "[audit]\n", '[audit]\nledger = "records/audits.jsonl"\n')
    assert command("audit", "model.safetensors", "-q").returncode == 0
    assert len(read(project / "records" / "audits.jsonl").entries) == 1
    assert not (project / FILE).exists()
    assert command("plan", "model.safetensors", "-q", "-o", "memaudit.plan.json").returncode == 0
    assert command("audit", "model.safetensors", "-q", "--plan", "memaudit.plan.json").returncode == 0
    assert len(read(project / "records" / "audits.jsonl").entries) == 3


@pytest.mark.slow
def test_a_bank_on_a_disk_that_is_really_mounted_read_only(project: Path, tmp_path: Path) -> None:
    mount = "mount --bind bank bank && mount -o remount,ro,bind bank && ! touch bank/x 2>/dev/null"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    call = f"{mount} && {sys.executable} -m memaudit audit model.safetensors -q"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", call], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (project / "bank" / "evidence.key").exists()


# Who may read


@pytest.mark.parametrize(
    ("shared", "umask", "file", "folder"),
    [
        (False, 0o022, 0o600, 0o700),
        (False, 0o002, 0o600, 0o700),
        (False, 0o277, 0o400, 0o500),  # an owner who wants less gets less
        (True, 0o022, 0o660, 0o770),
        (True, 0o077, 0o660, 0o770),
    ],
)
def test_who_may_read_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool, umask: int, file: int, folder: int
) -> None:
    monkeypatch.setenv(files.SHARED, "1" if shared else "")
    before = os.umask(umask)
    try:
        files.make_private_folder(tmp_path / "bank")
        files.write_whole(tmp_path / "evidence.csv", b"", private=True)
        files.write_first(tmp_path / "evidence.key", b"")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("bank", "evidence.csv", "evidence.key")]
    assert modes == [folder, file, file]


def modes(folder: Path) -> dict[int, set[str]]:
    """Returns the names of the files below a folder, and of its folders with a slash, by their permissions."""
    found: dict[int, set[str]] = {}
    for path in [folder, *folder.rglob("*")]:
        found.setdefault(stat.S_IMODE(path.stat().st_mode), set()).add(path.name + "/" * path.is_dir())
    return found


@pytest.mark.parametrize("shared", [False, True])
def test_files_about_people_are_their_owners_alone_unless_a_group_shares_them(
    project: Path, shared: bool, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(project / "bank")
    monkeypatch.delenv(files.SHARED, raising=False)
    with (project / "memaudit.toml").open("a", encoding="utf-8") as file:
        file.write(f"[files]\nshared = {str(shared).lower()}\n")
    before = os.umask(0o022)
    try:
        assert command("audit", "model.safetensors", "--shadows", 6, "--evidence", "ids", "-q").returncode == 0
    finally:
        os.umask(before)
        monkeypatch.delenv(files.SHARED, raising=False)
    of_files, of_folders = (0o660, 0o770) if shared else (0o600, 0o700)
    assert modes(project / "bank") == {
        of_files: {
            "bank.json", "evidence.key", "last_audit", "signals.safetensors", "weights.safetensors", "model.json"
        },
        of_folders: {"bank/", "models/", *(f"{model:04d}/" for model in range(6))},
    }  # fmt: skip
    assert modes(project / "audit") == {
        of_files: {"report.json", "evidence.csv"},
        of_folders: {"audit/"},
        0o644: {"report.html", "report.md", "report.digest", "SHA256SUMS"},
    }
    assert stat.S_IMODE((project / FILE).stat().st_mode) == of_files
    assert stat.S_IMODE((project / "memaudit.ledger.key").stat().st_mode) == of_files


def test_somebody_elses_bank_says_how_to_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Bank.create(tmp_path / "bank", 4, {"seed": "0"})
    monkeypatch.setattr(Path, "read_text", answering(errno.EACCES))
    with pytest.raises(BankError, match=r"Permission denied.*shared = true in \[files\].*chmod -R g\+rwX"):
        Bank.open(tmp_path / "bank")


def test_a_pipe_or_a_device_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    """Whoever is root would else have no /dev/stderr afterwards."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="it is no plain file"):
        files.write_whole(tmp_path / "pipe", b"x")
    assert (tmp_path / "pipe").is_fifo()
