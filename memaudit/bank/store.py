"""A bank on object storage, where a rename is not atomic and nothing can be locked.

    bank.json, design-….npy                       as in a bank's folder
    models/0007/<digest>/signals.safetensors, …   the files of a model; the digest is that of its model.json
    models/0007.json                              the marker, written last: digests of these files

A bank's folder is where models are trained and read; a store is what machines without a common file system share. A
model without a marker does not exist, so a push that is killed leaves nothing that is read. Two machines that push one
model write under two names, and the marker names one of them whole. All that is pulled is checked against its digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from memaudit import files
from memaudit.bank.folder import FILES, SCHEMA, Bank, design_file
from memaudit.errors import BankError, SettingsError, shown

_SIGNALS, _RECORD, _ = FILES
_MARKER = re.compile(r"(?:^|/)(\d{4,9})\.json$")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_AGAIN_SECONDS = 30.0  # after a push that failed


@dataclass(frozen=True)
class Store:
    """The bank at a URL that fsspec can open: s3://bucket/folder, gs://…, az://…"""

    url: str

    def __post_init__(self) -> None:
        if "://" not in self.url:
            raise SettingsError(f"a store is a URL such as s3://bucket/folder, got {self.url!r}; a folder is a --bank")

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        with self._trouble(there=True):
            system, root = import_module("fsspec.core").url_to_fs(self.url)
        return system, root.rstrip("/")

    def models(self) -> list[int]:
        """Return the indices of the models that are there, in order.

        Raises:
            BankError: The store cannot be reached.
        """
        system, root = self._opened
        try:
            with self._trouble():
                system.invalidate_cache()  # other machines write
                names = system.ls(f"{root}/models", detail=False)
        except FileNotFoundError:
            return []
        return sorted(int(found[1]) for name in names if (found := _MARKER.search(str(name))))

    def pull(self, path: str | Path, models: Collection[int] | None = None) -> Bank | None:
        """Add to the bank in a folder what it lacks of the store's; return None if the store has no bank yet.

        Args:
            path: The folder; made if there is none.
            models: Only these of the models.

        Raises:
            BankError: The folder has another bank, an object is damaged, or the store cannot be reached.
        """
        description = self._description()
        if description is None:
            return None
        fingerprint = description["fingerprint"]
        if "design.sha256" in fingerprint and not design_file(Path(path), fingerprint).exists():
            roles = self._roles(fingerprint)
            files.make_private_folder(Path(path))
            files.write_whole(design_file(Path(path), fingerprint), roles, private=True)
        bank = Bank.create(path, description["examples"], fingerprint)
        for model in self.models():
            if not bank.has(model) and (models is None or model in models):
                bank.put(model, self._contents(model, bank.mark))
        return bank

    def push(self, bank: Bank) -> list[int]:
        """Add to the store what it lacks of a bank's models, and return which.

        Raises:
            BankError: The store has another bank, a model is damaged, or the store cannot be reached.
        """
        self._describe(bank)
        there = set(self.models())
        missing = [model for model in bank.models() if model not in there]
        for model in missing:
            contents = bank.contents(model)
            sums = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
            for name, data in contents.items():
                self._write(_place(model, sums, name), data)
            marker = {"model": model, "bank": bank.mark, "sha256": sums}
            self._write(_marker(model), json.dumps(marker, indent=2).encode())
        self._require_same(bank)  # of two that begin a bank at once, one finds the other's
        return missing

    def pusher(self, path: str | Path) -> Callable[[], None]:
        """Return what pushes the new models of the bank in a folder whenever it is called.

        A push that fails is tried again later: hours of training must not end for it. The first call raises BankError
        if the store has another bank or cannot be reached.
        """
        bank: Bank | None = None
        pushed, after = set[int](), 0.0

        def push() -> None:
            nonlocal bank, pushed, after
            if bank is None:
                bank = Bank.open(path)
                self._describe(bank)
                pushed = set(self.models())
            there = set(bank.models())
            if there <= pushed or time.monotonic() < after:
                return
            try:
                self.push(bank)
                pushed |= there
            except BankError:
                after = time.monotonic() + _AGAIN_SECONDS

        return push

    def _describe(self, bank: Bank) -> None:
        """Say in the store what bank it has, unless it has models; those must then be this bank's."""
        first = self._description() is None or not self.models()
        if not first:
            self._require_same(bank)
        if "design.sha256" in bank.fingerprint and (first or not self._has(design_file(Path(), bank.fingerprint).name)):
            file = design_file(bank.path, bank.fingerprint)
            self._write(file.name, file.read_bytes())
        if first:
            self._write("bank.json", (bank.path / "bank.json").read_bytes())
        self._require_same(bank)

    def _require_same(self, bank: Bank) -> None:
        description = self._description()
        if description is None:
            raise BankError(f"{self.url} has no bank.json, which was just written; is something removing objects?")
        if description["examples"] != bank.examples:
            raise BankError(f"{self.url} has the bank of {description['examples']} examples, not of {bank.examples}")
        try:
            bank.require(description["fingerprint"])
        except BankError as error:
            raise BankError(f"{self.url} has another bank than this folder; name another store. {error}") from None

    def _description(self) -> dict[str, Any] | None:
        """Return what bank.json holds; None if there is none."""
        try:
            content = json.loads(self._read("bank.json"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self._damaged("bank.json", str(error)) from None
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise self._damaged("bank.json", f"it is not of the format {SCHEMA}")
        fingerprint, examples = content.get("fingerprint"), content.get("examples")
        if not isinstance(fingerprint, dict) or not all(isinstance(each, str) for each in fingerprint.values()):
            raise self._damaged("bank.json", "it has no fingerprint")
        if not isinstance(examples, int) or not _DIGEST.fullmatch(fingerprint.get("design.sha256", "0" * 64)):
            raise self._damaged("bank.json", "a value is of the wrong kind")
        return content

    def _roles(self, fingerprint: dict[str, str]) -> bytes:
        """Return the file of a design after checking it: where it is damaged, nothing of it is stored."""
        name = design_file(Path(), fingerprint).name
        try:
            data = self._read(name)
            roles = np.load(io.BytesIO(data), allow_pickle=False)
            if hashlib.sha256(roles.tobytes()).hexdigest() != fingerprint["design.sha256"]:
                raise ValueError("it does not match its checksum")
        except FileNotFoundError:
            raise self._damaged(name, "it is missing") from None
        except (ValueError, EOFError) as error:
            raise self._damaged(name, str(error)) from None
        return data

    def _contents(self, model: int, mark: str) -> dict[str, bytes]:
        """Return the files of a model after checking each against the marker, and the marker against the bank."""
        try:
            marker = json.loads(self._read(_marker(model)))
            sums = dict(marker["sha256"])
            if not {_SIGNALS, _RECORD} <= sums.keys() <= set(FILES):
                raise ValueError("it names other files than a model has")
            if not all(_DIGEST.fullmatch(digest) for digest in sums.values()):
                raise ValueError("a digest is none")
            if (marker["model"], marker["bank"]) != (model, mark):
                raise ValueError("it is another model's, or another bank's")
        except FileNotFoundError:
            raise self._damaged(_marker(model), "it was removed meanwhile") from None
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(_marker(model), str(error)) from None
        contents = {name: self._checked(_place(model, sums, name), sums[name], model) for name in sums}
        others = {name: digest for name, digest in sums.items() if name != _RECORD}
        try:
            record = json.loads(contents[_RECORD])
            same = (record.get("model", model), record.get("bank", mark), record["sha256"]) == (model, mark, others)
        except (ValueError, KeyError, AttributeError):
            same = False
        if not same:
            raise self._damaged(_marker(model), f"it contradicts {_RECORD}", model)
        return contents

    def _checked(self, name: str, digest: str, model: int) -> bytes:
        try:
            data = self._read(name)
        except FileNotFoundError:
            raise self._damaged(name, "it is missing", model) from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise self._damaged(name, "it does not match its checksum", model)
        return data

    def _damaged(self, name: str, problem: str, model: int | None = None) -> BankError:
        marker = name if model is None else _marker(model)
        return BankError(
            f"{self.url}/{name} is damaged ({problem}). Remove {self.url}/{marker}, and push again from a folder that "
            "has it, or fill again"
        )

    def _has(self, name: str) -> bool:
        system, root = self._opened
        with self._trouble(there=True):
            return bool(system.exists(f"{root}/{name}"))

    def _read(self, name: str) -> bytes:
        system, root = self._opened
        with self._trouble():
            return bytes(system.cat_file(f"{root}/{name}"))

    def _write(self, name: str, data: bytes) -> None:
        system, root = self._opened
        with self._trouble(there=True):
            system.pipe_file(f"{root}/{name}", data)

    @contextmanager
    def _trouble(self, there: bool = False) -> Iterator[None]:
        """Turn what a file system raises into a BankError; that a file is not there only where it must be."""
        try:
            yield
        except Exception as error:  # each file system has its own
            if isinstance(error, FileNotFoundError) and not there:
                raise
            raise BankError(
                f"the store {self.url} cannot be used: {shown(error)}. Check the address, the network and the "
                "credentials, and run the same command again"
            ) from error


def _marker(model: int) -> str:
    return f"models/{model:04d}.json"


def _place(model: int, sums: dict[str, str], name: str) -> str:
    return f"models/{model:04d}/{sums[_RECORD]}/{name}"
