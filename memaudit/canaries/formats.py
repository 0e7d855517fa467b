"""What secrets look like: a recogniser for each kind, and a random value of the same form."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache, partial
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits
from typing import Any

import numpy as np

from memaudit.canaries.people import entities
from memaudit.errors import LANGUAGE_EXTRA, EvidenceError

Span = tuple[int, int]


class Kind(StrEnum):
    """What a secret is. Characters that two recognisers claim belong to the first kind."""

    LISTED = "listed"
    PATTERN = "pattern"
    KEY = "key"
    IBAN = "IBAN"
    CARD = "card"
    EMAIL = "e-mail"
    PHONE = "phone"
    NAME = "name"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Forms:
    """What is sought beside, or instead of, what every text is searched for. Its repr shows no listed secret.

    `values` are secrets as they are written; of `patterns`, group 1 is the secret, or the whole match; `regions` are
    countries whose phone numbers are sought without a country code; `entities` are presidio's.
    """

    values: tuple[str, ...] = field(default=(), repr=False)
    patterns: tuple[re.Pattern[str], ...] = ()
    regions: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    language: str = "en"
    recognisers: bool = True


def recognised(text: str, forms: Forms = Forms()) -> list[tuple[Kind, int, int]]:
    """Return kind, start and end of the secrets in a text; they do not overlap."""
    found: list[tuple[Kind, int, int]] = []
    for kind, spans in _recognisers(forms):
        others = tuple(found)
        for start, end in spans(text):
            if all(end <= first or last <= start for _, first, last in others):
                found.append((kind, start, end))
    return found


def _recognisers(forms: Forms) -> Iterator[tuple[Kind, Callable[[str], Iterable[Span]]]]:
    if forms.values:
        yield Kind.LISTED, partial(_listed, _of_values(forms.values))
    for pattern in forms.patterns:
        yield Kind.PATTERN, partial(matches, pattern)
    if forms.recognisers:
        yield from _RECOGNISERS
    for region in forms.regions:
        yield Kind.PHONE, partial(_phones, region=region)
    if forms.entities:
        for kind in (Kind.NAME, Kind.ADDRESS):
            yield kind, partial(_entities, forms=forms, kind=kind)


def redrawn(kind: Kind, value: str, rng: np.random.Generator) -> str:
    """Return a uniform draw among values of the same form; checksums are valid, but not all of them need exist."""
    return _DRAWS[kind](value, rng)


def national(value: str, regions: Sequence[str], rng: np.random.Generator) -> str:
    """Return a phone number of the same form, of the first region in which the given one is valid."""
    library = _library("phonenumbers")
    read = (library.parse(value, region) for region in regions)
    return _subscriber(value, next(number for number in read if library.is_valid_number(number)), rng)


def recombined(value: str, others: Sequence[str], rng: np.random.Generator) -> str:
    """Return a name or an address that is put together from the words of others; digits are random.

    Each word comes from the same place of another with as many words, so that what is drawn looks like one.
    """
    alike = [words for other in others if len(words := other.split()) == len(value.split())]
    drawn = " ".join(alike[rng.integers(len(alike))][place] for place in range(len(value.split())))
    return filled(drawn, {place: digits for place, one in enumerate(drawn) if one in digits}, rng)


def free_places(value: str, fits: Callable[[str], bool]) -> dict[int, str]:
    """Return the places where a value may have other letters or digits and still fits, with what may be there.

    A place where no other character of its shape fits by itself, as in a fixed prefix, is left out.
    """
    free = {}
    for place, own in enumerate(value):
        shape = next((shape for shape in _SHAPES if own in shape), "")
        allowed = "".join(c for c in shape if c == own or fits(value[:place] + c + value[place + 1 :]))
        if len(allowed) > 1:
            free[place] = allowed
    return free


# --- recognisers ------------------------------------------------------------------------------------------------------

_KNOWN_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:AKIA[A-Z2-7]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[abprs]-(?:[A-Za-z0-9]+-)+[A-Za-z0-9]{16,64})"
    r"(?![A-Za-z0-9])"
)
_NAMED_KEY = re.compile(
    r"(?i:key|token|secret|password)[\"']?\s{0,3}[:=]\s{0,3}[\"']?([A-Za-z0-9+/_-]{20,128})(?![A-Za-z0-9+/_-])"
)
_LEAST_ENTROPY = 3.0  # bits per character: 20 random hexadecimal digits have 3.5 on average, a repeated word less
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}")
_SHORTEST_IBAN = 15
_CARD = re.compile(
    r"(?<![A-Za-z0-9.])(?:[0-9]{13,19}"
    r"|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?"
    r"|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5})(?![A-Za-z0-9])"
)
_ISSUED = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d\d|62\d\d|352[89]|35[3-8]\d)\d{12,15}"  # Discover, UnionPay, JCB
    r"|3(?:0[0-5]|[689]\d)\d{11}"  # Diners Club
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9])?"
    r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
)


@lru_cache(maxsize=8)
def _of_values(values: tuple[str, ...]) -> re.Pattern[str]:
    """Return what finds each of some values where it is a word or words; of two that begin alike, the longer one."""

    def bounded(value: str) -> str:
        before, after = (r"(?<!\w)", r"(?!\w)")
        first, last = (re.match(r"\w", end) is not None for end in (value[0], value[-1]))
        return before * first + re.escape(value) + after * last

    return re.compile("|".join(bounded(value) for value in sorted(values, key=len, reverse=True)))


def _listed(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    return (match.span() for match in pattern.finditer(text))


def matches(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    """Return where a pattern finds secrets: its group 1, or all that it matches."""
    spans = (match.span(1 if pattern.groups else 0) for match in pattern.finditer(text))
    return ((start, end) for start, end in spans if end > start >= 0)


_ENTITIES = {Kind.NAME: "PERSON", Kind.ADDRESS: "LOCATION"}  # as presidio calls them


def _entities(text: str, forms: Forms, kind: Kind) -> Iterator[Span]:
    return entities(text, _ENTITIES[kind], forms.language) if _ENTITIES[kind] in forms.entities else iter(())


def _known_keys(text: str) -> Iterator[Span]:
    return (match.span() for match in _KNOWN_KEY.finditer(text))


def _named_keys(text: str) -> Iterator[Span]:
    return (match.span(1) for match in _NAMED_KEY.finditer(text) if _looks_random(match[1]))


def _looks_random(value: str) -> bool:
    shares = np.array(list(Counter(value).values())) / len(value)
    mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return mixed and bool(-shares @ np.log2(shares) >= _LEAST_ENTROPY)


def _ibans(text: str) -> Iterator[Span]:
    """Yield the IBANs. What follows may look like more of one, but its country fixes its length.

    Check digits that some countries have within the number are not looked at: decoys would hardly ever have them.
    """
    for match in _IBAN.finditer(text):
        for end in range(match.start() + _SHORTEST_IBAN, match.end() + 1):
            outside = text[end - 1] == " " or text[end : end + 1].isalnum()
            if not outside and _library("stdnum.iban").is_valid(text[match.start() : end], check_country=False):
                yield match.start(), end


def _cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        number = re.sub("[ -]", "", match[0])
        if _ISSUED.fullmatch(number) and _library("stdnum.luhn").is_valid(number):
            yield match.span()


def _emails(text: str) -> Iterator[Span]:
    return (match.span() for match in _EMAIL.finditer(text))


def _phones(text: str, region: str | None = None) -> Iterator[Span]:
    """Yield the phone numbers that are valid, and grouped as is usual in their country.

    They have a country code, or are written as they are within a region.
    """
    if "+" in text or region is not None:
        library = _library("phonenumbers")
        for match in library.PhoneNumberMatcher(text, region, library.Leniency.STRICT_GROUPING):
            found = match.raw_string
            if found.isascii():
                outside = found.startswith("(") and found.count("(") > found.count(")")  # "(+1 650 253 0000"
                yield match.start + outside, match.end


_RECOGNISERS: tuple[tuple[Kind, Callable[[str], Iterator[Span]]], ...] = (
    (Kind.KEY, _known_keys),
    (Kind.KEY, _named_keys),
    (Kind.IBAN, _ibans),
    (Kind.CARD, _cards),
    (Kind.EMAIL, _emails),
    (Kind.PHONE, _phones),
)


# --- draws ------------------------------------------------------------------------------------------------------------

_SHAPES = (digits, ascii_lowercase, ascii_uppercase)
_KEY_FORMS = (  # prefix and alphabet; of a key without a known prefix, the least alphabet that holds it
    (re.compile("AKIA(?=[A-Z2-7]+$)"), ascii_uppercase + "234567"),
    (re.compile("gh[pousr]_|xox[abprs]-"), ascii_letters + digits),
    (re.compile("(?=[0-9a-f+/_-]+$)"), digits + "abcdef"),
    (re.compile("(?=[0-9A-F+/_-]+$)"), digits + "ABCDEF"),
    (re.compile("(?=[0-9a-z+/_-]+$)"), digits + ascii_lowercase),
    (re.compile("(?=[0-9A-Z+/_-]+$)"), digits + ascii_uppercase),
    (re.compile(""), ascii_letters + digits),
)
_ISSUER = 6  # digits of a card number that name the issuer


def _key(value: str, rng: np.random.Generator) -> str:
    """Return a key with the same prefix and separators; a run of digits stays one, as the parts of Slack's do."""
    prefix, alphabet = next((found[0], known) for form, known in _KEY_FORMS if (found := form.match(value)))
    alphabets = dict.fromkeys((place for place in _places(value) if place >= len(prefix)), alphabet)
    for run in re.finditer("[A-Za-z0-9]+", value):
        if run[0].isdigit():
            alphabets |= dict.fromkeys(range(*run.span()), digits)
    return filled(value, alphabets, rng)


