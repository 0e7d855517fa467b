"""Where a bank keeps what its models answer when they are asked again.

    views/<view>-<digest>/0007.safetensors   seen [examples, columns], of the bank's model 7
    further/<digest>/0007.safetensors        phi [examples, queries], correct [examples]

Each file has the checksums of the model that was asked and of itself; where one does not match, the model is asked
again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from memaudit.bank.folder import Bank
from memaudit.errors import BankError
from memaudit.files import make_private_folder, write_whole

Array = np.ndarray


class Answers:
    """The files of one question to a bank's models: arrays by name."""

    def __init__(self, bank: Bank, kind: str, question: str, rows: int) -> None:
        """Make the folder if it is not there.

        Args:
            bank: The bank.
            kind: The folder of all such questions.
            question: What tells the question from others of its kind.
            rows: The examples that are asked about, one row of each array.

        Raises:
            BankError: It cannot be made.
        """
        self.bank, self.rows = bank, rows
        self.folder = bank.path / kind / question
        try:
            make_private_folder(self.folder.parent)
            make_private_folder(self.folder)
        except OSError as error:
            raise BankError(_unkept(self.folder, error)) from error

    def read(self, model: int) -> dict[str, Shaped[Array, "..."]] | None:
        """Return what a model answered; None if nothing is kept, or it is damaged, or of another model."""
        try:
            with safe_open(self._file(model), "numpy") as kept:
                told, answers = kept.metadata() or {}, {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return None
        whole = bool(answers) and all(len(values) == self.rows for values in answers.values())
        return answers if whole and told == self._told(model, answers) else None

    def write(self, model: int, answers: dict[str, Shaped[Array, "..."]]) -> None:
        """Keep what a model answered.

        Raises:
            BankError: It cannot be written.
        """
        answers = {name: np.ascontiguousarray(values) for name, values in answers.items()}
        try:
            write_whole(self._file(model), save(answers, self._told(model, answers)), private=True)
        except OSError as error:
            raise BankError(_unkept(self._file(model), error)) from error

    def _told(self, model: int, answers: dict[str, Array]) -> dict[str, str]:
        """Return the checksums of the model that was asked, and of what it answered."""
        return {"model": _source(self.bank, model), "sha256": _digest(answers)}

    def _file(self, model: int) -> Path:
        return self.folder / f"{model:04d}.safetensors"


def _unkept(path: Path, error: OSError) -> str:
    return f"what the bank's models show cannot be kept in {path}: {error.strerror}; make room for it, or remove it"


def _source(bank: Bank, model: int) -> str:
    """Return the checksum of a model's weights; of one without, such as an estimator, that of its recorded signals."""
    return bank.weights_sha256(model) or hashlib.sha256(bank.tensor(model, "phi").tobytes()).hexdigest()


def _digest(answers: dict[str, Array]) -> str:
    total = hashlib.sha256()
    for name in sorted(answers):
        total.update(f"{name}{answers[name].dtype.str}{answers[name].shape}".encode())
        total.update(np.ascontiguousarray(answers[name]).data)
    return total.hexdigest()
