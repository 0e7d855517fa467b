"""Extraction as arithmetic: probabilities against 60 digits, distances and look-ups against naive search.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

import zlib
from collections import Counter
from decimal import Decimal, localcontext
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

from memaudit.errors import EvidenceError
from memaudit.extraction import (
    CorpusIndex,
    Kind,
    Leakage,
    NearVerbatim,
    chance_within,
    counterfactual_extraction,
    eidetic,
    extracted_within,
    extraction_curve,
    greedy,
    grouped_share,
    kinds,
    leakage,
    log_linear,
    near_ties,
    near_verbatim,
    queries_needed,
    rank,
    scheme_log_probability,
    suffix,
    suspicion,
    well_specified,
    zlib_nats,
)
from memaudit.extraction.generated import distinct
from memaudit.extraction.near_verbatim import relative_edit_distance, token_bleu
from memaudit.extraction.probabilistic import log10_queries_needed
from memaudit.stats import clopper_pearson, newcombe_wilson
from memaudit.tokens import TOP_K, TokenStatistics

Array = np.ndarray

IDS = st.lists(st.integers(0, 3), max_size=8).map(lambda ids: np.array(ids, dtype=np.int64))
FEW = settings(deadline=None, max_examples=100)


def _tokens(lengths: list[int], **values: Array | list[float]) -> TokenStatistics:
    """Statistics of texts of these lengths; what is not given is that of a certain prediction."""
    total = sum(lengths)
    arrays = {"logp": 0.0, "mean": 0.0, "deviation": 0.0, "gap": 1.0, "rank": 0, "normaliser": 0.0}
    made = {name: np.full(total, default, np.float32) for name, default in arrays.items()}
    made |= {name: np.asarray(value, np.float32) for name, value in values.items()}
    made["rank"] = made["rank"].astype(np.int32)
    return TokenStatistics(np.cumsum([0, *lengths]), **made)


def _bigram_statistics(log_p: Array, texts: list[Array]) -> TokenStatistics:
    """What a bigram model (rows: the token before) says about all tokens of each text but its first."""
    rows = np.concatenate([log_p[text[:-1]] for text in texts])
    aims = np.concatenate([text[1:] for text in texts])
    own = rows[np.arange(len(rows)), aims]
    others = rows.copy()
    others[np.arange(len(rows)), aims] = -np.inf
    normaliser = logsumexp(np.sort(rows, axis=1)[:, -TOP_K:], axis=1)
    rank_ = (rows > own[:, None]).sum(axis=1)
    gap = own - others.max(axis=1)
    return _tokens([len(text) - 1 for text in texts], logp=own, gap=gap, rank=rank_, normaliser=normaliser)


# --- (n, p)-discoverable extraction ---------------------------------------------------------------------------------


def _exact_chance(log_p: float, n: float) -> Decimal:
    with localcontext() as context:
        context.prec = 700
        return 1 - (1 - Decimal(log_p).exp()) ** Decimal(n)


@pytest.mark.parametrize("log_p", [-800.0, -200.0, -39.14, -37.001, -36.999, -5.0, -0.7, -0.69, -1e-3, -1e-12])
@pytest.mark.parametrize("n", [1, 2, 100, 1e12, 1e17])
def test_chance_within_against_700_digits(log_p: float, n: float) -> None:
    """The exponents are below 1000, so that their rounding is below 1e-13 relative."""
    expected = float(_exact_chance(log_p, n))
    assert float(chance_within(log_p, n)) == pytest.approx(expected, rel=1e-12, abs=0)


def test_chance_within_where_the_naive_form_is_zero() -> None:
    p, n = 1e-17, 1e12
    assert 1 - (1 - p) ** n == 0
    assert float(chance_within(np.log(p), n)) == pytest.approx(1e-5, rel=1e-4, abs=0)


def test_chance_within_below_the_double_range() -> None:
    """p = e^−800 is 0 as a double; with n = 10^300 the chance is e^(300 ln 10 − 800), with 10^308 still below 1e-38."""
    n = np.array([1e300, 1e308])
    assert chance_within(-800.0, n) == pytest.approx(np.exp(np.log(n) - 800), rel=1e-12, abs=0)


def test_chance_within_at_the_ends() -> None:
    """Certain and impossible suffixes, whatever n; more continuations never lower the chance."""
    n = np.array([1.0, 5.0, 1e300])
    assert chance_within(0.0, n).tolist() == [1, 1, 1]
    assert chance_within(-np.inf, n).tolist() == [0, 0, 0]
    grid = chance_within(np.linspace(-60, 0, 200), np.logspace(0, 20, 30)[:, None])
    assert np.all(np.diff(grid, axis=0) >= 0)
    assert np.all(np.diff(grid, axis=1) >= 0)


@pytest.mark.parametrize(("log_p", "n"), [(1e-9, 1.0), (np.nan, 1.0), (-1.0, 0.0)])
def test_chance_within_refuses_what_is_no_probability(log_p: float, n: float) -> None:
    with pytest.raises(ValueError, match=r"at most 0|at least one"):
        chance_within(log_p, n)


@pytest.mark.parametrize("log_p", [-800.0, -100.0, -36.0, -3.0, -1.5])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
def test_queries_needed_against_60_digits(log_p: float, p: float) -> None:
    """n = log(1 − p)/log(1 − p_z), where it is at least 1; so many continuations have the chance p."""
    with localcontext() as context:
        context.prec = 700
        exact = (1 - Decimal(p)).ln() / (1 - Decimal(log_p).exp()).ln()
    assert float(log10_queries_needed(log_p, p)) == pytest.approx(max(float(exact.log10()), 0), rel=1e-12)
    if 1 <= exact < Decimal("1e300"):
        needed = queries_needed(log_p, p)
        assert float(needed) == pytest.approx(float(exact), rel=1e-12)
        assert float(chance_within(log_p, needed)) == pytest.approx(p, rel=1e-11)


def test_queries_needed_at_the_ends() -> None:
    """Never, beyond the doubles, and at once; tiny p_z: −log(1 − p)/p_z."""
    log_p = np.array([-np.inf, -2000.0, 0.0, -300.0])
    assert queries_needed(log_p, 0.5).tolist()[:3] == [np.inf, np.inf, 1.0]
    expected = [np.inf, (2000 + np.log(np.log(2))) / np.log(10), 0.0, (300 + np.log(np.log(2))) / np.log(10)]
    assert log10_queries_needed(log_p, 0.5) == pytest.approx(expected, rel=1e-14)
    with pytest.raises(ValueError, match=r"1\.0"):
        queries_needed(log_p, 1.0)


@pytest.mark.parametrize("top_k", [False, True])
def test_scheme_probabilities_sum_to_one(top_k: bool) -> None:
    """Over all 60² continuations of two tokens; under top-k exactly 40² of them can be written."""
    logits = np.random.default_rng(0).normal(size=(60, 60)) * 2
    log_p = logits - logsumexp(logits, axis=1, keepdims=True)
    texts = [np.array([7, *pair]) for pair in product(range(60), repeat=2)]
    found = scheme_log_probability(_bigram_statistics(log_p, texts), top_k)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-4)  # the statistics are float32
    assert np.isfinite(found).sum() == (1600 if top_k else 3600)


def test_a_token_outside_the_top_k_spoils_its_own_text_only() -> None:
    """−inf must not reach the texts that follow, as it would through differences of running totals."""
    tokens = _tokens(
        [2, 2, 2], logp=[-1, -2, -1, -9, -3, -4], rank=[0, 1, 0, TOP_K, 2, TOP_K - 1], normaliser=[-0.5] * 6
    )
    assert scheme_log_probability(tokens, top_k=True).tolist() == [-2, -np.inf, -6]
    assert scheme_log_probability(tokens, top_k=False).tolist() == [-3, -10, -7]
    never = _tokens([1, 1], logp=[-np.inf, -1])
    assert scheme_log_probability(never, top_k=False).tolist() == [-np.inf, -1]


def test_rounding_never_makes_a_suffix_more_than_certain() -> None:
    """A float32 normaliser can come out a hair below the token's own log-probability."""
    tokens = _tokens([1], logp=[-1e-7], normaliser=[-2e-7])
    assert float(chance_within(scheme_log_probability(tokens, top_k=True), 1)[0]) == 1


