"""Which texts are nearly the same: MinHash finds candidates, their shingles decide."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from jaxtyping import Int, UInt64

from memaudit.errors import LANGUAGE_EXTRA, RecipeError

Array = np.ndarray

_GRAM = 5  # words of a shingle; characters, in a text of fewer words
_PERMUTATIONS, _SEED = 128, 1  # of the MinHash
_MISSED = 1e-4  # the chance that two texts just as similar as asked for are never compared


def near_duplicates(texts: Sequence[str], similarity: float) -> Int[Array, " texts"]:
    """Return for each text the number of its unit: texts that a chain of near-duplicates joins share one.

    Candidates come from MinHash bands, and are joined if their Jaccard similarity is at least as asked for. Two texts
    of just this similarity are missed with a probability of at most 1e-4, more similar ones more rarely still.

    Raises:
        RecipeError: datasketch is not installed, or the similarity does not lie between 0.1 and 1.

    Source: Broder 1997, "On the resemblance and containment of documents"; bands: Leskovec, Rajaraman & Ullman, "Mining
    of Massive Datasets", chapter 3.
    """
    if not 0.1 <= similarity <= 1:
        raise RecipeError(
            f"similarity must be between 0.1 and 1, or None to treat copies as separate examples; got {similarity}"
        )
    try:
        from datasketch import MinHash, MinHashLSH
    except ModuleNotFoundError as error:
        raise RecipeError(f"{LANGUAGE_EXTRA} ({error})") from error
    shingles = [_shingles(text) for text in texts]
    first: dict[bytes, int] = {}
    root = [first.setdefault(own.tobytes(), text) for text, own in enumerate(shingles)]

    def find(text: int) -> int:
        while root[text] != text:
            root[text] = text = root[root[text]]
        return text

    distinct = list(first.values())
    index = MinHashLSH(num_perm=_PERMUTATIONS, params=_bands(similarity))
    hashed = (shingles[text] & np.uint64(2**32 - 1) for text in distinct)
    sketches = MinHash.generator(hashed, num_perm=_PERMUTATIONS, seed=_SEED, hashfunc=int)
    for text, sketch in zip(distinct, sketches, strict=True):
        for other in index.query(sketch):
            a, b = find(text), find(other)
            if a != b and _jaccard(shingles[text], shingles[other]) >= similarity:
                root[max(a, b)] = min(a, b)
        index.insert(text, sketch, check_duplication=False)
    return np.unique([find(text) for text in range(len(texts))], return_inverse=True)[1]


def _bands(similarity: float) -> tuple[int, int]:
    """Return (bands, hashes per band): the longest bands that find a pair of this similarity all but surely."""
    sizes = range(_PERMUTATIONS // 2, 0, -1)
    size = next(size for size in sizes if (1 - similarity**size) ** (_PERMUTATIONS // size) <= _MISSED)
    return _PERMUTATIONS // size, size


def _shingles(text: str) -> UInt64[Array, " shingles"]:
    """Return the sorted 64-bit hashes of a text's shingles."""
    words = unicodedata.normalize("NFC", text).casefold().split()
    parts, glue = (words, " ") if len(words) >= _GRAM else (" ".join(words), "")
    grams = (glue.join(parts[at : at + _GRAM]) for at in range(max(1, len(parts) - _GRAM + 1)))
    hashes = b"".join(blake2b(gram.encode(), digest_size=8).digest() for gram in grams)
    return np.unique(np.frombuffer(hashes, "<u8"))


def _jaccard(a: UInt64[Array, " some"], b: UInt64[Array, " others"]) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)
