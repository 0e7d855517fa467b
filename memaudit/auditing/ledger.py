"""The run ledger: one line for every audit, so that auditing again until it passes shows, and one for every plan.

A ledger is a file of JSON lines that is only ever appended to. Each line is an `Entry` or a `PlanEntry` in the
canonical form of RFC 8785 and holds the SHA-256 of the entry before it: no entry can be changed, taken out or put in
without changing all that follow, down to the one that a report names. It is not signed: who can write it can also write
it anew.

A line that was cut short by a crash is no entry. The next audit ends it with a mark, and goes on behind it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from stat import S_ISREG

from pydantic import TypeAdapter, ValidationError

from memaudit.errors import MemauditError
from memaudit.files import sync_folder
from memaudit.reports.canonical import canonical
from memaudit.types import Attempt, Limit, Planned, Verdict

FILE = "memaudit.ledger.jsonl"
SCHEMA, PLAN_SCHEMA = "memaudit.ledger/1", "memaudit.ledger.plan/1"
_BEGINNING = "0" * 64
_TORN = b" torn"  # no entry ends so: it ends with a brace


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One audit. `model` and `policy` are SHA-256, `examples` is the keyed commitment to the data."""

    schema: str = SCHEMA
    time: str
    model: str
    policy: str
    examples: str
    seed: int
    shadows: int
    verdict: Verdict
    previous: str = _BEGINNING


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEntry:
    """A plan of audits to come: the SHA-256 of its file."""

    schema: str = PLAN_SCHEMA
    time: str
    plan: str
    previous: str = _BEGINNING


@dataclass(frozen=True, slots=True)
class Ledger:
    """The entries of a ledger with their SHA-256, in order, and how many lines were cut short."""

    entries: tuple[Entry | PlanEntry, ...] = ()
    hashes: tuple[str, ...] = ()
    torn: int = 0

    def attempt(self, number: int = -1) -> Attempt:
        """Returns which audit of its model under its policy an entry is, by its place from 0; by default the last.

        Raises:
            ValueError: It is no audit's entry.
        """
        entry = self.entries[number]
        if not isinstance(entry, Entry):
            raise ValueError(f"entry {number} is not about an audit")
        model = [other for other in self.audits(number) if other.model == entry.model]
        earlier = tuple(other.verdict for other in model if other.policy == entry.policy)
        return Attempt(
            number=len(earlier) + 1, earlier=earlier, of_model=len(model) + 1, entry=self.hashes[number], torn=self.torn
        )

    def audits(self, until: int | None = None) -> list[Entry]:
        """Returns the entries of audits, of all entries or of the first `until`."""
        return [entry for entry in self.entries[:until] if isinstance(entry, Entry)]

    def planned(self, sha256: str) -> Planned | None:
        """Returns what the first entry about a plan says; None if there is none."""
        for number, entry in enumerate(self.entries):
            if isinstance(entry, PlanEntry) and entry.plan == sha256:
                before = len(self.audits(number))
                return Planned(sha256=sha256, created=entry.time, entry=self.hashes[number], audits_before=before)
        return None


def beside(bank: Path) -> Path:
    """Returns where the ledger of the audits with a bank is."""
    return bank.resolve().parent / FILE


def policy_digest(limits: Sequence[Limit]) -> str:
    """Returns the SHA-256 of limits: the same whatever they are called, and wherever and in what order they stand."""
    rules = [{k: v for k, v in asdict(limit).items() if k not in ("id", "source", "line")} for limit in limits]
    return hashlib.sha256(b"\n".join(sorted(map(canonical, rules)))).hexdigest()


def read(path: Path) -> Ledger:
    """Returns what a ledger holds.

    Raises:
        MemauditError: It cannot be read, or an entry does not follow from the one before it: something was changed.
    """
    with _opened(path, os.O_RDONLY | os.O_NONBLOCK) as handle:
        return _parsed(path, _content(handle))


def append(path: Path, entry: Entry | PlanEntry) -> Ledger:
    """Returns the ledger after adding an entry, linked to the last one; it is on the disk by then.

    Several processes may append at once.

    Raises:
        MemauditError: The ledger cannot be written, or was changed.
    """
    with _opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK) as handle:
        content = _content(handle)
        ledger = _parsed(path, content)
        fields = asdict(entry) | {"previous": ledger.hashes[-1] if ledger.hashes else _BEGINNING}
        line = canonical(fields)
        cut = b"" if content.endswith(b"\n") or not content else _TORN + b"\n"
        added = cut + line + b"\n"
        if os.write(handle, added) < len(added):
            raise MemauditError(f"{path}: the disk is full; the audit could not be recorded")
        os.fsync(handle)
        sync_folder(path.parent)
    return Ledger((*ledger.entries, type(entry)(**fields)), (*ledger.hashes, _hash(line)), ledger.torn)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Yields a handle that nobody else holds."""
    try:
        handle = os.open(path, flags, 0o666)
        try:
            if not S_ISREG(os.fstat(handle).st_mode):
                raise MemauditError(f"{path} is no plain file, and so no ledger")
            fcntl.flock(handle, fcntl.LOCK_EX if flags & os.O_RDWR else fcntl.LOCK_SH)
            yield handle
        finally:
            os.close(handle)
    except OSError as error:
        raise MemauditError(
            f"the ledger of audits, {path}, cannot be had: {error.strerror}. Every audit is recorded beside its bank"
        ) from error


def _content(handle: int) -> bytes:
    with os.fdopen(os.dup(handle), "rb") as file:
        return file.read()


def _parsed(path: Path, content: bytes) -> Ledger:
    entries: list[Entry | PlanEntry] = []
    hashes: list[str] = []
    *lines, rest = content.split(b"\n")
    torn = int(bool(rest))
    for number, line in enumerate(lines, 1):
        if line.endswith(_TORN):
            torn += 1
            continue
        entry = _entry(line)
        if entry is None or entry.previous != (hashes[-1] if hashes else _BEGINNING):
            raise MemauditError(
                f"{path}:{number}: this line does not follow from those before it: one of them was changed, taken out "
                "or put in. How often a model was audited is no longer known. Keep the file for whoever has to know; "
                "once it is moved away, the next audit begins a new one"
            )
        entries.append(entry)
        hashes.append(_hash(line))
    return Ledger(tuple(entries), tuple(hashes), torn)


@cache
def _adapter() -> TypeAdapter[Entry | PlanEntry]:
    return TypeAdapter(Entry | PlanEntry)


def _entry(line: bytes) -> Entry | PlanEntry | None:
    """Returns the entry of a line; None if it is none."""
    try:
        entry = _adapter().validate_json(line, strict=True, extra="forbid")
    except ValidationError:
        return None
    schema = SCHEMA if isinstance(entry, Entry) else PLAN_SCHEMA
    return entry if entry.schema == schema and canonical(json.loads(line)) == line else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