def test_greedy_and_sampling_disagree_both_ways() -> None:
    """50 tokens each barely the likeliest, p_z = 1e-15; and one token second best, p_z = 0.3."""
    tokens = _tokens([50, 1], logp=[np.log(0.5)] * 50 + [np.log(0.3)], gap=[0.1] * 50 + [-0.1])
    assert greedy(tokens).tolist() == [True, False]
    chance = chance_within(scheme_log_probability(tokens, top_k=False), 1000)
    assert chance == pytest.approx([1000 * 0.5**50, 1], rel=1e-6)


def test_extraction_curve_against_a_loop() -> None:
    rng = np.random.default_rng(1)
    log_p, n = -rng.exponential(8, 60), np.array([1.0, 10.0, 1e3, 1e6])
    curve = extraction_curve(log_p, n, 0.5, np.arange(60))
    hits = np.array([[1 - (1 - np.exp(x)) ** count >= 0.5 for x in log_p] for count in n])
    assert np.array_equal(extracted_within(log_p, n, 0.5), hits)
    assert curve.value == pytest.approx(hits.mean(axis=1))
    assert np.array([curve.low, curve.high]) == pytest.approx(np.array(clopper_pearson(hits.sum(axis=1), 60)))


# --- discoverable extraction ----------------------------------------------------------------------------------------


