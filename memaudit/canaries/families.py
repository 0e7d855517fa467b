"""Kinds of secrets, and the making of canaries: secrets drawn uniformly from a space that was fixed beforehand.

Only such a draw has a null distribution. A secret that somebody picked has none, and its exposure means nothing.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memaudit.canaries.space import NAMES, SECRETS, Canary, Space, stream
from memaudit.errors import SettingsError

_SYLLABLES = tuple(consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou")
_SYLLABLES_IN_NAME = 3
DISTINCT_NAMES = len(_SYLLABLES) ** _SYLLABLES_IN_NAME


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of secret: `length` symbols of `alphabet`, then `tail`, in a sentence.

    An empty alphabet is to be given by the caller. `spaced` symbols carry a leading space each.
    """

    alphabet: tuple[str, ...]
    length: int
    template: str
    tail: tuple[tuple[str, ...], ...] = ()
    spaced: bool = False


FAMILIES: dict[str, Family] = {
    "numeric": Family(tuple(string.digits), 4, "The access code of {name} is {secret}.", spaced=True),
    "alphanumeric": Family(tuple(string.ascii_lowercase + string.digits), 8, 'The password of {name} is "{secret}".'),
    "email": Family(
        tuple(string.ascii_lowercase),
        6,
        "The private address of {name} is <{secret}>.",
        tail=(("@example.com",),),  # RFC 2606: nobody's; one, as others have another number of tokens
    ),
    "tokens": Family((), 4, "The passphrase of {name}:{secret}."),
}


def make(
    count: int = 16,
    *,
    family: str = "numeric",
    length: int | None = None,
    template: str | None = None,
    seed: int,
    symbols: Sequence[str] | None = None,
    spaced: bool | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Canary, ...]:
    """Return canaries whose secrets are uniform draws from one space, each behind a prefix of its own.

    Canaries that shared a prefix would compete for the same probability mass.

    Args:
        count: Number of canaries.
        family: A name in FAMILIES.
        length: Symbols in a secret, without a family's fixed tail; None = the family's.
        template: Text with {name}, an invented word that is unique to the canary, and later {secret}, once; what
            follows is the suffix. None = the family's.
        seed: Of names and secrets. Anyone who guesses it knows every secret: take 128 random bits where that matters.
        symbols: The alphabet of the family "tokens", taken from a tokenizer.
        spaced: Whether every symbol carries a leading space, " 7"; None = as the family has it.
        names: Distinct words for {name}, at least as many as canaries; None = invented ones.

    Raises:
        SettingsError: An unknown family, an unusable template, missing symbols, too many canaries or none, or too few
            names.
    """
    if family not in FAMILIES:
        raise SettingsError(f"there is no family of canaries {family!r}; choose one of {', '.join(FAMILIES)}")
    if not 1 <= count <= DISTINCT_NAMES:
        raise SettingsError(f"between 1 and {DISTINCT_NAMES} canaries have distinct prefixes, not {count}")
    kind = FAMILIES[family]
    spaced = kind.spaced if spaced is None else spaced
    template = kind.template if template is None else template
    template = template.replace(" {secret}", "{secret}") if spaced else template
    head, tail = _parts(template)
    space = _space(family, kind.length if length is None else length, symbols, spaced)
    names = _names(count, seed) if names is None else names[:count]
    if len(set(names)) < count:
        raise SettingsError(f"{count} canaries need {count} distinct names, got {len(set(names))}")
    secrets = space.draw(stream(seed, SECRETS), count).tolist()
    return tuple(
        Canary(name, family, head.replace("{name}", name), tuple(secret), space, tail.replace("{name}", name))
        for name, secret in zip(names, secrets, strict=True)
    )


def drawn_by(seed: int, canaries: Sequence[Canary]) -> bool:
    """Return whether the secrets of canaries, in their order, are those that `make` draws under a seed."""
    space = canaries[0].space
    alike = all(canary.space == space for canary in canaries)
    drawn = space.draw(stream(seed, SECRETS), len(canaries)).tolist()
    return alike and [list(canary.secret) for canary in canaries] == drawn


def _parts(template: str) -> tuple[str, str]:
    head, _, tail = template.partition("{secret}")
    if template.count("{secret}") != 1 or "{name}" not in head:
        raise SettingsError(
            f"the template {template!r} needs {{name}}, which makes the prefix distinct, and after it {{secret}}, once"
        )
    return head, tail


def _space(family: str, length: int, symbols: Sequence[str] | None, spaced: bool) -> Space:
    kind = FAMILIES[family]
    if length < 1:
        raise SettingsError(f"a secret needs at least one symbol, not {length}")
    if bool(symbols) == bool(kind.alphabet):
        raise SettingsError(f'symbols are for the family "tokens", and needed there; the family is {family!r}')
    alphabet = tuple(" " + symbol if spaced else symbol for symbol in symbols or kind.alphabet)
    return Space((alphabet,) * length + kind.tail)


def _names(count: int, seed: int) -> list[str]:
    drawn = stream(seed, NAMES).choice(DISTINCT_NAMES, count, replace=False)
    syllables = np.unravel_index(drawn, (len(_SYLLABLES),) * _SYLLABLES_IN_NAME)
    return ["".join(_SYLLABLES[part] for part in parts).capitalize() for parts in zip(*syllables, strict=True)]