def _iban(value: str, rng: np.random.Generator) -> str:
    places = _places(value)
    value = filled(value, _alike(value, places[4:]), rng)
    check = _library("stdnum.iban").calc_check_digits(value)
    return filled(value, dict(zip(places[2:4], check, strict=True)), rng)


def _card(value: str, rng: np.random.Generator) -> str:
    places = _places(value)
    value = filled(value, _alike(value, places[_ISSUER:-1]), rng)
    check = _library("stdnum.luhn").calc_check_digit("".join(value[place] for place in places[:-1]))
    return filled(value, {places[-1]: check}, rng)


def _email(value: str, rng: np.random.Generator) -> str:
    return filled(value, _alike(value, _places(value[: value.index("@")])), rng)


def _phone(value: str, rng: np.random.Generator) -> str:
    return _subscriber(value, _library("phonenumbers").parse(value, None), rng)


def _subscriber(value: str, number: Any, rng: np.random.Generator) -> str:
    """Return the value with other digits for the subscriber; country and area code stay."""
    library = _library("phonenumbers")
    kept = library.length_of_national_destination_code(number)
    subscriber = len(library.national_significant_number(number)) - kept + len(number.extension or "")
    places = [place for place in _places(value) if value[place].isdigit()]
    return filled(value, _alike(value, places[len(places) - subscriber :]), rng)


