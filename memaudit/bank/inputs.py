"""The files and environment variables that the training of a bank's models has read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from memaudit.bank.folder import Bank
from memaudit.errors import BankError
from memaudit.recipe.reads import CHANGING, current

_WAY_OUT = "restore it, or fill a new bank (--bank FOLDER): shadow models of different settings cannot be compared"


def require_inputs(bank: Bank, folder: Path, model: int | None = None, found: dict[str, str] | None = None) -> None:
    """Raise BankError unless what training reads is the same for all models of a bank, and as it is now.

    Args:
        bank: Whose models were trained.
        folder: Where the recipe is, from which the files are named.
        model: A model that is to join them; without it, the files and variables as they are now are compared.
        found: What its training has read.
    """
    known: dict[str, tuple[str, int]] = {}
    for other in bank.models():
        for name, digest in _inputs(bank, other).items():
            seen, first = known.setdefault(name, (digest, other))
            if seen != digest:
                raise BankError(
                    f"models {first} and {other} of {bank.path} were trained with different contents of the {name}; "
                    "fill a new bank (--bank FOLDER)"
                )
    now: Mapping[str, str | None] = {name: current(name, folder) for name in known} if found is None else found
    for name, value in now.items():
        if value == CHANGING:
            raise BankError(
                f"the {name} changed while model {model} was trained, which had read it. If training writes it, models "
                "depend on each other: read another file, or append to a log without reading it. If you edited it, run "
                "the same command again"
            )
        before, first = known.get(name, (value, 0))
        if value is not None and before != value:
            raise BankError(
                f"the training of {bank.path} reads the {name}, which changed since model {first} was trained; "
                f"{_WAY_OUT}"
            )


def _inputs(bank: Bank, model: int) -> dict[str, str]:
    """Return what a model's record says that its training read; nothing of a damaged one, which is reported later."""
    try:
        return dict(bank.record(model).get("inputs", {}))
    except (OSError, ValueError, TypeError):
        return {}
