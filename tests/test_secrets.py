"""Secrets in the user's own texts: what is recognised, what decoys look like, and what must not be shown.

All values are made up or are the published examples of their issuers. Random tests fix their seed; each states the
probability of a false alarm under a fresh one.
"""

import re
import string
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from memaudit.canaries import secrets as module
from memaudit.canaries.formats import Kind, redrawn
from memaudit.canaries.secrets import FoundSecret, decoys, find_secrets, redact
from memaudit.errors import EvidenceError

SECRETS = {
    "jane.doe@example.com": Kind.EMAIL,
    "J_Doe+lists-7@mail.example-corp.co.uk": Kind.EMAIL,
    "+1 650-253-0000": Kind.PHONE,
    "+44 20 7946 0958": Kind.PHONE,
    "+33 6 12 34 56 78": Kind.PHONE,
    "+49 30 901820": Kind.PHONE,
    "+6565218000": Kind.PHONE,
    "DE89 3704 0044 0532 0130 00": Kind.IBAN,
    "GB82WEST12345698765432": Kind.IBAN,
    "NO9386011117947": Kind.IBAN,
    "ES91 2100 0418 4502 0005 1332": Kind.IBAN,
    "4111 1111 1111 1111": Kind.CARD,
    "5555-5555-5555-4444": Kind.CARD,
    "2223003122003222": Kind.CARD,
    "3782 822463 10005": Kind.CARD,
    "378282246310005": Kind.CARD,
    "6011000990139424": Kind.CARD,
    "3530111333300000": Kind.CARD,
    "30569309025904": Kind.CARD,
    "AKIAIOSFODNN7EXAMPLE": Kind.KEY,
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a": Kind.KEY,
    "xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx": Kind.KEY,
}
NAMED = ["9f86d081884c7d659a2feaa0c55ad015", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "A1B2-C3D4-E5F6-G7H8-I9J0"]

every_secret = pytest.mark.parametrize("value", SECRETS)


def _only(text: str) -> FoundSecret:
    (secret,) = find_secrets([text])
    return secret


def _luhn(value: str) -> int:
    """ISO/IEC 7812-1, annex B: doubled digits from the right, their cross sums, modulo 10."""
    numbers = [int(character) for character in reversed(value) if character.isdigit()]
    return sum(n if place % 2 == 0 else sum(divmod(2 * n, 10)) for place, n in enumerate(numbers)) % 10


def _mod97(value: str) -> int:
    """ISO 13616: the first four characters moved to the end, letters as 10 to 35, modulo 97."""
    compact = value.replace(" ", "")
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97


def _shape(value: str) -> str:
    return re.sub("[0-9]", "0", re.sub("[a-z]", "a", re.sub("[A-Z]", "A", value)))


# --- what is found ----------------------------------------------------------------------------------------------------


@every_secret
@pytest.mark.parametrize(
    "template", ["{}", "Please note: {}, and nothing else.", "<{}>\n", "\ttel/iban/mail:{} ", "({})"]
)
def test_secrets_are_found_where_they_stand(value: str, template: str) -> None:
    text = template.format(value)
    secret = _only(text)
    assert (secret.kind, secret.value, secret.document, secret.documents) == (SECRETS[value], value, 0, (0,))
    assert text[secret.start : secret.end] == value
    assert secret.prefix == text[: secret.start]