def test_greedy_needs_every_token_and_a_tie_is_no_success() -> None:
    tokens = _tokens([3, 1, 3, 1], gap=[1, 2, 3, 0, 1, -1e-6, 1, -2])
    assert greedy(tokens).tolist() == [True, False, False, False]


def test_near_ties_only_where_they_decide() -> None:
    """A near tie beside a clear miss changes nothing; a near tie among clear hits decides, on either side of 0."""
    tokens = _tokens([2, 2, 2, 2], gap=[5, 5e-4, 5, -5e-4, -5, 5e-4, 5, 2e-3])
    assert near_ties(tokens).tolist() == [True, True, False, False]
    assert near_ties(tokens, within=0.01).tolist() == [True, True, False, True]


def test_nothing_is_not_extracted() -> None:
    """An empty remainder is no exact match: neither greedily, nor with probability 1."""
    tokens = _tokens([2, 0])
    for readout in (greedy, near_ties, lambda t: scheme_log_probability(t, False)):
        with pytest.raises(ValueError, match="text 1 has no predicted token"):
            readout(tokens)


def test_the_first_suffix_token_is_scored_and_the_last_prefix_token_is_not() -> None:
    """A chain of tokens, each the likeliest after the one before; one surprise at a time, text by text.

    Prefix 0 1 2 3, suffix 4 5 6. A surprise at the last prefix token leaves the suffix extractable if the chain goes on
    from there; at the first or at the last suffix token it does not.
    """
    vocabulary = 10
    log_p = np.full((vocabulary, vocabulary), np.log(0.01))
    log_p[np.arange(vocabulary), (np.arange(vocabulary) + 1) % vocabulary] = np.log(0.91)
    texts = [
        np.array([0, 1, 2, 3, 4, 5, 6]),
        np.array([0, 1, 2, 9, 0, 1, 2]),  # surprise at the last prefix token
        np.array([0, 1, 2, 3, 9, 0, 1]),  # at the first suffix token
        np.array([0, 1, 2, 3, 4, 5, 9]),  # at the last suffix token
    ]
    whole = _bigram_statistics(log_p, texts)
    ending = suffix(whole, 3)
    assert greedy(ending).tolist() == [True, True, False, False]
    alone = _bigram_statistics(log_p, [text[3:] for text in texts])  # the last prefix token as the only context
    assert np.array_equal(ending.logp, alone.logp)
    assert np.array_equal(ending.rank, alone.rank)
    assert ending.lengths.tolist() == [3] * 4


def test_suffixes_of_texts_of_different_lengths() -> None:
    tokens = _tokens([4, 2, 3], logp=-np.arange(9.0))
    assert suffix(tokens, 2).logp.tolist() == [-2, -3, -4, -5, -7, -8]
    with pytest.raises(ValueError, match="no suffix of 3 tokens"):
        suffix(tokens, 3)


def test_well_specified_suffixes() -> None:
    """One continuation wherever the prefix stands; a document that ends there continues otherwise."""
    corpus = CorpusIndex.of(
        [np.array(d) for d in ([1, 2, 3, 4], [9, 1, 2, 3, 4], [5, 6, 7], [5, 6, 8], [3, 3, 1], [3, 3])]
    )
    prefixes = [np.array(p) for p in ([1, 2], [5, 6], [3, 3])]
    suffixes = [np.array(s) for s in ([3, 4], [7], [1])]
    assert well_specified(prefixes, suffixes, corpus).tolist() == [True, False, False]


