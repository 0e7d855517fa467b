"""The run ledger: one line for every audit, so repeated auditing until a pass is visible, and one for every plan.

A ledger is a file of JSON lines that is only ever appended to. Each line is an `Entry` or a `PlanEntry` in the
canonical form of RFC 8785 and holds the SHA-256 of the entry before it: no entry can be changed, removed or
inserted without changing all later ones, including the one that a report names. It is not signed: whoever can write it
can also replace it. Then a signed report names an entry that the new one lacks, and so does the bank (`Witness`).

A line that was cut short by a crash is no entry. The next audit ends it with a mark and continues after it.
"""

from __future__ import annotations

import contextlib
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

from memaudit import files
from memaudit.errors import MemauditError
from memaudit.reports.canonical import canonical
from memaudit.types import Attempt, Limit, Planned, Verdict

FILE = "memaudit.ledger.jsonl"
SCHEMA, OLD_SCHEMA, PLAN_SCHEMA = "memaudit.ledger/2", "memaudit.ledger/1", "memaudit.ledger.plan/1"
_BEGINNING = "0" * 64
_TORN = b" torn"  # no entry ends so: it ends with a brace
_LAST = "last_audit"
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # a pipe in place of a ledger must not be waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One audit. `model`, `policy` and `recipe` are SHA-256.

    `examples` is the commitment to the data under the bank's key, which reports hold too. `data` is one under the
    ledger's key, so that it stays the same with a new bank. `lost` says that earlier audits with this bank are missing.
    Entries of memaudit 0.1.0 have none of recipe, data and lost.
    """

    schema: str = SCHEMA
    time: str
    model: str
    policy: str
    recipe: str = ""
    examples: str
    data: str = ""
    seed: int
    shadows: int
    verdict: Verdict
    lost: bool = False
    previous: str = _BEGINNING

    def follows(self, other: Entry) -> bool:
        """Return whether this audit is another try of that one: the same model, examples or recipe."""
        same = (self.model == other.model, self.examples == other.examples)
        known = ((self.recipe, other.recipe), (self.data, other.data))
        return any(same) or any(own == others != "" for own, others in known)


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
        """Return which audit of its model, examples or recipe an entry is, by its place from 0; by default the last.

        Raises:
            ValueError: It is no audit's entry.
        """
        entry = self.entries[number]
        if isinstance(entry, PlanEntry):
            raise ValueError(f"entry {number} is not about an audit")
        before = self.audits(number)
        model = [other for other in before if other.model == entry.model]
        if entry.schema == OLD_SCHEMA:  # counted as the report that names it says
            old = tuple(other.verdict for other in model if other.policy == entry.policy)
            return Attempt(
                number=len(old) + 1, earlier=old, of_model=len(model) + 1, entry=self.hashes[number], torn=self.torn
            )
        same = [other for other in before if entry.follows(other)]
        return Attempt(
            number=len(same) + 1,
            earlier=tuple(other.verdict for other in same),
            of_model=len(model) + 1,
            of_policy=sum(other.policy == entry.policy for other in same) + 1,
            in_all=len(before) + 1,
            lost=any(other.lost for other in (*before, entry)),
            entry=self.hashes[number],
            previous=entry.previous,
            torn=self.torn,
        )

    def audits(self, until: int | None = None) -> list[Entry]:
        """Return the entries of audits, of all entries or of the first `until`."""
        return [entry for entry in self.entries[:until] if not isinstance(entry, PlanEntry)]

    def planned(self, sha256: str) -> Planned | None:
        """Return what the first entry about a plan says; None if there is none."""
        for number, entry in enumerate(self.entries):
            if isinstance(entry, PlanEntry) and entry.plan == sha256:
                before = len(self.audits(number))
                return Planned(sha256=sha256, created=entry.time, entry=self.hashes[number], audits_before=before)
        return None


def beside(bank: Path) -> Path:
    """Return where the ledger of the audits with a bank is, unless another place is named."""
    return bank.resolve().parent / FILE


class Witness:
    """What a bank knows of the ledger of its audits: the entry of the last one, in a file of its own.

    A ledger that was deleted, moved or taken back to an earlier state does not hold that entry.
    """

    def __init__(self, bank: Path):
        self._file = bank / _LAST

    def contradicts(self, ledger: Path, audited: bool) -> bool:
        """Return whether the ledger lacks audits of the bank; `audited` says that there were some."""
        last = None  # read first: an audit that is recorded meanwhile is in the ledger before it is here
        if self._file.exists():
            last = self._file.read_text("ascii", "replace").strip()
        known = read(ledger).hashes if ledger.exists() else ()
        return last not in known if last is not None else audited and not known

    def remember(self, entry: str) -> None:
        """Write the entry of an audit down; of a bank that cannot be written, the ledger alone knows."""
        with contextlib.suppress(OSError):
            files.write_whole(self._file, f"{entry}\n".encode(), private=True)


def require_writable(path: Path) -> None:
    """Make the folder of a ledger, if need be.

    Raises:
        MemauditError: An audit could not be recorded in the ledger, or the ledger was changed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.exists()
    except OSError as error:
        raise _unavailable(path, error.strerror or str(error)) from error
    places = [path if there else path.parent, *([] if path.with_suffix(".key").exists() else [path.parent])]
    if not all(os.access(place, os.W_OK) for place in places):
        raise _unavailable(path, "it cannot be written")
    if there:
        read(path)


