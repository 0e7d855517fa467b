"""The files and environment variables that the training of a bank's models has read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

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
    require_own_checkpoints(bank)
    known: dict[str, tuple[str, int]] = {}
    for other in bank.models():
        for name, digest in _recorded(bank, other, "inputs").items():
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


def require_own_checkpoints(bank: Bank) -> None:
    """Raise BankError if two models wrote and read back one file at the same time: each may have the other's weights.

    The record of a model says under `checkpoints` on which host and when it was trained, which files it read back, and
    which of them are on the disk of the bank, that other hosts may share.
    """
    seen: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for model in bank.models():
        own = _recorded(bank, model, "checkpoints")
        for name in own.get("files", ()):
            place = own["disk"] if name in own.get("shared", ()) else own["host"]
            seen.setdefault((place, name), []).append((own["from"], own["to"], model))
    for (_, name), spans in seen.items():
        spans.sort()
        for (_, end, one), (start, _, other) in pairwise(spans):
            if start < end:
                raise BankError(
                    f"models {one} and {other} of {bank.path} were trained at the same time, and both wrote {name} and "
                    "read it back, so that either may have the other's weights. Fill a new bank (--bank FOLDER) with "
                    "--workers 1, or write to a folder that each training makes (tempfile.TemporaryDirectory)"
                )


def on_the_banks_disk(bank: Bank, folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return which of some files in a folder are on the disk of the bank, and what tells that disk from all others."""
    description = (bank.path / "bank.json").stat()
    shared = [name for name in names if _device(folder / name) == description.st_dev]
    return {"disk": f"{description.st_ino}-{description.st_mtime_ns}", "shared": shared} if shared else {}


def _device(path: Path) -> int | None:
    return next((place.stat().st_dev for place in (path, path.parent) if place.exists()), None)


def _recorded(bank: Bank, model: int, part: str) -> dict[str, Any]:
    """Return a part of a model's record; nothing of a damaged one, which is reported later."""
    try:
        return dict(bank.record(model).get(part, {}))
    except (OSError, ValueError, TypeError):
        return {}