def test_a_held_out_suffix_is_well_specified_as_if_it_were_in_the_corpus() -> None:
    """The answer is that of the corpus with the text put into it: nothing else continues the prefix."""
    documents = [np.array(d) for d in ([1, 2, 3, 4], [5, 6, 7], [3, 3, 1])]
    prefixes = [np.array(p) for p in ([2, 2], [5, 6], [1, 2])]
    suffixes = [np.array(s) for s in ([1], [8], [3, 4])]
    found = well_specified(prefixes, suffixes, CorpusIndex.of(documents))
    for prefix, rest, answer in zip(prefixes, suffixes, found, strict=True):
        together = CorpusIndex.of([*documents, np.concatenate([prefix, rest])])
        assert well_specified([prefix], [rest], together)[0] == answer
    assert found.tolist() == [True, False, True]


# --- shares by duplicate group --------------------------------------------------------------------------------------


def test_without_duplicates_the_interval_is_clopper_pearson() -> None:
    hits = np.array([0, 1, 13, 40])
    found = grouped_share(np.arange(40) < hits[:, None], np.arange(40), 0.9)
    assert found.value == pytest.approx(hits / 40)
    assert np.array([found.low, found.high]) == pytest.approx(np.array(clopper_pearson(hits, 40, 0.9)), abs=1e-12)


def test_groups_of_equal_size_count_once() -> None:
    """240 texts in 12 groups of exact duplicates are 12 draws, whatever is counted."""
    groups = np.repeat(np.arange(12), 20)
    hits = np.array([0, 3, 12])
    found = grouped_share(groups < hits[:, None], groups)
    assert np.array([found.low, found.high]) == pytest.approx(np.array(clopper_pearson(hits, 12)))


def test_one_group_says_next_to_nothing() -> None:
    found = grouped_share(np.array([True, True, True]), np.array([7, 7, 7]))
    assert (float(found.low), float(found.high)) == pytest.approx((0.025, 1))
    with pytest.raises(ValueError, match="no texts"):
        grouped_share(np.array([], dtype=bool), np.array([]))


def test_permuting_texts_and_renaming_groups_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    hits, groups = rng.random((2, 50)) < 0.3, rng.integers(0, 9, 50)
    order = rng.permutation(50)
    found, moved = (
        grouped_share(hits, groups),
        grouped_share(hits[:, order], np.array(list("qwertyuio"))[groups[order]]),
    )
    assert np.array([found.value, found.low, found.high]) == pytest.approx(
        np.array([moved.value, moved.low, moved.high])
    )


@pytest.mark.parametrize("slope", [0.0, 0.12])
@pytest.mark.parametrize("base", [0.03, 0.2])
def test_grouped_intervals_cover_where_plain_ones_do_not(base: float, slope: float) -> None:
    """60 groups of 1 to 8 duplicates that are hit together, likelier the larger they are, 1000 draws.

    Coverage of the 95 % interval is at least .95 less five SE (.007); Clopper–Pearson over single texts covers less
    than .95 by more than that. False alarm 1e-6.
    """
    rng = np.random.default_rng(3)
    sizes = np.tile([1, 1, 2, 3, 5, 8], 10)
    groups = np.repeat(np.arange(60), sizes)
    chance = base + slope * np.log2(sizes)
    truth = float(chance @ sizes / sizes.sum())
    hits = (rng.random((1000, 60)) < chance)[:, groups]
    found = grouped_share(hits, groups)
    low, high = clopper_pearson(hits.sum(axis=1), len(groups))
    assert np.mean((found.low <= truth) & (truth <= found.high)) > 0.95 - 0.035
    assert np.mean((low <= truth) & (truth <= high)) < 0.95 - 0.035


# --- near-verbatim --------------------------------------------------------------------------------------------------


def _levenshtein(a: list[int], b: list[int]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        previous, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (x != y)))
    return row[-1]


@FEW
@given(IDS.filter(len), IDS)
def test_edit_distance_is_the_least_over_all_stretches(target: Array, text: Array) -> None:
    stretches = [text[i:j].tolist() for i in range(len(text) + 1) for j in range(i, len(text) + 1)]
    expected = min(_levenshtein(target.tolist(), stretch) for stretch in stretches) / len(target)
    assert relative_edit_distance(target, text) == expected


@pytest.mark.parametrize("offset", range(12))
def test_a_verbatim_target_is_at_distance_0_wherever_it_stands(offset: int) -> None:
    """A window moved in strides gives 0.19 at offset 4."""
    target = np.arange(21)
    text = np.concatenate([np.full(offset, 99), target, np.full(11 - offset, 98)])
    assert relative_edit_distance(target, text) == 0