def policy_digest(limits: Sequence[Limit]) -> str:
    """Return the SHA-256 of limits: the same whatever they are called, and in any place and order."""
    rules = [{k: v for k, v in asdict(limit).items() if k not in ("id", "source", "line")} for limit in limits]
    return hashlib.sha256(b"\n".join(sorted(map(canonical, rules)))).hexdigest()


def read(path: Path) -> Ledger:
    """Return what a ledger holds.

    Raises:
        MemauditError: It cannot be read, or an entry does not follow from the one before it: something was changed.
    """
    with _opened(path, os.O_RDONLY | _NONBLOCK) as handle:
        return _parsed(path, _content(handle))


def append(path: Path, entry: Entry | PlanEntry) -> Ledger:
    """Return the ledger after adding an entry, linked to the last one; it is on the disk by then.

    Several processes may append at once.

    Raises:
        MemauditError: The ledger cannot be written, or was changed.
    """
    with _opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _NONBLOCK) as handle:
        content = _content(handle)
        ledger = _parsed(path, content)
        fields = asdict(entry) | {"previous": ledger.hashes[-1] if ledger.hashes else _BEGINNING}
        line = canonical(fields)
        cut = b"" if content.endswith(b"\n") or not content else _TORN + b"\n"
        added = cut + line + b"\n"
        if os.write(handle, added) < len(added):
            raise MemauditError(f"{path}: the disk is full; the audit could not be recorded")
        os.fsync(handle)
        files.sync_folder(path.parent)
    return Ledger((*ledger.entries, type(entry)(**fields)), (*ledger.hashes, _hash(line)), ledger.torn)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Yield a handle that nobody else holds."""
    try:
        handle = files.open_private(path, flags)
        try:
            if not S_ISREG(os.fstat(handle).st_mode):
                raise MemauditError(f"{path} is no plain file, and so no ledger")
            with files.locked(path, handle, shared=not flags & os.O_RDWR):
                yield handle
        finally:
            os.close(handle)
    except OSError as error:
        raise _unavailable(path, error.strerror or str(error)) from error


def _unavailable(path: Path, problem: str) -> MemauditError:
    return MemauditError(
        f"the ledger of audits, {path}, cannot be had: {problem}. Every audit is recorded, by default beside its bank; "
        "name a file in a folder that can be written and is kept: --ledger FILE, or ledger in [audit]"
    )


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
                f"{path}:{number}: the chain is broken at this line: an entry was changed, removed or inserted. "
                "How often a model was audited is no longer known. Keep the file as evidence and move it away; "
                "the next audit begins a new one"
            )
        entries.append(entry)
        hashes.append(_hash(line))
    return Ledger(tuple(entries), tuple(hashes), torn)


@cache
def _adapter() -> TypeAdapter[Entry | PlanEntry]:
    return TypeAdapter(Entry | PlanEntry)


def _entry(line: bytes) -> Entry | PlanEntry | None:
    """Return the entry of a line; None if it is none."""
    try:
        entry = _adapter().validate_json(line, strict=True, extra="forbid")
    except ValidationError:
        return None
    schemas = (SCHEMA, OLD_SCHEMA) if isinstance(entry, Entry) else (PLAN_SCHEMA,)
    return entry if entry.schema in schemas and canonical(json.loads(line)) == line else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
