"""The adversary without a model on texts: chance where there is nothing to see, and near the best where there is.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

import zlib
from collections.abc import Callable

import numpy as np
import pytest

from memaudit.attacks import blind
from memaudit.attacks.blind import _BUCKETS, _SEEN, _description, _gram_counts, blind_text_scores
from memaudit.stats import auc

Array = np.ndarray
Rng = np.random.Generator
WORDS = np.array([f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in ("n", "rt", "ss", "l", "x")])


def _text(rng: Rng, words: int = 15, weights: Array | None = None) -> str:
    return " ".join(rng.choice(WORDS, words, p=weights))


def _area(texts: list[str], members: Array, groups: Array | None = None) -> float:
    scores = blind_text_scores(texts, members, groups=groups)
    assert scores.shape == (len(texts),)
    return auc(scores[members], scores[~members])


def _se(n: int) -> float:
    """The SE of an AUC of ½ from n members and n others (Mann & Whitney 1947)."""
    return float(np.sqrt((2 * n + 1) / (12 * n * n)))


# --- chance -----------------------------------------------------------------------------------------------------------


def test_random_members_are_at_chance() -> None:
    """A fair coin: AUC ½ to 6 SE of the rank sum of 2 × 400.

    Two texts each inform the other's score, which raises the SE by √2: the bound is 4.2 of those; false alarm 2e-5.
    """
    rng = np.random.default_rng(1)
    texts = [_text(rng) for _ in range(800)]
    members = rng.permutation(800) < 400
    assert _area(texts, members) == pytest.approx(0.5, abs=6 * _se(400))


def test_copies_in_one_group_do_not_give_each_other_away() -> None:
    """Every text twice, with a membership per pair drawn by coin: at chance by groups, and not at all without.

    300 + 300 pairs with one score each: AUC ½ to 6 SE of 2 × 300; false alarm 2e-5, as above.
    """
    rng = np.random.default_rng(2)
    texts = [_text(rng) for _ in range(600)] * 2
    members = np.tile(rng.permutation(600) < 300, 2)
    groups = np.tile(rng.permutation(600), 2)
    assert _area(texts, members, groups=groups) == pytest.approx(0.5, abs=6 * _se(300))
    assert _area(texts, members) > 0.5 + 6 * _se(300)


# --- power: members of another kind -----------------------------------------------------------------------------------
# Each function returns a text, and what the likelihood ratio of membership rises with.


def _later(rng: Rng, member: bool) -> tuple[str, float]:
    year = int(rng.integers(2013, 2022) + 3 * member)
    return f"{_text(rng, 8)} in {year} (not {year - 20}) {_text(rng, 8)}", year


def _longer(rng: Rng, member: bool) -> tuple[str, float]:
    words = int(rng.integers(10, 20)) + 3 * member
    return _text(rng, words), words


def _other_topic(rng: Rng, member: bool) -> tuple[str, float]:
    tilt = 0.4 * np.sin(np.arange(len(WORDS)))
    weights = np.exp(tilt if member else -tilt)
    drawn = rng.choice(len(WORDS), 30, p=weights / weights.sum())
    return " ".join(WORDS[drawn]), tilt[drawn].sum()


def _shouting(rng: Rng, member: bool) -> tuple[str, float]:
    loud = rng.random(30) < 0.1 + 0.1 * member
    return " ".join(np.where(loud, np.char.upper(drawn := rng.choice(WORDS, 30)), drawn)), loud.sum()


def _repetitive(rng: Rng, member: bool) -> tuple[str, float]:
    twice = member and rng.random() < 0.6
    return " ".join([_text(rng)] * 2 if twice else [_text(rng), _text(rng)]), twice


def _with_numbers(rng: Rng, member: bool) -> tuple[str, float]:
    number = rng.random() < 0.2 + 0.4 * member
    return f"{_text(rng)} {rng.integers(10**4, 10**5) if number else _text(rng, 1)}", number


def _in_another_script(rng: Rng, member: bool) -> tuple[str, float]:
    greek = member and rng.random() < 0.6
    return "".join(rng.choice(list("αβγδεζηθ" if greek else "абвгдежз"), 40)), greek  # no word stands twice


@pytest.mark.parametrize(
    "kind", [_later, _longer, _other_topic, _shouting, _repetitive, _with_numbers, _in_another_script]
)
def test_another_kind_of_member_is_told_apart(kind: Callable[[Rng, bool], tuple[str, float]]) -> None:
    """At most .08 below the best possible AUC on the same texts, which itself lies between .65 and .99.

    The difference of two such areas has an SE of at most .02 at 2 × 400 (as if they were independent); .08 is 4 of
    them, so that what is lost by fitting must be small. False alarm 3e-5 where nothing is lost.
    """
    rng = np.random.default_rng(3)
    members = rng.permutation(800) < 400
    drawn = [kind(rng, bool(member)) for member in members]
    evidence = np.array([float(value) for _, value in drawn])
    best = auc(evidence[members], evidence[~members])
    assert 0.65 < best < 0.99
    assert _area([text for text, _ in drawn], members) > best - 0.08


def test_words_are_counted_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bound where n-grams see only the first 5 characters of a text."""
    monkeypatch.setattr(blind, "_SEEN", 5)
    test_another_kind_of_member_is_told_apart(_other_topic)


