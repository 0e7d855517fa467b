"""The record of what was planted, and its public half.

The public half is to be published before training. It commits to every secret without showing it, so that nobody can
choose afterwards which secret was meant.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from memaudit.canaries.space import Canary, Space
from memaudit.errors import SettingsError

SCHEMA = "memaudit.canaries/1"

_SHOWN, _MOST_BITS = 200, 256  # characters and numbers that a message shows whole

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which canaries occur in which rows of a planted list of `records` rows. Its repr shows no secret.

    Raises:
        SettingsError: Two canaries share a name or a prefix, or a position is taken twice or outside of the list.
    """

    seed: int = field(repr=False)
    records: int
    canaries: tuple[Canary, ...]
    positions: tuple[tuple[int, ...], ...] = field(repr=False)

    def __post_init__(self) -> None:
        for what, values in (("name", [c.name for c in self.canaries]), ("prefix", [c.prefix for c in self.canaries])):
            if len(set(values)) < len(values):
                twice = Counter(values).most_common(1)[0][0]
                raise SettingsError(f"two canaries have the {what} {_brief(twice)}; give each one of its own")
        rows = [row for own in self.positions for row in own]
        if len(set(rows)) < len(rows) or not all(0 <= row < self.records for row in rows):
            raise SettingsError(f"the positions of the canaries are not distinct rows of a list of {self.records}")

    @property
    def doses(self) -> tuple[int, ...]:
        """How often each canary was planted."""
        return tuple(len(own) for own in self.positions)

    def public(self) -> dict[str, Any]:
        """Return what may be published before training, as plain values: no secret, no salt, no position."""
        canaries = [
            {
                "name": canary.name,
                "family": canary.family,
                "prefix": canary.prefix,
                "suffix": canary.suffix,
                "alphabets": [list(symbols) for symbols in canary.space.alphabets],
                "size": canary.space.size,
                "dose": dose,
                "commitment": _sha256(self._salt(canary) + canary.secret_text),
            }
            for canary, dose in zip(self.canaries, self.doses, strict=True)
        ]
        commitment = _sha256(f"{SCHEMA} seed {self.seed}")
        return {"schema": SCHEMA, "seed_commitment": commitment, "records": self.records, "canaries": canaries}

    def to_json(self) -> dict[str, Any]:
        """Return the whole manifest as plain values: the public half, the seed, secrets, salts and positions."""
        document = self.public() | {"seed": self.seed}
        for entry, canary, own in zip(document["canaries"], self.canaries, self.positions, strict=True):
            entry |= {"secret": list(canary.secret), "salt": self._salt(canary), "positions": list(own)}
        return document

    @classmethod
    def from_json(cls, document: object) -> Manifest:
        """Return the manifest that `to_json` wrote.

        Raises:
            SettingsError: Another schema, a missing or wrong value, or a commitment that does not fit its secret.
        """
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise SettingsError(f"this is not a manifest of canaries: its schema should be {SCHEMA!r}")
        seed, records = _value(document, "seed", int), _value(document, "records", int)
        entries = _values(document, "canaries", dict)
        positions = tuple(_values(entry, "positions", int) for entry in entries)
        manifest = cls(seed, records, tuple(_canary(entry) for entry in entries), positions)
        for where, _, _ in _differences(document, manifest.to_json()):  # their values may be salts
            raise SettingsError(f"the manifest was changed: {where} does not fit the rest of it")
        return manifest

    def _salt(self, canary: Canary) -> str:
        return _sha256(f"{SCHEMA} salt {self.seed} {canary.name}")


def verify(public: dict[str, Any], manifest: Manifest) -> tuple[str, ...]:
    """Return in words what differs between a published half and the manifest; nothing if they agree.

    The commitments are recomputed from the manifest's secrets.
    """
    return tuple(
        f"{where}: published was {published}, the manifest has {found}"
        for where, published, found in _differences(public, manifest.public())
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _value(entry: dict[str, Any], key: str, kind: type[T]) -> T:
    value = entry.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SettingsError(f"the manifest's {key!r} should be of type {kind.__name__}, not {type(value).__name__}")
    return value


def _values(entry: dict[str, Any], key: str, kind: type[T]) -> tuple[T, ...]:
    values = _value(entry, key, list)
    return tuple(_value({key: value}, key, kind) for value in values)


def _canary(entry: dict[str, Any]) -> Canary:
    name, family, prefix, suffix = (_value(entry, key, str) for key in ("name", "family", "prefix", "suffix"))
    alphabets = _values(entry, "alphabets", list)
    try:
        "".join([name, family, prefix, suffix]).encode()  # raises for half a character
        space = Space(tuple(_values({"alphabets": symbols}, "alphabets", str) for symbols in alphabets))
        canary = Canary(name, family, prefix, _values(entry, "secret", int), space, suffix)
        canary.text.encode()
        return canary
    except ValueError as error:
        raise SettingsError(f"the manifest's canary {_brief(name)} cannot be: {_cut(str(error))}") from error


def _differences(given: Any, expected: Any, where: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (where, given, expected), in words, for each leaf in which two JSON documents differ."""
    if isinstance(given, dict) and isinstance(expected, dict):
        pairs = [
            (f".{_cut(ascii(key)[1:-1])}", given.get(key), expected.get(key))
            for key in sorted(given.keys() | expected.keys())
        ]
    elif isinstance(given, list) and isinstance(expected, list) and len(given) == len(expected):
        pairs = [(f"[{i}]", a, b) for i, (a, b) in enumerate(zip(given, expected, strict=True))]
    else:
        if given != expected:
            yield where.lstrip("."), _brief(given), _brief(expected)
        return
    for step, a, b in pairs:
        yield from _differences(a, b, where + step)


def _brief(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{len(value)} entries"
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:  # Python refuses to write numbers of 5,000 digits
        return f"a number of {value.bit_length()} bits"
    return "missing" if value is None else _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