@pytest.mark.parametrize("value", NAMED)
@pytest.mark.parametrize("template", ["api_key={}", '"secret" : "{}",', "Token:\n{}", "AWS_SECRET_ACCESS_KEY = '{}'"])
def test_keys_are_found_behind_their_name(value: str, template: str) -> None:
    secret = _only(template.format(value))
    assert (secret.kind, secret.value) == (Kind.KEY, value)
    assert not find_secrets([f"and {value} alone"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no secrets here, mail us at example.com or @handle, a@b",
        "4111 1111 1111 1112",  # Luhn
        "1111 1111 1111 1117",  # valid checksum, but no issuer
        "41111111 11111111",  # not how a card is written
        "x4111111111111111 and 4111111111111111x",
        "0.4111111111111111",
        "941111111111111111111",  # part of a longer number
        "DE89 3704 0044 0532 0130 01",  # checksum
        "DE89 3704 0044 0532 0130",  # length
        "ZZ89 3704 0044 0532 0130 00",  # country
        "DE89370400440532013000x",
        "650-253-0000 and (030) 901820",  # no country code
        "+1 650-253-000",
        "+1 65-0253-0000",  # grouped as nobody does
        "+999 123 456 789",
        "+１ ６５０-２５３-００００",  # full-width digits
        "AKIAIOSFODNN7EXAMPL",
        "AKIAIOSFODNN7EXAMPLE2",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4",
        "key = averyveryveryverylongword",
        "token: 1234567890123456789012345",
        "password = a1a1a1a1a1a1a1a1a1a1a1a1a1",
        "monkey: see /usr/share",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert find_secrets([text]) == ()


def test_what_follows_an_iban_is_not_part_of_it() -> None:
    for after in (" BANK", " COBADEFFXXX", " 12", "-", " a"):
        assert _only("DE89 3704 0044 0532 0130 00" + after).value == "DE89 3704 0044 0532 0130 00"


def test_characters_belong_to_one_secret() -> None:
    """A card number within a key, a key that is named and known, a phone number within an e-mail address."""
    key = "aBcDeFgHiJkL-4111111111111111-mNoPqRsT"
    assert [secret.value for secret in find_secrets([f"api_key={key}"])] == [key]
    assert [secret.value for secret in find_secrets(["token=ghp_16C7e42F292c6912E7710c838347Ae178B4a"])] == [
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
    ]
    assert [secret.kind for secret in find_secrets(["x+16502530000@example.com"])] == [Kind.EMAIL]


def test_a_value_is_one_secret_with_all_documents_that_hold_it() -> None:
    """Also those where only the name of the key is missing: a model trained on them has seen the value."""
    key, mail = NAMED[0], "jane.doe@example.com"
    texts = ["nothing", f"{mail} and {mail}", f"the key={key}", f"bare {key}, {mail}", "end"]
    found = find_secrets(texts)
    assert [(secret.value, secret.document, secret.documents) for secret in found] == [
        (mail, 1, (1, 3)),
        (key, 2, (2, 3)),
    ]
    assert found[0].start == 0


def test_secrets_come_in_the_order_of_their_appearance() -> None:
    values = list(SECRETS)
    texts = [f"{a} ; {b}" for a, b in pairwise(values)]
    found = find_secrets(texts)
    assert [secret.value for secret in found] == values
    places = [(secret.document, secret.start) for secret in found]
    assert places == sorted(places)


def test_a_limit_draws_all_kinds_alike() -> None:
    """200 e-mail addresses, 3 cards and 1 key: a limit of 9 has the key, all cards, and 5 of the addresses."""
    texts = [f"user{n}@example.com" for n in range(200)]
    texts += ["4111 1111 1111 1111", "5555-5555-5555-4444", "2223003122003222", "AKIAIOSFODNN7EXAMPLE"]
    found = find_secrets(texts, limit=9)
    kinds = [secret.kind for secret in found]
    assert (kinds.count(Kind.EMAIL), kinds.count(Kind.CARD), kinds.count(Kind.KEY)) == (5, 3, 1)
    assert [secret.document for secret in found] == sorted(secret.document for secret in found)
    assert find_secrets(texts, limit=9) == found
    assert find_secrets(texts, limit=9, seed=1) != found
    assert len(find_secrets(texts, limit=1000)) == 204
    assert find_secrets(texts, limit=0) == ()


def test_a_limit_draws_uniformly_within_a_kind() -> None:
    """1000 draws of 3 out of 10 addresses: χ² of the counts, whose variance is 7/9 of the multinomial's; at 1e-6."""
    texts = [f"user{n}@example.com" for n in range(10)]
    drawn = [secret.document for seed in range(1000) for secret in find_secrets(texts, limit=3, seed=seed)]
    counts = np.bincount(drawn, minlength=10)
    assert counts.sum() == 3000
    assert stats.chi2.sf(((counts - 300) ** 2 / 300).sum() / (7 / 9), 9) > 1e-6


# --- decoys -----------------------------------------------------------------------------------------------------------


@st.composite
def _cards(draw: st.DrawFn) -> str:
    issuer, length = draw(st.sampled_from([("4", 16), ("4", 13), ("51", 16), ("2720", 16), ("37", 15), ("36", 14)]))
    payload = issuer + draw(st.text("0123456789", min_size=length - len(issuer) - 1, max_size=length - len(issuer) - 1))
    number = payload + next(check for check in string.digits if _luhn(payload + check) == 0)
    cuts = {16: (4, 8, 12), 15: (4, 10), 14: (4, 10)}.get(length, ())
    separator = draw(st.sampled_from(["", " ", "-"]))
    return separator.join(number[a:b] for a, b in pairwise((0, *cuts, length)))


@st.composite
def _ibans(draw: st.DrawFn) -> str:
    country, account = draw(
        st.sampled_from(
            [
                ("DE", "[0-9]{18}"),
                ("GB", "[A-Z]{4}[0-9]{14}"),
                ("NO", "[0-9]{11}"),
                ("MT", "[A-Z]{4}[0-9]{5}[0-9A-Z]{18}"),
            ]
        )
    )
    bban = draw(st.from_regex(account, fullmatch=True))
    value = f"{country}{98 - _mod97(f'{country}00{bban}'):02d}{bban}"
    return " ".join(value[at : at + 4] for at in range(0, len(value), 4)) if draw(st.booleans()) else value


_emails = st.from_regex(r"[a-z]{2,9}([._-][A-Za-z]{1,9}){0,2}[0-9]{0,3}@[a-z]{2,9}\.(org|co\.uk)", fullmatch=True)
_keys = st.one_of(
    st.from_regex("AKIA[A-Z2-7]{16}", fullmatch=True),
    st.from_regex("gh[ps]_[A-Za-z0-9]{36}", fullmatch=True),
    st.from_regex("xoxp-[0-9]{11}-[0-9]{12}-[A-Za-z0-9]{24}", fullmatch=True),
)
_named_keys = st.from_regex("[0-9a-f]{32}|[A-Za-z0-9+/]{40}", fullmatch=True)
_values = st.one_of(_cards(), _ibans(), _emails, _keys)


@given(st.one_of(_values, _named_keys.map("key=".__add__)), st.integers(0, 2**32))
def test_decoys_have_the_form_of_the_secret(value: str, seed: int) -> None:
    text = f"before {value} behind"
    found = find_secrets([text])
    assume(len(found) == 1)  # a key without a digit is none
    secret = found[0]
    drawn = decoys(secret, 5, np.random.default_rng(seed))
    assert len(drawn) == 5
    for decoy in drawn:
        assert decoy != secret.value
        assert len(decoy) == len(secret.value)
        assert [c if not c.isalnum() else "" for c in decoy] == [c if not c.isalnum() else "" for c in secret.value]
        again = _only(secret.prefix + decoy + text[secret.end :])
        assert (again.kind, again.start, again.value) == (secret.kind, secret.start, decoy)
        match secret.kind:
            case Kind.CARD:
                digits, own = (re.sub(r"\D", "", text) for text in (decoy, secret.value))
                assert _luhn(decoy) == 0
                assert digits[:6] == own[:6]
            case Kind.IBAN:
                assert _mod97(decoy) == 1
                assert decoy[:2] == secret.value[:2]
                assert _shape(decoy) == _shape(secret.value)
            case Kind.EMAIL:
                assert decoy.partition("@")[2] == secret.value.partition("@")[2]
                assert _shape(decoy) == _shape(secret.value)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("+1 650-253-0000", "+1 650"),
        ("+44 20 7946 0958", "+44 20 "),
        ("+49 30 901820", "+49 30 "),
        ("+33 6 12 34 56 78", "+33 6 "),
        ("+49 30 901820 ext. 12", "+49 30 "),
    ],
)
def test_decoys_of_a_phone_number_keep_country_and_area(value: str, kept: str) -> None:
    secret = _only(f"call {value}.")
    drawn = decoys(secret, 100, np.random.default_rng(0))
    assert len(drawn) == 100
    for decoy in drawn:
        assert decoy.startswith(kept)
        assert _shape(decoy) == _shape(value)
        assert _only(f"call {decoy}.").kind is Kind.PHONE
    places = np.array([list(decoy) for decoy in drawn])
    assert [len(set(places[:, place])) > 1 for place in range(len(kept), len(value))] == [
        character.isdigit() for character in value[len(kept) :]
    ]


