"""The corpus index against naive search, over documents with few different tokens, where repeats are the rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memaudit.extraction import CorpusIndex

Array = np.ndarray

TOKENS = st.lists(st.integers(0, 2), max_size=12).map(lambda ids: np.array(ids, dtype=np.int64))
CORPORA = st.lists(TOKENS, max_size=6)
FEW = settings(deadline=None, max_examples=100)


def _places(sequence: Array, document: Array) -> list[int]:
    last = len(document) - len(sequence)
    return [i for i in range(last + 1) if np.array_equal(document[i : i + len(sequence)], sequence)]


def _documents(sequence: Array, corpus: list[Array]) -> list[int]:
    return [d for d, document in enumerate(corpus) if _places(sequence, document)]


@FEW
@given(CORPORA, st.lists(TOKENS.filter(len), max_size=5))
def test_counts_are_those_of_naive_search(corpus: list[Array], sequences: list[Array]) -> None:
    """Documents, not occurrences: both, for every sequence, also those that run over a document's end."""
    index = CorpusIndex.of(corpus)
    assert index.counts(sequences).tolist() == [len(_documents(s, corpus)) for s in sequences]
    assert index.occurrences(sequences).tolist() == [sum(len(_places(s, d)) for d in corpus) for s in sequences]
    for sequence in sequences:
        assert index.documents(sequence).tolist() == _documents(sequence, corpus)
        assert index.count(sequence) == len(_documents(sequence, corpus))


@FEW
@given(CORPORA)
def test_every_piece_of_every_document_is_found(corpus: list[Array]) -> None:
    index = CorpusIndex.of(corpus)
    pieces = [d[i:j] for d in corpus for i in range(len(d)) for j in range(i + 1, len(d) + 1)]
    assert index.counts(pieces).tolist() == [len(_documents(piece, corpus)) for piece in pieces]


@FEW
@given(CORPORA, st.lists(TOKENS, max_size=4))
def test_longest_match_is_that_of_naive_search(corpus: list[Array], texts: list[Array]) -> None:
    """Length, first place in the text, and documents; a batch answers like single texts."""
    index = CorpusIndex.of(corpus)
    matches = index.longest_matches(texts)
    assert len(matches) == len(texts)
    for text, match in zip(texts, matches, strict=True):
        pieces = [(j - i, -i) for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
        length, position = max((p for p in pieces if _documents(text[-p[1] : p[0] - p[1]], corpus)), default=(0, 0))
        assert (match.length, match.position) == (length, -position)
        expected = _documents(text[match.position : match.position + length], corpus) if length else []
        assert match.documents.tolist() == expected
        alone = index.longest_match(text)
        assert (alone.length, alone.position) == (match.length, match.position)


def test_a_sequence_does_not_run_over_the_end_of_a_document() -> None:
    index = CorpusIndex.of([np.array([1, 2]), np.array([3, 4])])
    assert index.counts([np.array([2, 3]), np.array([1, 2])]).tolist() == [0, 1]
    assert index.longest_match(np.array([1, 2, 3, 4])).length == 2


def test_documents_are_counted_once_however_often_they_repeat_a_sequence() -> None:
    """k-eidetic memorization counts documents: one document with a hundred copies has k = 1."""
    index = CorpusIndex.of([np.tile([5, 6, 7], 100), np.array([7, 5, 6, 7])])
    assert index.count(np.array([5, 6, 7])) == 2
    assert index.count(np.array([7, 5, 6, 7, 5])) == 1
    assert index.occurrences([np.array([5, 6, 7])]).tolist() == [101]


def test_exact_duplicates_of_long_documents() -> None:
    """All suffixes tie until the documents end: the sort stops there and the answers are exact."""
    document = np.random.default_rng(0).integers(0, 1000, 700)
    index = CorpusIndex.of([document] * 40 + [document[:-1]])
    assert index.count(document) == 40
    assert index.count(document[:-1]) == 41
    match = index.longest_match(np.concatenate([[9999], document, [9999]]))
    assert (match.length, match.position, len(match.documents)) == (700, 1, 40)


def test_large_token_ids_do_not_collide() -> None:
    big = 2**31 + 7
    index = CorpusIndex.of([np.array([big, big + 1, 0]), np.array([0, big])])
    assert index.counts([np.array([big]), np.array([big + 1, 0]), np.array([big, 0])]).tolist() == [2, 1, 0]


@pytest.mark.parametrize("token", [-1, -2])
def test_negative_tokens_are_refused(token: int) -> None:
    """They mark the ends of documents and queries inside."""
    with pytest.raises(ValueError, match=str(token)):
        CorpusIndex.of([np.array([1, token, 2])])
    with pytest.raises(ValueError, match=str(token)):
        CorpusIndex.of([np.array([1, 2])]).count(np.array([2, token]))


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="sequence 1 is empty"):
        CorpusIndex.of([np.array([1, 2])]).counts([np.array([1]), np.array([], dtype=np.int64)])
