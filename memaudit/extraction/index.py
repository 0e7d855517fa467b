"""Exact look-up of token sequences in a corpus: positions and document counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

Array = np.ndarray

_DOCUMENT_END, _QUERY_END = -1, -2  # equal no token, nor each other


class Match(NamedTuple):
    """The longest piece of a text that occurs in the corpus: its length, where in the text, in which documents."""

    length: int
    position: int
    documents: Int[Array, " documents"]


class Ranges(NamedTuple):
    """Ranges of the suffix array: the positions in the corpus of all matches of a sequence, adjacent in the array."""

    length: Int[Array, " places"]
    low: Int[Array, " places"]
    high: Int[Array, " places"]


@dataclass(frozen=True, slots=True)
class CorpusIndex:
    """A suffix array over the tokens of all documents, each followed by an end that no sequence contains.

    All answers are exact, for sequences of any length. Counts are of documents, not of occurrences.
    """

    tokens: Int[Array, " tokens"]
    order: Int[Array, " tokens"]
    document: Int[Array, " tokens"]

    @classmethod
    def of(cls, documents: Sequence[Int[Array, " _"]], owners: Int[Array, " documents"] | None = None) -> CorpusIndex:
        """Return the index of some documents, or of pieces of documents.

        Args:
            documents: Tokens.
            owners: The number of the document that each is a piece of; None where they are whole.

        Raises:
            ValueError: A token is negative.
        """
        tokens = _joined(documents, _DOCUMENT_END)
        lengths = np.array([len(document) + 1 for document in documents], dtype=np.int64)
        order = _suffix_order(tokens, int(lengths.max(initial=1)))
        return cls(tokens, order, np.repeat(np.arange(len(documents)) if owners is None else owners, lengths))

    def occurrences(self, sequences: Sequence[Int[Array, " _"]]) -> Int[Array, " sequences"]:
        """Return how often each sequence occurs in the corpus, overlapping occurrences included."""
        low, high = self._whole(sequences)
        return high - low

    def documents(self, sequence: Int[Array, " n"]) -> Int[Array, " documents"]:
        """Return the numbers of the documents that contain the sequence, in rising order."""
        low, high = self._whole([sequence])
        return self._documents(int(low[0]), int(high[0]))

    def count(self, sequence: Int[Array, " n"]) -> int:
        """Return how many documents contain the sequence: k-eidetic memorization is extraction at a count of k.

        A copy of a document is another document: duplicates that should not count are removed beforehand.

        Source: Carlini et al. 2021 (USENIX Security), the definition of k-eidetic memorization.
        """
        return len(self.documents(sequence))

    def counts(self, sequences: Sequence[Int[Array, " _"]]) -> Int[Array, " sequences"]:
        """Return how many documents contain each sequence."""
        return self.document_counts(*self._whole(sequences))

    def longest_match(self, text: Int[Array, " n"]) -> Match:
        """Return the longest piece of a text that occurs in the corpus, the first of several; length 0 if none."""
        return self.longest_matches([text])[0]

    def longest_matches(self, texts: Sequence[Int[Array, " _"]]) -> list[Match]:
        """Return the longest match of each text."""
        found = []
        starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
        ranges = self.ranges(texts)
        for start, end in pairwise(starts):
            best = int(np.argmax(ranges.length[start:end]))
            at = start + best
            documents = self._documents(int(ranges.low[at]), int(ranges.high[at]))
            found.append(Match(int(ranges.length[at]), best, documents))
        return found

    def ranges(self, texts: Sequence[Int[Array, " _"]], most: int | None = None) -> Ranges:
        """Return the longest match, of `most` tokens at most, that begins at each place of the texts laid end to end.

        After each text comes one more position, at which nothing begins.
        """
        flat = _joined(texts, _QUERY_END)
        return self._extend(flat, np.arange(len(flat)), len(flat) if most is None else most)

    def document_counts(self, low: Int[Array, " ranges"], high: Int[Array, " ranges"]) -> Int[Array, " ranges"]:
        """Return how many documents each range of the suffix array touches."""
        ends = zip(low.tolist(), high.tolist(), strict=True)
        return np.array([len(self._documents(*range_)) for range_ in ends], dtype=np.int64)

    def _documents(self, low: int, high: int) -> Array:
        return np.unique(self.document[self.order[low:high]])

    def _whole(self, sequences: Sequence[Array]) -> tuple[Array, Array]:
        """Return the ranges of whole sequences; empty if there is no match."""
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        if not lengths.all():
            raise ValueError(f"sequence {int(np.argmin(lengths))} is empty")
        flat = _joined(sequences, _QUERY_END)
        found = self._extend(flat, np.cumsum(lengths + 1) - lengths - 1, len(flat))
        return found.low, np.where(found.length == lengths, found.high, found.low)

    def _extend(self, flat: Array, at: Array, most: int) -> Ranges:
        """Return the longest matches that begin at some places, all extended together, token by token."""
        low, high = np.zeros(len(at), dtype=np.int64), np.full(len(at), len(self.order))
        length, alive = np.zeros(len(at), dtype=np.int64), np.arange(len(at))
        for offset in range(most):
            token = flat[at[alive] + offset]
            start = self._first_not_below(low[alive], high[alive], offset, token)
            end = self._first_not_below(start, high[alive], offset, token + 1)
            found = end > start
            alive = alive[found]
            if not len(alive):
                break
            low[alive], high[alive], length[alive] = start[found], end[found], offset + 1
        return Ranges(length, low, np.where(length > 0, high, low))

    def _first_not_below(self, low: Array, high: Array, offset: int, token: Array) -> Array:
        """Return where in each range the token at an offset is first not below a given one, by bisection.

        The suffixes of a range agree in all tokens before the offset, and so are sorted by this one.
        """
        low, high = low.copy(), high.copy()
        searching = np.flatnonzero(low < high)
        while len(searching):
            middle = (low[searching] + high[searching]) // 2
            below = self.tokens[self.order[middle] + offset] < token[searching]
            low[searching[below]] = middle[below] + 1
            high[searching[~below]] = middle[~below]
            searching = searching[low[searching] < high[searching]]
        return low


def _joined(parts: Sequence[Array], end: int) -> Int[Array, " tokens"]:
    """Return the parts laid end to end, each followed by a number that is no token."""
    tokens = np.concatenate([np.append(part, end) for part in parts] or [np.empty(0)]).astype(np.int64)
    if np.any((tokens < 0) & (tokens != end)) or (tokens == end).sum() != len(parts):
        raise ValueError(f"a token is negative: {min(int(part.min(initial=0)) for part in parts)}")
    return tokens


def _suffix_order(tokens: Array, longest: int) -> Int[Array, " tokens"]:
    """Return the places of the tokens, sorted by what begins there, as far as the longest document reaches.

    Source: prefix doubling, Manber & Myers 1993 (SIAM Journal on Computing 22:935).
    """
    rank = np.unique(tokens, return_inverse=True)[1]
    sorted_by, count = 1, len(tokens)
    order = np.argsort(rank, kind="stable")
    while sorted_by < longest and rank.max() + 1 < count:
        key = rank * (count + 1)
        key[:-sorted_by] += rank[sorted_by:] + 1
        order = np.argsort(key)
        changes = np.diff(key[order]) != 0
        rank[order] = np.concatenate([[0], np.cumsum(changes)])
        sorted_by *= 2
    return order