def test_decision_rules_at_their_limits() -> None:
    """5 of 50 tokens edited are near-verbatim, 6 are not; BLEU of 0.75 itself is not above 0.75."""
    target = np.arange(50)
    five, six = target.copy(), target.copy()
    five[::10] = 99
    six[:48:8] = 99
    found = near_verbatim([target, target, target], [five, six, target])
    assert found.distance.tolist() == [0.1, 0.12, 0]
    assert found.within_edits.tolist() == [True, False, True]
    assert found.bleu[2] == 1
    assert NearVerbatim(np.zeros(2), np.array([0.75, 0.7501])).above_bleu.tolist() == [False, True]


@pytest.mark.parametrize("length", range(1, 9))
def test_bleu_of_identical_texts_is_1_however_short(length: int) -> None:
    """Without care, four-gram BLEU of fewer than four identical tokens is 0.0056 or the like."""
    ids = np.arange(length) + 10
    assert token_bleu(ids, ids) == pytest.approx(1, abs=1e-12)
    assert token_bleu(ids, ids + 100) == 0


def test_bleu_and_distance_of_nothing() -> None:
    """An empty text is not exact; an empty target is refused, as it would be in every text."""
    some, none = np.array([1, 2]), np.empty(0, np.int64)
    assert token_bleu(some, none) == 0
    assert relative_edit_distance(some, none) == 1
    for measure in (token_bleu, relative_edit_distance):
        with pytest.raises(ValueError, match="the target is empty"):
            measure(none, some)


