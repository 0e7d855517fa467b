"""Untargeted extraction: let the model write, rank what it wrote, and look up what ranks highest in the corpus.

Token statistics are those of the *generated* tokens, each given the prompt and the tokens before it: prompt and padding
are not the model's doing. A cost is −log p of a whole text in nats. Ratios are of costs: between texts of the same
tokens that is the ratio of log-perplexities, and otherwise it does not depend on how many tokens a tokenizer makes.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from memaudit.extraction.index import CorpusIndex
from memaudit.stats import clopper_pearson
from memaudit.tokens import TokenStatistics

Array = np.ndarray

SHORTEST = 20  # generated tokens; the perplexity of fewer is noise
WINDOW = 50  # tokens


def suspicion(
    tokens: TokenStatistics,
    references: Mapping[str, TokenStatistics],
    compressed: Float[Array, " texts"],
    lowered: TokenStatistics,
) -> dict[str, Float[Array, " texts"]]:
    """Return the metrics by which generated texts are ranked, by name; larger = more likely memorized.

    "perplexity": −log-perplexity. Each reference by its name, "zlib" and "lowercase": cost under the reference model,
    size when compressed, and cost of the lower-cased text, over the cost of the text. "window": −log-perplexity of the
    least perplexing 50 tokens in a row, or of the whole text if it is shorter.

    Args:
        tokens: The audited model on the generated tokens.
        references: Other models on the same texts, their tokenizers may differ.
        compressed: Size of each text when compressed, as of `zlib_nats`.
        lowered: The audited model on the texts in lower case.

    Raises:
        ValueError: A text has no generated token, or the arguments are about different numbers of texts.

    Source: Carlini et al. 2021 (USENIX Security), the six metrics of their membership inference step.
    """
    others = {name: -reference.sums(reference.logp) for name, reference in references.items()}
    others |= {"zlib": compressed, "lowercase": -lowered.sums(lowered.logp)}
    for name, other in others.items():
        if len(other) != len(tokens):
            raise ValueError(f"{name} is about {len(other)} texts, the audited model about {len(tokens)}")
    perplexity = -tokens.means(tokens.logp)
    # A float32 log-probability says nothing below its rounding; without a floor, certainty would be 0/0.
    cost = np.maximum(perplexity, np.finfo(np.float32).eps) * tokens.lengths
    ratios = {name: other / cost for name, other in others.items()}
    return {"perplexity": -perplexity, **ratios, "window": -_least_window(tokens)}


def _least_window(tokens: TokenStatistics) -> Float[Array, " texts"]:
    total = np.concatenate([[0.0], np.cumsum(-tokens.logp, dtype=np.float64)])
    least = np.empty(len(tokens))
    for text, (start, length) in enumerate(zip(tokens.starts, tokens.lengths, strict=False)):
        width = min(WINDOW, length)
        ends = total[start + width : start + length + 1]
        least[text] = (ends - total[start : start + len(ends)]).min() / width
    return least


def zlib_nats(texts: Sequence[str]) -> Float[Array, " texts"]:
    """Return the size of each text's UTF-8 bytes when compressed by zlib, in nats (8 log 2 a byte).

    Without zlib's header and checksum, 6 bytes that weigh on short texts.
    """
    sizes = [len(zlib.compress(text.encode(), 9, wbits=-zlib.MAX_WBITS)) for text in texts]
    return np.array(sizes) * 8 * np.log(2)


def distinct(texts: Sequence[Int[Array, " _"]], order: Int[Array, " ranked"]) -> Int[Array, " kept"]:
    """Return those of the ranked texts that are no duplicate of one ranked higher, in the same order.

    A text is a duplicate of another if that has at least half of its trigrams of tokens, each as often as it occurs.

    Raises:
        ValueError: A text has fewer than three tokens, and so no trigram.

    Source: Carlini et al. 2021 (USENIX Security), trigram multisets.
    """
    short = [int(i) for i in order if len(texts[i]) < 3]
    if short:
        raise ValueError(f"texts without a trigram: {short}")
    trigrams = _trigrams([texts[i] for i in order])
    by_trigram = trigrams.T.tocsr()
    kept = np.zeros(len(order), dtype=bool)
    for i in range(len(order)):
        own = trigrams[[i]]
        shared = own @ by_trigram
        kept[i] = 2 * shared.data[kept[shared.indices]].max(initial=0) < own.nnz
    return order[kept]


def _trigrams(texts: Sequence[Array]) -> sparse.csr_array:
    """Return which text has which trigram; the second occurrence in a text is another trigram than the first."""
    text = np.repeat(np.arange(len(texts)), [len(t) - 2 for t in texts])
    first, second, third = (np.concatenate([t[k : len(t) - 2 + k] for t in texts]) for k in range(3))
    trigram = _pair_ids(_pair_ids(first, second), third)
    order = np.lexsort((trigram, text))
    text, trigram = text[order], trigram[order]
    at = np.arange(len(text))
    new = np.append(True, (np.diff(text) != 0) | (np.diff(trigram) != 0))
    nth = at - np.maximum.accumulate(np.where(new, at, 0))
    return sparse.csr_array((np.ones(len(text), dtype=np.int32), (text, _pair_ids(trigram, nth))))


def _pair_ids(first: Array, second: Array) -> Array:
    """Return one number for each pair, equal where the pairs are; numbers from 0 on, without gaps."""
    return np.unique(first.astype(np.int64) * (int(second.max()) + 1) + second, return_inverse=True)[1]


def eidetic(texts: Sequence[Int[Array, " _"]], index: CorpusIndex, width: int = 50) -> Int[Array, " texts"]:
    """Return in how many documents each text's longest match with the corpus occurs; 0 if shorter than `width`.

    Source: k-eidetic memorization, Carlini et al. 2021 (USENIX Security).
    """
    matches = index.longest_matches(texts)
    return np.array([len(match.documents) if match.length >= width else 0 for match in matches], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Ranking:
    """How much of what one metric ranks highest is training data, beside a random sample of all candidates.

    Shares are (value, low, high). `recall` is the share of all training data among the candidates that the top holds.
    """

    candidates: int
    too_short: int
    duplicates: int
    top: Int[Array, " top"]
    precision: tuple[float, float, float]
    recall: float
    random: tuple[float, float, float]


def rank(
    scores: Float[Array, " texts"],
    texts: Sequence[Int[Array, " _"]],
    extracted: Bool[Array, " texts"],
    top: int = 100,
    seed: int = 0,
    level: float = 0.95,
) -> Ranking:
    """Return the precision and recall of the `top` texts by one metric, after short texts and duplicates are left out.

    Args:
        scores: Of each text by one metric, larger = more likely memorized.
        texts: The generated tokens.
        extracted: Whether each text was found in the corpus, such as `eidetic(...) > 0`.
        top: How many candidates an adversary would look at.
        seed: Of the random sample, which is as large as the top.
        level: Coverage of the Clopper–Pearson intervals.

    Raises:
        ValueError: No text is long enough.

    Source: Carlini et al. 2021 (USENIX Security); precision beside that of a random sample, as looking at the top
    alone says nothing about the rest.
    """
    long = np.flatnonzero([len(text) >= SHORTEST for text in texts])
    if not len(long):
        raise ValueError(f"none of {len(texts)} texts has {SHORTEST} generated tokens")
    kept = distinct(texts, long[np.argsort(-scores[long], kind="stable")])
    best = kept[:top]
    sample = np.random.default_rng(seed).choice(kept, len(best), replace=False)

    def share(of: Array) -> tuple[float, float, float]:
        low, high = clopper_pearson(int(extracted[of].sum()), len(of), level)
        return float(extracted[of].mean()), float(low), float(high)

    recall = float(extracted[best].sum() / max(extracted[kept].sum(), 1))
    too_short = len(texts) - len(long)
    return Ranking(len(kept), too_short, len(long) - len(kept), best, share(best), recall, share(sample))


@dataclass(frozen=True, slots=True)
class Leakage:
    """Unique training tokens that were generated, by the number of documents that contain them: 1, 2, 3 or more."""

    generated: int
    unique: tuple[int, int, int]

    @property
    def per_million(self) -> tuple[float, float, float]:
        """Unique leaked tokens per million generated ones."""
        one, two, more = (1e6 * count / max(self.generated, 1) for count in self.unique)
        return one, two, more


def leakage(texts: Sequence[Int[Array, " _"]], index: CorpusIndex, width: int = 50) -> Leakage:
    """Return how many unique training tokens the generated texts contain.

    A token counts if it and the `width − 1` tokens generated before it occur in the corpus in that order. It is
    unique as the end of these `width` tokens: the same sequence counts once, however often it is generated.

    Source: the extractable sequences of 50 tokens of Nasr et al. 2023 (arXiv:2311.17035), counted by documents as in
    k-eidetic memorization, Carlini et al. 2021.
    """
    ranges = index.ranges(texts, width)
    whole = ranges.length == width
    low, first = np.unique(ranges.low[whole], return_index=True)  # the same sequence has the same range
    documents = index.document_counts(low, ranges.high[whole][first])
    unique = (int((documents == 1).sum()), int((documents == 2).sum()), int((documents >= 3).sum()))
    return Leakage(sum(len(text) for text in texts), unique)