def _same_shape(value: str, rng: np.random.Generator) -> str:
    return filled(value, free_places(value, lambda other: True), rng)


_DRAWS: dict[Kind, Callable[[str, np.random.Generator], str]] = {
    Kind.LISTED: _same_shape,
    Kind.KEY: _key,
    Kind.IBAN: _iban,
    Kind.CARD: _card,
    Kind.EMAIL: _email,
    Kind.PHONE: _phone,
}


def _places(value: str) -> list[int]:
    """Return the positions of the letters and digits of a value."""
    return [place for place, character in enumerate(value) if character.isalnum()]


def _alike(value: str, places: Iterable[int]) -> dict[int, str]:
    """Return for each place the digits, or the letters of the same case, that are allowed there."""
    return {place: next(shape for shape in _SHAPES if value[place] in shape) for place in places}


def filled(value: str, alphabets: Mapping[int, str], rng: np.random.Generator) -> str:
    """Return the value with a character drawn from its alphabet at each of the places."""
    characters = list(value)
    for (place, alphabet), draw in zip(alphabets.items(), rng.random(len(alphabets)), strict=True):
        characters[place] = alphabet[int(draw * len(alphabet))]
    return "".join(characters)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise EvidenceError(f"{LANGUAGE_EXTRA} ({error})") from error