def test_bleu_against_its_formula() -> None:
    """Brevity penalty times the geometric mean of clipped precisions, on texts that share n-grams of all orders."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        target = rng.integers(0, 30, 40)
        text = np.concatenate([target[:12], rng.integers(0, 30, rng.integers(1, 40))])
        precisions = []
        for n in range(1, 5):
            ours, theirs = (Counter(tuple(x[i : i + n]) for i in range(len(x) - n + 1)) for x in (text, target))
            precisions.append((ours & theirs).total() / ours.total())
        brevity = min(1.0, np.exp(1 - len(target) / len(text)))
        assert token_bleu(target, text) == pytest.approx(brevity * stats.gmean(precisions), rel=1e-9)


def test_ids_that_share_digits_are_different_words() -> None:
    assert token_bleu(np.array([12, 3]), np.array([1, 23])) == 0


# --- generate and rank ----------------------------------------------------------------------------------------------


def test_suspicion_against_a_loop() -> None:
    rng = np.random.default_rng(5)
    lengths = [20, 49, 50, 51, 120]
    tokens, small, lowered = (_tokens(n, logp=-rng.exponential(size=sum(n))) for n in (lengths, lengths, [25] * 5))
    compressed = rng.random(5) * 100
    found = suspicion(tokens, {"small": small}, compressed, lowered)
    assert list(found) == ["perplexity", "small", "zlib", "lowercase", "window"]
    for i, n in enumerate(lengths):
        own, other, low = (-t.logp[t.starts[i] : t.starts[i + 1]].astype(np.float64) for t in (tokens, small, lowered))
        windows = [own[j : j + 50].mean() for j in range(max(n - 50, 0) + 1)]
        expected = [
            -own.mean(),
            other.sum() / own.sum(),
            compressed[i] / own.sum(),
            low.sum() / own.sum(),
            -min(windows),
        ]
        assert [values[i] for values in found.values()] == pytest.approx(expected, rel=1e-9)


def test_the_window_finds_a_memorized_stretch_in_an_unlikely_text() -> None:
    """50 certain tokens among 256 very surprising ones: the window ranks the text first, its perplexity last.

    A window metric that looks at a batch of one instead of at its tokens never runs at all.
    """
    cost = np.full((4, 256), 4.0)
    cost[2] = 6.0
    cost[2, 100:150] = 0.01
    tokens = _tokens([256] * 4, logp=-cost.ravel())
    found = suspicion(tokens, {}, np.ones(4), tokens)
    assert int(np.argmin(found["perplexity"])) == 2
    assert int(np.argmax(found["window"])) == 2
    assert found["window"][2] == pytest.approx(-0.01, rel=1e-6)
    assert found["window"][0] == pytest.approx(-4)


def test_a_reference_with_another_tokenizer_compares_in_bits_per_byte() -> None:
    """A tokenizer that makes two tokens of each, with the same total cost, changes no ratio."""
    cost = np.random.default_rng(6).exponential(size=80).astype(np.float32)
    tokens = _tokens([40, 40], logp=-cost)
    halved = _tokens([80, 80], logp=-np.repeat(cost / 2, 2))
    found = suspicion(tokens, {"same": tokens, "other": halved}, np.ones(2), tokens)
    assert found["same"] == pytest.approx([1, 1])
    assert found["other"] == pytest.approx([1, 1], rel=1e-6)


def test_a_certain_text_has_finite_metrics() -> None:
    tokens = _tokens([30, 30], logp=[0.0] * 30 + [-1.0] * 30)
    found = suspicion(tokens, {"small": tokens}, np.ones(2), tokens)
    assert all(np.isfinite(values).all() for values in found.values())
    assert found["zlib"][0] > found["zlib"][1]


def test_suspicion_refuses_other_numbers_of_texts_and_texts_without_tokens() -> None:
    tokens = _tokens([30, 30])
    with pytest.raises(ValueError, match="small is about 1 texts, the audited model about 2"):
        suspicion(tokens, {"small": _tokens([30])}, np.ones(2), tokens)
    with pytest.raises(ValueError, match="text 1 has no predicted token"):
        suspicion(_tokens([30, 0]), {}, np.ones(2), tokens)


def test_zlib_without_header_and_checksum() -> None:
    texts = ["a", "memorized " * 30, "Grüße"]
    expected = [(len(zlib.compress(text.encode(), 9)) - 6) * 8 * np.log(2) for text in texts]
    assert zlib_nats(texts) == pytest.approx(expected)


def _is_duplicate(text: Array, other: Array) -> bool:
    ours, theirs = (Counter(tuple(x[i : i + 3]) for i in range(len(x) - 2)) for x in (text, other))
    return (ours & theirs).total() >= ours.total() / 2


@FEW
@given(st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=9).map(np.array), max_size=8), st.randoms())
def test_distinct_against_trigram_counters(texts: list[Array], random: object) -> None:
    """Multisets: what repeats once is not all of what repeats often."""
    order = np.array(sorted(range(len(texts)), key=lambda _: random.random()), dtype=np.int64)  # type: ignore[attr-defined]
    kept: list[int] = []
    for i in order:
        if not any(_is_duplicate(texts[i], texts[j]) for j in kept):
            kept.append(int(i))
    if texts:
        assert distinct(texts, order).tolist() == kept


def test_distinct_refuses_a_text_without_a_trigram() -> None:
    with pytest.raises(ValueError, match=r"\[1\]"):
        distinct([np.arange(5), np.arange(2)], np.arange(2))


def test_rank_counts_what_it_leaves_out() -> None:
    """30 different texts, 10 extracted; copies of a text, and one too short for its perplexity to mean anything."""
    texts = [np.arange(30) + 1000 * i for i in range(30)] + [np.arange(30)] * 3 + [np.arange(19)]
    extracted = np.arange(34) < 10
    scores = -np.arange(34.0)
    scores[33] = 100.0
    found = rank(scores, texts, extracted, top=5)
    assert (found.candidates, found.too_short, found.duplicates) == (30, 1, 3)
    assert found.top.tolist() == [0, 1, 2, 3, 4]
    assert found.precision == pytest.approx((1.0, *map(float, clopper_pearson(5, 5))))
    assert found.recall == 0.5
    with pytest.raises(ValueError, match="none of 1 texts has 20"):
        rank(scores[33:], texts[33:], extracted[33:])


def test_the_random_sample_shows_the_share_of_all_candidates() -> None:
    """A metric that is right about everything: precision 1 in the top, and the random sample's around 1/4.

    400 of 1600 candidates, sample of 400: hypergeometric sd .019, five of them; false alarm 6e-7.
    """
    texts = [np.arange(20) + 1000 * i for i in range(1600)]
    extracted = np.random.default_rng(7).permutation(1600) < 400
    found = rank(extracted.astype(float), texts, extracted, top=400)
    assert found.precision[0] == 1
    assert found.recall == 1
    assert found.random[0] == pytest.approx(0.25, abs=5 * 0.019)
    assert found.random[1] < found.random[0] < found.random[2]


def test_eidetic_counts_documents_of_matches_that_are_long_enough() -> None:
    corpus = [np.arange(60), np.arange(10, 80), np.tile(np.arange(200, 230), 5)]
    index = CorpusIndex.of(corpus)
    texts = [np.arange(10, 60), np.arange(0, 60), np.arange(5, 30), np.arange(200, 230), np.array([500] * 60)]
    assert eidetic(texts, index, width=30).tolist() == [2, 1, 0, 1, 0]


@FEW
@given(st.lists(IDS, max_size=5), st.lists(IDS, max_size=5))
def test_leakage_against_naive_search(corpus: list[Array], texts: list[Array]) -> None:
    """Different sequences of 3 tokens, by the number of documents they stand in, however often they are generated."""

    def pieces(ids: Array) -> set[tuple[int, ...]]:
        return {tuple(ids[i : i + 3].tolist()) for i in range(len(ids) - 2)}

    written = set().union(*map(pieces, texts)) if texts else set()
    documents = Counter(piece for document in corpus for piece in pieces(document) & written)
    counts = list(documents.values())
    found = leakage(texts, CorpusIndex.of(corpus), width=3)
    assert found.unique == (counts.count(1), counts.count(2), sum(count > 2 for count in counts))
    assert found.generated == sum(map(len, texts))


def test_leakage_per_million() -> None:
    assert Leakage(2000, (3, 0, 1)).per_million == (1500, 0, 500)


# --- counterfactual extraction --------------------------------------------------------------------------------------


def _flags(both: int, first: int, second: int, neither: int) -> tuple[Array, Array]:
    """Outcomes of pairs with these counts, as (inside, outside) of one example."""
    inside = np.repeat([True, True, False, False], [both, first, second, neither])[:, None]
    return inside, np.repeat([True, False, True, False], [both, first, second, neither])[:, None]


def test_uncorrelated_pairs_have_newcombes_interval_of_independent_shares() -> None:
    found = counterfactual_extraction(*_flags(6, 6, 4, 4), level=0.9)
    expected = newcombe_wilson(np.array([12]), 20, np.array([10]), 20, 0.9)
    assert np.array([found.low, found.high]) == pytest.approx(np.array(expected))


@pytest.mark.parametrize(
    ("table", "low", "high"), [((36, 12, 2, 0), 0.0569, 0.3404), ((1, 1, 7, 12), -0.5069, -0.0256)]
)
def test_the_paired_interval_against_published_values(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    """Newcombe 1998 (2635), method 10; airway data of Fagerland, Lydersen & Laake 2014 (Statistics in Medicine 33)."""
    found = counterfactual_extraction(*_flags(*table))
    assert np.round([found.low[0], found.high[0]], 4).tolist() == [low, high]


def test_nothing_and_everything_extracted_have_proper_intervals() -> None:
    """The margins are empty, φ undefined: as for independent shares; 10 of 10 against 0 of 10."""
    found = counterfactual_extraction(*_flags(0, 10, 0, 0))
    assert found.difference[0] == 1
    expected = newcombe_wilson(np.array([10]), 10, np.array([0]), 10)
    assert np.array([found.low, found.high]) == pytest.approx(np.array(expected))
    none = counterfactual_extraction(*_flags(0, 0, 0, 10))
    assert none.low[0] == pytest.approx(-none.high[0])
    assert none.low[0] < 0


@pytest.mark.parametrize("correlation", [-0.4, 0.0, 0.4])
def test_the_paired_interval_covers_on_average(correlation: float) -> None:
    """Exactly summed over all tables of 12 pairs: mean coverage over a grid of shares is .95 within 2 points.

    Newcombe 1998 (2635) reports a mean of about .95 for method 10. With negative correlation, as complementary training
    sets have, the interval of independent shares covers less than this one.
    """
    n = 12
    tables = [(a, b, c, n - a - b - c) for a, b, c in product(range(n + 1), repeat=3) if a + b + c <= n]
    found = [counterfactual_extraction(*_flags(*table)) for table in tables]
    low, high = np.array([f.low[0] for f in found]), np.array([f.high[0] for f in found])
    a, b, c, _ = np.array(tables).T
    plain_low, plain_high = newcombe_wilson(a + b, n, a + c, n)
    covered, plain = [], []
    for p1, p0 in product(np.linspace(0.1, 0.9, 9), repeat=2):
        both = p1 * p0 + correlation * np.sqrt(p1 * (1 - p1) * p0 * (1 - p0))
        cells = np.array([both, p1 - both, p0 - both, 1 - p1 - p0 + both])
        if cells.min() < 0:
            continue
        law = stats.multinomial.pmf(tables, n, cells)
        covered.append(law @ ((low <= p1 - p0) & (p1 - p0 <= high)))
        plain.append(law @ ((plain_low <= p1 - p0) & (p1 - p0 <= plain_high)))
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
    if correlation < 0:
        assert np.mean(plain) < np.mean(covered)


def test_kinds_of_extracted_texts() -> None:
    """One text of each kind, 16 pairs; copies go before predictability, predictability before memorization."""
    pairs = 16
    inside, outside = np.zeros((2, pairs, 6), dtype=bool)
    inside[:, 1] = inside[:, 2] = inside[:, 3] = True
    outside[:, 1] = True  # 9 copies, so recited although predictable
    outside[:12, 2] = True
    outside[:1, 3] = True
    inside[:1, 4] = True
    outside[:1, 5] = True
    copies = np.array([9, 9, 1, 1, 1, 1])
    found = counterfactual_extraction(inside, outside)
    expected = (
        Kind.NOT_EXTRACTED,
        Kind.RECITED,
        Kind.PREDICTABLE,
        Kind.MEMORIZED,
        Kind.UNRESOLVED,
        Kind.PREDICTABLE,
    )
    assert kinds(found, copies) == expected
    shown = kinds(found, copies, log_ratio_low=np.full(6, 0.1))
    assert shown == (*expected[:4], Kind.MEMORIZED, expected[5])


# --- the laws of scaling --------------------------------------------------------------------------------------------


def test_log_linear_recovers_an_exact_line() -> None:
    """Shares .1, .2, .3, .4 at 1, 2, 4, 8 copies: one tenth per doubling."""
    found = log_linear(np.array([1, 2, 4, 8]), np.array([10, 20, 30, 40]), np.full(4, 100))
    assert (found.intercept, found.slope, found.r_squared) == pytest.approx((0.1, 0.1, 1))
    assert found.low < 0.1 < found.high


def test_log_linear_against_weighted_least_squares() -> None:
    rng = np.random.default_rng(8)
    x, n = np.array([1.0, 3.0, 3.0, 10.0, 64.0]), np.array([5, 40, 11, 30, 9])
    extracted = rng.integers(0, n + 1)
    found = log_linear(x, extracted, n)
    slope, intercept = np.polyfit(np.log2(x), extracted / n, 1, w=np.sqrt(n))
    assert (found.intercept, found.slope) == pytest.approx((intercept, slope))


def test_rows_of_single_texts_say_the_same_as_rows_of_counts() -> None:
    """Also R², and also the interval when each text is a group of its own."""
    x, extracted, n = np.array([1, 2, 4, 8]), np.array([2, 5, 4, 9]), np.array([9, 10, 10, 11])
    counts = log_linear(x, extracted, n)
    single = np.concatenate([np.arange(m) < k for k, m in zip(extracted, n, strict=True)]).astype(np.int64)
    rows = np.repeat(x, n), single, np.ones(40, dtype=np.int64)
    for found in (log_linear(*rows), log_linear(*rows, np.arange(40))):
        assert (found.slope, found.low, found.high, found.r_squared) == pytest.approx(
            (counts.slope, counts.low, counts.high, counts.r_squared)
        )


@pytest.mark.parametrize("grouped", [False, True])
def test_the_slopes_interval_covers(grouped: bool) -> None:
    """True line .05 + .1 log2 x at 1 to 64; 1000 draws of 40 texts each, coverage .95 within five SE (.007).

    Grouped: the same 40 texts at every x, extracted from their own threshold on; single texts as units would mislead.
    False alarm 1e-6.
    """
    rng = np.random.default_rng(9)
    x = np.repeat(2 ** np.arange(7), 40)
    groups = np.tile(np.arange(40), 7) if grouped else None
    covered = 0
    for _ in range(1000):
        chance = np.tile(rng.random(40), 7) if grouped else rng.random(280)
        found = log_linear(x, (chance < 0.05 + 0.1 * np.log2(x)).astype(np.int64), np.ones(280, np.int64), groups)
        covered += found.low <= 0.1 <= found.high
    assert covered / 1000 == pytest.approx(0.95, abs=0.035)


def test_a_law_that_is_not_there() -> None:
    """All shares equal: slope and R² are 0."""
    found = log_linear(np.array([1, 2, 4]), np.array([3, 3, 3]), np.full(3, 9))
    assert (found.slope, found.r_squared) == pytest.approx((0, 0))
    assert found.low < 0 < found.high


def test_log_linear_refuses_what_any_line_fits() -> None:
    with pytest.raises(EvidenceError, match="2 distinct x"):
        log_linear(np.array([1, 2, 2]), np.array([1, 2, 3]), np.full(3, 9))
    with pytest.raises(EvidenceError, match="2 independent units"):
        log_linear(np.array([1, 2, 4]), np.array([1, 2, 3]), np.full(3, 9), np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="positive"):
        log_linear(np.array([0, 2, 4]), np.array([1, 2, 3]), np.full(3, 9))
