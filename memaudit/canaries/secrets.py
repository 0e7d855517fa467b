"""The user's own secrets: found in the training texts by their form, and ranked among decoys of the same form.

A decoy is a uniform draw among the values that look like the secret. For a planted canary the rank among such draws is
a p-value, because the canary was drawn in the same way. A real secret was not: names are likelier than random letters,
and issuers do not draw numbers uniformly; only keys come close. So the exposure of a real secret has no exact null. Its
baseline is what models that were not trained on it (the OUT models) say about the same secret and the same decoys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from memaudit.canaries.formats import Kind, recognised, redrawn

_CONTEXT = 64  # characters before a value that may decide whether it is recognised, as "key = " does
_TRIES = 2000  # draws in vain, one after the other, before giving up


@dataclass(frozen=True, slots=True)
class FoundSecret:
    """A value, where it stands first, the text before it there, and all documents that hold it.

    Its `repr` does not give it away.
    """

    kind: Kind
    document: int
    start: int
    end: int
    value: str = field(repr=False)
    prefix: str = field(repr=False)
    documents: tuple[int, ...]


def find_secrets(texts: Sequence[str], limit: int = 100, seed: int = 0) -> tuple[FoundSecret, ...]:
    """Returns the secrets that stand in the texts, each value once, in the order of their first appearance.

    They are e-mail addresses; phone numbers with their country code; IBANs and payment cards with valid checksums; keys
    of well-known form (AWS, GitHub, Slack), and values of high entropy after `key =`, `token:` and the like. What is
    written in two ways counts as two values.

    Args:
        texts: The documents.
        limit: How many to return at most. If there are more, they are drawn at random, of all kinds alike.
        seed: Of that draw.

    Raises:
        EvidenceError: phonenumbers or python-stdnum is needed and not installed.
    """
    first: dict[tuple[Kind, str], tuple[int, int]] = {}
    for document, text in enumerate(texts):
        for kind, start, end in recognised(text):
            first.setdefault((kind, text[start:end]), (document, start))
    chosen = _some([kind for kind, _ in first], limit, seed)
    found = [(*place, *secret) for number, (secret, place) in enumerate(first.items()) if number in chosen]
    return tuple(
        FoundSecret(
            kind=kind,
            document=document,
            start=start,
            end=start + len(value),
            value=value,
            prefix=texts[document][:start],
            documents=tuple(number for number, text in enumerate(texts) if value in text),
        )
        for document, start, kind, value in sorted(found)
    )


def decoys(secret: FoundSecret, n: int, rng: np.random.Generator) -> list[str]:
    """Returns values that look like the secret and are not it, drawn independently and uniformly among such values.

    Digits stand for digits, letters for letters of the same case, and separators stay. Kept are the domain of an e-mail
    address, country and area code of a phone number, the country of an IBAN, the issuer (6 digits) of a card, and the
    prefix of a key; checksums (Luhn, IBAN) are valid. In the secret's place, every decoy would be recognised as one of
    the same kind.

    The secret is exchangeable with them as far as its form goes and no further: the module's text says what its rank
    among them does not mean.

    Args:
        secret: From `find_secrets`.
        n: Number of decoys. Fewer come back where the form leaves hardly any other value.
        rng: The source of randomness.

    Raises:
        EvidenceError: phonenumbers or python-stdnum is needed and not installed.
    """
    context = secret.prefix[-_CONTEXT:]
    place = (secret.kind, len(context), len(context) + len(secret.value))
    found: list[str] = []
    misses = 0
    while len(found) < n and misses < _TRIES:
        value = redrawn(secret.kind, secret.value, rng)
        if value != secret.value and place in recognised(context + value):
            found.append(value)
            misses = 0
        else:
            misses += 1
    return found


def redact(secret: FoundSecret) -> str:
    """Returns the kind and the shape of a secret, without a letter or digit of it: "card •••• •••• •••• ••••"."""
    return f"{secret.kind} " + "".join("•" if character.isalnum() else character for character in secret.value)


def _some(kinds: Sequence[Kind], limit: int, seed: int) -> set[int]:
    """Returns the numbers of at most `limit` secrets: one of each kind at random, then another of each, and so on."""
    seen: Counter[Kind] = Counter()
    turns: list[tuple[int, int, int]] = []
    for number in np.random.default_rng(seed).permutation(len(kinds)):
        seen[kinds[number]] += 1
        turns.append((seen[kinds[number]], len(turns), int(number)))
    return {number for _, _, number in sorted(turns)[:limit]}