@pytest.mark.parametrize(
    ("text", "length", "digit", "capital", "dated", "year"),
    [
        ("In 1999 or 2007, not 2107", 25, 12 / 25, 1 / 25, 1, 7),
        ("AB 12345 19999", 14, 10 / 14, 2 / 14, 0, 0),
        ("(1815)", 6, 4 / 6, 0, 1, -185),
        ("Éé", 2, 0, 1 / 2, 0, 0),
        ("", 1, 0, 0, 0, 0),
    ],
)
def test_descriptions_by_hand(text: str, length: int, digit: float, capital: float, dated: int, year: int) -> None:
    compressed = len(zlib.compress(text.encode())) / length
    assert _description(text) == pytest.approx((np.log(length), compressed, digit, capital, dated, year))


# --- edges ------------------------------------------------------------------------------------------------------------


def test_texts_without_words_letters_or_characters_have_scores() -> None:
    rng = np.random.default_rng(4)
    odd = ["", " ", "\n\t", "?!", "a", "\ud800", "\x00", "e\u0301", "漢字", "🏳️‍🌈", "١٢٣", "1999", "x" * 10_000]
    texts = [odd[number] for number in rng.integers(0, len(odd), 200)]
    members = rng.permutation(200) < 80
    assert np.isfinite(blind_text_scores(texts, members)).all()
    for alike in ("", "all the same"):
        scores = blind_text_scores([alike] * 200, members)
        assert np.isfinite(scores).all()


def test_scores_are_reproducible_and_lie_on_the_folds_of_the_seed() -> None:
    rng = np.random.default_rng(5)
    texts = [_text(rng) for _ in range(200)]
    members = rng.permutation(200) < 100
    first, again, other = (blind_text_scores(texts, members, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_another_number_of_memberships_is_refused() -> None:
    with pytest.raises(ValueError, match="3 texts but 2 memberships"):
        blind_text_scores(["a", "b", "c"], np.array([True, False]))


# --- n-grams ----------------------------------------------------------------------------------------------------------


def test_each_ngram_is_counted_in_its_own_bucket() -> None:
    """Buckets of all n-grams of 50 texts, found one n-gram at a time: the counts are theirs, wherever they stand.

    About 3000 n-grams in 2¹⁸ buckets collide some 17 times; equal n-grams must always share a bucket.
    """
    rng = np.random.default_rng(6)
    texts = [_text(rng, 3) for _ in range(50)] + ["", "a", "ab", "😀é漢", "ab" * 9]

    def grams(text: str) -> list[str]:
        return [text[at : at + n] for n in (2, 3, 4, 5) for at in range(len(text) - n + 1)]

    distinct = sorted({gram for text in texts for gram in grams(text)}, key=len)
    alone = _gram_counts(distinct)
    bucket: dict[str, int] = {}
    for row, gram in enumerate(distinct):
        own = alone[row].toarray()[0]
        for part in grams(gram)[:-1]:
            own[bucket[part]] -= 1
        (bucket[gram],) = np.flatnonzero(own).tolist()
    assert len(set(bucket.values())) > 0.98 * len(distinct)
    counts = _gram_counts(texts)
    assert counts.shape == (len(texts), _BUCKETS)
    for row, text in enumerate(texts):
        expected = np.bincount([bucket[gram] for gram in grams(text)], minlength=_BUCKETS)
        assert np.array_equal(counts[row].toarray()[0], expected)


def test_ngrams_are_counted_at_the_beginning_of_a_text() -> None:
    rng = np.random.default_rng(7)
    text = _text(rng, _SEEN)
    whole, cut = _gram_counts([text]), _gram_counts([text[:_SEEN]])
    assert (whole != cut).nnz == 0
