"""An accountant's record: the noise, sampling rate and number of steps of DP-SGD, in a file beside the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memaudit.errors import EvidenceError
from memaudit.files import write_whole

SCHEMA = "memaudit.privacy/1"
Step = tuple[float, float, int]

_REMEMBERED = "memaudit_privacy"
_LARGEST, _MOST = 2**20, 10_000  # bytes of a file; entries
_NOISE, _STEPS = 1e9, 10**12  # beyond any training


def remember(network: Any, noise: float, rate: float, steps: int) -> None:
    """Note at a network how it was trained, after what is noted already; `save_target` writes it."""
    vars(network)[_REMEMBERED] = [*vars(network).get(_REMEMBERED, []), (noise, rate, steps)]


def record_beside(model: str | Path) -> Path:
    """Return where the accountant's record of a model is."""
    return Path(model).with_name(f"{Path(model).name}.privacy.json")


def record_of(model: Any, given: Any) -> list[Step] | None:
    """Return the steps that `save_target` writes: of an accountant of Opacus or its `state_dict()`, or as noted.

    Raises:
        EvidenceError: What was given is no accountant.
    """
    if given is None:
        noted = getattr(model, "__dict__", {}).get(_REMEMBERED)
        return None if noted is None else _steps(noted, "the model")
    history = given.get("history") if isinstance(given, Mapping) else getattr(given, "history", None)
    if history is None:
        raise EvidenceError(
            f"privacy is a {type(given).__name__}; give the accountant, such as privacy_engine.accountant"
        )
    return _steps(history, "privacy")


def write_record(model: str | Path, steps: list[Step]) -> None:
    """Write an accountant's record beside a model."""
    content = {"schema": SCHEMA, "history": steps}
    write_whole(record_beside(model), json.dumps(content, indent=2).encode() + b"\n")


def read_record(path: str | Path) -> list[Step]:
    """Return the steps of a record: of a file that `save_target` wrote, or of an accountant's `state_dict()` as JSON.

    It is what the model's trainer states; nothing in a model shows it.

    Raises:
        EvidenceError: There is none, or it is damaged.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise EvidenceError(f"there is no accountant's record {path}. memaudit.save_target(privacy=...) writes one")
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        found = json.loads(content)
        history = found["history"]
    except OSError as error:
        raise EvidenceError(f"the accountant's record {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EvidenceError(f"{path} is no accountant's record: no JSON with a history of steps") from error
    return _steps(history, str(path))


def _steps(history: Any, where: str) -> list[Step]:
    """Return the steps as plain numbers.

    Raises:
        EvidenceError: They are no noise multiplier, sampling rate and number of steps each.
    """
    try:
        steps = [(float(noise), float(rate), int(count)) for noise, rate, count in history]
        whole = all(count == entry[2] for (_, _, count), entry in zip(steps, history, strict=True))
    except (ValueError, TypeError, OverflowError):
        steps, whole = [], False
    sound = all(0 <= noise <= _NOISE and 0 <= rate <= 1 and 0 <= n <= _STEPS for noise, rate, n in steps)
    if not steps or not whole or not sound or len(steps) > _MOST:
        raise EvidenceError(
            f"{where}: a history has entries of noise multiplier (from 0 to {_NOISE:g}), sampling rate (0 to 1) and "
            f"number of steps (whole, at most {_STEPS:g}); at most {_MOST:,} entries"
        )
    return steps
