"""Where a bank keeps what its models show to adversaries with other access than its recorded signals.

    views/<view>-<digest>/0007.safetensors   seen [examples, columns], of the bank's model 7

The digest covers the view's parameters and the examples. Each file has the checksums of the weights that were asked
and of itself; where one does not match, the model is asked again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from memaudit.bank.folder import Bank
from memaudit.errors import BankError
from memaudit.files import make_private_folder, write_whole

Array = np.ndarray


class Views:
    """The files of one view of a bank's models."""

    def __init__(self, bank: Bank, view: str, parameters: str, examples: str) -> None:
        """Make the folder if it is not there.

        Args:
            bank: The bank.
            view: The view's name.
            parameters: What tells the view from others of its name.
            examples: The digest of the examples.

        Raises:
            BankError: It cannot be made.
        """
        self.bank = bank
        digest = hashlib.sha256(f"{parameters}\0{examples}".encode()).hexdigest()[:32]
        self.folder = bank.path / "views" / f"{view}-{digest}"
        try:
            make_private_folder(self.folder.parent)
            make_private_folder(self.folder)
        except OSError as error:
            raise BankError(_unkept(self.folder, error)) from error

    def read(self, model: int) -> Float[Array, "examples columns"] | None:
        """Return what is kept of a model; None if nothing is, or it is damaged, or of other weights."""
        try:
            with safe_open(self._file(model), "numpy") as kept:
                told, seen = kept.metadata() or {}, np.asarray(kept.get_tensor("seen"))
        except (OSError, SafetensorError):
            return None
        whole = (told.get("weights"), told.get("sha256")) == (self.bank.weights_sha256(model), _digest(seen))
        return seen if whole else None

    def write(self, model: int, seen: Float[Array, "examples columns"]) -> None:
        """Keep what is seen of a model.

        Raises:
            BankError: It cannot be written.
        """
        seen = np.ascontiguousarray(seen)
        told = {"weights": self.bank.weights_sha256(model) or "", "sha256": _digest(seen)}
        try:
            write_whole(self._file(model), save({"seen": seen}, told), private=True)
        except OSError as error:
            raise BankError(_unkept(self._file(model), error)) from error

    def _file(self, model: int) -> Path:
        return self.folder / f"{model:04d}.safetensors"


def _unkept(path: Path, error: OSError) -> str:
    return f"what the bank's models show cannot be kept in {path}: {error.strerror}; make room for it, or remove it"


def _digest(seen: Array) -> str:
    return hashlib.sha256(f"{seen.dtype.str}{seen.shape}".encode() + seen.tobytes()).hexdigest()
