"""Planting: canaries become training records, each as often as its dose says."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from memaudit.canaries.manifest import Manifest
from memaudit.canaries.space import LEVELS, POSITIONS, Canary, stream
from memaudit.errors import RecipeError, SettingsError

_STRING = "a string"
_SYSTEM = ("system", "developer")  # roles of what comes before a conversation
_CHATS = (("messages", "role"), ("prompt", "role"), ("conversations", "from"))


def randomised_doses(
    seed: int, canaries: Sequence[Canary], levels: Sequence[int] = (0, 1, 2, 4, 8, 16)
) -> dict[str, int]:
    """Return a dose for each canary by name, dealt at random; the levels are used equally often, up to one."""
    rng = stream(seed, LEVELS)
    rounds = -(-len(canaries) // len(levels))
    dealt = np.concatenate([rng.permutation(levels) for _ in range(rounds)])[: len(canaries)]
    return {canary.name: int(dose) for canary, dose in zip(canaries, rng.permutation(dealt), strict=True)}


def plant(
    records: Sequence[Any],
    canaries: Sequence[Canary],
    doses: Mapping[str, int] | Sequence[int],
    *,
    seed: int,
    field: str = "text",
) -> tuple[list[Any], Manifest]:
    """Return the records with every canary among them as often as its dose says, and the manifest.

    Copies are records of their own, at random rows, in the form of the records around them: a plain string, a text in
    `field`, prompt and completion (strings or messages), messages, ShareGPT's conversations, or Alpaca's instruction
    and output. The model's part is the secret and the suffix. Canaries get the system message that most records have.
    Other columns are None.
    Copies repeat on purpose: remove duplicates before planting, not after it.

    Args:
        records: Of one form, at least one. They are not changed.
        canaries: With distinct names and prefixes.
        doses: By name, or in the order of the canaries.
        seed: Of the rows and the salts. Anyone who guesses it can open the commitments: take 128 random bits before
            publishing any. With the same seed for `make`, showing it afterwards proves that the secrets were drawn.
        field: The column of records that are one text each.

    Raises:
        RecipeError: A row of no known form, or of another form than the first.
        SettingsError: Doses that do not fit the canaries, or canaries that share a name or a prefix.
    """
    copies = _copies(canaries, doses)
    form = _common_form(records, _forms(canaries[0], field))
    rows = len(records) + sum(copies)
    places = stream(seed, POSITIONS).choice(rows, sum(copies), replace=False)
    parts = np.split(places, np.cumsum(copies)[:-1])
    manifest = Manifest(seed, rows, tuple(canaries), tuple(tuple(sorted(part.tolist())) for part in parts))
    at = {row: canary for canary, own in zip(canaries, manifest.positions, strict=True) for row in own}
    originals = iter(records)

    like = _typical(records)

    def planted(canary: Canary) -> str | dict[str, object]:
        if isinstance(like, str):
            return canary.text
        kept = {name: like[name] if name == "system" else "" for name in ("system", "input") if name in like}
        return dict.fromkeys(like) | kept | _forms(canary, field, like)[form]

    return [planted(at[row]) if row in at else next(originals) for row in range(rows)], manifest


def _copies(canaries: Sequence[Canary], doses: Mapping[str, int] | Sequence[int]) -> list[int]:
    names = [canary.name for canary in canaries]
    if isinstance(doses, Mapping):
        if odd := set(doses) ^ set(names):
            raise SettingsError(f"every canary needs a dose, and every dose a canary; unmatched: {sorted(odd)}")
        doses = [doses[name] for name in names]
    if not names or len(doses) != len(names):
        raise SettingsError(f"{len(doses)} doses do not fit {len(names)} canaries; give one dose for each of them")
    copies = [operator.index(dose) for dose in doses]
    if min(copies) < 0:
        raise SettingsError(f"a canary cannot be planted {min(copies)} times; doses start at 0")
    return copies


def _forms(canary: Canary, field: str, like: Any = None) -> dict[str, dict[str, object]]:
    """Return the columns that a canary fills in each form of record; what `like` has of a system message is kept."""
    answer = canary.secret_text + canary.suffix
    asked = {"role": "user", "content": canary.prefix}
    answered = {"role": "assistant", "content": answer}
    user, assistant = _speakers(like)
    turns = [{"from": user, "value": canary.prefix}, {"from": assistant, "value": answer}]
    return {
        f"a text in {field!r}": {field: canary.text},
        "prompt and completion": {"prompt": canary.prefix, "completion": answer},
        "prompt and completion of messages": {
            "prompt": [*_system(like, "prompt", "role"), asked],
            "completion": [answered],
        },
        "messages": {"messages": [*_system(like, "messages", "role"), asked, answered]},
        "conversations": {"conversations": [*_system(like, "conversations", "from"), *turns]},
        "instruction and output": {"instruction": canary.prefix, "output": answer},
    }


def _system(record: Any, column: str, role: str) -> list[Any]:
    """Return the turns of a conversation before anybody speaks."""
    turns = record.get(column) if isinstance(record, Mapping) else None
    turns = turns if isinstance(turns, list) else []
    roles = [turn.get(role) if isinstance(turn, Mapping) else None for turn in turns]
    return turns[: next((n for n, who in enumerate(roles) if who not in _SYSTEM), len(turns))]


def _speakers(record: Any) -> tuple[str, str]:
    """Return what a ShareGPT record calls the two who speak."""
    turns = record.get("conversations") if isinstance(record, Mapping) else None
    named = {turn.get("from") for turn in turns if isinstance(turn, Mapping)} if isinstance(turns, list) else set()
    return "user" if "user" in named else "human", next(
        (who for who in ("assistant", "chatgpt") if who in named), "gpt"
    )


def _typical(records: Sequence[Any]) -> Any:
    """Return the first record that has the system message which most have."""
    kept = [
        repr([_system(record, column, role) for column, role in _CHATS] + [_column(record, "system")])
        for record in records
    ]
    most = Counter(kept).most_common(1)[0][0]
    return records[kept.index(most)]


def _column(record: Any, name: str) -> Any:
    return record.get(name) if isinstance(record, Mapping) else None


def _form(record: object, forms: Mapping[str, Mapping[str, object]]) -> str:
    """Return the one form that a record has, or in words what it is instead."""
    if isinstance(record, str):
        return _STRING
    if not isinstance(record, Mapping):
        return f"of type {type(record).__name__}"
    fitting = [
        form
        for form, columns in forms.items()
        if all(isinstance(record.get(name), type(value)) for name, value in columns.items())
    ]
    return " and at once ".join(fitting) or f"a record with the columns {list(record)}"


def _common_form(records: Sequence[Any], forms: Mapping[str, Mapping[str, object]]) -> str:
    if not records:
        raise RecipeError("there are no records among which canaries could be planted")
    first = _form(records[0], forms)
    for row, record in enumerate(records):
        form = _form(record, forms)
        if form != first or form not in (_STRING, *forms):
            raise RecipeError(
                f"row {row} is {form}, the first is {first}; records must all be strings, or all have exactly one of: "
                f"{', '.join(forms)}"
            )
    return first
