"""The user's own secrets: found in the training texts by their form, and ranked among decoys of the same form.

A decoy is a uniform draw among the values that look like the secret. For a planted canary the rank among such draws is
a p-value, because the canary was drawn in the same way. A real secret was not: names are likelier than random letters,
and issuers do not draw numbers uniformly; only keys come close. So the exposure of a real secret has no exact null. Its
baseline is what models that were not trained on it (the OUT models) say about the same secret and the same decoys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from memaudit.canaries.formats import (
    Forms,
    Kind,
    filled,
    free_places,
    matches,
    national,
    recognised,
    recombined,
    redrawn,
)

_CONTEXT = 64  # characters before a value that may decide whether it is recognised, as "key = " does
_NOTHING_ELSE = Forms()
_RECOMBINED = (Kind.NAME, Kind.ADDRESS)
_TRIES = 2000  # draws in vain, one after the other, before giving up


@dataclass(frozen=True, slots=True)
class FoundSecret:
    """A value, where it first occurs, the text before it there, and all documents that hold it.

    `after` is a little of the text behind it, and `others` are all values of its kind, where these are names or
    addresses. Its `repr` does not give it away.
    """

    kind: Kind
    document: int
    start: int
    end: int
    value: str = field(repr=False)
    prefix: str = field(repr=False)
    documents: tuple[int, ...]
    after: str = field(default="", repr=False)
    others: tuple[str, ...] = field(default=(), repr=False)


def find_secrets(
    texts: Sequence[str], limit: int = 100, seed: int = 0, forms: Forms = _NOTHING_ELSE
) -> tuple[FoundSecret, ...]:
    """Return the secrets that occur in the texts, each value once, in the order of their first appearance.

    They are e-mail addresses; phone numbers with their country code; IBANs and payment cards with valid checksums; keys
    of well-known form (AWS, GitHub, Slack), and values of high entropy after `key =`, `token:` and the like; and what
    `forms` adds. What is written in two ways counts as two values.

    Args:
        texts: The documents.
        limit: How many to return at most. If there are more, they are drawn at random, of all kinds alike.
        seed: Of that draw.
        forms: What else is sought.

    Raises:
        EvidenceError: phonenumbers, python-stdnum or presidio-analyzer is needed and not installed.
    """
    first: dict[tuple[Kind, str], tuple[int, int]] = {}
    for document, text in enumerate(texts):
        for kind, start, end in recognised(text, forms):
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
            after=texts[document][start + len(value) :][:_CONTEXT],
            others=tuple(other for same, other in first if same is kind) if kind in _RECOMBINED else (),
        )
        for document, start, kind, value in sorted(found)
    )


def decoys(secret: FoundSecret, n: int, rng: np.random.Generator, forms: Forms = _NOTHING_ELSE) -> list[str]:
    """Return values that look like the secret and are not it, drawn independently and uniformly among such values.

    Digits replace digits, letters replace letters of the same case, and separators stay. Kept are the domain of an
    e-mail address, country and area code of a phone number, the country of an IBAN, the issuer (6 digits) of a card,
    the prefix of a key, and what a pattern fixes; checksums (Luhn, IBAN) are valid. In the secret's place, every decoy
    would be recognised as one of the same kind. Names and addresses are put together from the words of others that the
    texts hold, and are none of these.

    The secret is exchangeable with them as far as its form goes and no further: the module's text says what its rank
    among them does not mean.

    Args:
        secret: From `find_secrets`.
        n: Number of decoys. Fewer come back where the form leaves hardly any other value.
        rng: The source of randomness.
        forms: What the secret was found by.

    Raises:
        EvidenceError: phonenumbers or python-stdnum is needed and not installed.
    """
    draw, fits = _drawing(secret, forms)
    found: list[str] = []
    misses = 0
    while len(found) < n and misses < _TRIES:
        value = draw(rng)
        if value != secret.value and fits(value):
            found.append(value)
            misses = 0
        else:
            misses += 1
    return found


def _drawing(secret: FoundSecret, forms: Forms) -> tuple[Callable[[np.random.Generator], str], Callable[[str], bool]]:
    """Return how a decoy is drawn, and whether a drawn value is one."""
    context, value = secret.prefix[-_CONTEXT:], secret.value
    span = (len(context), len(context) + len(value))

    def matched(other: str) -> bool:
        return any(span in matches(pattern, context + other + secret.after) for pattern in forms.patterns)

    def kept(other: str) -> bool:
        return (secret.kind, *span) in recognised(context + other, replace(forms, entities=()))

    if secret.kind is Kind.PATTERN:
        return partial(filled, value, free_places(value, matched)), matched
    if secret.kind is Kind.LISTED:
        return partial(redrawn, secret.kind, value), lambda other: other not in forms.values
    if secret.kind in _RECOMBINED:
        return partial(recombined, value, secret.others), lambda other: other not in secret.others
    if secret.kind is Kind.PHONE and not value.lstrip("(").startswith("+"):
        return partial(national, value, forms.regions), kept
    return lambda rng: redrawn(secret.kind, value, rng), kept


def redact(secret: FoundSecret) -> str:
    """Return the kind and the shape of a secret, without a letter or digit of it: "card •••• •••• •••• ••••"."""
    return f"{secret.kind} " + "".join("•" if character.isalnum() else character for character in secret.value)


def _some(kinds: Sequence[Kind], limit: int, seed: int) -> set[int]:
    """Return the numbers of at most `limit` secrets: one of each kind at random, then another of each, and so on."""
    seen: Counter[Kind] = Counter()
    turns: list[tuple[int, int, int]] = []
    for number in np.random.default_rng(seed).permutation(len(kinds)):
        seen[kinds[number]] += 1
        turns.append((seen[kinds[number]], len(turns), int(number)))
    return {number for _, _, number in sorted(turns)[:limit]}