@pytest.mark.parametrize(
    ("text", "alphabet"),
    [
        ("token=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "0123456789abcdef"),
        ("AKIAIOSFODNN7EXAMPLE", string.ascii_uppercase + "234567"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", string.ascii_letters + string.digits),
    ],
)
def test_decoys_of_a_key_use_its_alphabet(text: str, alphabet: str) -> None:
    """All characters turn up: each is missed by 16 · 300 or more uniform draws with probability below 1e-33."""
    secret = _only(text)
    drawn = decoys(secret, 300, np.random.default_rng(0))
    prefix = re.match("AKIA|ghp_|", secret.value)
    assert prefix
    assert all(decoy.startswith(prefix[0]) for decoy in drawn)
    assert set("".join(decoy[prefix.end() :] for decoy in drawn)) == set(alphabet)


def test_numeric_parts_of_a_key_stay_numeric() -> None:
    for decoy in decoys(_only(list(SECRETS)[-1]), 20, np.random.default_rng(0)):
        assert re.fullmatch(r"xoxb-\d{12}-\d{13}-[A-Za-z0-9]{24}", decoy)


def test_decoys_are_uniform() -> None:
    """All 259 other addresses of one letter and one digit, equally often; χ² of 5000 draws at 1e-6."""
    drawn = decoys(_only("k7@example.com"), 5000, np.random.default_rng(5))
    values, counts = np.unique(drawn, return_counts=True)
    assert len(values) == 259
    assert stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("place", [6, 14, 15])
def test_free_digits_of_a_card_are_uniform(place: int) -> None:
    """Also the check digit, which is a bijection of any free one; χ² of 2000 draws at 1e-6."""
    drawn = decoys(_only("4111111111111111"), 2000, np.random.default_rng(6))
    assert stats.chisquare(np.bincount([int(decoy[place]) for decoy in drawn], minlength=10)).pvalue > 1e-6


@pytest.mark.parametrize(
    ("text", "start"),
    [("AKIAIOSFODNN7EXAMPLE", 0), ("token=9f86d081884c7d659a2feaa0c55ad015", 6), ("4111111111111111", 0)],
)
def test_a_secret_that_is_drawn_like_its_decoys_has_a_uniform_rank(text: str, start: int) -> None:
    """The null, for a secret drawn uniformly: its alphabetical rank among 9 decoys; χ² of 500 ranks at 1e-6.

    Any characters that a decoy may have and the secret may not, or the other way round, would show.
    """
    rng = np.random.default_rng(7)
    origin = _only(text)
    ranks: list[int] = []
    while len(ranks) < 500:
        drawn = find_secrets([text[:start] + redrawn(origin.kind, origin.value, rng)])
        if drawn:
            ranks.append(sum(decoy < drawn[0].value for decoy in decoys(drawn[0], 9, rng)))
    assert stats.chisquare(np.bincount(ranks, minlength=10)).pvalue > 1e-6


def test_decoys_come_from_the_generator_alone() -> None:
    secret = _only("jane.doe@example.com")
    first, again, other = (decoys(secret, 20, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert decoys(secret, 0, np.random.default_rng(0)) == []


def test_a_form_without_another_value_has_no_decoys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "redrawn", lambda kind, value, rng: value)
    assert decoys(_only("jane.doe@example.com"), 5, np.random.default_rng(0)) == []


# --- what must not be shown -------------------------------------------------------------------------------------------


@given(_values)
def test_a_redacted_secret_has_none_of_its_letters_and_digits(value: str) -> None:
    secret = _only(f"Mine: {value}.")
    shown = redact(secret)
    assert shown.startswith(f"{secret.kind} ")
    dots = shown.removeprefix(f"{secret.kind} ")
    assert not any(character.isalnum() for character in dots)
    assert len(dots) == len(value)


def test_redacted_forms() -> None:
    assert redact(_only("jane.doe@example.com")) == "e-mail ••••.•••@•••••••.•••"
    assert redact(_only("4111 1111 1111 1111")) == "card •••• •••• •••• ••••"


@every_secret
def test_the_representation_gives_nothing_away(value: str) -> None:
    secret = _only(f"the confidential context: {value}")
    assert value not in repr(secret)
    assert "confidential" not in repr([secret])


@pytest.mark.parametrize(
    ("package", "text"),
    [("phonenumbers", "+1 650-253-0000"), ("stdnum.iban", "NO9386011117947"), ("stdnum.luhn", "30569309025904")],
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str, text: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EvidenceError, match=r"pip install 'memaudit-toolkit\[language\]'"):
        find_secrets([text])
