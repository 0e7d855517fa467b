"""The directory on disk: training sets and recorded signals of the shadow models.

    bank.json                       schema, number of examples, fingerprint
    design-….npy                    the role of each unit, unless the models are trained on halves
    models/0007/signals.safetensors  members [examples], phi [examples, queries], correct [examples], and where the
                                     model was observed while it trained, observed.… [times, examples]
    models/0007/weights.safetensors  if weights are kept
    models/0007/model.json           checksums of the above, seed, seconds of training and of evaluation, device

A model's folder is written under another name and renamed, so a folder that exists is complete, whichever process was
killed; several processes or machines can fill one bank without locks. Every file is checked against its checksum before
it is used.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import secrets
import shlex
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from memaudit import files, notebook
from memaudit.bank.matched import Matched, read_matched
from memaudit.bank.recordings import Recordings, recording
from memaudit.design import Design, Role
from memaudit.errors import BankError, OtherBankError
from memaudit.recipe import Examples

Array = np.ndarray

SCHEMA = "memaudit.bank/1"
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_UNABLE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EXDEV)
_SIGNALS, _WEIGHTS, _RECORD = "signals.safetensors", "weights.safetensors", "model.json"
FILES = (_SIGNALS, _RECORD, _WEIGHTS)  # of a model; the last where weights are kept


@dataclass(frozen=True)
class Bank:
    """A bank of shadow models; `path` is its folder."""

    path: Path
    examples: int
    fingerprint: dict[str, str]

    @classmethod
    def open(cls, path: str | Path) -> Bank:
        """Return the bank in a folder.

        Raises:
            BankError: There is none, or its description is damaged or of another version.
        """
        path = Path(path)
        try:
            content = json.loads((path / "bank.json").read_text("utf-8"))
            if content["schema"] != SCHEMA:
                raise BankError(f"{path} has the format {content['schema']}; this version reads {SCHEMA}")
            fingerprint = dict(content["fingerprint"])
            if not all(isinstance(value, str) for value in fingerprint.values()):
                raise TypeError("the fingerprint holds something other than text")
            return cls(path, int(content["examples"]), fingerprint)
        except (FileNotFoundError, NotADirectoryError):
            raise BankError(f"there is no bank in {path}; `memaudit bank fill` makes one") from None
        except PermissionError as error:
            raise BankError(
                f"{path / 'bank.json'} cannot be read: {error.strerror}. A bank is its owner's alone; to share it "
                "with a group, set shared = true in [files], and for what is there: "
                f"chmod -R g+rwX {shlex.quote(str(path))}"
            ) from error
        except OSError as error:
            raise BankError(f"{path / 'bank.json'} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BankError(f"{path / 'bank.json'} is damaged ({error}); restore it, or start a new bank") from error

    @classmethod
    def is_imported(cls, path: str | Path) -> bool:
        """Return whether there is a bank in a folder whose models were imported."""
        return (Path(path) / "bank.json").is_file() and cls.open(path).imported

    @classmethod
    def is_derived(cls, path: str | Path) -> bool:
        """Return whether there is a bank in a folder whose models were made from another bank's."""
        return (Path(path) / "bank.json").is_file() and cls.open(path).derived

    @classmethod
    def create(cls, path: str | Path, examples: int, fingerprint: dict[str, str], design: Design | None = None) -> Bank:
        """Return the bank in a folder, which is made if there is none yet, or none with a model in it.

        A recipe that fails in training leaves a bank without models, which the corrected recipe takes over.

        Args:
            path: The folder.
            examples: How many the recipe has.
            fingerprint: Of the recipe.
            design: Of the models; by default they are trained on halves.

        Raises:
            BankError: The folder holds models made from something else; the message names what differs.
        """
        path = Path(path)
        fingerprint = fingerprint | ({} if design is None else design.lines())
        content = {"schema": SCHEMA, "examples": examples, "fingerprint": fingerprint}
        description = json.dumps(content, indent=2).encode()
        with _disk_trouble(path):
            files.make_private_folder(path)
            files.make_private_folder(path / "models")
            if design is not None and not design.is_halves and not design_file(path, fingerprint).exists():
                files.write_whole(design_file(path, fingerprint), _stored(design), private=True)  # before bank.json
            if not (path / "bank.json").exists():
                files.write_first(path / "bank.json", description)
        bank = cls.open(path)
        if bank.fingerprint != fingerprint:
            if not bank.models():
                with _disk_trouble(path), contextlib.suppress(FileNotFoundError):  # or another has swept the draft away
                    files.write_whole(path / "bank.json", description, private=True)
            bank = cls.open(path)  # another may have taken it over since it was read
        bank.require(fingerprint)
        return bank

    def _repr_html_(self) -> str:
        """Return what a notebook shows: how many models of what are there."""
        from memaudit.recipe import recipe_digest

        values = {
            "shadow models": f"{len(self.models()):,} ({len(self.pairs()):,} complete pairs)"
            if self.paired
            else f"{len(self.models()):,}, not in pairs",
            "examples": f"{self.examples:,}",
            "seed": self.fingerprint.get("seed"),
            "recipe": f"{recipe_digest(self.fingerprint)[:16]}…",
        }
        return notebook.block(f"Bank {self.path.name}", notebook.facts(values))

    def require(self, fingerprint: dict[str, str]) -> None:
        """Raise BankError, naming what differs, unless the bank was made from just this."""
        if self.imported and "origin" not in fingerprint:
            raise BankError(
                f"the models of the bank in {self.path} were imported: no recipe can add to them. Fill another bank "
                "(--bank FOLDER)"
            )
        if "fingerprint" in fingerprint and "fingerprint" not in self.fingerprint:
            raise BankError(
                f"the bank in {self.path} was filled by memaudit 0.1.0, which did not record all that made its models "
                "(globals, files, environment variables, libraries). Fill a new bank (--bank FOLDER), or audit with "
                "memaudit 0.1.0: pip install memaudit-toolkit==0.1.0"
            )
        names = sorted(self.fingerprint.keys() | fingerprint.keys())
        changed = [n for n in names if self.fingerprint.get(n) != fingerprint.get(n)]
        if changed:
            lines = "\n".join(f"  {n}: {_told(self.fingerprint.get(n))} → {_told(fingerprint.get(n))}" for n in changed)
            raise OtherBankError(
                f"the bank in {self.path} was made by another recipe (bank → now):\n{lines}\n"
                "restore what changed, or fill a new bank (--bank FOLDER): shadows of another recipe say nothing"
            )

    @property
    def imported(self) -> bool:
        """Whether its models were trained elsewhere."""
        return "origin" in self.fingerprint

    @property
    def design_lines(self) -> dict[str, str]:
        """What the fingerprint says of the design; nothing of halves."""
        return {n: value for n, value in self.fingerprint.items() if n == "design" or n.startswith("design.")}

    @property
    def derivation_lines(self) -> dict[str, str]:
        """What the fingerprint says of how the models were derived from another bank's; nothing where they were not."""
        return {name: value for name, value in self.fingerprint.items() if name.startswith("derivation.")}

    @property
    def derived(self) -> bool:
        """Whether its models were made from another bank's by a derivation."""
        return bool(self.derivation_lines)

    def design(self, units: int) -> Design:
        """Return which units the bank's models are trained on.

        Args:
            units: How many units the recipe's population has.

        Raises:
            BankError: The file that holds the roles is missing or damaged.
        """
        if "design.sha256" not in self.fingerprint:
            return Design.halves(units)
        file = design_file(self.path, self.fingerprint)
        try:
            roles = np.load(file, allow_pickle=False)
            if roles.dtype != np.uint8 or roles.shape != (units,) or not np.isin(roles, list(Role)).all():
                raise ValueError(f"it does not hold the roles of {units} units, which the recipe has")
            found = Design.read(roles, self.fingerprint)
        except (OSError, ValueError, EOFError) as error:
            raise BankError(
                f"{file} cannot be read ({error}); restore it, or fill a new bank (--bank FOLDER)"
            ) from error
        return found

    def models(self) -> list[int]:
        """Return the indices of the models that are there, in order."""
        folder = self.path / "models"
        return sorted(int(entry.name) for entry in folder.glob("[0-9]*") if entry.name.isdigit())

    def has(self, model: int) -> bool:
        """Return whether a model is there."""
        return self._folder(model).is_dir()

    def pairs(self, shadows: int | None = None) -> list[int]:
        """Return the first models of the complete pairs, among the first `shadows` models."""
        there = set(self.models())
        return [m for m in sorted(there) if m % 2 == 0 and m + 1 in there and (shadows is None or m + 1 < shadows)]

    def require_writable(self) -> None:
        """Raise BankError, before anything is trained, if the disk cannot do what storing a model takes."""
        with _disk_trouble(self.path):
            files.rehearse(self._temporary("probe"))

    def write(self, model: int, signals: dict[str, Array], weights: bytes | None, record: dict[str, Any]) -> None:
        """Store one model in one step; if another process was faster, its result is kept and this one dropped.

        Args:
            model: Its index.
            signals: `members`, `phi`, `correct`, and whatever else was recorded.
            weights: The content of a safetensors file.
            record: What else is known, as plain values.

        Raises:
            BankError: The disk is full or cannot be written, or the bank has been taken over by another recipe while
                the model was trained; nothing half-written stays.
        """
        self.open(self.path).require(self.fingerprint)  # a model that slips in all the same bears another mark
        whole = {name: np.ascontiguousarray(values) for name, values in signals.items()}  # or save() mixes them up
        contents = {_SIGNALS: save(whole)}
        if weights is not None:
            contents[_WEIGHTS] = weights
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        record = record | {"model": model, "bank": self.mark, "sha256": sums}
        self.put(model, contents | {_RECORD: json.dumps(record, indent=2).encode()})

    def contents(self, model: int) -> dict[str, bytes]:
        """Return the files of a model, by name.

        Raises:
            BankError: They do not match their checksums.
        """
        for name in (_SIGNALS, _WEIGHTS):
            self._require_whole(model, name)
        names = (_RECORD, *self.record(model)["sha256"])
        return {name: (self._folder(model) / name).read_bytes() for name in names}

    def put(self, model: int, contents: dict[str, bytes]) -> None:
        """Store the files of a model in one step; one that is there already is kept.

        Raises:
            BankError: The disk is full or cannot be written; nothing half-written stays.
        """
        temporary = self._temporary(f"{model:04d}")
        with _disk_trouble(self.path):
            try:
                files.make_private_folder(temporary)
                for file, data in contents.items():
                    files.write_synced(temporary / file, data, files.private_mode())
                files.sync_folder(temporary)
                files.move_folder(temporary, self._folder(model))
                files.sync_folder(self.path / "models")
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed processes of this machine left behind; it is never read."""
        for entry in (self.path / "models").glob(".writing-*-*-*-*"):
            host, pid, _ = entry.name.split("-", 2)[2].rsplit("-", 2)
            if host == socket.gethostname() and not (pid.isdigit() and _alive(int(pid))):
                shutil.rmtree(entry, ignore_errors=True)
        for draft in self.path.glob(".bank.json-*"):  # bank.json is there by now, so nobody needs another
            draft.unlink(missing_ok=True)

    def damage(self, model: int, names: tuple[str, ...] = (_SIGNALS, _WEIGHTS)) -> str | None:
        """Return what is wrong with a stored model; None if it is this bank's and its files match their checksums."""
        try:
            record = self.record(model)
            if record.get("model", model) != model or record.get("bank", self.mark) != self.mark:
                return f"{_RECORD} says that it is model {record.get('model')}, or of another bank"
            expected = record["sha256"]
            for name in (n for n in names if n in expected):
                with (self._folder(model) / name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != expected[name]:
                        return f"{name} does not match its checksum"
            return None if _SIGNALS in expected else f"{_RECORD} names no {_SIGNALS}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"{type(error).__name__}: {error}"

    def discard(self, model: int) -> None:
        """Take a damaged model out of the bank, in one step, so that it is trained again."""
        trash = self.path / "models" / f".writing-{model:04d}-{socket.gethostname()}-{os.getpid()}-damaged"
        with _disk_trouble(self.path), contextlib.suppress(FileNotFoundError):
            self._folder(model).rename(trash)
            shutil.rmtree(trash, ignore_errors=True)

    def record(self, model: int) -> dict[str, Any]:
        """Return a model's record: seed, `seconds` of training, of `evaluation` (not in older banks), device."""
        return dict(json.loads((self._folder(model) / _RECORD).read_text("utf-8")))

    def stored(self, model: int) -> int:
        """Return how many bytes a model takes on the disk."""
        return sum(file.stat().st_size for file in self._folder(model).iterdir())

    def tensors(self, model: int) -> dict[str, Array]:
        """Return everything recorded about one model."""
        return load_file(self._signals_path(model))

    def tensor(self, model: int, name: str) -> Array:
        """Return one recording of one model.

        Raises:
            BankError: Its file cannot be read.
        """
        return recording(self._signals_path(model), name)

    def verified(self, models: Sequence[int]) -> list[dict[str, Array]]:
        """Return everything recorded about some models, after checking every file against its checksum.

        Raises:
            BankError: A file is damaged, or an import is not finished.
        """
        self._require_finished()
        for model in models:
            self._require_whole(model, _SIGNALS)
        return [self.tensors(model) for model in models]

    @property
    def paired(self) -> bool:
        """Whether its models are complementary pairs, as they are by default."""
        return self.fingerprint.get("design.pairs", "yes") == "yes"

    def matched(self, shadows: int | None = None, examples: Examples | None = None) -> Matched:
        """Return the recordings of models that are no pairs, matched example by example.

        Args:
            shadows: Use the first so many models.
            examples: Where units have several records: they are pooled and matched unit by unit.

        Raises:
            BankError: A file is damaged, or the import is not finished.
            EvidenceError: So many of the models cannot be matched.
        """
        self._require_finished()
        models = [model for model in self.models() if shadows is None or model < shadows]
        for model in models:
            self._require_whole(model, _SIGNALS)
        return read_matched([self._signals_path(m) for m in models], int(self.fingerprint["seed"]), examples)

    def read(self, shadows: int | None = None) -> Recordings:
        """Return the recordings of the complete pairs, after checking every file against its checksum.

        Raises:
            BankError: A file is damaged, there is no complete pair, or an import is not finished.
        """
        self._require_finished()
        firsts = self.pairs(shadows)
        if not firsts:
            raise BankError(f"the bank in {self.path} holds no complete pair of models; run `memaudit bank fill`")
        return self.recordings([m for first in firsts for m in (first, first + 1)])

    def recordings(self, models: Sequence[int]) -> Recordings:
        """Return the recordings of some pairs of models, after checking every file against its checksum.

        Raises:
            BankError: A file is damaged.
        """
        for model in models:
            self._require_whole(model, _SIGNALS)
        return Recordings(tuple(self._signals_path(m) for m in models))

    def weights(self, model: int) -> Path | None:
        """Return the file of a model's weights, after checking it against its checksum; None if they were not kept.

        Raises:
            BankError: The file is damaged.
        """
        self._require_whole(model, _WEIGHTS)
        return self._folder(model) / _WEIGHTS if _WEIGHTS in self.record(model)["sha256"] else None

    def weights_sha256(self, model: int) -> str | None:
        """Return the SHA-256 of a model's weights, as its record states it; None if they were not kept."""
        found = self.record(model)["sha256"].get(_WEIGHTS)
        return None if found is None else str(found)

    def _require_finished(self) -> None:
        there, all_ = len(self.models()), self.fingerprint.get("models", "0")
        if self.imported and str(there) != all_:
            raise BankError(
                f"the import into {self.path} is not finished: {there} of {all_} models are there. Run the same "
                "`memaudit bank import` again; it resumes where it stopped"
            )

    def _require_whole(self, model: int, name: str) -> None:
        if problem := self.damage(model, (name,)):
            command = "derive" if self.derived else "fill"
            repair = f"`memaudit bank {command}` repairs it"
            way_out = "import it again into another folder" if self.imported else repair
            raise BankError(f"model {model} of {self.path} is damaged ({problem}); {way_out}")

    @property
    def mark(self) -> str:
        """What tells this bank's models from another's, should folders be copied together."""
        return hashlib.sha256(json.dumps(self.fingerprint, sort_keys=True).encode()).hexdigest()

    def _temporary(self, what: str) -> Path:
        return self.path / "models" / f".writing-{what}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"

    def _folder(self, model: int) -> Path:
        return self.path / "models" / f"{model:04d}"

    def _signals_path(self, model: int) -> Path:
        return self._folder(model) / _SIGNALS


def design_file(path: Path, fingerprint: dict[str, str]) -> Path:
    """Return the file of roles that a fingerprint names, so that no two designs have one file."""
    return path / f"design-{fingerprint['design.sha256'][:16]}.npy"


def forgotten(path: str | Path, design: Design) -> bool:
    """Return whether a folder has the roles of another design, which a killed process left before it made the bank."""
    drafts = set() if (Path(path) / "bank.json").exists() else set(Path(path).glob("design-*.npy"))
    return bool(drafts - ({design_file(Path(path), design.lines())} if design.lines() else set()))


def _stored(design: Design) -> bytes:
    file = io.BytesIO()
    np.save(file, design.roles, allow_pickle=False)
    return file.getvalue()


def _told(value: str | None) -> str:
    if value is None:
        return "(none)"
    return value if len(value) <= 60 else f"{value[:12]}…"


@contextlib.contextmanager
def _disk_trouble(path: Path) -> Any:
    try:
        yield
    except OSError as error:
        free = ""
        with contextlib.suppress(OSError):
            free = f"; {shutil.disk_usage(path).free / 2**20:.0f} MiB are free"
        way_out = "fix the disk and run the same command again; it resumes where it stopped"
        if error.errno in _REFUSED:
            way_out = "name a folder that can be written (--bank FOLDER); a copy of the bank resumes where it stopped"
        elif error.errno in _UNABLE:
            way_out = "this file system lacks what a bank needs; keep the bank on another one (--bank FOLDER)"
        raise BankError(
            f"the bank in {path} cannot be written: {error.strerror or error}{free}. Nothing half-written is kept: "
            f"{way_out}"
        ) from error


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
